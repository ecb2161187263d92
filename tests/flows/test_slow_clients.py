"""Clients that never finish are cut off, and told why where they can still hear it."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from gateway import protocol, server
from tests.flows import raw_http
from tests.flows.conftest import World, running_world
from tests.flows.raw_http import head


@pytest.fixture(scope="module")
async def world(store_url: str) -> AsyncIterator[World]:
    """Run a gateway without patience."""
    async with running_world(store_url, head_timeout_seconds=0.1, body_timeout_seconds=0.1) as running:
        yield running


async def test_a_silent_connection_is_closed(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        assert await connection.rest() == b""


async def test_line_breaks_before_a_request_do_not_keep_a_connection_open(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/livez", method="GET"))
        assert (await connection.answer("GET")).status == 200
        await connection.send("\r\n")
        assert await connection.rest() == b""


@pytest.mark.parametrize("answered", [0, 1], ids=["the first request", "a later one"])
async def test_a_head_that_does_not_end_is_a_408(world: World, answered: int) -> None:
    async with raw_http.connect(world.url) as connection:
        for _ in range(answered):
            await connection.send(head("/livez", method="GET"))
            assert (await connection.answer("GET")).status == 200
        await connection.send("GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await connection.drip(b"x")
        answer = await connection.answer("GET")
        assert (answer.status, answer.json["error"]) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"] == answer.json["request_id"]
        assert await connection.rest() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_end_is_a_408(world: World, framing: str) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", framing))
        await connection.drip(b"1\r\nx\r\n")
        answer = await connection.answer()
        assert (answer.status, answer.json["error"]) == (408, "request_timeout")
        assert "body" in answer.json["message"]


async def test_the_rest_of_an_unwanted_body_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "DRAIN_SECONDS", 0.1)
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/nowhere", "Content-Length: 100000"))
        assert (await connection.answer()).status == 404
        await connection.drip(b"x")
        assert await connection.rest() == b""


async def test_a_refused_client_that_goes_on_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "DRAIN_SECONDS", 0.1)
    async with raw_http.connect(world.url) as connection:
        await connection.send("no request\r\n\r\n")
        assert (await connection.answer()).status == 400
        await connection.send("x" * 100_000)
        assert await connection.rest() == b""


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Give an event for the moment when a client has more answers than it reads."""
    moment = asyncio.Event()
    pause_writing = protocol.Protocol.pause_writing

    def pause(connection: protocol.Protocol) -> None:
        pause_writing(connection)
        moment.set()

    monkeypatch.setattr(protocol.Protocol, "pause_writing", pause)
    return moment


async def test_who_does_not_read_is_cut_off(
    world: World, full: asyncio.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 0)
    async with raw_http.connect(world.url, limit=1024) as connection:
        await connection.send(head("/openapi.json", method="GET") * 1000)
        async with asyncio.timeout(raw_http.SECONDS):
            await full.wait()
        assert 0 < (await connection.rest()).count(b'"openapi": "3.1.0"') < 1000
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_reads_late_gets_it_all(world: World, full: asyncio.Event) -> None:
    async with raw_http.connect(world.url, limit=1024) as connection:
        await connection.send(head("/openapi.json", method="GET") * 1000)
        async with asyncio.timeout(raw_http.SECONDS):
            await full.wait()
        for _ in range(1000):
            assert (await connection.answer("GET")).json["openapi"] == "3.1.0"


async def test_an_idle_connection_whose_answer_nobody_reads_is_cut_off(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.OPTIONS, "timeout_keep_alive", 0)
    async with running_world(store_url) as world, raw_http.connect(world.url) as connection:
        await connection.send(head("/livez", method="GET"))
        assert (await connection.answer("GET")).status == 200
        assert await connection.rest() == b""


async def test_a_connection_in_use_is_closed_when_it_has_been_idle(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.OPTIONS, "timeout_keep_alive", 0.1)
    async with running_world(store_url) as world, raw_http.connect(world.url) as connection:
        for _ in range(3):
            await connection.send(head("/livez", method="GET"))
            assert (await connection.answer("GET")).status == 200
        assert await connection.rest() == b""


async def test_who_hangs_up_in_the_middle_leaves_the_others_alone(world: World) -> None:
    for sent in (
        "",
        "GET /liv",
        head("/v2/complete", "Content-Length: 100"),
        head("/v2/complete", "Content-Length: 2") + "{",
    ):
        async with raw_http.connect(world.url) as connection:
            await connection.send(sent)
    assert (await raw_http.ask(world.url, head("/livez", method="GET"), method="GET")).status == 200
    assert await world.sandbox.calls() == []
