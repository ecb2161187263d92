"""The gateway while its store is away, stalls, forgets or is full, and when it is back: nobody restarts anything."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import redis
import store_servers
from tcp_proxy import TcpProxy

from gateway import metrics
from tests.flows.conftest import World, running_world

ANSWERED = 6.0
"""Every request is answered within so many seconds of the store's having gone: two are promised, on an idle machine."""

BACK = 6.0
"""Turns are taken again within so many seconds of its return; the same."""


@dataclass
class Shaky:
    """A gateway whose store is behind a proxy."""

    world: World
    proxy: TcpProxy
    server: store_servers.Server


Fault: TypeAlias = Callable[[Shaky], Awaitable[None]]


@contextlib.asynccontextmanager
async def shaky_world(*options: str) -> AsyncIterator[Shaky]:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        async with (
            store_servers.running_server(Path(directory), *options) as server,
            TcpProxy(("127.0.0.1", server.port)) as proxy,
            running_world(f"redis://{proxy.address}") as world,
        ):
            yield Shaky(world, proxy, server)


@pytest.fixture
async def shaky() -> AsyncIterator[Shaky]:
    async with shaky_world() as running:
        yield running


def refused(answer: httpx.Response) -> bool:
    """Check that a refusal is V1's, and tells to come again."""
    error = answer.json()
    assert error["error"] == "store_unavailable"
    assert error["request_id"] == answer.headers["x-request-id"]
    assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code == 503


async def taken(world: World, **changes: Any) -> httpx.Response:
    """Send a request until it is taken."""
    while True:
        answer = await world.complete(**changes)
        if answer.status_code == 200:
            return answer
        assert refused(answer)
        await asyncio.sleep(0.02)


async def ready(world: World) -> int:
    return (await world.http.get(f"{world.url}/readyz")).status_code


async def black_hole(shaky: Shaky) -> None:
    shaky.proxy.black_hole()


async def refuse(shaky: Shaky) -> None:
    shaky.proxy.refuse()


async def kill(shaky: Shaky) -> None:
    await shaky.server.kill()


async def freeze(shaky: Shaky) -> None:
    shaky.server.freeze()


async def pause(shaky: Shaky) -> None:
    await shaky.server.client.execute_command("CLIENT", "PAUSE", 5000, "ALL")


async def forward(shaky: Shaky) -> None:
    shaky.proxy.forward()


async def start(shaky: Shaky) -> None:
    await shaky.server.start()


async def thaw(shaky: Shaky) -> None:
    shaky.server.thaw()


async def pause_ends(shaky: Shaky) -> None:
    while True:  # by itself, since it also stops whoever would end it
        with contextlib.suppress(redis.TimeoutError):
            return await shaky.server.client.ping()


FAULTS = [(black_hole, forward), (refuse, forward), (kill, start), (freeze, thaw), (pause, pause_ends)]


@pytest.mark.parametrize(("go", "come_back"), FAULTS, ids=[go.__name__ for go, _ in FAULTS])
async def test_every_request_is_answered_in_time_and_turns_are_taken_again_in_time(
    shaky: Shaky, go: Fault, come_back: Fault
) -> None:
    world = shaky.world
    await world.complete(user_id="u-0", message="before", min_delay=60, max_delay=60)
    await world.sandbox.callbacks(1)
    failures = metrics.STORE_FAILURES._value.get()

    await go(shaky)

    async with asyncio.timeout(ANSWERED):
        answers = await asyncio.gather(*(world.complete(user_id=f"u-{number}") for number in range(20)))
        assert await ready(world) == 503
    assert all(refused(answer) for answer in answers)
    async with asyncio.timeout(ANSWERED):
        assert refused(await world.complete(user_id="u-1"))
        assert (await world.http.get(f"{world.url}/livez")).status_code == 200
    assert metrics.STORE_UP._value.get() == 0
    assert metrics.STORE_FAILURES._value.get() > failures

    await come_back(shaky)

    async with asyncio.timeout(BACK):
        await taken(world, user_id="u-1", message="after")
    assert await ready(world) == 200
    assert metrics.STORE_UP._value.get() == 1
    world.pass_time(timedelta(seconds=61))
    deliveries = await world.sandbox.deliveries(2)
    assert len({one["json"]["id"] for one in deliveries}) == 2
    assert sum("before" in str(call.get("json")) for call in await world.sandbox.calls()) == 1


async def test_a_stall_in_which_clients_give_up_and_come_again_makes_one_turn_of_each_request(shaky: Shaky) -> None:
    world = shaky.world
    await shaky.server.client.execute_command("CLIENT", "PAUSE", 3000, "WRITE")

    async def insist(user: int) -> str:
        answer = await taken(world, user_id=f"u-{user}", webhook=f"{world.sandbox_url}/inbox/{user}/")
        message_id: str = answer.json()["message_id"]
        return message_id

    turn_ids = await asyncio.gather(*(insist(user) for user in range(20)))
    deliveries = await world.sandbox.deliveries(20)
    posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
    assert len(posts) == 20
    assert sorted(one["json"]["id"] for one in deliveries) == sorted(turn_ids)


async def test_a_store_that_goes_while_the_upstream_has_the_message_costs_no_second_post(shaky: Shaky) -> None:
    world = shaky.world
    shaky.proxy.delay_seconds = 0.02  # so that the cut falls between a script and the next
    sending = asyncio.create_task(world.complete())
    await world.sandbox.calls(1, path="*/messages", finished=False)
    shaky.proxy.refuse()
    first = await sending
    shaky.proxy.forward()
    shaky.proxy.delay_seconds = 0
    answer = first if first.status_code == 200 else None
    async with asyncio.timeout(30):  # the place of the first one is held for the length of its lease
        while answer is None or answer.status_code != 200:
            answer = await world.complete()
    [delivery] = await world.sandbox.deliveries(1)
    assert delivery["json"]["id"] == answer.json()["message_id"]
    assert len([call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]) == 1


async def test_scripts_that_were_flushed_are_loaded_again(shaky: Shaky) -> None:
    await shaky.world.complete(message="one")
    await shaky.world.sandbox.deliveries(1)
    await shaky.server.client.script_flush()
    assert (await shaky.world.complete(message="two")).status_code == 200
    assert await shaky.world.sandbox.deliveries(2)


async def test_a_full_store_takes_no_turns_and_goes_on_delivering(shaky: Shaky) -> None:
    world, server = shaky.world, shaky.server.client
    await world.complete(user_id="u-1", min_delay=60, max_delay=60)
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    await server.config_set("maxmemory", 1)
    assert refused(await world.complete(user_id="u-2"))
    assert await ready(world) == 200  # it delivers, which is what makes room
    world.pass_time(timedelta(seconds=61))
    assert await world.sandbox.deliveries(1)
    await server.config_set("maxmemory", 0)
    assert (await world.complete(user_id="u-2")).status_code == 200
    assert await world.sandbox.deliveries(2)


async def test_a_store_that_has_become_a_replica_is_away_until_it_is_the_master_again(shaky: Shaky) -> None:
    world, server = shaky.world, shaky.server.client
    [nobody] = store_servers.free_ports(1)
    await server.execute_command("REPLICAOF", "127.0.0.1", nobody)
    assert refused(await world.complete())
    assert await ready(world) == 503
    await server.execute_command("REPLICAOF", "NO", "ONE")
    async with asyncio.timeout(BACK):
        await taken(world)


async def test_a_gateway_starts_without_its_store_and_serves_when_it_is_there() -> None:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        [port] = store_servers.free_ports(1)
        server = store_servers.Server(Path(directory), port)
        try:
            async with running_world(server.url) as world:
                assert refused(await world.complete())
                await server.start()
                async with asyncio.timeout(BACK):
                    await taken(world)
                assert await world.sandbox.deliveries(1)
        finally:
            await server.aclose()


async def test_a_failover_costs_a_delay() -> None:
    with tempfile.TemporaryDirectory(prefix="gn-") as directory:
        async with store_servers.running_sentinels(Path(directory)) as sentinels, running_world(sentinels.url) as world:
            first = await world.complete(user_id="u-1", min_delay=60, max_delay=60)
            await world.sandbox.callbacks(1)
            await world.sandbox.idle()
            await sentinels.servers[0].replicated()  # what has not got there may be lost
            await sentinels.servers[0].kill()
            async with asyncio.timeout(20):
                second = await taken(world, user_id="u-2", min_delay=60, max_delay=60)
            await world.sandbox.callbacks(2)
            await world.sandbox.idle()
            world.pass_time(timedelta(seconds=61))
            delivered = {one["json"]["id"] for one in await world.sandbox.deliveries(2)}
            assert delivered == {first.json()["message_id"], second.json()["message_id"]}
