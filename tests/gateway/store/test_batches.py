"""Several scripts in one round trip, on a real server."""

import pytest
from structlog.testing import capture_logs

from gateway import errors, keys
from gateway.store import Call, NoAnswer, Store

ZERO, ONE = keys.ShardKeys(0), keys.ShardKeys(1)


EMPTY, ONE_WAITS = [0, 0, 0, []], [1, 1, 0, ["-", 1]]


async def wait_in_line(store: Store, shard: keys.ShardKeys) -> None:
    await store.redis.zadd(shard.due, {"-": 1})
    await store.redis.zadd(shard.due_of("-"), {"r1": 1})


def count(shard: keys.ShardKeys) -> Call:
    return Call("count_replies", (shard.due, shard.dead))


async def test_answers_come_in_the_order_of_the_calls(store: Store) -> None:
    await wait_in_line(store, ONE)
    assert await store.run_all([count(ZERO), count(ONE), count(ZERO)]) == [EMPTY, ONE_WAITS, EMPTY]


async def test_nothing_is_asked_for_nothing(store: Store) -> None:
    assert await store.run_all([]) == []


async def test_scripts_that_the_server_does_not_know_are_taught(store: Store) -> None:
    await store.redis.script_flush()
    await store.run_all([count(ZERO)])
    await wait_in_line(store, ONE)
    mixed = [count(ZERO), Call("redrive", (ZERO.due, ZERO.dead, ZERO.reply("r1")), ("r1", 9)), count(ONE)]
    assert await store.run_all(mixed) == [EMPTY, 0, ONE_WAITS]


async def test_broken_data_is_one_calls_trouble_and_is_logged(store: Store) -> None:
    await store.redis.set(ZERO.due, "no sorted set")
    with capture_logs() as lines:
        assert await store.run_all([count(ZERO), count(ONE)]) == [NoAnswer.BROKEN, EMPTY]
    assert [(line["script"], line["keys"]) for line in lines] == [("count_replies", (ZERO.due, ZERO.dead))]


async def test_a_script_that_stumbles_over_data_is_one_calls_trouble(store: Store) -> None:
    claim = Call("claim_due", (ZERO.due, ZERO.fence), (ZERO.prefix, "not a number", 9, 9))
    await wait_in_line(store, ZERO)
    await store.redis.rpush(ZERO.reply("r1"), b"\xc0")
    await store.redis.expire(ZERO.reply("r1"), 9)
    with capture_logs():
        assert await store.run_all([claim, count(ONE)]) == [NoAnswer.BROKEN, EMPTY]


async def test_a_store_that_refuses_is_unavailable(store: Store) -> None:
    await store.redis.config_set("maxmemory", 1)
    fold = Call("fold_segment", ("a", "b", "c", "d", "e", "f"), tuple("x" for _ in range(14)))
    try:
        with pytest.raises(errors.StoreUnavailable):
            await store.run_all([fold])
    finally:
        await store.redis.config_set("maxmemory", 0)
