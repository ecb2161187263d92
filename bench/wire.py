"""HTTP/1.1 in as few instructions as Python takes: connections for the load, a server for the check."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

Handler = Callable[[str, str, bytes, bytes], tuple[int, bytes]]
"""Takes method, path, raw head and body of a request; gives status and body of the answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiter: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what came; an answer with its whole body wakes whoever asked."""
        self._buffer += data
        message = _whole(self._buffer)
        if message and self._waiter:
            head, body, self._buffer = message
            waiter, self._waiter = self._waiter, None
            waiter.set_result(Reply(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("closed"))

    async def ask(self, request: bytes) -> Reply:
        """Send raw bytes and wait for the answer."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Hang up."""
        if self._transport:
            self._transport.close()


class Pool:
    """Kept connections to one port: as many as were ever used at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: deque[Connection] = deque()

    async def post(self, path: str, body: bytes, key: str = "") -> Reply:
        """POST a JSON body."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "") + "\r\n"
        )
        return await self.ask(head.encode() + body)

    async def get(self, path: str) -> Reply:
        """GET a path."""
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())

    async def ask(self, request: bytes) -> Reply:
        """Send raw bytes on a free connection."""
        if self._free:
            connection = self._free.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        reply = await connection.ask(request)
        self._free.append(connection)
        return reply

    def close(self) -> None:
        """Hang up on all."""
        for connection in self._free:
            connection.close()


class Server(asyncio.Protocol):
    """A server over one handler function."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        assert self._transport is not None
        self._buffer += data
        while message := _whole(self._buffer):
            head, body, self._buffer = message
            method, path, _ = head.split(b" ", 2)
            status, answer = self._handler(method.decode(), path.decode(), head, body)
            self._transport.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(answer), answer)
            )


def _whole(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end]
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return _whole_chunked(head, buffer[end + 4 :])
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    rest = buffer[end + 4 :]
    return (head, rest[:length], rest[length:]) if len(rest) >= length else None


def _whole_chunked(head: bytes, rest: bytes) -> tuple[bytes, bytes, bytes] | None:
    body = b""
    while True:
        size, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        length = int(size, 16)
        if len(rest) < length + 2:
            return None
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return head, body, rest
