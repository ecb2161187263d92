"""A TCP proxy that can cut, delay and swallow what passes: the network between two processes, under a test's control.

With several targets it is a balancer: each connection goes to the next one that takes it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024
CONNECT_SECONDS = 3.0

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: closing sends RST

Address = tuple[str, int]


@dataclass(eq=False, slots=True)
class _Connection:
    """One client's connection and, once there is one, ours to the target."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def reset(self) -> None:
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, ValueError):  # it may be closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class TcpProxy:
    """Forwards what comes to its own port on 127.0.0.1 to the targets; used as an async context manager.

    `delay_seconds` holds up each chunk in each direction, and may be changed at any time.
    """

    def __init__(self, *targets: Address, delay_seconds: float = 0.0) -> None:
        self.targets: Sequence[Address] = targets
        self.delay_seconds = delay_seconds
        self.port = 0
        self.accepted = 0
        self._refusing = False
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen; `port` says where."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        if self._server:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server:
            await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection that is open; new ones are served."""
        for connection in list(self._connections):
            connection.reset()

    def refuse(self) -> None:
        """Reset every connection, open or new, until `forward`."""
        self._refusing = True
        self.cut()

    def black_hole(self) -> None:
        """Let nothing through until `forward`: connections are taken, bytes are held back, nobody is told."""
        self._open.clear()

    def forward(self) -> None:
        """Let everything through again; what a black hole held back is delivered, as TCP would."""
        self._refusing = False
        self._open.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection([writer])
        self._connections.add(connection)
        try:
            if self._refusing:
                return
            await self._open.wait()
            target_reader, target_writer = await self._connect()
            connection.writers.append(target_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, target_writer))
                pumps.create_task(self._pump(target_reader, writer))
        except* OSError:
            pass  # one side is gone: so is the other
        finally:
            if self._refusing:
                connection.reset()
            for each in connection.writers:
                each.close()
            self._connections.discard(connection)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        error: OSError | None = None
        for turn in range(len(self.targets)):
            target = self.targets[(self.accepted + turn) % len(self.targets)]
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(*target)
            except OSError as failure:
                error = failure
        raise error or ConnectionRefusedError("no target")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._open.wait()
            if writer.is_closing():
                return
            writer.write(chunk)
            await writer.drain()
        await self._open.wait()
        if not writer.is_closing():
            writer.write_eof()
