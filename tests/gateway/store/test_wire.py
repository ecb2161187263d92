"""The shared connection's own protocol, on a real store, behind TLS, and before servers that talk nonsense."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.exceptions
from certificates import make_authority

from gateway.store import Store, connections
from gateway.store.lane import Lane

BOUND_SECONDS = 10


@pytest.fixture
async def lane(store_url: str) -> AsyncIterator[Lane]:
    opened = Lane(connections.pool(store_url))
    yield opened
    await opened.drop()


class Recording:
    """A transport that remembers its writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.transport.write(data)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(65536):
        target.write(piece)
    target.close()


@contextlib.asynccontextmanager
async def lane_to(
    store_url: str, *, tls: ssl.SSLContext | None = None, says: bytes | None = None, hangs_up: bool = False
) -> AsyncIterator[Lane]:
    """Open a lane to the store through a server that passes on what comes, or has an answer of its own to PING."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(urlsplit(store_url).path)
        answering = asyncio.create_task(pump(theirs, writer))
        while piece := await reader.read(65536):
            if says is None or b"PING" not in piece:
                ours.write(piece)
                continue
            writer.write(says)
            if hangs_up:
                break
        ours.close()
        await answering

    url = f"{'rediss' if tls else 'redis'}://127.0.0.1:{{}}/0" + (
        "?ssl_cert_reqs=none&ssl_check_hostname=no" if tls else ""
    )
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server, asyncio.timeout(BOUND_SECONDS):
        lane = Lane(connections.pool(url.format(server.sockets[0].getsockname()[1])))
        yield lane
        await lane.drop()


async def test_what_is_sent_in_one_turn_of_the_loop_leaves_in_one_write(lane: Lane) -> None:
    await lane.run([("PING",)])
    assert lane._wire is not None
    recording = Recording(lane._wire._transport)
    lane._wire._transport = recording  # type: ignore[assignment]
    await asyncio.gather(*(lane.run([("ECHO", str(number))]) for number in range(3)))
    assert [write.count(b"ECHO") for write in recording.writes] == [3]


async def test_an_answer_comes_whole_however_large_it_is(lane: Lane) -> None:
    large = "é" * 1_000_000
    assert await lane.run([("ECHO", large), ("ECHO", b"small")]) == [large, "small"]


async def test_arguments_are_written_as_the_library_writes_them(lane: Lane, store: Store) -> None:
    arguments = ("text é", b"bytes\r\n", 0, -7, 10**15, 0.1, 1e22, -0.0, "")
    [answer] = await lane.run([("EVAL", "return ARGV", 0, *arguments)])
    assert answer == await store.redis.eval("return ARGV", 0, *arguments)


async def test_what_the_server_says_on_its_own_account_is_no_answer(lane: Lane, store: Store) -> None:
    await store.redis.set("watched", "1")
    await lane.run([("CLIENT", "TRACKING", "ON"), ("GET", "watched")])
    assert lane._wire is not None
    heard: list[Any] = []
    parser = lane._wire._connection._parser

    async def hear(news: Any) -> None:
        heard.append(news[0])

    parser.invalidation_push_handler_func = hear
    await store.redis.delete("watched")
    async with asyncio.timeout(BOUND_SECONDS):
        while not heard:
            assert await lane.run([("ECHO", "mine")]) == ["mine"]
    assert heard == ["invalidate"]


async def test_it_runs_over_tls(store_url: str, tmp_path: Path) -> None:
    async with lane_to(store_url, tls=make_authority(tmp_path).server) as lane:
        answers = await asyncio.gather(*(lane.run([("ECHO", str(number))]) for number in range(10)))
        assert answers == [[str(number)] for number in range(10)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", redis.exceptions.InvalidResponse),
        (b"-LOADING Redis is loading the dataset in memory\r\n", redis.exceptions.BusyLoadingError),
        (b"$2\r\n\xff\xff\r\n", redis.exceptions.ConnectionError),
    ],
)
async def test_an_answer_that_is_none_breaks_the_connection(
    store_url: str, answer: bytes, kind: type[Exception]
) -> None:
    async with lane_to(store_url, says=answer) as lane:
        for _ in range(2):  # each over a connection of its own
            with pytest.raises(kind):
                await lane.run([("PING",)])


async def test_an_answer_too_many_breaks_the_connection_and_no_call_takes_it(store_url: str) -> None:
    async with lane_to(store_url, says=b"+PONG\r\n+of nobody's\r\n") as lane:
        for _ in range(2):
            [connection, _] = await lane.run([("CLIENT", "ID"), ("ECHO", "mine")])
            assert await lane.run([("PING",)]) == ["PONG"]
            assert await lane.run([("CLIENT", "ID")]) != [connection]


async def test_a_server_that_hangs_up_in_the_middle_of_an_answer_fails_the_call(store_url: str) -> None:
    async with lane_to(store_url, says=b"$100\r\nhalf", hangs_up=True) as lane:
        with pytest.raises(redis.exceptions.ConnectionError):
            await lane.run([("PING",)])
