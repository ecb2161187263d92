"""Gateways as processes of their own, and the webhooks of their clients."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import server
from tests import mapping_log_check
from tests.flows.conftest import SECRET
from tests.free_ports import free_port

START_SECONDS = 20
STOP_SECONDS = 20
POLL_SECONDS = 0.02

SERVE = ("-m", "gateway", "serve")

GRACE_SECONDS = 10

SETTINGS = {
    "secret": SECRET,
    "webhook_allow": "127.0.0.0/8",
    "settle_seconds": 0.2,
    "upstream_timeout_seconds": 2,
    "delivery_timeout_seconds": 2,
    "delivery_backoff_seconds": 0.1,
    "grace_seconds": GRACE_SECONDS,
}
"""What gateways are told unless a test says otherwise: loopback may be called, waits are short."""


_numbers = itertools.count(1)


@dataclass
class Running:
    """A process of the command line, its base URL and what it writes."""

    url: str
    process: Process
    stdout: Path
    stderr: Path

    async def kill(self) -> None:
        """End it with SIGKILL, as it is."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """Ask it with SIGTERM to end, and give its exit code once it has."""
        self.process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()

    def lines(self) -> list[dict[str, Any]]:
        """Give all log lines; a line that is no JSON object fails the test."""
        return [dict(json.loads(line)) for line in self.stdout.read_bytes().splitlines()]

    def mapping_log(self) -> list[dict[str, Any]]:
        """Give the lines of the mapping log, each held against the schema."""
        return mapping_log_check.check(self.stdout.read_bytes())


@contextlib.asynccontextmanager
async def running(directory: Path, *arguments: str, port: int | None = None, **changes: Any) -> AsyncIterator[Running]:
    """Run Python with the arguments, `-m gateway serve` by default, until the context ends; it is ready when it begins.

    Settings are those of `SETTINGS` with `changes`, by environment.
    """
    started = await start(directory, *arguments, port=port, **changes)
    try:
        await until_ready(started)
        yield started
    finally:
        if started.process.returncode is None:
            started.process.terminate()
            try:
                await asyncio.wait_for(started.process.wait(), STOP_SECONDS)
            except TimeoutError:
                await started.kill()


async def start(directory: Path, *arguments: str, port: int | None = None, **changes: Any) -> Running:
    """Start such a process, which the caller has to end."""
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    values = SETTINGS | {"port": port, "data_dir": directory / "data"} | changes
    environment |= {f"GATEWAY_{name.upper()}": str(value) for name, value in values.items()}
    number = next(_numbers)
    stdout, stderr = directory / f"{number}.out", directory / f"{number}.err"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(arguments or SERVE),
            cwd=directory,  # no .env is there
            env=environment,
            stdout=out,
            stderr=err,
        )
    return Running(f"http://127.0.0.1:{port}", process, stdout, stderr)


async def until_ready(started: Running, path: str = "/readyz") -> None:
    """Wait until a process answers a path with 200; fail with what it wrote when it ends before."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client, asyncio.timeout(START_SECONDS):
        while started.process.returncode is None:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(started.url + path)).status_code == 200:
                    return
            await asyncio.sleep(POLL_SECONDS)
    raise RuntimeError(f"it did not start: {started.stdout.read_text()} {started.stderr.read_text()}")


@contextlib.asynccontextmanager
async def running_sandbox(directory: Path) -> AsyncIterator[str]:
    """Run `gateway sandbox --fast` as a process of its own and give its base URL."""
    port = free_port()
    log = directory / "sandbox.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "sandbox", "--fast", "--port", str(port), stdout=out, stderr=out
        )
    try:
        started = Running(f"http://127.0.0.1:{port}", process, log, log)
        await until_ready(started, "/sandbox/idle")
        yield started.url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Delivered:
    """One call of a webhook."""

    id: str
    body: bytes

    @property
    def completion(self) -> list[str]:
        """Give the segments."""
        completion: list[str] = json.loads(self.body)["completion"]
        return completion


@dataclass
class Receivers:
    """The clients' webhooks, one for each user."""

    url: str = ""
    got: dict[str, list[Delivered]] = field(default_factory=lambda: defaultdict(list))
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is cleared, what is delivered is taken and nobody is told."""
    _any: asyncio.Event = field(default_factory=asyncio.Event)
    _news: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def webhook(self, user: str) -> str:
        """Give a user's webhook, with a secret in its query."""
        return f"{self.url}/{user}?token=of-{user}"

    async def until(self, user: str, reply_id: str) -> None:
        """Wait until the reply has come to the user."""
        while all(one.id != reply_id for one in self.got[user]):
            self._news[user].clear()
            await self._news[user].wait()

    async def until_count(self, count: int) -> None:
        """Wait until so many deliveries have come, to whomever."""
        while sum(map(len, self.got.values())) < count:
            self._any.clear()
            await self._any.wait()

    async def take(self, request: Request) -> Response:
        """Receive one reply."""
        user = request.path_params["user"]
        if request.url.query != f"token=of-{user}":
            return Response(status_code=403)
        self.got[user].append(Delivered(request.headers["webhook-id"], await request.body()))
        self._news[user].set()
        self._any.set()
        await self.answering.wait()
        return Response()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Serve the clients' webhooks in this loop."""
    receivers = Receivers()
    receivers.answering.set()
    app = Starlette(routes=[Route("/{user}", receivers.take, methods=["POST"])])
    async with server.running(app) as url:
        receivers.url = url
        yield receivers
