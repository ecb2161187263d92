"""The store on a real cluster of three: calls find their slots, also when these move or their server dies."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
import store_servers
from structlog.testing import capture_logs

from gateway import errors, keys, store
from gateway.store import Call, NoAnswer, Store
from gateway.store import cluster as cluster_of_servers

SHARDS = keys.all_shards()


def count(shard: keys.ShardKeys) -> Call:
    return Call("count_replies", (shard.due, shard.dead))


def slot(shard: keys.ShardKeys) -> int:
    return store_servers.slot_of(shard.due)


async def other_than(cluster: store_servers.Cluster, source: store_servers.Server) -> store_servers.Server:
    return next(master for master in cluster.masters if master is not source)


@pytest.fixture
async def on_cluster(cluster: store_servers.Cluster) -> AsyncIterator[Store]:
    async with store.connect(cluster.url) as opened:
        yield opened


async def test_the_shards_are_spread_over_all_servers(cluster: store_servers.Cluster) -> None:
    assert {await cluster.owner(slot(shard)) for shard in SHARDS} == set(cluster.masters)


async def test_scripts_of_all_shards_run_in_one_batch_and_answer_in_its_order(on_cluster: Store) -> None:
    for shard in SHARDS[1:]:
        await on_cluster.command("zadd", shard.dead, {f"r{number}": number for number in range(shard.shard)})
    assert await on_cluster.run_all(map(count, SHARDS)) == [[0, 0, shard.shard, []] for shard in SHARDS]
    assert await on_cluster.run_all(map(count, reversed(SHARDS))) == [
        [0, 0, number, []] for number in range(15, -1, -1)
    ]


async def test_a_single_script_runs_where_its_keys_are(on_cluster: Store) -> None:
    for shard in SHARDS:
        assert await on_cluster.run("count_replies", [shard.due, shard.dead]) == [0, 0, 0, []]
    assert len(on_cluster.clients) == 3


async def test_one_address_that_answers_is_enough(cluster: store_servers.Cluster) -> None:
    [closed] = store_servers.free_ports(1)
    url = f"redis+cluster://127.0.0.1:{closed},127.0.0.1:{cluster.masters[2].port}"
    async with store.connect(url) as opened:
        await opened.ping()


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    closed = store_servers.free_ports(2)
    async with store.connect(f"redis+cluster://127.0.0.1:{closed[0]},127.0.0.1:{closed[1]}") as opened:
        with pytest.raises(errors.StoreUnavailable), capture_logs():
            await opened.run("count_replies", [SHARDS[0].due, SHARDS[0].dead])
        with pytest.raises(errors.StoreUnavailable):
            await opened.ping()
        with pytest.raises(errors.StoreUnavailable):
            await opened.run_all([count(shard) for shard in SHARDS])


async def test_a_server_outside_a_cluster_is_told_from_one(server: store_servers.Server) -> None:
    with capture_logs() as lines:
        async with store.connect(f"redis+cluster://127.0.0.1:{server.port}") as opened:
            with pytest.raises(errors.StoreUnavailable):
                await opened.ping()
    assert "cluster support disabled" in lines[0]["reason"]


async def test_a_slot_that_has_moved_is_followed(cluster: store_servers.Cluster, on_cluster: Store) -> None:
    shard = SHARDS[1]
    await on_cluster.command("zadd", shard.dead, {"r": 1})
    source = await cluster.owner(slot(shard))
    target = await other_than(cluster, source)
    await cluster.begin_to_move(slot(shard), target)
    assert await cluster.move_keys(slot(shard), source, target) == 1
    await cluster.finish_to_move(slot(shard), target)
    try:
        assert await on_cluster.run_all(map(count, SHARDS[:3])) == [[0, 0, 0, []], [0, 0, 1, []], [0, 0, 0, []]]
        assert await on_cluster.run("count_replies", [shard.due, shard.dead]) == [0, 0, 1, []]
    finally:
        await cluster.begin_to_move(slot(shard), source)
        await cluster.move_keys(slot(shard), target, source)
        await cluster.finish_to_move(slot(shard), source)
    assert await on_cluster.command("zrange", shard.dead, 0, -1) == ["r"]


async def test_while_a_slot_moves_its_keys_are_read_where_they_are_and_no_script_runs_half_way(
    cluster: store_servers.Cluster, on_cluster: Store
) -> None:
    shard = SHARDS[4]
    await on_cluster.command("zadd", shard.due, {"-": 1})
    await on_cluster.command("zadd", shard.due_of("-"), {"r1": 1})
    await on_cluster.command("set", shard.fence, 7)
    await on_cluster.command("rpush", shard.reply("r1"), b"\xc0")
    untouched = await on_cluster.command("dump", shard.reply("r1"))
    source = await cluster.owner(slot(shard))
    target = await other_than(cluster, source)
    await cluster.begin_to_move(slot(shard), target)
    try:
        # The queue's keys are still here, the reply has gone ahead: a script would notice after its first writes.
        await source.client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", shard.reply("r1"))
        claiming = on_cluster.run("claim_due", [shard.due, shard.fence], shard.prefix, 1000, 10, 10)
        batched = await on_cluster.run_all(
            [Call("claim_due", (shard.due, shard.fence), (shard.prefix, 1000, 10, 10)), count(SHARDS[0])]
        )
        assert batched == [NoAnswer.UNTAKEN, [0, 0, 0, []]]
        assert await on_cluster.command("get", shard.fence) == "7"
        assert await on_cluster.command("dump", shard.reply("r1")) == untouched
        waiting = asyncio.create_task(claiming)
        await cluster.move_keys(slot(shard), source, target)
        await cluster.finish_to_move(slot(shard), target)
        answer = await waiting
        assert answer[2][0] == "r1"
    finally:
        await cluster.begin_to_move(slot(shard), source)
        await cluster.move_keys(slot(shard), target, source)
        await cluster.finish_to_move(slot(shard), source)


async def test_a_script_whose_slot_stays_on_the_move_is_unavailable_within_the_bound(
    cluster: store_servers.Cluster, on_cluster: Store
) -> None:
    shard = SHARDS[5]
    await on_cluster.command("zadd", shard.due, {"-": 2**50})
    source = await cluster.owner(slot(shard))
    target = await other_than(cluster, source)
    await cluster.begin_to_move(slot(shard), target)
    try:
        async with asyncio.timeout(2):  # the promise
            with pytest.raises(errors.StoreUnavailable, match="on the move"):
                await on_cluster.run("count_replies", [shard.due, shard.dead])
        assert await on_cluster.run("count_replies", [SHARDS[0].due, SHARDS[0].dead]) == [0, 0, 0, []]
    finally:
        await cluster.finish_to_move(slot(shard), source)


async def test_a_server_that_dies_takes_only_its_own_shards_along_until_its_replica_has_them() -> None:
    with tempfile.TemporaryDirectory(prefix="gc-") as directory:
        async with (
            store_servers.running_cluster(Path(directory), replicas=3) as cluster,
            store.connect(cluster.url) as opened,
        ):
            for shard in SHARDS:
                await opened.command("zadd", shard.dead, {"r": shard.shard})
            dying = await cluster.owner(slot(SHARDS[0]))
            await dying.replicated()
            its_own = {shard for shard in SHARDS if await cluster.owner(slot(shard)) is dying}
            with capture_logs() as lines:
                await dying.kill()
                answers = await opened.run_all(map(count, SHARDS))
                assert {shard for shard, answer in zip(SHARDS, answers, strict=True) if answer == [0, 0, 1, []]} == {
                    *SHARDS
                } - its_own
                assert all(answer in ([0, 0, 1, []], NoAnswer.UNTAKEN) for answer in answers)
                await opened.ping()  # the others go on
                async with asyncio.timeout(20):
                    for shard in its_own:
                        while True:
                            with contextlib.suppress(errors.StoreUnavailable):
                                await opened.run("count_replies", [shard.due, shard.dead])
                                break
            assert {await cluster.owner(slot(shard)) for shard in its_own} <= set(cluster.replicas)
            assert await opened.run_all(map(count, SHARDS)) == [[0, 0, 1, []]] * len(SHARDS)
            away = [line for line in lines if line["event"] == "store.away"]
            assert [line["server"] for line in away] == [f"127.0.0.1:{dying.port}"]


async def test_who_is_cancelled_behind_a_redirection_gives_its_connection_back(cluster: store_servers.Cluster) -> None:
    url = f"redis://127.0.0.1:{cluster.masters[0].port}"
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=1, timeout=1)
    client = redis.Redis(connection_pool=pool)
    loop = asyncio.get_running_loop()

    async def last_words(_client: object) -> None:
        loop.call_soon(asking.cancel)  # it comes when all is done but giving back

    asking = asyncio.create_task(cluster_of_servers.asking(last_words)(client))
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    try:
        assert await client.ping()
    finally:
        await pool.aclose()
