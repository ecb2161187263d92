"""A network that resets connections: a store that is away for a while, and no process that stays without one."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import errors, store
from gateway.embedded import engine
from gateway.store.server import Away
from tests.chaos.processes import Process
from tests.free_ports import free_port
from tests.tcp_proxy import TcpProxy

PINGS = 40
ROUNDS = 200
BOUND_SECONDS = 10


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[TcpProxy]:
    port = free_port()
    server = Process("store", [str(engine.find()), "--port", str(port), "--save", ""], tmp_path, {})
    await server.start()
    try:
        async with TcpProxy(("127.0.0.1", port)) as running, store.connect(f"redis://{running.address}") as opened:
            await answered(opened)
            yield running
    finally:
        await server.kill()


async def answered(opened: store.Store) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            try:
                return await opened.ping()
            except errors.StoreUnavailable:
                await asyncio.sleep(0.02)


async def test_whatever_a_reset_looks_like_the_store_is_away_and_then_back(proxy: TcpProxy) -> None:
    async with store.connect(f"redis://{proxy.address}") as opened:
        for _ in range(PINGS):
            proxy.refuse()  # it takes each connection and resets it, also under the probe's hands
            with pytest.raises(errors.StoreUnavailable):
                await opened.ping()
            await asyncio.sleep(0.01)
        proxy.forward()
        await answered(opened)


async def test_calls_that_meet_a_reset_fail_as_the_store_does_and_nothing_else(proxy: TcpProxy) -> None:
    draw = random.Random(1)
    async with store.connect(f"redis://{proxy.address}") as opened:
        for _ in range(ROUNDS):
            pings = [asyncio.create_task(opened.ping()) for _ in range(16)]
            await asyncio.sleep(draw.uniform(0, 0.003))  # the cut falls before, between and after the calls' steps
            proxy.cut()
            outcomes = await asyncio.gather(*pings, return_exceptions=True)
            assert {type(one) for one in outcomes} <= {type(None), errors.StoreUnavailable, Away}
            await answered(opened)
