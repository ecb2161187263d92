"""A request that is served past ASGI, and its answer, written at once.

ASGI carries a request as one dictionary and takes its answer as two others; around them the framework puts objects, and
the server its checks of each header. A turn takes 3,650 thousand instructions past all that, by way of it 3,966; a
callback 561 and 807.
"""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.flow_control import FlowControl

JSON: Final = "application/json"

NO_HEADERS: Final[Mapping[str, str]] = {}

_UNWRITABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
"""What would end a header's line, or is part of none: RFC 9110, section 5.5."""


class Answer(msgspec.Struct, frozen=True):
    """An answer of JSON; header names are written in lower case."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = NO_HEADERS

    def as_response(self) -> Response:
        """Give the answer as the framework takes it."""
        return Response(self.body, self.status, self.headers, JSON)


class Headers:
    """The headers of a request, read as the framework's are."""

    __slots__ = ("_first", "_raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._first = dict(raw[::-1])

    @overload
    def get(self, key: str) -> str | None: ...
    @overload
    def get(self, key: str, default: str) -> str: ...
    def get(self, key: str, default: str | None = None) -> str | None:
        """Give the first value of a header, by its name in lower case; `default` where there is none."""
        found = self._first.get(key.encode())
        return default if found is None else found.decode("latin-1")

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._first

    def getlist(self, key: str) -> list[str]:
        """Give all values of a header."""
        sought = key.encode()
        if sought not in self._first:
            return []
        return [value.decode("latin-1") for name, value in self._raw if name == sought]


class Exchange(RequestResponseCycle):
    """One request on a connection. The server sees one of its own: it feeds it the body and queues it behind others.

    Of the parent it keeps how a body is received in pieces. `serve` is run as the request's task, and answers.
    """

    # What the server sets: most of it stays as it is here.
    disconnected = False
    waiting_for_100_continue = False  # who waits for it is served by way of ASGI
    response_started = False
    response_complete = False
    more_body = True

    target = b""
    """As in the request's first line, where the route leaves it open."""

    def __init__(  # the parent's would set 18 attributes, of which 9 are read
        self,
        serve: "Callable[[Exchange], Coroutine[Any, Any, None]]",
        headers: Headers,
        *,
        transport: "asyncio.Transport",
        flow: "FlowControl",
        default_headers: Sequence[tuple[bytes, bytes]],
        message_event: "asyncio.Event",
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self._serve = serve
        self.headers = headers
        self.transport = transport
        self.flow = flow
        self.default_headers = default_headers  # type: ignore[assignment]  # is only read
        self.message_event = message_event
        self.keep_alive = keep_alive
        self.on_response = on_response
        self.body: bytes | bytearray = b""  # type: ignore[assignment]  # one piece, mostly, and kept as it came

    def run_asgi(self, _app: object) -> Coroutine[Any, Any, None]:
        """Serve the request; the name is the server's."""
        return self._serve(self)

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.response_complete:
            return
        if not self.body:
            self.body = piece
        elif isinstance(self.body, bytes):
            self.body = bytearray(self.body) + piece
        else:
            self.body += piece
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def take_body(self) -> bytes | None:
        """Give the body, which is not kept; None unless it is all there."""
        if self.more_body or self.disconnected:
            return None
        body, self.body = bytes(self.body), b""
        return body

    async def readable(self) -> None:
        """Wait while the client does not read earlier answers."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()

    def answer(self, answer: Answer, request_id: str) -> None:
        """Write the answer, unless the client is gone."""
        if self.disconnected:
            return
        head = _encode_head(answer, request_id, self.default_headers)
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.response_started = True
        self.transport.write(b"".join((head, end, answer.body)))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


Incoming: TypeAlias = Exchange | Request
"""A request, whichever way it came."""


def last_segment(request: Incoming) -> str:
    """Give what stands behind the last slash of a request's path."""
    path: str = request.target.decode("ascii") if isinstance(request, Exchange) else request.scope["path"]
    return path.rpartition("/")[2]


async def has_hung_up(request: Incoming) -> bool:
    """Tell whether the client of a request that has been read is gone, as far as is known."""
    return request.disconnected if isinstance(request, Exchange) else await request.is_disconnected()


def encode(answer: Answer, request_id: str) -> bytes:
    """Give an answer as the last one of its connection."""
    return b"".join((_encode_head(answer, request_id, ()), b"connection: close\r\n\r\n", answer.body))


def _encode_head(answer: Answer, request_id: str, default: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Give all of a head but what the connection decides, and its end."""
    more = ""
    for name, value in answer.headers.items():
        if _UNWRITABLE.search(value):
            raise ValueError(f"{name}: cannot be written")
        more += f"{name.lower()}: {value}\r\n"
    own = f"{more}content-length: {len(answer.body)}\r\ncontent-type: {JSON}\r\nx-request-id: {request_id}\r\n"
    lines = [b"%b: %b\r\n" % header for header in default]
    return b"".join((STATUS_LINE[answer.status], *lines, own.encode("latin-1")))
