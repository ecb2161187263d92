"""The whole gateway between real peers: a sandbox upstream and inbox, a real store, sockets in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway import app, sandbox, server, settings
from gateway.relay.queue import Queue
from gateway.sandbox.driver import Driver
from gateway.store import Store
from tests.free_ports import free_port

SECRET = "a-secret-of-the-tests-long-enough"
KEY = "client-key-1"
BOT = "88d86507-8d6c-4fad-b6f6-15d4fd377c83"


@dataclass
class World:
    """What a test of a flow acts on and looks at."""

    url: str
    sandbox_url: str
    sandbox: Driver
    http: httpx.AsyncClient
    gateway: app.Gateway
    log: list[dict[str, Any]] = field(default_factory=list)

    def request(self, **changes: Any) -> dict[str, Any]:
        """Give a V1 request to an inbox path of its own; the rest is a client without wishes."""
        base = {
            "bot_id": BOT,
            "user_id": "u-1",
            "message": "hi",
            "messages": [],
            "webhook": f"{self.sandbox_url}/inbox/a",
        }
        return base | changes

    async def complete(self, key: str = KEY, **changes: Any) -> httpx.Response:
        """Send it to the gateway."""
        return await self.http.post(
            f"{self.url}/v2/complete", json=self.request(**changes), headers={"Authorization": f"Bearer {key}"}
        )

    async def settled(self) -> None:
        """Wait until no reply is under way: what receivers have got is recorded."""
        while (await Queue(self.gateway.store).count()).pending:
            await asyncio.sleep(0.01)

    async def counted(self) -> tuple[int, int]:
        """Give how many messages its one conversation has, and how many of them the gateway knows of."""
        [conversation] = await self.sandbox.conversations()
        [entry] = [key async for key in self.gateway.store.redis.scan_iter("*conv:*")]
        parts = await self.gateway.store.run("read_conversation", [entry])
        return len(conversation["messages"]), int(dict(zip(parts[::2], parts[1::2], strict=True))["heard"])

    def pass_time(self, elapsed: timedelta) -> None:
        """Move the relay's clock ahead."""
        self.gateway.store.clock_offset_ms += round(elapsed.total_seconds() * 1000)
        self.gateway.worker.wake()
        if self.gateway.puller:
            self.gateway.puller.wake()


def gateway_settings(sandbox_url: str, store_url: str, port: int, **changes: Any) -> settings.Settings:
    """Give settings for tests: loopback may be called, waits are short."""
    values: dict[str, Any] = {
        "port": port,
        "redis_url": store_url,
        "secret": SECRET,
        "v3_url": sandbox_url,
        "chatbotkit_url": f"{sandbox_url}/v1",
        "webhook_allow": "127.0.0.0/8",
        "settle_seconds": 0.2,
        "upstream_timeout_seconds": 3,
        "delivery_timeout_seconds": 3,
        "delivery_backoff_seconds": 0.1,
    }
    return settings.load(**values | changes)


@contextlib.asynccontextmanager
async def running_world(store_url: str, *, webhook_attempts: int = 3, **changes: Any) -> AsyncIterator[World]:
    """Run a sandbox and a gateway on real sockets inside this loop; `webhook_attempts`: how patient the former is."""
    port = free_port()
    async with sandbox.serve(
        replace(sandbox.SandboxSettings().fast(), webhook_attempts=webhook_attempts)
    ) as sandbox_url:
        effective = gateway_settings(sandbox_url, store_url, port, **changes)
        application = app.create_app(effective)
        async with (
            server.running(application, port=port) as url,
            httpx.AsyncClient(base_url=sandbox_url, timeout=30, trust_env=False) as control,
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
        ):
            yield World(url, sandbox_url, Driver(control), client, application.app.state.gateway)


@pytest.fixture
async def world(store: Store, store_url: str) -> AsyncIterator[World]:
    """Run a gateway with the settings of `gateway_settings`."""
    async with running_world(store_url) as running:
        yield running
