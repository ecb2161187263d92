"""A gateway with its embedded store, killed while a reply waits and started again: the reply is delivered, once."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from gateway import embedded, sandbox, store
from gateway.relay.queue import Counts, Queue
from gateway.sandbox.driver import Driver
from tests.flows import process_kit
from tests.flows.conftest import BOT, KEY
from tests.flows.process_kit import Running
from tests.free_ports import free_port

DELAY_SECONDS = 4
"""Longer than it takes to accept a turn, get its reply and be killed."""


@contextlib.asynccontextmanager
async def sandboxed() -> AsyncIterator[tuple[str, Driver]]:
    async with (
        sandbox.serve(sandbox.SandboxSettings().fast()) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as control,
    ):
        yield url, Driver(control)


async def complete(gateway: Running, sandbox_url: str, **changes: Any) -> httpx.Response:
    request = {
        "bot_id": BOT,
        "user_id": "u-1",
        "message": "hi",
        "webhook": f"{sandbox_url}/inbox/a",
        "min_delay": DELAY_SECONDS,
        "max_delay": DELAY_SECONDS,
    }
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.post(
            f"{gateway.url}/v2/complete", json=request | changes, headers={"Authorization": f"Bearer {KEY}"}
        )


async def counts(data_dir: Path) -> Counts:
    async with embedded.start(data_dir, linger_seconds=0) as url, store.connect(url) as opened:
        return await Queue(opened).count()


async def test_a_gateway_killed_during_the_delay_delivers_the_reply_after_its_restart_once(tmp_path: Path) -> None:
    port = free_port()
    async with sandboxed() as (sandbox_url, driver):
        await driver.script("one", "two")
        async with process_kit.running(tmp_path, port=port, v3_url=sandbox_url) as gateway:
            accepted = await complete(gateway, sandbox_url)
            assert accepted.status_code == 200
            await driver.callbacks(2)
            await gateway.kill()
        assert await driver.deliveries() == []
        async with process_kit.running(tmp_path, port=port, v3_url=sandbox_url) as gateway:
            [delivery] = await driver.deliveries(1, seconds=30)
            assert await gateway.terminate() == 0
        assert delivery["json"]["completion"] == ["one", "two"]
        assert delivery["json"]["id"] == accepted.json()["message_id"]
        assert dict(delivery["headers"])["webhook-attempt"] == "1"
        [attempt] = [line for line in gateway.mapping_log() if line["event"] == "delivery.attempted"]
        assert attempt["outcome"] == "delivered"
        assert attempt["delay"]["drawn_seconds"] == DELAY_SECONDS <= attempt["delay"]["real_seconds"]
        assert len(await driver.deliveries()) == 1
    assert await counts(tmp_path / "data") == Counts(pending=0, due=0, dead=0)


async def test_workers_stopped_in_good_order_go_on_where_they_were(tmp_path: Path) -> None:
    port = free_port()
    async with sandboxed() as (sandbox_url, driver):
        async with process_kit.running(tmp_path, port=port, v3_url=sandbox_url, workers=2) as gateway:
            assert (await complete(gateway, sandbox_url)).status_code == 200
            await driver.callbacks(1)
            await driver.idle()
            assert await gateway.terminate() == 0
        assert await driver.deliveries() == []
        async with process_kit.running(tmp_path, port=port, v3_url=sandbox_url, workers=2) as gateway:
            await driver.deliveries(1, seconds=30)
            assert await gateway.terminate() == 0
        assert len(await driver.deliveries()) == 1
    assert await counts(tmp_path / "data") == Counts(pending=0, due=0, dead=0)
