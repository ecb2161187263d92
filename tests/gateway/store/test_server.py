"""One server of the store: its bounds, what is told of its state, and what is repeated."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import store_servers
from structlog.testing import capture_logs
from tcp_proxy import TcpProxy

from gateway import errors, keys, metrics, store
from gateway.store import Call, Store, connections, health

SHARD = keys.ShardKeys(3)
COUNT = Call("count_replies", (SHARD.due, SHARD.dead))


@pytest.fixture
async def proxy(server: store_servers.Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(("127.0.0.1", server.port)) as running:
        yield running


@pytest.fixture
async def behind(proxy: TcpProxy) -> AsyncIterator[Store]:
    """Give the store behind the proxy."""
    async with store.connect(f"redis://{proxy.address}") as opened:
        yield opened


async def until_up(opened: Store) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(errors.StoreUnavailable):
                return await opened.ping()
            await asyncio.sleep(0.01)


async def test_a_change_of_state_is_told_once(behind: Store, proxy: TcpProxy) -> None:
    await behind.ping()
    assert metrics.STORE_UP._value.get() == 1
    with capture_logs() as lines:
        proxy.refuse()
        for _ in range(5):
            with pytest.raises(errors.StoreUnavailable):
                await behind.ping()
        assert metrics.STORE_UP._value.get() == 0
        proxy.forward()
        await until_up(behind)
        await behind.ping()
    assert metrics.STORE_UP._value.get() == 1
    assert [(line["event"], line["server"]) for line in lines] == [
        ("store.away", proxy.address),
        ("store.back", proxy.address),
    ]


async def test_while_the_server_is_away_calls_fail_without_touching_it(behind: Store, proxy: TcpProxy) -> None:
    proxy.black_hole()
    with capture_logs():
        with pytest.raises(errors.StoreUnavailable):
            await behind.run_all([COUNT])
        failures, accepted = metrics.STORE_FAILURES._value.get(), proxy.accepted
        async with asyncio.timeout(1):  # a thousand deadlines would be half an hour
            for _ in range(1000):
                with pytest.raises(errors.StoreUnavailable):
                    await behind.run("count_replies", COUNT.keys)
    assert metrics.STORE_FAILURES._value.get() == failures + 1000
    assert proxy.accepted - accepted <= 2  # the probe's


async def test_a_call_over_a_connection_that_has_died_is_made_again_over_a_new_one(
    behind: Store, proxy: TcpProxy
) -> None:
    await asyncio.gather(*(behind.ping() for _ in range(10)))
    with capture_logs() as lines:
        proxy.cut()
        await asyncio.gather(*(behind.ping() for _ in range(10)))
    assert lines == []


async def test_a_call_whose_answer_is_lost_is_sent_twice_at_most(server: store_servers.Server) -> None:
    async with TcpProxy(("127.0.0.1", server.port)) as proxy, store.connect(f"redis://{proxy.address}") as opened:
        sent = 0

        async def lose_the_answer(client: Any) -> None:
            nonlocal sent
            sent += 1
            await client.incr("sent")
            raise ConnectionResetError

        with pytest.raises(errors.StoreUnavailable), capture_logs():
            await opened._servers.servers[0].call(lose_the_answer, asyncio.get_running_loop().time() + 1)
        assert sent == 2
        assert await server.client.get("sent") == "2"


async def test_a_server_that_may_evict_is_warned_of_once(server: store_servers.Server) -> None:
    await server.client.config_set("maxmemory-policy", "allkeys-lru")
    with capture_logs() as lines:
        async with store.connect(server.url) as opened:
            await opened.ping()
            await asyncio.gather(*opened._servers.servers[0]._tasks)
            await opened.ping()
    assert [(line["event"], line["log_level"], line["policy"]) for line in lines] == [
        ("store.may_evict", "warning", "allkeys-lru")
    ]


async def test_a_server_that_never_evicts_is_not_warned_of(server: store_servers.Server) -> None:
    with capture_logs() as lines:
        async with store.connect(server.url) as opened:
            await opened.ping()
            await asyncio.gather(*opened._servers.servers[0]._tasks)
    assert lines == []


async def test_a_server_that_does_not_tell_its_policy_serves_all_the_same(server: store_servers.Server) -> None:
    await server.client.execute_command("ACL", "SETUSER", "default", "-info")
    with capture_logs() as lines:
        async with store.connect(server.url) as opened:
            await opened.ping()
            await asyncio.gather(*opened._servers.servers[0]._tasks)
            await opened.ping()
    assert lines == []


async def test_a_refusal_is_told_once_and_so_is_its_end(server: store_servers.Server) -> None:
    async with store.connect(server.url) as opened:
        await opened.ping()
        with capture_logs() as lines:
            await server.client.config_set("maxmemory", 1)
            for _ in range(3):
                with pytest.raises(errors.StoreUnavailable, match="OutOfMemory"):
                    await opened.command("set", "key", "value")
            await server.client.config_set("maxmemory", 0)
            await opened.ping()
            opened._health._last_refusal -= health.ROOM_SECONDS  # as if it were so long ago
            await opened.ping()
            await opened.ping()
    assert [line["event"] for line in lines] == ["store.refuses", "store.willing"]


async def test_a_wrong_password_is_told_as_such(server: store_servers.Server) -> None:
    await server.client.config_set("requirepass", "right")
    with capture_logs() as lines:
        async with store.connect(f"redis://:wrong@127.0.0.1:{server.port}") as opened:
            with pytest.raises(errors.StoreUnavailable):
                await opened.ping()
    assert lines[0]["error"] == "AuthenticationError"
    assert "wrong" not in str(lines)


async def test_scripts_are_timed_by_name(server: store_servers.Server) -> None:
    series = metrics.STORE_CALL_DURATION(script="count_replies")
    before = series._sum.get()
    async with store.connect(server.url) as opened:
        await opened.run_all([COUNT, COUNT])
    assert series._sum.get() > before


async def test_more_callers_than_connections_wait_for_each_other(server: store_servers.Server) -> None:
    async with store.connect(server.url) as opened:
        await asyncio.gather(*(opened.ping() for _ in range(4 * connections.MAX_CONNECTIONS)))
        assert int((await server.client.info("clients"))["connected_clients"]) <= connections.MAX_CONNECTIONS + 1


async def test_what_could_not_be_told_is_told_when_the_server_is_back(
    behind: Store, proxy: TcpProxy, server: store_servers.Server
) -> None:
    conversation = keys.ConversationKeys("0003" + "0" * 28)
    await behind.command("set", conversation.lock, "caller")
    call = Call(
        "abandon_post",
        (conversation.turns, conversation.lock, conversation.fingerprints, conversation.shard.turn("t")),
        ("caller", "t", "leave"),
    )
    with capture_logs():
        proxy.refuse()
        with pytest.raises(errors.StoreUnavailable):
            await behind.ping()
        behind.later(call, 60)
        behind.later(call, -1)  # too late already
        proxy.forward()
        async with asyncio.timeout(10):
            while await server.client.exists(conversation.lock):
                await asyncio.sleep(0.01)


async def test_a_server_that_loads_its_file_is_away_until_it_has() -> None:
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        async with store_servers.running_server(Path(directory)) as server, store.connect(server.url) as opened:
            for number in range(200):
                await opened.command("set", f"k{number}", number)
            await server.kill()
            loading = store_servers.Server(Path(directory) / "server", server.port, "--key-load-delay", "5000")  # µs
            with capture_logs() as lines:
                starting = asyncio.create_task(loading.start())
                await until_up(opened)
                await starting
            try:
                assert await opened.command("get", "k199") == "199"
                assert [line["event"] for line in lines][-1:] in ([], ["store.back"])
            finally:
                await loading.aclose()


async def test_a_cancelled_wait_for_a_connections_end_does_not_end_the_probe(
    behind: Store, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await behind.ping()
    [server] = behind._servers.servers
    disconnect = server._pool.disconnect

    async def disconnect_beside_one_who_is_cancelled(**options: bool) -> None:
        await disconnect(**options)
        closed = asyncio.get_running_loop().create_future()  # what all wait for who close the same connection
        other = asyncio.create_task(asyncio.wait_for(closed, 0.001))
        await asyncio.gather(other, return_exceptions=True)
        await closed

    monkeypatch.setattr(server._pool, "disconnect", disconnect_beside_one_who_is_cancelled)
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(errors.StoreUnavailable):
            await behind.ping()
    proxy.forward()
    await until_up(behind)
