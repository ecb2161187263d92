"""What is served past ASGI is read and answered as the framework would."""

import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette import datastructures
from uvicorn.protocols.http.flow_control import FlowControl

from gateway import exchange
from gateway.exchange import Answer, Headers

NAMES = st.sampled_from([b"prefer", b"content-type", b"x-a"])


@given(st.lists(st.tuples(NAMES, st.binary())), NAMES)
def test_headers_are_read_as_the_frameworks_are(raw: list[tuple[bytes, bytes]], sought: bytes) -> None:
    ours, theirs, name = Headers(raw), datastructures.Headers(raw=raw), sought.decode()
    assert ours.getlist(name) == theirs.getlist(name)
    assert ours.get(name) == theirs.get(name)
    assert ours.get(name, "nothing") == theirs.get(name, "nothing")


def test_an_answer_can_be_read() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(exchange.encode(Answer(b"{}", 429, {"Retry-After": "1"}), "r-1"))
    head, body = client.next_event(), client.next_event()
    assert isinstance(head, h11.Response)
    assert isinstance(body, h11.Data)
    assert (head.status_code, head.reason, bytes(body.data)) == (429, b"Too Many Requests", b"{}")
    assert list(head.headers) == [
        (b"retry-after", b"1"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json"),
        (b"x-request-id", b"r-1"),
        (b"connection", b"close"),
    ]


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\n", "\0", "\x7f"])
def test_a_value_that_would_be_more_than_a_header_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match="Retry-After"):
        exchange.encode(Answer(b"{}", headers={"Retry-After": value}), "r-1")


@given(st.lists(st.binary(min_size=1, max_size=10)))
async def test_a_body_is_read_as_it_came_and_given_once(pieces: list[bytes]) -> None:
    one = exchange.Exchange(
        serve=lambda _exchange: asyncio.sleep(0),
        headers=Headers([]),
        transport=asyncio.Transport(),
        flow=FlowControl(asyncio.Transport()),
        default_headers=(),
        message_event=asyncio.Event(),
        keep_alive=True,
        on_response=lambda: None,
    )
    for piece in pieces:
        one.feed(piece)
        assert one.take_body() is None
    one.more_body = False
    assert one.take_body() == b"".join(pieces)
    assert one.take_body() == b""
