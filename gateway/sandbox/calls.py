"""The log of the API calls that came in: what a test of a client reads to see what the client did."""

import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.sandbox import answers, faulty, journal

_MAX_KEY_CHARACTERS = 16


def account_name(key: str) -> str:
    """Return the name of a key's account in records and pages: a digest, for the key itself is shown nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()[:_MAX_KEY_CHARACTERS]


def bearer_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the key of the one Authorization header, if it is a well-formed Bearer header."""
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, key = values[0].decode("latin-1").partition(" ")
    key = key.strip(" ")
    if scheme.lower() != "bearer" or not key or " " in key:
        return None
    return key


@dataclass(slots=True, kw_only=True)
class Call:
    """One API call. `status` is None while it runs, and stays None when the connection was cut."""

    n: int = 0
    at: datetime
    method: str
    path: str
    query: str
    account: str | None
    headers: list[tuple[str, str]]
    body: bytes
    status: int | None = None
    fault: str | None = None
    finished: bool = False
    milliseconds: float | None = None

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        return len(self.body) + 1024

    def show(self) -> dict[str, Any]:
        """Return it for JSON: the body as text, and parsed if it is JSON."""
        text = self.body.decode(errors="replace")
        return {
            "n": self.n,
            "at": self.at.isoformat(),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "account": self.account,
            "headers": self.headers,
            "body": text,
            "json": answers.parse(self.body),
            "status": self.status,
            "fault": self.fault,
            "finished": self.finished,
            "milliseconds": self.milliseconds,
        }


@dataclass(slots=True)
class _Body:
    """The body of a request, read ahead so that it is in the record whatever becomes of the call."""

    messages: list[Message] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)

    async def read(self, receive: Receive, limit: int) -> None:
        more = True
        while more and len(self.content) <= limit:
            message = await receive()
            self.messages.append(message)
            self.content += message.get("body", b"")
            more = message.get("more_body", False)


class CallLogMiddleware:
    """Records every call below the APIs' paths."""

    def __init__(
        self, app: ASGIApp, *, calls: journal.Journal[Call], apis: tuple[str, ...], max_body_bytes: int
    ) -> None:
        self._app = app
        self._calls = calls
        self._apis = apis
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self._apis):
            await self._app(scope, receive, send)
            return
        body = _Body()
        await body.read(receive, self._max_body_bytes)
        started = time.perf_counter()
        key = bearer_key(scope["headers"])
        call = self._calls.add(
            Call(
                at=datetime.now(UTC),
                method=scope["method"],
                path=scope["path"],
                query=scope["query_string"].decode("latin-1"),
                account=account_name(key) if key else None,
                headers=[
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in scope["headers"]
                    if name != b"authorization"
                ],
                body=bytes(body.content),
            )
        )
        ahead = iter(body.messages)

        async def replay() -> Message:
            return next(ahead, None) or await receive()

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        try:
            await self._app(scope, replay, note)
        finally:
            fault = faulty.fault_of(scope)
            call.fault = fault.label() if fault else None
            call.finished = True
            call.milliseconds = round((time.perf_counter() - started) * 1000, 3)
            self._calls.changed()
