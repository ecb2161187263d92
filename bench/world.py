"""What every scenario stands on: a store and a mock V3 on the other core, a recorder in the bench itself."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from bench import mock_v3, processes, wire
from bench.machine import OTHER_CORE
from gateway.embedded import engine


@dataclass(frozen=True, slots=True)
class World:
    """The peers of a subject. `store_process` and `mock_process` are there to be accounted for."""

    directory: Path
    store_port: int
    v3_port: int
    recorder_port: int
    recorder: mock_v3.Recorder
    store: Any
    store_process: processes.Process
    mock_process: processes.Process | None

    @property
    def webhook(self) -> str:
        """Give a webhook that somebody cheap answers."""
        return f"http://127.0.0.1:{self.v3_port}/hooks/reply?token=s3cr%2Bt~42&chat=57"

    @property
    def recorded_webhook(self) -> str:
        """Give a webhook whose deliveries are seen."""
        return f"http://127.0.0.1:{self.recorder_port}/hooks/reply"

    async def flush(self) -> None:
        """Empty the store."""
        await self.store.flushall()


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def open_world(*, durable: bool = False) -> AsyncIterator[World]:
    """Start the peers, end them at the end. `durable`: the store writes an append-only file, fsynced every second."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        store_port, v3_port, recorder_port = free_port(), free_port(), free_port()
        recorder = mock_v3.Recorder()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: wire.Server(recorder), "127.0.0.1", recorder_port)
        stack.callback(server.close)
        file = ("yes", "everysec") if durable else ("no", "no")
        options = {"port": store_port, "save": "", "appendonly": file[0], "appendfsync": file[1], "maxmemory": "0"}
        command = [str(engine.find()), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
        store_process = stack.enter_context(
            processes.started("store", command, cores={OTHER_CORE}, directory=directory)
        )
        mock_process = None
        if mock_v3.is_nginx():
            mock_process = stack.enter_context(mock_v3.running(v3_port, recorder_port, directory))
        else:
            mock = await loop.create_server(lambda: wire.Server(recorder), "127.0.0.1", v3_port)
            stack.callback(mock.close)
        await processes.listening(store_port, "the store")
        await processes.listening(v3_port, "the mock V3")
        store = redis.Redis(port=store_port, decode_responses=True)
        try:
            yield World(directory, store_port, v3_port, recorder_port, recorder, store, store_process, mock_process)
        finally:
            await store.aclose()
