"""V3 as an upstream: its calls, what may be tried again, and how its refusals read."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import tenacity

from gateway import errors, http
from gateway.upstreams.base import Call, ConversationGone, OutcomeUnknown
from mappings import v3
from mappings.errors import MalformedAnswer
from mappings.turn import Message, Received, Turn

T = TypeVar("T")

DIALECT = "v3"

MAX_TRIES = 3
"""Tries of one call that surely did not reach the upstream; the turn's budget ends them earlier."""

LONGEST_RETRY_AFTER_SECONDS = 5
"""An upstream that wants a longer pause is the client's to wait for."""


class NotTaken(Exception):
    """The upstream surely did nothing with the call: it may be tried again, and `outcome` is what it comes to."""

    def __init__(self, outcome: errors.GatewayError) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class V3:
    """The upstream at `base_url`, which may carry a path prefix; shared by all turns of the process."""

    dialect = DIALECT

    def __init__(self, base_url: str, client: http.HttpClient) -> None:
        self.base_url = base_url
        self._client = client

    def session(self, key: str) -> "V3Session":
        """Begin a turn's dealings under the key."""
        return V3Session(self.base_url, self._client, key)

    def decode_callback(self, body: bytes, *, fallback_id: str) -> Received:
        """Read what V3 posted to a conversation's webhook."""
        return v3.decode_callback(body, fallback_id=fallback_id)


class V3Session:
    """One turn's calls; see `base.Session` for what each method promises."""

    def __init__(self, base_url: str, client: http.HttpClient, key: str) -> None:
        self._base_url = base_url
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.calls: list[Call] = []

    async def find(self, bot_id: str, user_id: str) -> str | None:
        """Look the pair up in the upstream's own list."""
        query = urlencode({"bot_id": bot_id, "user_id": user_id})
        answer = await self.call("list_conversations", "GET", f"/api/conversations?{query}")
        return _understood(lambda: v3.decode_found(answer.body, bot_id=bot_id, user_id=user_id))

    async def adopt(self, conversation_id: str, webhook: str) -> None:
        """PATCH the conversation's webhook; doing it twice does no harm."""
        await self.call(
            "patch_conversation",
            "PATCH",
            _path(conversation_id),
            v3.encode_webhook(webhook),
            conversation=True,
        )

    async def create(self, turn: Turn, webhook: str, now: datetime) -> str:
        """Create the conversation; V3 gives back the pair's first one if there is one already."""
        body = v3.encode_create(turn, webhook=webhook, now=now)
        answer = await self.call("create_conversation", "POST", "/api/conversations", body, writes=True)
        try:
            return v3.decode_created(answer.body)
        except MalformedAnswer as error:
            raise OutcomeUnknown(errors.UpstreamUnavailable(f"the upstream's answer is {error}")) from error

    async def post(self, conversation_id: str, text: str, now: datetime) -> None:
        """Add the message. V3 answers 202 without a body; anything that looks otherwise may not have come from it."""
        answer = await self.call(
            "post_message",
            "POST",
            f"{_path(conversation_id)}/messages",
            v3.encode_message(text, now=now),
            writes=True,
            conversation=True,
        )
        if answer.body.lstrip()[:1] not in {b"", b"{"}:
            raise OutcomeUnknown(errors.UpstreamUnavailable("the upstream's answer to the message is not JSON"))

    async def transcript(self, conversation_id: str) -> Sequence[Message]:
        """Read the conversation with all its messages."""
        answer = await self.call("read_conversation", "GET", _path(conversation_id), conversation=True)
        return _understood(lambda: v3.decode_transcript(answer.body))

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        writes: bool = False,
        conversation: bool = False,
    ) -> http.Answer:
        """Make a call; `writes`: it must not be repeated when it may have had its effect."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_worth_another_try),
            stop=tenacity.stop_after_attempt(MAX_TRIES),
            wait=_pause,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    number = attempt.retry_state.attempt_number
                    return await self._attempt(
                        name, number, method, path, body, writes=writes, conversation=conversation
                    )
        except NotTaken as refused:
            raise refused.outcome from refused
        raise AssertionError("tenacity ends by returning or raising")

    async def _attempt(
        self,
        name: str,
        number: int,
        method: str,
        path: str,
        body: bytes | None,
        *,
        writes: bool,
        conversation: bool,
    ) -> http.Answer:
        begin = time.perf_counter()
        status: int | None = None
        try:
            answer = await self._client.request(method, self._base_url + path, headers=self._headers, content=body)
            status = answer.status
        except http.NotSent as error:
            raise NotTaken(errors.UpstreamUnavailable(f"the upstream cannot be reached: {error}")) from error
        except http.MaybeSent as error:
            outcome = _failure(error)
            raise OutcomeUnknown(outcome) if writes else NotTaken(outcome) from error
        finally:
            self.calls.append(Call(name, status, (time.perf_counter() - begin) * 1000, number))
        return _judge(answer, writes=writes, conversation=conversation)


def _path(conversation_id: str) -> str:
    return f"/api/conversations/{quote(conversation_id, safe='')}"


def _judge(answer: http.Answer, *, writes: bool, conversation: bool) -> http.Answer:
    """Tell a success from a refusal, and a refusal from a failure that may have had its effect."""
    status = answer.status
    if 200 <= status < 300:
        return answer
    if conversation and status == 404:
        raise ConversationGone
    retry_after = http.retry_after_seconds(answer.headers)
    if status == 429:
        raise NotTaken(errors.UpstreamRejected(_message(answer), status=429, retry_after_seconds=retry_after))
    if 400 <= status < 500:
        raise errors.UpstreamRejected(_message(answer), status=status)
    failure = errors.UpstreamUnavailable(f"the upstream answered {status}", retry_after_seconds=retry_after)
    if not writes or (status == 503 and retry_after is not None):  # a refusal before anything was done
        raise NotTaken(failure)
    raise OutcomeUnknown(failure)


def _failure(error: http.MaybeSent) -> errors.GatewayError:
    if isinstance(error, http.DeadlineExceeded):
        return errors.UpstreamTimeout("the upstream did not answer in time")
    return errors.UpstreamUnavailable(f"the upstream broke the call off: {error}")


def _worth_another_try(error: BaseException) -> bool:
    return (
        isinstance(error, NotTaken)
        and not isinstance(error.outcome, errors.UpstreamTimeout)
        and (error.outcome.retry_after_seconds or 0) <= LONGEST_RETRY_AFTER_SECONDS
    )


_backoff = tenacity.wait_random_exponential(multiplier=0.1, max=1)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.outcome.retry_after_seconds if isinstance(error, NotTaken) else None
    return float(asked) if asked is not None else _backoff(state)


class _Failure(msgspec.Struct):
    message: str = ""


def _message(answer: http.Answer) -> str:
    """Give the upstream's own words, which its error body holds as `message`."""
    try:
        said = msgspec.json.decode(answer.body, type=_Failure).message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = ""
    return f"the upstream refused with {answer.status}" + (f": {said[:500]}" if said else "")


def _understood(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except MalformedAnswer as error:
        raise errors.UpstreamUnavailable(f"the upstream's answer is {error}") from error
