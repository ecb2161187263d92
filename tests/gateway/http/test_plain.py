"""Plain answers are read as aiohttp reads them; everything else is left to it."""

import asyncio

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.http import plain

ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
)


def read_by_aiohttp(data: bytes) -> tuple[int, list[tuple[str, str]], bytes, bool] | None:
    """Give status, headers, body, and whether the connection may be kept; None for what is no single whole answer."""
    loop = asyncio.new_event_loop()
    protocol = ResponseHandler(loop)
    parser = HttpResponseParser(protocol, loop, 1 << 16, read_until_eof=True, auto_decompress=False)
    try:
        messages, _, _ = parser.feed_data(data)
    except aiohttp.http_exceptions.HttpProcessingError:
        return None
    finally:
        loop.close()
    if len(messages) != 1:
        return None
    [(message, payload)] = messages
    if payload is aiohttp.streams.EMPTY_PAYLOAD:
        body = b""
    elif payload.is_eof():
        body = payload.read_nowait()
    else:
        return None
    headers = [(name.lower(), value) for name, value in message.headers.items()]
    return message.code, headers, body, not message.should_close


def test_a_plain_answer_is_read_whole() -> None:
    answer = plain.read(ACCEPTED)
    assert answer is not None
    status, headers, body = answer
    assert (status, body) == (202, b"{}")
    assert headers["content-TYPE"] == "application/json"
    assert (len(headers), next(iter(headers)), headers.get("Retry-After")) == (5, "Server", None)


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.0 202 Accepted"),
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.1 100 Continue"),
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.1 204 No Content"),
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.1 304 Not Modified"),
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.1 2020 Accepted"),
        (b"HTTP/1.1 202 Accepted", b"HTTP/1.1 202"),
        (b"HTTP/1.1 202 Accepted", "HTTP/1.1 202 Angenommen, schön".encode()),
        (b"keep-alive", b"close"),
        (b"keep-alive", b"keep-alive, close"),
        (b"keep-alive", b"upgrade\r\nUpgrade: websocket"),
        (b"keep-alive\r\n", b"keep-alive\r\nConnection: close\r\n"),
        (b"Content-Length: 2\r\n", b""),
        (b"Content-Length: 2", b"Content-Length: 3"),
        (b"Content-Length: 2", b"Content-Length: 1"),
        (b"Content-Length: 2", b"Content-Length: +2"),
        (b"Content-Length: 2", b"Content-Length: 2, 2"),
        (b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"X-Content-Length: 2"),
        (b"Content-Length: 2", b"Content-Length: 2\r\nTransfer-Encoding: chunked"),
        (b"Server: nginx", b"Server : nginx"),
        (b"Server: nginx", b"Server"),
        (b"Server: nginx", b"Server: a\r\n b"),
        (b"Server: nginx", b"Server: a\nX: b"),
        (b"Server: nginx", b"Server: a\0"),
        (b"Server: nginx", b": a"),
        (b"Server: nginx", b"Server: " + b"x" * plain.MAX_HEAD_BYTES),
        (b"Server: nginx", b"\r\n".join(b"x: y" for _ in range(plain.MAX_HEADERS))),
        (b"\r\n\r\n{}", b"\r\n\r\n{} "),
        (b"\r\n\r\n{}", b"\r\n\r\n{"),
        (b"\r\n\r\n{}", b"\r\n"),
    ],
)
def test_what_is_out_of_the_ordinary_is_not_read(said: bytes, instead: bytes) -> None:
    assert said in ACCEPTED
    assert plain.read(ACCEPTED.replace(said, instead)) is None


tokens = st.sampled_from(["X-A", "x-b", "Server", "Date", "Retry-After", "Set-Cookie", "Content-Type", "Vary", "a!#b"])
framing = st.sampled_from(
    [
        "Content-Length: 0",
        "content-length:2",
        "Content-Length:  2",
        "Content-Length: 2 ",
        "Content-Length: 02",
        "Connection: keep-alive",
        "Connection: Keep-Alive",
        "connection:keep-alive",
        "Connection: close",
        "Transfer-Encoding: chunked",
        "Upgrade: h2c",
        "Keep-Alive: timeout=5",
    ]
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
lines = st.lists(st.one_of(framing, framing, st.builds("{}:{}".format, tokens, values)), max_size=6)


@given(
    code=st.sampled_from([200, 202, 204, 301, 304, 400, 404, 429, 500, 503]),
    reason=st.sampled_from([" OK", " ", "", " Too Many  Requests"]),
    lines=lines,
    body=st.sampled_from([b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n"]),
)
def test_whatever_is_read_is_what_aiohttp_reads(code: int, reason: str, lines: list[str], body: bytes) -> None:
    head = "".join(f"{line}\r\n" for line in [f"HTTP/1.1 {code}{reason}", *lines])
    data = head.encode() + b"\r\n" + body
    answer = plain.read(data)
    if answer is not None:
        status, headers, whole = answer
        all_headers = [(name.lower(), value) for name, value in headers._all().items()]
        assert (status, all_headers, whole, True) == read_by_aiohttp(data)
