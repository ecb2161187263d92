"""`gateway demo`: store, sandbox and gateway together, and the story of one V1 request, told with its timings."""

import asyncio
import contextlib
import enum
import errno
import json
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from gateway import app, logs, sandbox, server, settings
from gateway.demo import story, telling
from mappings import fates

__all__ = ["Ending", "PortUnavailable", "run"]

HOST = "127.0.0.1"


class Ending(enum.Enum):
    """How the demo ended: the reply arrived in its window, or it did not, or somebody ended it before."""

    ARRIVED = enum.auto()
    MISSED = enum.auto()
    INTERRUPTED = enum.auto()


class PortUnavailable(Exception):
    """A port that cannot be listened on: whose it would have been, and why."""

    def __init__(self, whose: Literal["gateway", "sandbox"], port: int, reason: str) -> None:
        super().__init__(f"port {port} cannot be used: {reason}")
        self.whose = whose


async def run(*, once: bool, as_json: bool, port: int, sandbox_port: int, upstream: fates.Upstream = "v3") -> Ending:
    """Tell the story, then stay up until interrupted unless it is only `once`. Port 0 takes a free one.

    Ctrl-C and SIGTERM end it at any time. Raises `PortUnavailable`.
    """
    told: list[story.Story] = []
    everything = _everything(log := story.MappingLog(), port, sandbox_port, upstream)
    showing = asyncio.create_task(_show(told, log, everything, upstream, once=once, as_json=as_json))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, showing.cancel)
    try:
        await showing
    except asyncio.CancelledError:
        if not told:
            return Ending.INTERRUPTED
    return Ending.ARRIVED if told[0].arrived_in_window else Ending.MISSED


async def _show(
    told: list[story.Story],
    log: story.MappingLog,
    everything: contextlib.AbstractAsyncContextManager[tuple[str, str]],
    upstream: fates.Upstream,
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Run everything and tell the story; it is in `told` once it has been told."""
    async with everything as (gateway_url, sandbox_url):
        if not as_json:
            click.echo(telling.introduction(gateway_url, sandbox_url, upstream))
        tell = _silently if as_json else _aloud
        happened = await story.follow(log, gateway_url, sandbox_url, tell=tell, upstream=upstream)
        told.append(happened)
        if as_json:
            click.echo(json.dumps(asdict(happened), ensure_ascii=False, indent=2))
        else:
            click.echo(telling.conclusion(happened))
        if not once:
            click.echo(telling.invitation(gateway_url, sandbox_url, upstream), err=as_json)
            await asyncio.Event().wait()


def _aloud(event: story.Event) -> None:
    click.echo(telling.line(event))


def _silently(_event: story.Event) -> None:
    """Leave the telling to the story's end."""


@contextlib.asynccontextmanager
async def _everything(
    log: story.MappingLog, port: int, sandbox_port: int, upstream: fates.Upstream
) -> AsyncIterator[tuple[str, str]]:
    """Run store, sandbox and gateway; give the URLs of the gateway and of the sandbox."""
    async with contextlib.AsyncExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        with _listening("sandbox", sandbox_port):
            sandbox_url = await stack.enter_async_context(sandbox.serve(host=HOST, port=sandbox_port))
        port = port or _free_port()
        effective = settings.load(
            upstream=upstream,
            v3_url=sandbox_url,
            chatbotkit_url=f"{sandbox_url}/v1",
            public_url=f"http://{HOST}:{port}",
            host=HOST,
            port=port,
            redis_url="",
            data_dir=data_dir,
            webhook_allow="127.0.0.0/8",
            log_format="json",
            log_level="INFO",
        )
        application = app.create_app(effective, configure_logs=lambda: logs.configure("INFO", "json", stream=log))
        with _listening("gateway", port):
            gateway_url = await stack.enter_async_context(server.running(application, HOST, port))
        yield gateway_url, sandbox_url


@contextlib.contextmanager
def _listening(whose: Literal["gateway", "sandbox"], port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        reason = "it is taken" if error.errno == errno.EADDRINUSE else "that is not allowed"
        raise PortUnavailable(whose, port, reason) from error


def _free_port() -> int:
    """Find a port beforehand: the upstream must be told of it before the gateway listens there."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
