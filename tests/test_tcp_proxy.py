"""The network that other tests break, itself: it forwards, cuts, holds back, and finds a target that listens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.tcp_proxy import Address, TcpProxy


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Address]:
    """Run a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    async with echoing() as target, TcpProxy(target) as running:
        yield running


async def say(proxy: TcpProxy, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(said)
        return await reader.read(1024)
    finally:
        writer.close()


async def test_what_is_sent_comes_back(proxy: TcpProxy) -> None:
    assert await say(proxy, b"hello") == b"hello"


async def test_a_cut_resets_what_is_open_and_serves_what_is_new(proxy: TcpProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"one")
    assert await reader.read(1024) == b"one"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read(1024)
    writer.close()
    assert await say(proxy, b"two") == b"two"


async def test_refused_connections_end_without_an_answer_until_it_forwards(proxy: TcpProxy) -> None:
    proxy.refuse()
    try:
        answer = await say(proxy, b"hello")
    except ConnectionResetError:
        answer = b""
    assert answer == b""
    proxy.forward()
    assert await say(proxy, b"hello") == b"hello"


async def test_a_black_hole_holds_back_what_arrives_once_it_is_gone(proxy: TcpProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"one")
    assert await reader.read(1024) == b"one"
    proxy.black_hole()
    writer.write(b"two")
    answer = asyncio.create_task(reader.read(1024))
    # A round trip of another connection shows that the first one would have had the time.
    async with echoing() as other_target, TcpProxy(other_target) as other:
        assert await say(other, b"x") == b"x"
    assert not answer.done()
    proxy.forward()
    assert await answer == b"two"
    writer.close()


async def test_a_balancer_goes_on_to_a_target_that_listens() -> None:
    async with echoing() as target:
        async with echoing() as gone:
            pass
        async with TcpProxy(gone, target) as balancer:
            assert [await say(balancer, b"hello") for _ in range(3)] == [b"hello"] * 3
