"""Which calls go past the session, and that they say the same as those that do not."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from byte_server import OK, Connection, say_ok, serve

from gateway import http
from gateway.http import direct

PLAIN: Mapping[str, str] = {"Authorization": "Bearer k", "Content-Type": "application/json"}


@pytest.fixture
async def connections() -> AsyncIterator[direct.Connections]:
    async with aiohttp.ClientSession() as session:
        yield direct.Connections(session, session.timeout, "")


async def test_a_small_post_with_a_plain_url_goes_directly(connections: direct.Connections) -> None:
    route = connections.route("POST", "https://example.org:8443/a/b?c=%2F", PLAIN, b"{}")
    assert route is not None
    origin, target = route
    assert target == "/a/b?c=%2F"
    assert origin.head == "Host: example.org:8443\r\n"


@pytest.mark.parametrize(
    ("method", "url", "headers", "content"),
    [
        ("GET", "http://example.org/", PLAIN, None),
        ("PUT", "http://example.org/", PLAIN, b"{}"),
        ("POST", "http://example.org/", PLAIN, b"x" * (direct.MAX_BYTES + 1)),
        ("POST", "http://user:password@example.org/", PLAIN, b"{}"),
        ("POST", "http://example.org", PLAIN, b"{}"),
        ("POST", "http://example.org/a b", PLAIN, b"{}"),
        ("POST", "http://example.org/a\r\nX: y", PLAIN, b"{}"),
        ("POST", "http://example.org/\n", PLAIN, b"{}"),
        ("POST", "http://example.org/é", PLAIN, b"{}"),
        ("POST", "http://example.org/#fragment", PLAIN, b"{}"),
        ("POST", "http://example.org:70000/", PLAIN, b"{}"),
        ("POST", "http://example.org/", {"HOST": "another"}, b"{}"),
        ("POST", "http://example.org/", {"Content-length": "1"}, b"{}"),
        ("POST", "http://example.org/", {"Transfer-Encoding": "chunked"}, b"{}"),
    ],
)
async def test_what_the_session_minds_is_left_to_it(
    connections: direct.Connections, method: str, url: str, headers: Mapping[str, str], content: bytes | None
) -> None:
    assert connections.route(method, url, headers, content) is None


async def test_both_ways_send_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with http.client(timeout_seconds=10, max_answer_bytes=1000) as client, serve(say_ok) as server:
        await client.request("POST", server.url + "/a?b=%41", headers=PLAIN, content=b'{"a":1}')
        monkeypatch.setattr(direct.Connections, "route", lambda *_: None)
        await client.request("POST", server.url + "/a?b=%41", headers=PLAIN, content=b'{"a":1}')
    directly, by_the_session = (sorted(request.split(b"\r\n")) for request in server.requests)
    assert directly == by_the_session


async def test_what_is_said_on_a_kept_connection_out_of_turn_answers_nothing() -> None:
    async def babble(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(OK)
        await connection.say(b"HTTP/1.1 500 Too Late\r\nContent-Length: 0\r\n\r\n")
        babbled.set()
        await connection.ended()

    babbled = asyncio.Event()
    async with http.client(timeout_seconds=10, max_answer_bytes=1000) as client, serve(babble) as server:
        for _ in range(3):
            assert (await client.request("POST", server.url + "/", content=b"{}")).status == 200
            await babbled.wait()
            babbled.clear()
            for _ in range(10):  # turns of the loop, in which it is heard
                await asyncio.sleep(0)
        assert server.connections == 3


async def test_who_speaks_before_he_is_asked_is_given_up() -> None:
    async def greet(connection: Connection) -> None:
        await connection.say(b"220 mail.example ESMTP\r\n")
        await connection.ended()

    async with http.client(timeout_seconds=10, max_answer_bytes=1000) as client, serve(greet) as server:
        with pytest.raises(http.NotHttp):
            await client.request("POST", server.url + "/", content=b"{}")
        assert server.connections <= direct.MAX_BABBLERS


@pytest.mark.parametrize("pieces", [1, 2, 40])
@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
)
async def test_an_answer_is_the_same_however_it_comes(answer: bytes, pieces: int) -> None:
    async def dribble(connection: Connection) -> None:
        while True:
            await connection.read_request()
            size = -(-len(answer) // pieces)
            for begin in range(0, len(answer), size):
                await connection.say(answer[begin : begin + size])
                await asyncio.sleep(0)

    async with http.client(timeout_seconds=10, max_answer_bytes=1000) as client, serve(dribble) as server:
        for _ in range(2):
            got = await client.request("POST", server.url + "/", content=b"{}")
            assert (got.status, got.body) == (200, b"ok")


@pytest.mark.parametrize("method", ["POST", "GET"], ids=["direct", "of the session"])
async def test_an_old_connection_is_closed_after_its_call(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"{}" if method == "POST" else None
    async with serve(say_ok) as server, http.client(timeout_seconds=10, max_answer_bytes=1000) as client:
        for _ in range(3):
            await client.request(method, server.url, content=content)
        assert server.connections == 1
        monkeypatch.setattr(direct, "LIFETIME_SECONDS", -1)
        async with http.client(timeout_seconds=10, max_answer_bytes=1000) as hasty:
            for _ in range(3):
                await hasty.request(method, server.url, content=content)
    assert server.connections == 4
