"""Serve the gateway: one process, or several that share one listening socket."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway import app, draining, logs, metrics, settings
from gateway.protocol import Protocol

KEEP_ALIVE_SECONDS = 75
"""Above what load balancers keep idle connections for, so that they are the ones who close."""

GRACE_IN_LOOP_SECONDS = 5

KEPT_BYTES = 16 * 2**20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

OPTIONS: dict[str, Any] = {
    "log_config": None,  # our own logging is configured by the application
    "access_log": False,  # 40 µs a request; the mapping log says more
    "loop": "uvloop",
    "http": Protocol,
    "ws": "none",
    "lifespan": "on",
    "server_header": False,
    "proxy_headers": False,  # a peer is who the socket says, not who a header says
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
}
"""What uvicorn is told wherever the gateway is served."""


def create_app() -> ASGIApp:
    """Make the gateway from the environment: what each worker process calls."""
    _tune_memory()
    return app.create_app(settings.load())


def create_relay_app() -> ASGIApp:
    """Make the relay alone from the environment, as `create_app` does the gateway."""
    _tune_memory()
    return app.create_relay_app(settings.load())


def _tune_memory() -> None:
    _look_for_garbage_less_often()
    keep_freed_memory()


def _look_for_garbage_less_often() -> None:
    """Leave what the program is made of out of every collection, and let more be made between two of them.

    A turn makes some 1,500 objects and next to no cycles: 5 % of its instructions were the collector's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def keep_freed_memory() -> None:
    """Let the C library keep `KEPT_BYTES` that were freed, where it is glibc, instead of giving each MB back at once.

    A body of 1 MB is several blocks of memory as it comes in. Their pages were fetched from the kernel anew for each:
    1,350 µs for such a body, and 220 without.
    """
    with contextlib.suppress(AttributeError):  # other C libraries have no such options, nor the need
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_TRIM_THRESHOLD, KEPT_BYTES)
        set_option(_M_MMAP_THRESHOLD, KEPT_BYTES // 2)


def serve(effective: settings.Settings) -> NoReturn:
    """Serve until SIGTERM or SIGINT, drain, exit with 0; with 1 when it could not start."""
    _serve(effective, create_app)


def serve_relay(effective: settings.Settings) -> NoReturn:
    """Deliver replies and serve only what operators ask, beside gateways on the same store; ends as `serve` does."""
    _serve(effective, create_relay_app)


def _serve(effective: settings.Settings, factory: Callable[[], ASGIApp]) -> NoReturn:
    logs.configure(effective.log_level, effective.log_format)
    # The server raises the signal that ended it once more, for whoever was there before it.
    signal.signal(signal.SIGTERM, _exit_quietly)
    signal.signal(signal.SIGINT, _exit_quietly)
    grace = timedelta(seconds=effective.grace_seconds)
    options = OPTIONS | {"timeout_graceful_shutdown": draining.time_for_requests(grace).total_seconds()}
    config = uvicorn.Config(
        f"{__name__}:{factory.__name__}",  # by name: workers are processes of their own
        factory=True,
        host=effective.host,
        port=effective.port,
        workers=effective.workers,
        **options,
    )
    started = _serve_with_workers(config) if effective.workers > 1 else _serve_alone(config)
    sys.exit(0 if started else 1)


def _serve_alone(config: uvicorn.Config) -> bool:
    server = uvicorn.Server(config)
    with contextlib.suppress(SystemExit):  # with its own code, when it could not start
        server.run()
    return server.started


def _serve_with_workers(config: uvicorn.Config) -> bool:
    with metrics.shared_by_workers(), contextlib.closing(config.bind_socket()) as listener:
        supervisor = Multiprocess(config, [listener])
        supervisor.run()
    return all(worker.exitcode != STARTUP_FAILURE for worker in supervisor.processes)


@contextlib.asynccontextmanager
async def running(application: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve inside the running loop and give the base URL; port 0 takes a free one. Signals stay the caller's."""
    config = uvicorn.Config(application, **OPTIONS, timeout_graceful_shutdown=GRACE_IN_LOOP_SECONDS)
    server = _QuietServer(config)
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        started = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                raise RuntimeError("the server did not start")
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{listener.getsockname()[1]}"
        finally:
            started.cancel()
            server.should_exit = True
            await serving


class _QuietServer(uvicorn.Server):
    """A server that says when it is ready and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def export(overrides: dict[str, Any]) -> None:
    """Put what flags say into the environment, where the workers find it."""
    for name, value in overrides.items():
        if value is not None:
            os.environ[settings.PREFIX + name.upper()] = str(value)


def _exit_quietly(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)
