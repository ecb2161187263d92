"""Calls to an upstream: what may be tried again, what must be looked at first, and how refusals read.

Shared by the upstreams that are called over HTTP with a bearer key and answer errors as JSON with a `message`.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
import tenacity

from gateway import errors, http
from gateway.upstreams.base import Call, ConversationGone, OutcomeUnknown
from mappings.errors import MalformedAnswer

T = TypeVar("T")

MAX_TRIES = 3
"""Tries of one call that surely did not reach the upstream; the turn's budget ends them earlier."""

LONGEST_RETRY_AFTER_SECONDS = 5
"""An upstream that wants a longer pause is the client's to wait for."""


class NotTaken(Exception):
    """The upstream surely did nothing with the call: it may be tried again, and `outcome` is what it comes to."""

    def __init__(self, outcome: errors.GatewayError) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Calls:
    """One turn's calls under one key, and the record of them."""

    def __init__(self, base_url: str, client: http.HttpClient, key: str) -> None:
        self._base_url = base_url
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.calls: list[Call] = []

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        writes: bool = False,
        conversation: bool = False,
        accept: str | None = None,
    ) -> http.Answer:
        """Make a call; `writes`: it must not be repeated when it may have had its effect."""
        headers = {**self._headers, "Accept": accept} if accept else self._headers
        try:  # nearly always enough, and tenacity around it would be 2.6 % of a turn
            return await self._attempt(name, method, path, headers, body, 1, writes=writes, conversation=conversation)
        except NotTaken as refused:
            first = refused
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_worth_another_try),
            stop=tenacity.stop_after_attempt(MAX_TRIES),
            wait=_pause,
            reraise=True,
        )
        try:
            async for again in retrying:
                with again:
                    number = again.retry_state.attempt_number
                    if number == 1:
                        raise first
                    return await self._attempt(
                        name, method, path, headers, body, number, writes=writes, conversation=conversation
                    )
        except NotTaken as refused:
            raise refused.outcome from refused
        raise AssertionError("tenacity ends by returning or raising")

    async def _attempt(
        self,
        name: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        number: int,
        *,
        writes: bool,
        conversation: bool,
    ) -> http.Answer:
        begin = time.perf_counter()
        status: int | None = None
        try:
            answer = await self._client.request(method, self._base_url + path, headers=headers, content=body)
            status = answer.status
        except http.NotSent as error:
            raise NotTaken(errors.UpstreamUnavailable(f"the upstream cannot be reached: {error}")) from error
        except http.MaybeSent as error:
            outcome = failure(error)
            raise OutcomeUnknown(outcome) if writes else NotTaken(outcome) from error
        finally:
            self.calls.append(Call(name, status, (time.perf_counter() - begin) * 1000, number))
        return judge(answer, writes=writes, conversation=conversation)


def judge(answer: http.Answer, *, writes: bool, conversation: bool) -> http.Answer:
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
    failed = errors.UpstreamUnavailable(f"the upstream answered {status}", retry_after_seconds=retry_after)
    if not writes or (status == 503 and retry_after is not None):  # a refusal before anything was done
        raise NotTaken(failed)
    raise OutcomeUnknown(failed)


def failure(error: http.MaybeSent) -> errors.GatewayError:
    """Say what a call that broke off comes to for the client."""
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


def understood(decode: Callable[[], T]) -> T:
    """Read an answer; one that is not the upstream's protocol is the upstream's failure."""
    try:
        return decode()
    except MalformedAnswer as error:
        raise errors.UpstreamUnavailable(f"the upstream's answer is {error}") from error
