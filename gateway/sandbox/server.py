"""Serving a sandbox on a socket: as a process of its own, or inside a running loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Generator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.sandbox import faulty
from gateway.sandbox.app import create_app
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.world import World

_GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75
"""Above what clients keep idle connections for: a request must not meet their closing on its way."""
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
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self.when_ready: Callable[[], None] = lambda: None
        self._world: World = app.state.world
        self._handles_signals = handles_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at SIGINT and SIGTERM, and end well: unlike the parent, do not raise them again afterwards."""
        if not self._handles_signals:
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._world.wake()
        await super().shutdown(sockets)


def run(
    host: str, port: int, settings: SandboxSettings | None = None, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, and return. `ready` is called with the base URL once clients may come."""
    with _listen(host, port) as listener:
        server = _Server(create_app(settings), handles_signals=True)
        server.when_ready = lambda: ready(_url(host, listener)) if ready else None
        server.run([listener])


@contextlib.asynccontextmanager
async def serve(settings: SandboxSettings | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve inside the running loop, and give the base URL, without a slash at its end.

    Port 0 takes a free one. No signal handlers are installed. On leaving, everything has ended.
    """
    with _listen(host, port) as listener:
        server = _Server(create_app(settings), handles_signals=False)
        ready = asyncio.Event()
        server.when_ready = ready.set
        serving = asyncio.create_task(server.serve([listener]))
        serving.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
            if serving.done():
                raise RuntimeError("the sandbox did not start")
            yield _url(host, listener)
        finally:
            server.should_exit = True
            await serving


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
