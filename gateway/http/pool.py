"""The clients: pools of connections with one policy each, and the calls over them.

The client is aiohttp's, called directly. CPU of a small POST, alone and among 50 at once: 91 and 51 µs, with the
bounds and checks here 107 and 61; through an httpx transport over the same session 145 and 91, through httpx's own
client in front of that 217 and 162.
"""

import asyncio
import contextlib
import email.utils
import functools
import io
import math
import re
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from typing import Literal, TypeAlias
from urllib.parse import quote

import aiohttp
import msgspec
import yarl

from gateway import metrics
from gateway.deadlines import Within
from gateway.http import dialing, direct, failures

USER_AGENT = "chat-migration-gateway"

CONNECT_SECONDS = 5.0
"""For a free connection and the handshakes; shorter than the deadline, so that this much is known not to be sent."""

KEEP_SECONDS = 4.0
"""Node and uvicorn close an idle connection after 5 s: a request must not meet that close on its way."""

LARGE_BYTES = 1 << 20

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")

Content = bytes | AsyncIterable[bytes]
Peer: TypeAlias = Literal["upstream", "webhook"]
"""Whom a client calls, as the metrics name it."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; `headers` ignores the case of names. Any status is an answer, also one that refuses."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_seconds: float


class StreamedAnswer:
    """An answer whose body is still arriving; bounded by the call's deadline and cap."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: float, max_bytes: int) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in the pieces in which it arrives. Raises CallFailed with the answer's status."""
        if (self._response.content_length or 0) > self._max_bytes:
            raise _too_large(self._max_bytes, self.status)
        total = 0
        while chunk := await self._read():
            total += len(chunk)
            if total > self._max_bytes:
                raise _too_large(self._max_bytes, self.status)
            yield chunk

    async def _read(self) -> bytes:
        try:
            with Within(self._deadline - asyncio.get_running_loop().time()):
                return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise failures.meaning(error, self.status) from None  # see there

    def close(self) -> None:
        """Give the connection back if all was read, cut it otherwise."""
        self._response.close()


class HttpClient:
    """A pool of connections with one policy. Made by `client`."""

    def __init__(
        self, session: aiohttp.ClientSession, timeout_seconds: float, max_answer_bytes: int, peer: Peer | None = None
    ) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes
        self._peer = peer
        head_lines = "".join(f"{name}: {value}\r\n" for name, value in session.headers.items())
        self._connections = direct.Connections(session, session.timeout, head_lines)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: Content | None = None
    ) -> Awaitable[Answer]:
        """Make a call and read its whole answer.

        Raises CallFailed, what the guard raises, and ValueError for a header that cannot be sent. GET, HEAD, PUT and
        DELETE are sent once more when a kept connection turns out to be closed; POST and PATCH never are.
        """
        _check_headers(headers := headers or {})
        route = self._connections.route(method, url, headers, content)
        if route is not None and isinstance(content, bytes):
            return self._request_directly(method, route, headers, content)
        return self._request_by_session(method, url, headers, content)

    async def _request_by_session(
        self, method: str, url: str, headers: Mapping[str, str], content: Content | None
    ) -> Answer:
        began = time.perf_counter()
        async with self.stream(method, url, headers=headers, content=content) as answer:
            body = b"".join([chunk async for chunk in answer.chunks()])
        return Answer(answer.status, answer.headers, body, time.perf_counter() - began)

    async def _request_directly(
        self, method: str, route: direct.Route, headers: Mapping[str, str], content: bytes
    ) -> Answer:
        began = time.perf_counter()
        exchange = direct.Exchange(self._connections)
        error_type = ""
        try:
            with Within(self._timeout_seconds):
                body = await exchange.run(method, route, headers, content, self._max_answer_bytes)
        except direct.TooLarge:
            error_type = failures.AnswerTooLarge.code
            raise _too_large(self._max_answer_bytes, exchange.status) from None
        except (aiohttp.ClientError, OSError) as error:
            failed = failures.meaning(error, exchange.status)
            error_type = failed.code
            raise failed from None  # see there
        except BaseException as error:  # the guard's refusal, or the caller gave up waiting
            error_type = type(error).__name__
            raise
        finally:
            seconds = time.perf_counter() - began
            self._measure(method, exchange.status, error_type, seconds)
        return Answer(exchange.status or 0, exchange.headers, body, seconds)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: Content | None = None
    ) -> AsyncIterator[StreamedAnswer]:
        """Make a call and give its answer as soon as its head is there; raises as `request` does.

        The deadline is that of the whole call, with the reading of the body.
        """
        began = time.perf_counter()
        answer: StreamedAnswer | None = None
        error_type = ""
        try:
            answer = await self._open(method, url, headers or {}, content)
            yield answer
        except failures.CallFailed as error:
            error_type = error.code
            raise
        except BaseException as error:
            if answer is None:  # the guard's refusal, or the caller gave up waiting; later it is the caller's own
                error_type = type(error).__name__
            raise
        finally:
            if answer is not None:
                answer.close()
            self._measure(method, None if answer is None else answer.status, error_type, time.perf_counter() - began)

    def _measure(self, method: str, status: int | None, error_type: str, seconds: float) -> None:
        if self._peer:
            metrics.CLIENT_REQUEST_DURATION(
                http_request_method=method,
                peer=self._peer,
                http_response_status_code="" if status is None else status,
                error_type=error_type,
            ).observe(seconds)

    async def _open(self, method: str, url: str, headers: Mapping[str, str], content: Content | None) -> StreamedAnswer:
        target = _wire_url(url)
        _check_headers(headers)
        data: Content | io.BytesIO | None = content
        if isinstance(content, bytes) and len(content) > LARGE_BYTES:
            data = io.BytesIO(content)  # is written in pieces: the loop has other calls to serve
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            with Within(self._timeout_seconds):
                response = await self._session.request(
                    method, target, headers=headers, data=data, allow_redirects=False
                )
        except (aiohttp.ClientError, OSError) as error:
            raise failures.meaning(error) from None  # see there
        return StreamedAnswer(response, deadline, self._max_answer_bytes)


@contextlib.asynccontextmanager
async def client(
    *,
    timeout_seconds: float,
    max_answer_bytes: int,
    limit: int = 1000,
    limit_per_host: int = 200,
    guard: dialing.Guard | None = None,
    lookup: dialing.Lookup | None = None,
    tls: ssl.SSLContext | None = None,
    peer: Peer | None = None,
) -> AsyncIterator[HttpClient]:
    """Give a client for as long as the context is open.

    `timeout_seconds` is for a whole call. `limit` and `limit_per_host` bound the open connections; a call beyond
    them waits for one, as part of connecting. `guard` decides about every address that is dialled, and what it
    raises is raised by the call; `lookup` stands in for the system's name lookup, `tls` for its trusted authorities.
    The calls of a client whose `peer` is named are measured.
    """
    resolver = dialing.Resolver(guard, lookup)
    connector = direct.Connector(
        resolver=resolver,
        socket_factory=dialing.socket_factory(guard),
        ssl=True if tls is None else tls,
        limit=limit,
        limit_per_host=limit_per_host,
        keepalive_timeout=KEEP_SECONDS,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        skip_auto_headers=("Accept", "Content-Type"),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=min(CONNECT_SECONDS, timeout_seconds / 2), ceil_threshold=math.inf
        ),
    )
    try:
        yield HttpClient(session, timeout_seconds, max_answer_bytes, peer)
    finally:
        await session.close()
        await resolver.close()


def retry_after_seconds(headers: Mapping[str, str]) -> int | None:
    """Read how long an answer asks to wait: from now, or from its own date, so that no clock of ours counts."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return int(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
        sent = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        return max(0, math.ceil((until - sent).total_seconds()))
    except (ValueError, TypeError):
        return None


def _too_large(max_bytes: int, status: int | None) -> failures.AnswerTooLarge:
    return failures.AnswerTooLarge(f"the answer is larger than {max_bytes} bytes", status)


def _wire_url(url: str) -> yarl.URL:
    """Give the URL as it goes out: byte for byte, but for what no request line can hold (RFC 3987, section 3.1)."""
    try:
        target = yarl.URL(url, encoded=True)
        host = target.raw_host  # also checks the port
        if host and not url.isascii():
            target = target.with_host(host)  # in the alphabet of resolvers
            target = yarl.URL("".join(c if c.isascii() else quote(c) for c in str(target)), encoded=True)
    except ValueError:
        raise failures.InvalidUrl("the URL cannot be called") from None
    return target


def _check_headers(headers: Mapping[str, str]) -> None:
    if not _are_names(tuple(headers)) or not _HEADER_VALUE.fullmatch("".join(headers.values())):
        [wrong, *_] = [
            name
            for name, value in headers.items()
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value)
        ]
        raise ValueError(f"the header {wrong!r} cannot be sent")  # its value may be a secret


@functools.lru_cache(maxsize=256)  # a caller's calls have the same few headers
def _are_names(names: tuple[str, ...]) -> bool:
    return all(map(_HEADER_NAME.fullmatch, names))
