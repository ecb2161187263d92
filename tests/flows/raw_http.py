"""HTTP by hand, over a socket: what no client library would send, and what comes back, byte by byte."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

SECONDS = 10
"""No wait is longer; what does not come by then is a TimeoutError."""


@dataclass(frozen=True)
class Answer:
    """One answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to a server. Answers are read by a strict parser of HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unread = b""

    async def send(self, *pieces: bytes | str) -> None:
        """Send as it is."""
        for piece in pieces:
            self._writer.write(piece.encode("latin-1") if isinstance(piece, str) else piece)
        await self._writer.drain()

    async def answer(self, method: str = "POST") -> Answer:
        """Read the next answer to a request of that method, past any informational one."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._unread:
            parser.receive_data(self._unread)
        head: h11.Response | None = None
        body = b""
        while True:
            match parser.next_event():
                case h11.NEED_DATA:
                    parser.receive_data(await self._read())
                case h11.Response() as head:
                    pass
                case h11.Data(data=data):
                    body += bytes(data)
                case h11.EndOfMessage():
                    break
                case event:
                    raise AssertionError(event)
        assert head is not None
        self._unread = parser.trailing_data[0]
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, headers, body)

    async def line(self) -> str:
        """Read one line."""
        async with asyncio.timeout(SECONDS):
            return (await self._reader.readline()).decode().rstrip()

    async def rest(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionResetError):
                self._unread += await self._reader.read()
        return self._unread

    async def drip(self, piece: bytes) -> None:
        """Send a piece again and again until the server has something to say or hangs up."""
        async with asyncio.timeout(SECONDS):
            waiting = asyncio.create_task(self._reader.read(65536))
            try:
                while not waiting.done():
                    self._writer.write(piece)
                    await asyncio.wait({waiting}, timeout=0.01)
                with contextlib.suppress(ConnectionResetError):  # it has hung up, with pieces on their way
                    self._unread += waiting.result()
            finally:
                waiting.cancel()

    async def _read(self) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self._reader.read(65536)


@contextlib.asynccontextmanager
async def connect(url: str, *, limit: int = 2**16) -> AsyncIterator[Connection]:
    """Connect to the server at a URL; beyond twice `limit` bytes nothing is taken that is not read."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=limit)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(url: str, *pieces: bytes | str, method: str = "POST") -> Answer:
    """Send bytes on a connection of their own and read the answer."""
    async with connect(url) as connection:
        await connection.send(*pieces)
        return await connection.answer(method)


def head(target: str = "/v2/complete", *headers: str, method: str = "POST", key: str | None = "client-key-1") -> str:
    """Give the head of a request with a Host, a key and more headers."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: gateway",
        *([f"Authorization: Bearer {key}"] if key else []),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""])


def post(body: bytes, *headers: str, target: str = "/v2/complete") -> bytes:
    """Give a whole POST of JSON."""
    return head(target, "Content-Type: application/json", f"Content-Length: {len(body)}", *headers).encode() + body
