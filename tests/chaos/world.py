"""Where a run takes place: gateways, a store and an upstream as processes, and the network between them.

clients → replicas            receivers ← replicas
replicas → proxy → store      replicas → proxy → upstream → balancer → replicas
"""

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from gateway.embedded import engine
from gateway.sandbox.driver import Driver
from tests.chaos.processes import Process
from tests.chaos.records import Limits
from tests.free_ports import free_port
from tests.tcp_proxy import TcpProxy

SECRET = "a-secret-of-the-chaos-suite-long-enough"
START_SECONDS = 30.0
LIMITS = Limits()
REPLY_TIMEOUT_SECONDS = 8.0
"""After so long a silence of the upstream its transcript is read."""

GATEWAY = (sys.executable, "-m", "gateway", "serve")
"""What a replica runs, unless a planted defect takes its place."""

_STORE_OPTIONS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "enable-debug-command": "local",
    "logfile": "",
}


@dataclasses.dataclass(eq=False, slots=True)
class Replica:
    """One gateway process. `busy`: a fault has it already."""

    number: int
    port: int
    process: Process
    busy: bool = False

    @property
    def url(self) -> str:
        """Where its clients reach it."""
        return f"http://127.0.0.1:{self.port}"


@dataclasses.dataclass(eq=False, slots=True)
class World:
    """All that runs. `upstream_url` and `redis` go past the proxies: they are the suite's own ways in."""

    directory: Path
    replicas: Sequence[Replica]
    store: Process
    store_proxy: TcpProxy
    redis: Any  # its own types leave most answers open
    store_url: str
    upstream: Process
    upstream_proxy: TcpProxy
    upstream_url: str
    sandbox: Driver
    control: httpx.AsyncClient

    async def await_store(self) -> None:
        """Wait until the store takes commands."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(redis.RedisError, OSError):
                    if await self.redis.ping():
                        return
                await asyncio.sleep(0.02)

    async def await_replica(self, replica: Replica) -> None:
        """Wait until a replica is ready to serve."""
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers(f"{replica.url}/readyz"):
                if not replica.process.is_running:
                    raise RuntimeError(f"{replica.process.name} ended: see {replica.process.output}")
                await asyncio.sleep(0.05)

    async def await_upstream(self) -> None:
        """Wait until the upstream answers."""
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers(f"{self.upstream_url}/sandbox/faults"):
                await asyncio.sleep(0.05)

    def heal(self) -> None:
        """Let the network carry everything again."""
        for proxy in (self.store_proxy, self.upstream_proxy):
            proxy.delay_seconds = 0.0
            proxy.forward()

    async def _answers(self, url: str) -> bool:
        try:
            return (await self.control.get(url, timeout=2)).status_code == 200
        except httpx.HTTPError:
            return False


@contextlib.asynccontextmanager
async def open_world(
    directory: Path,
    replicas: int,
    *,
    command: Sequence[str] = GATEWAY,
    settings: Mapping[str, str] | None = None,
    rewrite: bool = False,
) -> AsyncIterator[World]:
    """Start everything, and end it on leaving. `settings` are variables of the replicas, beside the suite's own.

    `rewrite`: the store may shorten its file, which otherwise holds all that was ever written, to be searched.
    """
    async with contextlib.AsyncExitStack() as stack:
        store_port, upstream_port = free_port(), free_port()
        ports = [free_port() for _ in range(replicas)]
        store_proxy = await stack.enter_async_context(TcpProxy(("127.0.0.1", store_port)))
        upstream_proxy = await stack.enter_async_context(TcpProxy(("127.0.0.1", upstream_port)))
        balancer = await stack.enter_async_context(TcpProxy(*(("127.0.0.1", port) for port in ports)))
        control = await stack.enter_async_context(httpx.AsyncClient(timeout=90, trust_env=False))
        driven = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{upstream_port}", timeout=90, trust_env=False)
        )
        store_url = f"redis://127.0.0.1:{store_port}"
        client = await stack.enter_async_context(redis.Redis.from_url(store_url, decode_responses=True))
        variables = {
            "GATEWAY_PUBLIC_URL": f"http://{balancer.address}",
            "GATEWAY_REDIS_URL": f"redis://{store_proxy.address}",
            "GATEWAY_V3_URL": f"http://{upstream_proxy.address}",
            "GATEWAY_SECRET": SECRET,
            "GATEWAY_WEBHOOK_ALLOW": "127.0.0.1/32",
            "GATEWAY_SETTLE_SECONDS": str(LIMITS.settle),
            "GATEWAY_UPSTREAM_TIMEOUT_SECONDS": str(LIMITS.upstream_timeout),
            "GATEWAY_DELIVERY_TIMEOUT_SECONDS": str(LIMITS.delivery_timeout),
            "GATEWAY_DELIVERY_BACKOFF_SECONDS": "0.3",
            "GATEWAY_DELIVERY_MAX_ATTEMPTS": "3",
            "GATEWAY_GRACE_SECONDS": str(LIMITS.grace),
            "GATEWAY_REPLY_TIMEOUT_SECONDS": str(REPLY_TIMEOUT_SECONDS),
            "GATEWAY_LOG_LEVEL": "DEBUG",
            **(settings or {}),
        }
        data = directory / "store"
        data.mkdir()
        store_options = _STORE_OPTIONS | ({} if rewrite else {"auto-aof-rewrite-percentage": "0"})
        options = [part for name, value in store_options.items() for part in (f"--{name}", value)]
        store = Process(
            "store", [str(engine.find()), "--port", str(store_port), "--dir", str(data), *options], directory, {}
        )
        upstream = Process(
            "upstream", [sys.executable, "-m", "tests.chaos.upstream", str(upstream_port)], directory, {}
        )
        started = [
            Replica(number, port, Process(f"replica-{number}", [*command, "--port", str(port)], directory, variables))
            for number, port in enumerate(ports)
        ]
        world = World(
            directory=directory,
            replicas=started,
            store=store,
            store_proxy=store_proxy,
            redis=client,
            store_url=store_url,
            upstream=upstream,
            upstream_proxy=upstream_proxy,
            upstream_url=f"http://127.0.0.1:{upstream_port}",
            sandbox=Driver(driven),
            control=control,
        )
        for process in (store, upstream, *(replica.process for replica in started)):
            stack.push_async_callback(process.kill)
        await asyncio.gather(store.start(), upstream.start())
        await asyncio.gather(world.await_store(), world.await_upstream())
        await asyncio.gather(*(replica.process.start() for replica in started))
        await asyncio.gather(*(world.await_replica(replica) for replica in started))
        yield world


def now() -> float:
    """Give the time that all logs use."""
    return time.time()
