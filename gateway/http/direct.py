"""Small POSTs and PATCHes past aiohttp's session: on its connections, without its request and response objects.

The session makes a request, a response, a writer and a task for the body of each call, merges headers and cookies, and
looks for redirects, proxies, traces and middlewares that this client does not have: 408,000 instructions of the
5,391,000 that a turn took. A plain answer is read past aiohttp's parser, too (`plain`).

What a call rests on stays aiohttp's: the connector with its pool, its bounds, the resolver and the guard; TLS; the
parser of all other answers. Only what is plain goes this way, and `route` tells: everything else is the session's.
"""

import asyncio
import functools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from gateway.http import plain

MAX_BYTES: Final = 1 << 16
"""A body of so many bytes at most is written at once, with its head."""

MAX_ORIGINS: Final = 1024

MAX_BABBLERS: Final = 3
"""Connections on which something was said that nobody had asked for, before a call gives up."""

LIFETIME_SECONDS: Final = 120.0
"""For which a connection is used, more or less. aiohttp takes turns with all that it has, so that none of those that a
burst needed would ever be idle for long enough to be closed; and replicas that joined upstream would get nothing."""

_URL = re.compile(r"(https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)(/[!-\"$-~]*)(?<!\?)")
"""A URL that a request line holds as it is: ASCII, with a path, without credentials, blanks, fragment, empty query."""

_METHODS: Final = frozenset({"POST", "PATCH"})
"""What is never sent twice; the others are the session's, which knows when it may repeat them."""

_FRAMING: Final = frozenset(
    {
        "host",
        "user-agent",
        "accept-encoding",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "expect",
        "cookie",
    }
)
"""Headers that a session minds, or sets by itself."""


class Handler(ResponseHandler):
    """aiohttp's protocol of one connection, which reads a plain answer to a direct call past aiohttp's parser."""

    _coming: asyncio.Future[plain.Plain | None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_old_at = loop.time() + LIFETIME_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 — not all at once

    @property
    def should_close(self) -> bool:
        """Whether the connection is not to be kept after its call."""
        return self.is_spoilt or self._loop.time() > self._is_old_at

    @property
    def is_spoilt(self) -> bool:
        """Whether something on it makes another call impossible."""
        return super().should_close

    def expect(self) -> asyncio.Future[plain.Plain | None]:
        """Give the answer to what is written next; None when it is for `read`, as is the end of the connection."""
        self._coming = self._loop.create_future()
        return self._coming

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        coming, self._coming = self._coming, None
        if coming is None:
            super().data_received(data)
            return
        answer = plain.read(data)
        if answer is None:
            self.set_response_params(read_until_eof=True, auto_decompress=False)
            super().data_received(data)
        if not coming.done():
            coming.set_result(answer)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take note of the end; `read` raises what it means."""
        super().connection_lost(exc)
        if self._coming is not None and not self._coming.done():
            self._coming.set_result(None)


class Connector(aiohttp.TCPConnector):
    """aiohttp's connector, with our protocol on its connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = functools.partial(Handler, loop=self._loop)


class _Key(aiohttp.ClientRequest):
    """The request by which a connector finds connections; the session makes one for each call."""

    @functools.cached_property
    def connection_key(self) -> Any:
        """The key of the connector's pool."""
        return super().connection_key


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: the request by which aiohttp's connector finds a connection, and the head's end."""

    key: aiohttp.ClientRequest
    head: str


Route: TypeAlias = tuple[Origin, str]
"""Where a plain call goes: its origin, and the target of its request line."""


class TooLarge(Exception):
    """The answer's body is larger than the call takes."""


class NotAnAnswer(aiohttp.ClientError):
    """What came back is no HTTP answer."""


class Connections:
    """The connections of one session. `head_lines` are sent with every call, each ended by CRLF."""

    def __init__(self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout, head_lines: str) -> None:
        self._session = session
        self._timeout = timeout
        self._head_lines = head_lines
        self._origin = functools.lru_cache(MAX_ORIGINS)(self._make_origin)

    def route(self, method: str, url: str, headers: Mapping[str, str], content: object) -> Route | None:
        """Say how a call goes; None where it is the session's."""
        if method not in _METHODS or not isinstance(content, bytes) or len(content) > MAX_BYTES:
            return None
        found = _URL.fullmatch(url)
        if found is None or not _are_plain(tuple(headers)):
            return None
        origin = self._origin(found[1])
        return None if origin is None else (origin, found[2])

    async def connect(self, origin: Origin) -> aiohttp.connector.Connection:
        """Give a connection for one call, a kept one or a new one; raises aiohttp's errors and OSError.

        One on which the other side has spoken out of turn is closed: that is no answer to what is asked next.
        """
        connector = self._session.connector
        if connector is None or connector.closed:
            raise RuntimeError("the client is closed")
        for _ in range(MAX_BABBLERS):
            try:
                connection = await connector.connect(origin.key, [], self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError("no connection in time") from error
            protocol = connection.protocol
            if isinstance(protocol, Handler) and not protocol.is_spoilt:
                return connection
            connection.close()
        raise NotAnAnswer

    def _make_origin(self, origin: str) -> Origin | None:
        try:
            url = yarl.URL(origin + "/", encoded=True)
            if not url.raw_host:
                return None
            key = _Key("POST", url, loop=asyncio.get_running_loop(), session=self._session)
        except ValueError:  # a port beyond all ports: the session says so
            return None
        return Origin(key, f"Host: {key.headers['Host']}\r\n{self._head_lines}")


class Exchange:
    """One call: `status` and `headers` of its answer, as soon as they are there."""

    __slots__ = ("_connections", "headers", "status")

    def __init__(self, connections: Connections) -> None:
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self._connections = connections

    async def run(self, method: str, route: Route, headers: Mapping[str, str], content: bytes, max_bytes: int) -> bytes:
        """Send the request and give the answer's body; raises aiohttp's errors, OSError and `TooLarge`.

        The headers must have been checked for what they may hold.
        """
        origin, target = route
        connection = await self._connections.connect(origin)
        try:
            protocol, transport = connection.protocol, connection.transport
            if not isinstance(protocol, Handler) or transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("the connection was closed")  # noqa: TRY301 — as writing would
            coming = protocol.expect()
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            head = f"{method} {target} HTTP/1.1\r\n{origin.head}{lines}Content-Length: {len(content)}\r\n\r\n"
            transport.write(head.encode("ascii") + content)
            answer = await coming
            if answer is None:
                body = await self._read(protocol, max_bytes)
            else:
                self.status, self.headers, body = answer
                if len(body) > max_bytes:
                    raise TooLarge  # noqa: TRY301 — as reading would
        except HttpProcessingError as error:
            connection.close()
            raise NotAnAnswer from error
        except BaseException:
            connection.close()
            raise
        connection.release()
        return body

    async def _read(self, protocol: ResponseHandler, max_bytes: int) -> bytes:
        """Read what aiohttp's parser makes of the answer."""
        while True:
            message, payload = await protocol.read()
            if not 100 <= message.code < 200 or message.code == 101:
                break
        self.status, self.headers = message.code, message.headers
        announced = message.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            raise TooLarge
        pieces, total = [], 0
        while piece := await payload.readany():
            total += len(piece)
            if total > max_bytes:
                raise TooLarge
            pieces.append(piece)
        return b"".join(pieces)


@functools.lru_cache(maxsize=256)  # a caller's calls have the same few headers
def _are_plain(names: tuple[str, ...]) -> bool:
    return not any(name.lower() in _FRAMING for name in names)
