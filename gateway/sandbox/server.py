"""Serving a sandbox on a socket: as a process of its own, or inside a running loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.sandbox import faulty
from gateway.sandbox.app import create_app
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.world import World

_GRACE_SECONDS = 5
_BACKLOG = 2048


class _Protocol(HttpToolsProtocol):
    """HTTP that lets the application cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {faulty.TRANSPORT: {"transport": self.transport}}


class _Server(uvicorn.Server):
    """A server that tells when it is ready, and that ends long polls and hangs when it stops."""

    def __init__(self, app: Starlette, *, handles_signals: bool) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self.ready = asyncio.Event()
        self._world: World = app.state.world
        self._handles_signals = handles_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if self._handles_signals:
            with super().capture_signals():
                yield
        else:
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._world.wake()
        await super().shutdown(sockets)


def run(host: str, port: int, settings: SandboxSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    with _listen(host, port) as listener:
        _Server(create_app(settings), handles_signals=True).run([listener])


@contextlib.asynccontextmanager
async def serve(settings: SandboxSettings | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve inside the running loop, and give the base URL, without a slash at its end.

    Port 0 takes a free one. No signal handlers are installed. On leaving, everything has ended.
    """
    with _listen(host, port) as listener:
        server = _Server(create_app(settings), handles_signals=False)
        serving = asyncio.create_task(server.serve([listener]))
        ready = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                raise RuntimeError("the sandbox did not start")
            name = f"[{host}]" if ":" in host else host
            yield f"http://{name}:{listener.getsockname()[1]}"
        finally:
            ready.cancel()
            server.should_exit = True
            await serving


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
