"""Servers of bytes, not of HTTP: they say exactly what a test wants said, also when it is wrong."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Connection:
    """What a server's script works with."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes]

    async def read_request(self) -> bytes:
        """Read a head and the body that it announces; recorded as one."""
        request = await self.reader.readuntil(b"\r\n\r\n")
        head = request.lower()
        if b"content-length: " in head:
            request += await self.reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding: chunked" in head:
            request += await self.reader.readuntil(b"0\r\n\r\n")
        self.requests.append(request)
        return request

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> None:
        """Wait until the other side closes."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def reset(self) -> None:
        """Close so that the other side gets a reset: nothing lingers, not even a farewell."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


async def say_ok(connection: Connection) -> None:
    """Answer every request with `OK`."""
    while True:
        await connection.read_request()
        await connection.say(OK)


@dataclass
class Server:
    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The request targets, as they arrived."""
        return [request.split(b" ")[1].decode("latin-1") for request in self.requests]


@contextlib.asynccontextmanager
async def serve(script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """Run a server that follows the script on each connection, until the context is left."""
    served = Server(0)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        served.connections += 1
        try:
            await script(Connection(reader, writer, served.requests))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    listening = await asyncio.start_server(handle, host, 0, ssl=tls)
    served.port = listening.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()
