"""The shared connection, on a real store."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.exceptions

from gateway import keys
from gateway.store import Store, connections
from gateway.store.lane import Lane


@pytest.fixture
async def lane(store_url: str) -> AsyncIterator[Lane]:
    opened = Lane(connections.pool(store_url))
    yield opened
    await opened.drop()


async def test_calls_at_once_share_a_connection_and_each_gets_its_own_answer(lane: Lane) -> None:
    answers = await asyncio.gather(*(lane.run([("ECHO", str(number)), ("CLIENT", "ID")]) for number in range(100)))
    assert [echo for echo, _ in answers] == [str(number) for number in range(100)]
    assert len({connection for _, connection in answers}) == 1


async def test_whoever_is_cancelled_takes_no_answer_from_the_others(lane: Lane) -> None:
    [before] = await lane.run([("CLIENT", "ID")])
    given_up = asyncio.ensure_future(lane.run([("ECHO", "nobody's")]))
    await asyncio.sleep(0)  # it is sent
    given_up.cancel()
    assert await lane.run([("ECHO", "mine"), ("CLIENT", "ID")]) == ["mine", before]


async def test_a_refusal_is_the_answer_of_its_own_call_alone(lane: Lane) -> None:
    refusal, echo = await lane.run([("EVALSHA", "0" * 40, 0), ("ECHO", "fine")])
    assert isinstance(refusal, redis.exceptions.NoScriptError)
    assert echo == "fine"


async def test_a_connection_that_breaks_fails_the_calls_on_it_and_the_next_call_opens_another(
    lane: Lane, store: Store
) -> None:
    [connection] = await lane.run([("CLIENT", "ID")])
    blocked = asyncio.ensure_future(lane.run([("BLPOP", keys.ShardKeys(0).prefix + "none", 0)]))
    while not any(int(one["id"]) == connection and one["cmd"] == "blpop" for one in await store.redis.client_list()):
        await asyncio.sleep(0.001)
    await store.redis.client_kill_filter(_id=connection)
    with pytest.raises(redis.exceptions.ConnectionError):
        await blocked
    [another] = await lane.run([("CLIENT", "ID")])
    assert another != connection


async def test_a_server_that_is_away_fails_all_who_wait_for_the_connection() -> None:
    lane = Lane(connections.pool("unix:///nowhere/store.sock"))
    outcomes = await asyncio.gather(*(lane.run([("PING",)]) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [redis.exceptions.ConnectionError] * 3


async def test_a_server_that_never_greets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.lane.OPENING_SECONDS", 0.05)
    hung_up = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        hung_up.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        lane = Lane(connections.pool(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"))
        with pytest.raises(redis.exceptions.ConnectionError):
            await lane.run([("PING",)])
        await hung_up.wait()


async def test_dropping_it_fails_the_calls_under_way(lane: Lane) -> None:
    await lane.run([("PING",)])
    blocked = asyncio.ensure_future(lane.run([("BLPOP", keys.ShardKeys(0).prefix + "none", 0)]))
    await asyncio.sleep(0)
    await lane.drop()
    with pytest.raises(redis.exceptions.ConnectionError):
        await blocked


async def test_who_waits_for_a_connection_that_is_dropped_before_it_opens_is_not_taken_for_cancelled(
    lane: Lane,
) -> None:
    waiting = asyncio.ensure_future(lane.run([("PING",)]))
    await asyncio.sleep(0)  # it has asked for the connection, whose opening has not begun
    await lane.drop()
    with pytest.raises(redis.exceptions.ConnectionError):
        await waiting
    assert await lane.run([("PING",)]) == ["PONG"]
