"""What a call sends and what it makes of an answer, over real sockets."""

import asyncio
import contextlib
import gc
import gzip
from collections.abc import AsyncIterator

import pytest
from byte_server import OK, Connection, Script, say_ok, serve

from gateway import http, metrics

CAP = 1000


@pytest.fixture
async def client() -> AsyncIterator[http.HttpClient]:
    async with http.client(timeout_seconds=10, max_answer_bytes=CAP) as client:
        yield client


def answering(answer: bytes) -> Script:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(answer)

    return script


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a?token=%7e%2F+x&y=a%20b%zz", "/a?token=%7e%2F+x&y=a%20b%zz"),
        ("/a/../b/./c//d/", "/a/../b/./c//d/"),
        ("/%2e%2E/x%2fy", "/%2e%2E/x%2fy"),
        ("?x=1", "/?x=1"),
        ("", "/"),
        ("/p?", "/p"),  # the one loss: a question mark with nothing behind it
        ("/?a=b?c=d&&;=/@:", "/?a=b?c=d&&;=/@:"),
        ('/x?q="<>^`{|}\\', '/x?q="<>^`{|}\\'),
        ("/x;p=1,2!$'()*", "/x;p=1,2!$'()*"),
        ("/x?a=%C3%A9&b=é日", "/x?a=%C3%A9&b=%C3%A9%E6%97%A5"),
        ("/x?a=1#not/sent", "/x?a=1"),
    ],
)
async def test_the_url_goes_out_byte_for_byte(client: http.HttpClient, given: str, sent: str) -> None:
    async with serve(say_ok) as server:
        await client.request("POST", server.url + given, content=b"{}")
        assert server.targets == [sent]


async def test_an_international_host_name_is_looked_up_in_its_ascii_form() -> None:
    asked = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with (
        http.client(timeout_seconds=10, max_answer_bytes=CAP, lookup=lookup) as client,
        serve(say_ok) as server,
    ):
        await client.request("GET", f"http://bücher.example:{server.port}/ü?ü")
        assert asked == ["xn--bcher-kva.example"]
        assert server.targets == ["/%C3%BC?%C3%BC"]
        assert f"host: xn--bcher-kva.example:{server.port}\r\n".encode() in server.requests[0].lower()


async def test_only_the_headers_that_are_asked_for_go_out(client: http.HttpClient) -> None:
    async with serve(say_ok) as server:
        await client.request("POST", f"{server.url}/", headers={"Authorization": "Bearer k"}, content=b"{}")
        head = server.requests[0].split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        assert sorted(head) == [
            "Accept-Encoding: identity",
            "Authorization: Bearer k",
            "Content-Length: 2",
            f"Host: 127.0.0.1:{server.port}",
            "User-Agent: chat-migration-gateway",
        ]


@pytest.mark.parametrize(
    "header",
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X", "é"), ("X\r\nY", "a"), ("X Y", "a"), ("", "a")],
)
async def test_a_header_that_cannot_be_sent_is_refused_before_anything_is(
    client: http.HttpClient, header: tuple[str, str]
) -> None:
    async with serve(say_ok) as server:
        with pytest.raises(ValueError, match="cannot be sent"):
            await client.request("GET", server.url, headers=dict([header]))
        assert server.connections == 0


async def test_the_answer_is_given_whole(client: http.HttpClient) -> None:
    async with serve(answering(b"HTTP/1.1 422 No\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nabcd")) as server:
        answer = await client.request("GET", server.url)
        assert (answer.status, answer.headers["x-why"], answer.body) == (422, "because", b"abcd")
        assert answer.elapsed_seconds > 0


async def test_a_connection_is_used_again(client: http.HttpClient) -> None:
    async with serve(say_ok) as server:
        for _ in range(3):
            await client.request("POST", server.url, content=b"{}")
        assert (len(server.requests), server.connections) == (3, 1)


async def test_redirects_are_given_and_not_followed(client: http.HttpClient) -> None:
    async with serve(say_ok) as elsewhere:
        head = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        async with serve(answering(head.encode())) as server:
            assert (await client.request("GET", server.url)).status == 302
        assert elsewhere.connections == 0


async def test_cookies_are_not_kept(client: http.HttpClient) -> None:
    async def script(connection: Connection) -> None:
        for _ in range(2):
            await connection.read_request()
            await connection.say(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with serve(script) as server:
        for _ in range(2):
            await client.request("GET", server.url)
        assert b"cookie" not in server.requests[1].lower()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(say_ok) as proxy, serve(say_ok) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with http.client(timeout_seconds=10, max_answer_bytes=CAP) as client:
            await client.request("GET", server.url)
        assert (proxy.connections, server.connections) == (0, 1)


async def test_a_compressed_answer_is_left_as_it_is(client: http.HttpClient) -> None:
    bomb = gzip.compress(b"0" * 100_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with serve(answering(head + bomb)) as server:
        assert (await client.request("GET", server.url)).body == bomb


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 OK\r\nContent-Length: %d\r\n\r\n" % (CAP + 1),
        b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (CAP, b"x" * CAP) + b"1\r\nx\r\n",
        b"HTTP/1.1 201 OK\r\nConnection: close\r\n\r\n" + b"x" * (CAP + 1),
    ],
    ids=["announced", "chunked", "until the close"],
)
async def test_an_answer_beyond_the_cap_is_cut_off(client: http.HttpClient, answer: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(answer)
        await connection.ended()
        cut.set()

    cut = asyncio.Event()
    async with serve(script) as server:
        with pytest.raises(http.AnswerTooLarge) as caught:
            await client.request("GET", server.url)
        assert caught.value.status == 201
        await cut.wait()


async def test_an_answer_as_large_as_the_cap_is_given(client: http.HttpClient) -> None:
    async with serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % CAP + b"x" * CAP)) as server:
        assert len((await client.request("GET", server.url)).body) == CAP


async def test_a_large_body_is_sent_with_its_length(client: http.HttpClient) -> None:
    content = bytes(range(256)) * 12_000
    async with serve(say_ok) as server:
        await client.request("POST", server.url, content=content)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert body == content
        assert b"Content-Length: 3072000" in head


async def test_a_body_may_come_piece_by_piece(client: http.HttpClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"de"

    async with serve(say_ok) as server:
        await client.request("POST", server.url, content=pieces())
        assert server.requests[0].endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")


async def test_a_cancelled_call_closes_its_connection(client: http.HttpClient) -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        arrived.set()
        await connection.ended()
        closed.set()

    arrived, closed = asyncio.Event(), asyncio.Event()
    async with serve(script) as server:
        call = asyncio.create_task(client.request("POST", server.url, content=b"{}"))
        await arrived.wait()
        call.cancel()
        await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_streamed_answer_is_read_while_it_arrives(client: http.HttpClient) -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await seen.wait()
        await connection.say(b"2\r\nde\r\n0\r\n\r\n")

    seen = asyncio.Event()
    async with serve(script) as server, client.stream("GET", server.url) as answer:
        received = []
        async for chunk in answer.chunks():
            received.append(chunk)
            seen.set()
        assert (answer.status, received) == (200, [b"abc", b"de"])


async def test_leaving_a_streamed_answer_early_closes_its_connection(client: http.HttpClient) -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na")
        await connection.ended()
        closed.set()

    closed = asyncio.Event()
    async with serve(script) as server:
        async with client.stream("GET", server.url) as answer:
            assert answer.status == 200
        await closed.wait()


async def test_an_error_of_the_reader_of_a_stream_is_its_own(client: http.HttpClient) -> None:
    async with serve(say_ok) as server:
        with pytest.raises(FileNotFoundError):
            async with client.stream("GET", server.url):
                raise FileNotFoundError


async def test_nothing_stays_open_behind_a_client() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(OK)
        await connection.ended()
        closed.set()

    closed = asyncio.Event()
    async with serve(script) as server:
        async with http.client(timeout_seconds=10, max_answer_bytes=CAP) as client:
            await client.request("GET", server.url)
        await closed.wait()
    del client
    gc.collect()  # a ResourceWarning here would fail the test


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "soon", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 10:01:30 GMT"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 10:01:30 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 90),
        ({"Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0),
        ({"Retry-After": "Sat, 21 Nov 2026 10:01:30", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_the_pause_that_an_answer_asks_for_is_read(headers: dict[str, str], seconds: int | None) -> None:
    assert http.retry_after_seconds(headers) == seconds


def measured(status: str, error_type: str, method: str = "POST") -> float:
    labels = {
        "http_request_method": method,
        "peer": "webhook",
        "http_response_status_code": status,
        "error_type": error_type,
    }
    return metrics.REGISTRY.get_sample_value("http_client_request_duration_seconds_count", labels) or 0


@pytest.mark.parametrize(
    ("answer", "status", "error_type"),
    [
        (OK, "200", ""),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "503", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "200", "answer_truncated"),
        (b"", "", "connection_dropped"),
    ],
)
async def test_a_call_is_measured_by_its_peer_and_what_came_of_it(answer: bytes, status: str, error_type: str) -> None:
    before = measured(status, error_type)
    async with (
        http.client(timeout_seconds=10, max_answer_bytes=CAP, peer="webhook") as client,
        serve(answering(answer)) as server,
    ):
        with contextlib.suppress(http.CallFailed):
            await client.request("POST", server.url, content=b"{}")
    assert measured(status, error_type) == before + 1


async def test_a_call_that_nobody_waits_for_is_measured_too() -> None:
    before = measured("", "CancelledError")
    async with http.client(timeout_seconds=10, max_answer_bytes=CAP, peer="webhook") as client:
        arrived = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.read_request()
            arrived.set()
            await asyncio.Event().wait()

        async with serve(script) as server:
            call = asyncio.create_task(client.request("POST", server.url, content=b"{}"))
            await arrived.wait()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
    assert measured("", "CancelledError") == before + 1


async def test_the_callers_own_trouble_with_an_answer_is_not_the_calls() -> None:
    before = measured("200", "")
    async with (
        http.client(timeout_seconds=10, max_answer_bytes=CAP, peer="webhook") as client,
        serve(say_ok) as server,
    ):
        with pytest.raises(KeyError):
            async with client.stream("POST", server.url, content=b"{}"):
                raise KeyError
    assert measured("200", "") == before + 1
