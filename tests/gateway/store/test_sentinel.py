"""The store behind real sentinels: the master is found, and so is the replica that takes its place.

What the old master had acknowledged and not yet handed on is lost in a failover: that is not promised.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import store_servers
from structlog.testing import capture_logs

from gateway import errors, keys, store
from gateway.store import Store

SHARD = keys.ShardKeys(0)


@pytest.fixture
async def sentinels() -> AsyncIterator[store_servers.Sentinels]:
    with tempfile.TemporaryDirectory(prefix="gn-") as directory:
        async with store_servers.running_sentinels(Path(directory)) as running:
            yield running


@contextlib.asynccontextmanager
async def connected(sentinels: store_servers.Sentinels) -> AsyncIterator[Store]:
    async with store.connect(sentinels.url) as opened:
        yield opened


async def dead_letters(opened: Store) -> int:
    """Count the shard's dead letters."""
    _, _, dead, *_ = await opened.run("count_replies", [SHARD.due, SHARD.dead])
    assert isinstance(dead, int)
    return dead


async def taken(opened: Store) -> int:
    """Repeat the script until it is taken."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(errors.StoreUnavailable):
                return await dead_letters(opened)
            await asyncio.sleep(0.02)


async def test_scripts_run_on_the_master(sentinels: store_servers.Sentinels) -> None:
    async with connected(sentinels) as opened:
        await opened.command("zadd", SHARD.dead, {"r": 1})
        assert await dead_letters(opened) == 1
        assert await sentinels.servers[0].client.zcard(SHARD.dead) == 1


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_calls_go_to_the_replica_that_takes_over(sentinels: store_servers.Sentinels, how: str) -> None:
    master, replica = sentinels.servers
    async with connected(sentinels) as opened:
        await opened.command("zadd", SHARD.dead, {"r": 1})
        await master.replicated()
        with capture_logs() as lines:
            if how == "killed":
                await master.kill()
            else:
                master.freeze()
            async with asyncio.timeout(2):  # the promise
                with pytest.raises(errors.StoreUnavailable):
                    await dead_letters(opened)
            assert await taken(opened) == 1
        assert [line["event"] for line in lines] == ["store.away", "store.back"]
        await opened.command("zadd", SHARD.dead, {"r2": 2})
        assert await replica.client.zcard(SHARD.dead) == 2


async def test_a_switch_that_was_asked_for_is_followed_by_connections_that_are_open(
    sentinels: store_servers.Sentinels,
) -> None:
    master, replica = sentinels.servers
    async with connected(sentinels) as opened:
        await opened.command("zadd", SHARD.dead, {"r": 1})
        await master.replicated()
        await sentinels.fail_over()
        await taken(opened)
        await opened.command("zadd", SHARD.dead, {"r2": 2})
        assert await replica.client.zcard(SHARD.dead) == 2


async def test_one_sentinel_that_answers_is_enough(sentinels: store_servers.Sentinels) -> None:
    await sentinels.guards[0].kill()
    async with connected(sentinels) as opened:
        assert await dead_letters(opened) == 0


async def test_a_service_that_the_sentinels_do_not_know_is_unavailable(sentinels: store_servers.Sentinels) -> None:
    async with store.connect(sentinels.url.replace("/the-store", "/another")) as opened:
        with pytest.raises(errors.StoreUnavailable), capture_logs():
            await opened.ping()
