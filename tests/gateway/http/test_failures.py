"""What a failed call says: the kind, and whether the request can have reached the other side."""

import asyncio
import errno
import socket
import traceback
from collections.abc import AsyncIterator

import aiohttp
import pytest
from byte_server import OK, Connection, Script, say_ok, serve
from certificates import Authority

from gateway import http
from gateway.http import failures

SECRET = "?token=s3cr3t"


async def failure_of(url: str, *, timeout_seconds: float = 10, **options: object) -> http.CallFailed:
    """Make a call that must fail, and check what every failure must keep to itself."""
    async with http.client(timeout_seconds=timeout_seconds, max_answer_bytes=1000, **options) as client:  # type: ignore[arg-type]
        with pytest.raises(http.CallFailed) as caught:
            await client.request("POST", url + SECRET, content=b"{}")
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def after_request(answer: bytes, *, reset: bool = False) -> Script:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        if answer:
            await connection.say(answer)
        if reset:
            connection.reset()

    return script


def unresolved(number: int) -> http.Lookup:
    async def lookup(host: str) -> list[str]:
        raise socket.gaierror(number, "as the system says it")

    return lookup


async def nothing_found(host: str) -> list[str]:
    return []


async def test_a_refused_connection_was_not_sent() -> None:
    failure = await failure_of(f"http://127.0.0.1:{closed_port()}/")
    assert type(failure) is http.ConnectFailed
    assert isinstance(failure, http.NotSent)
    assert str(failure) == "no connection: connection refused"


async def test_a_refusal_at_every_address_of_a_name_was_not_sent() -> None:
    async def lookup(host: str) -> list[str]:
        return ["127.0.0.1", "127.0.0.2"]

    failure = await failure_of(f"http://hooks.example:{closed_port()}/", lookup=lookup)
    assert type(failure) is http.ConnectFailed


@pytest.mark.parametrize(
    ("lookup", "kind"),
    [
        (unresolved(socket.EAI_NONAME), http.UnknownHost),
        (unresolved(socket.EAI_AGAIN), http.LookupFailed),
        (unresolved(socket.EAI_FAIL), http.LookupFailed),
        (nothing_found, http.UnknownHost),
    ],
)
async def test_a_name_without_address_is_told_from_a_lookup_that_failed(
    lookup: http.Lookup, kind: type[http.CallFailed]
) -> None:
    failure = await failure_of("http://hooks.example/", lookup=lookup)
    assert type(failure) is kind
    assert isinstance(failure, http.NotSent)


async def test_a_name_that_cannot_be_asked_for_is_unknown() -> None:
    assert type(await failure_of(f"http://{'a' * 64}.example/")) is http.UnknownHost


@pytest.mark.parametrize("url", ["http://", "ftp://hooks.example/", "hooks.example", "http://h:99999/", "http://[1/"])
async def test_what_cannot_be_called_is_said_so(url: str) -> None:
    failure = await failure_of(url)
    assert type(failure) is http.InvalidUrl
    assert isinstance(failure, http.NotSent)


async def test_a_silent_handshake_was_not_sent() -> None:
    async with serve(Connection.ended) as server:
        failure = await failure_of(f"https://127.0.0.1:{server.port}/", timeout_seconds=0.2)
    assert type(failure) is http.ConnectTimedOut
    assert isinstance(failure, http.NotSent)


async def test_a_call_that_found_no_free_connection_was_not_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        busy.set()
        await waited.wait()
        await connection.say(OK)

    busy, waited = asyncio.Event(), asyncio.Event()
    async with (
        serve(script) as server,
        http.client(timeout_seconds=10, max_answer_bytes=1000, limit_per_host=1) as client,
    ):
        client._session._timeout = aiohttp.ClientTimeout(total=None, connect=0.01)
        first = asyncio.create_task(client.request("POST", server.url, content=b"{}"))
        await busy.wait()
        with pytest.raises(http.ConnectTimedOut):
            await client.request("POST", server.url, content=b"{}")
        waited.set()
        assert (await first).status == 200
        assert len(server.requests) == 1


async def test_a_certificate_of_an_unknown_authority_is_a_failure_of_tls(authority: Authority) -> None:
    async with serve(say_ok, tls=authority.server) as server:
        failure = await failure_of(f"https://127.0.0.1:{server.port}/")
        assert server.requests == []
    assert type(failure) is http.TlsFailed
    assert isinstance(failure, http.NotSent)
    assert "unable to get local issuer certificate" in str(failure)


async def test_a_server_that_speaks_no_tls_is_a_failure_of_tls() -> None:
    async def script(connection: Connection) -> None:
        await connection.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.ended()

    async with serve(script) as server:
        failure = await failure_of(f"https://127.0.0.1:{server.port}/")
    assert type(failure) is http.TlsFailed


async def test_a_handshake_that_is_broken_off_was_not_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.reader.read(1)
        connection.reset()

    async with serve(script) as server:
        failure = await failure_of(f"https://127.0.0.1:{server.port}/")
    assert isinstance(failure, http.NotSent)


@pytest.mark.parametrize(
    ("script", "kind", "status"),
    [
        (after_request(b""), http.Dropped, None),
        (after_request(b"HTTP/1.1 200 OK\r\nContent-"), http.Dropped, None),
        (after_request(b"", reset=True), http.Reset, None),
        (after_request(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), http.Truncated, 200),
        (after_request(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), http.Truncated, 200),
        (after_request(b"220 mail.example ready\r\n"), http.NotHttp, None),
        (after_request(b"HTTP/1.1 2OO OK\r\n\r\n"), http.NotHttp, None),
        (after_request(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), http.NotHttp, None),
        (after_request(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000 + b"\r\n"), http.NotHttp, None),
        (after_request(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), http.NotHttp, None),
    ],
)
async def test_what_goes_wrong_after_the_request_may_have_been_sent(
    script: Script, kind: type[http.CallFailed], status: int | None
) -> None:
    async with serve(script) as server:
        failure = await failure_of(f"{server.url}/")
        assert len(server.requests) == 1
    assert type(failure) is kind
    assert isinstance(failure, http.MaybeSent)
    assert failure.status == status


async def test_a_reset_in_the_middle_of_an_answer_has_its_status() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na")
        await seen.wait()
        connection.reset()

    async def read(answer: http.StreamedAnswer) -> None:
        async for _ in answer.chunks():
            seen.set()

    seen = asyncio.Event()
    async with (
        serve(script) as server,
        http.client(timeout_seconds=10, max_answer_bytes=1000) as client,
        client.stream("GET", server.url) as answer,
    ):
        with pytest.raises(http.MaybeSent) as caught:
            await read(answer)
        assert caught.value.status == 200


async def test_silence_after_the_request_may_have_been_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.ended()

    async with serve(script) as server:
        failure = await failure_of(f"{server.url}/", timeout_seconds=0.2)
        assert len(server.requests) == 1
    assert type(failure) is http.DeadlineExceeded
    assert isinstance(failure, http.MaybeSent)
    assert failure.status is None


async def test_the_deadline_is_for_the_whole_answer_however_steadily_it_trickles() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not connection.writer.transport.is_closing():
            await connection.say(b"x")
            await asyncio.sleep(0.01)

    async with serve(script) as server:
        failure = await failure_of(f"{server.url}/", timeout_seconds=0.2)
    assert type(failure) is http.DeadlineExceeded
    assert failure.status == 200


async def test_a_post_is_sent_once_when_a_kept_connection_turns_out_to_be_closed() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_request()
        await connection.say(OK)
        await connection.read_request()

    async with serve(script) as server, http.client(timeout_seconds=10, max_answer_bytes=1000) as client:
        await client.request("POST", server.url, content=b"1")
        with pytest.raises(http.Dropped):
            await client.request("POST", server.url, content=b"2")
        assert [request[-1:] for request in server.requests] == [b"1", b"2"]


async def test_a_body_that_fails_while_it_is_sent_may_have_been_sent() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise RuntimeError("no more")

    async with serve(say_ok) as server, http.client(timeout_seconds=10, max_answer_bytes=1000) as client:
        with pytest.raises(http.MaybeSent):
            await client.request("POST", server.url, content=pieces())


def test_an_error_that_is_not_known_may_have_been_sent() -> None:
    failure = failures.meaning(aiohttp.ClientError("http://hooks.example/?token=s3cr3t"))
    assert type(failure) is http.MaybeSent
    assert str(failure) == "the call failed: ClientError"


def test_every_kind_has_a_code_of_its_own() -> None:
    kinds = [*http.NotSent.__subclasses__(), *http.MaybeSent.__subclasses__()]
    assert len({kind.code for kind in kinds} | {http.CallFailed.code}) == len(kinds) + 1


def test_words_for_an_error_without_a_number_are_found_too() -> None:
    assert str(failures.meaning(OSError("no number"))) == "the connection broke"
    assert str(failures.meaning(OSError(errno.EPIPE, "x"))) == "the connection broke: broken pipe"
