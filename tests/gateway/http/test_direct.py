"""Which calls go past the session, and that they say the same as those that do not."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from byte_server import say_ok, serve

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
    assert route.target == "/a/b?c=%2F"
    assert route.origin.head == "Host: example.org:8443\r\n"


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
