"""Calling the conversations' webhooks: tried a few times, then given up, and recorded."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
import yarl
from pydantic import BaseModel, ConfigDict

from gateway.sandbox import answers, faults, journal
from gateway.sandbox.settings import SandboxSettings

FaultKind = Literal["lost", "duplicate", "reorder", "before_ack", "minimal"]


class CallbackFault(faults.Rule):
    """What befalls callbacks.

    lost: never sent; duplicate: sent twice; reorder: sent after the next one of its reply; before_ack: sent
    before the message that it answers is acknowledged; minimal: only `conversation_id` and `message`, the
    latter with no more than its text and speaker.
    """

    kind: FaultKind
    conversation_id: str | None = None

    def befalls(self, kind: FaultKind, conversation_id: str) -> bool:
        """Tell whether it is this kind of fault, and meant for this conversation."""
        return self.kind == kind and self.conversation_id in {None, conversation_id}


class CallbackFaults(BaseModel):
    """All rules for callbacks; they replace the ones before."""

    model_config = ConfigDict(extra="forbid")

    rules: list[CallbackFault]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a webhook: its status, or the kind of error when there was no answer."""

    at: datetime
    status: int | None
    error: str | None
    milliseconds: float

    def show(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "at": self.at.isoformat(),
            "status": self.status,
            "error": self.error,
            "milliseconds": self.milliseconds,
        }


@dataclass(slots=True, kw_only=True)
class Callback:
    """One callback of one message, over all its attempts."""

    n: int = 0
    at: datetime
    conversation_id: str
    message_id: str | None
    url: str
    body: bytes
    state: Literal["sending", "delivered", "given_up", "lost"] = "sending"
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        return len(self.body) + 512

    def show(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "n": self.n,
            "at": self.at.isoformat(),
            "conversation_id": self.conversation_id,
            "message_id": self.message_id,
            "url": self.url,
            "json": answers.parse(self.body),
            "state": self.state,
            "attempts": [attempt.show() for attempt in self.attempts],
        }


class Sender:
    """Sends callbacks. An answer of 429, 5xx or none at all is tried again, any other than 2xx is final."""

    def __init__(self, settings: SandboxSettings, sent: journal.Journal[Callback]) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self.sent = sent

    async def open(self) -> None:
        """Make the client; needs the running loop."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.webhook_timeout.total_seconds()),
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "sandbox-v3", "accept-encoding": "identity"},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the client."""
        if self._session is not None:
            await self._session.close()

    def lose(self, callback: Callback) -> None:
        """Record a callback that is never sent."""
        callback.state = "lost"
        self.sent.add(callback)

    async def send(self, callback: Callback) -> None:
        """Send a callback, whatever becomes of it."""
        self.sent.add(callback)
        pause = self._settings.webhook_retry_after
        for number in range(1, self._settings.webhook_attempts + 1):
            attempt = await self._attempt(callback)
            callback.attempts.append(attempt)
            if attempt.status is not None and 200 <= attempt.status < 300:
                callback.state = "delivered"
                break
            if attempt.status is not None and attempt.status < 500 and attempt.status != 429:
                callback.state = "given_up"
                break
            if number < self._settings.webhook_attempts:
                await asyncio.sleep(pause.total_seconds())
                pause *= 2
        else:
            callback.state = "given_up"
        self.sent.changed()

    async def _attempt(self, callback: Callback) -> Attempt:
        if self._session is None:
            raise RuntimeError("the sender is not open")
        at, started = datetime.now(UTC), time.perf_counter()
        status: int | None = None
        error: str | None = None
        try:
            async with self._session.post(
                yarl.URL(callback.url, encoded=True),  # the query string is the receiver's, byte for byte
                data=callback.body,
                headers={"content-type": "application/json"},
                allow_redirects=False,
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            error = type(failure).__name__
        return Attempt(at, status, error, round((time.perf_counter() - started) * 1000, 3))
