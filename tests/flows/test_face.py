"""What a client meets that asks wrongly: a clear answer in V1's shape, and nothing done."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.flows import raw_http
from tests.flows.conftest import World, running_world
from tests.flows.raw_http import head, post


@pytest.fixture(scope="module")
async def world(store_url: str) -> AsyncIterator[World]:
    """Run one gateway for all of these: none of them leaves anything behind."""
    async with running_world(store_url) as running:
        await running.gateway.store.redis.flushall()
        yield running


@pytest.fixture(autouse=True)
async def nothing_happens(world: World) -> AsyncIterator[None]:
    """Hold every test to it: nothing is sent upstream, nothing is stored."""
    yield
    assert await world.sandbox.calls() == []
    assert await world.gateway.store.redis.keys("gw:*") == []


def refused(answer: raw_http.Answer, status: int, code: str, *words: str) -> None:
    """Hold an answer to V1's shape of errors."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"error", "message", "request_id"}
    assert answer.json["error"] == code
    assert answer.headers["x-request-id"] == answer.json["request_id"]
    for word in words:
        assert word in answer.json["message"]


def body(world: World, **changes: Any) -> bytes:
    return json.dumps(world.request(**changes)).encode()


# Routes and methods


@pytest.mark.parametrize(
    "target", ["/", "*", "/v2", "/v2/complete/", "/v2/Complete", "/v2/%63omplete%00", "/v1/complete", "//"]
)
async def test_an_unknown_route_is_a_404(world: World, target: str) -> None:
    refused(await raw_http.ask(world.url, post(b"{}", target=target)), 404, "not_found", "no route")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_another_method_is_a_405_that_names_the_right_one(world: World, method: str) -> None:
    answer = await raw_http.ask(world.url, head(method=method), method=method)
    refused(answer, 405, "method_not_allowed", "use POST")
    assert answer.headers["allow"] == "POST"


async def test_head_is_refused_without_a_body_and_the_connection_goes_on(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head(method="HEAD"))
        refusal = await connection.answer("HEAD")
        assert (refusal.status, refusal.headers["allow"], refusal.body) == (405, "POST", b"")
        await connection.send(head("/livez", method="HEAD"))
        assert (await connection.answer("HEAD")).status == 200
        await connection.send(head("/livez", method="GET"))
        assert (await connection.answer("GET")).json == {"status": "ok"}


@pytest.mark.parametrize("line", ["FOO /v2/complete HTTP/1.1", "PRI * HTTP/2.0", "CONNECT a:1 HTTP/1.1"])
async def test_what_is_no_request_for_a_route_is_a_400(world: World, line: str) -> None:
    refused(await raw_http.ask(world.url, f"{line}\r\nHost: x\r\n\r\n"), 400, "bad_request", "HTTP/1.1")


# Who asks


@pytest.mark.parametrize(
    "header", [[], ["Authorization: Basic Zm9vOmJhcg=="], ["Authorization: Bearer"], ["Authorization: Bearer k\xe9y"]]
)
async def test_no_key_or_a_malformed_one_is_a_401(world: World, header: list[str]) -> None:
    answer = await raw_http.ask(world.url, head("/v2/complete", "Content-Length: 2", *header, key=None), "{}")
    refused(answer, 401, "unauthorized", "Authorization")
    assert answer.headers["www-authenticate"] == "Bearer"


# Types and codings


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ";"]
)
async def test_a_body_of_another_type_is_a_415(world: World, kind: str) -> None:
    sent = head("/v2/complete", f"Content-Type: {kind}", "Content-Length: 2")
    refused(await raw_http.ask(world.url, sent, "{}"), 415, "unsupported_media_type", "send application/json")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_compressed_body_is_a_415_that_names_what_is_taken(world: World, coding: str) -> None:
    answer = await raw_http.ask(world.url, post(gzip.compress(body(world)), f"Content-Encoding: {coding}"))
    refused(answer, 415, "unsupported_media_type", "not compressed")
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.v1+json"])
async def test_json_by_any_of_its_names_is_read(world: World, kind: str) -> None:
    sent = head("/v2/complete", f"Content-Type: {kind}", "Content-Length: 2")
    refused(await raw_http.ask(world.url, sent, "[]"), 400, "bad_request", "one JSON object")


async def test_a_body_of_no_type_is_read_as_json(world: World) -> None:
    refused(
        await raw_http.ask(world.url, head("/v2/complete", "Content-Length: 2"), "{}"), 400, "bad_request", "bot_id"
    )


async def test_a_mark_of_byte_order_is_passed_over(world: World) -> None:
    refused(await raw_http.ask(world.url, post(b"\xef\xbb\xbf[]")), 400, "bad_request", "one JSON object")
    refused(await raw_http.ask(world.url, post(b"\xef\xbb\xbf\xef\xbb\xbf[]")), 400, "bad_request", "not JSON")


# What is in the body

NOT_JSON = {
    "nothing": b"",
    "white space": b" \n",
    "cut off": b'{"bot_id": "b"',
    "two values": b"{}{}",
    "a comma too many": b'{"bot_id": "b",}',
    "single quotes": b"{'bot_id': 'b'}",
    "a comment": b'{"bot_id": "b" /* x */}',
    "not a number": b'{"bot_id": "b", "user_id": "u", "min_delay": NaN}',
    "infinity": b'{"bot_id": "b", "user_id": "u", "max_delay": -Infinity}',
    "infinity in the history": b'{"bot_id": "b", "user_id": "u", "messages": [{"bot": true, "content": [Infinity]}]}',
    "an octal number": b'{"bot_id": "b", "user_id": "u", "min_delay": 010}',
    "a bare line break in a text": b'{"bot_id": "b\n"}',
    "a bare NUL in a text": b'{"bot_id": "b\0"}',
    "a NUL behind it": b'{"bot_id": "b"}\0',
    "an escape that is none": rb'{"bot_id": "\x41"}',
    "invalid UTF-8": b'{"bot_id": "b", "user_id": "\xff"}',
    "overlong UTF-8": b'{"bot_id": "b", "message": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"bot_id": "b", "message": "\xed\xa0\x80"}',
    "Latin-1 in a name": b'{"bot_id": "b", "caf\xe9": 1}',
    "Latin-1 in the history": b'{"bot_id": "b", "user_id": "u", "messages": [{"bot": true, "content": ["\xe9"]}]}',
    "UTF-16": '{"bot_id": "b"}'.encode("utf-16"),
    "UTF-32": '{"bot_id": "b"}'.encode("utf-32"),
    "a lone high surrogate": rb'{"bot_id": "b", "user_id": "u", "message": "\ud83d"}',
    "a lone low surrogate": rb'{"bot_id": "b", "user_id": "u", "message": "\udc00 x"}',
    "surrogates in the wrong order": rb'{"bot_id": "b", "user_id": "u", "message": "\udc00\ud83d"}',
    "a lone surrogate in the history": rb'{"bot_id": "b", "messages": [{"bot": true, "content": "\udfff"}]}',
    "a lone surrogate in a name": rb'{"bot_id": "b", "\ud800": 1}',
    "a lone surrogate in an unknown field": rb'{"bot_id": "b", "user_id": "u", "new": ["\ud800"]}',
    "a lone surrogate in an overwritten field": rb'{"bot_id": "\ud800", "bot_id": "b", "user_id": "u"}',
    "deep lists": b'{"bot_id": "b", "new": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"bot_id": "b", "new": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "deep and never closed": b'{"a":' * 1_000_000,
    "deep history": b'{"bot_id": "b", "user_id": "u", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep in the history": b'{"bot_id": "b", "user_id": "u", "messages": [{"bot": true, "content": "x", "new": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}]}",
}


@pytest.mark.parametrize("sent", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_is_not_json_is_a_400(world: World, sent: bytes) -> None:
    refused(await raw_http.ask(world.url, post(sent)), 400, "bad_request", "not JSON")


WRONG_SHAPE: dict[str, tuple[dict[str, Any], str]] = {
    "a number for an id": ({"bot_id": 1}, "bot_id"),
    "no bot": ({"bot_id": None}, "bot_id"),
    "no user": ({"user_id": None}, "user_id"),
    "a text for a number": ({"min_delay": "30"}, "min_delay"),
    "a flag for a number": ({"max_delay": True}, "max_delay"),
    "a list for a text": ({"message": ["hi"]}, "message"),
    "a text for a flag": ({"segment": "yes"}, "segment"),
    "a list for facts": ({"user_kv_pairs": []}, "user_kv_pairs"),
    "a fact that is no scalar": ({"user_kv_pairs": {"a": {"b": 1}}}, "user_kv_pairs"),
    "an object for the history": ({"messages": {}}, "messages"),
    "a history of texts": ({"messages": ["hi"]}, "messages[0]"),
    "a speaker that is no flag": ({"messages": [{"bot": "yes", "content": []}]}, "messages[0].bot"),
    "a turn without a speaker": ({"messages": [{"content": []}]}, "messages[0]"),
    "a turn of nothing": ({"messages": [{"bot": True, "content": None}]}, "messages[0].content"),
    "a segment that is none": ({"messages": [{"bot": True, "content": [1]}]}, "messages[0].content[0]"),
    "an object for the webhook": ({"webhook": {}}, "webhook"),
}


@pytest.mark.parametrize(("changes", "where"), WRONG_SHAPE.values(), ids=WRONG_SHAPE.keys())
async def test_json_of_another_shape_is_a_400_that_says_where(
    world: World, changes: dict[str, Any], where: str
) -> None:
    refused(await raw_http.ask(world.url, post(body(world, **changes))), 400, "bad_request", where)


OUT_OF_RANGE: dict[str, tuple[dict[str, Any], str]] = {
    "a negative delay": ({"min_delay": -1}, "min_delay"),
    "delays that cross": ({"min_delay": 3, "max_delay": 2}, "min_delay"),
    "a delay of more than a week": ({"max_delay": 604801}, "max_delay"),
    "a delay of 300 digits": ({"max_delay": 10**300}, "max_delay"),
    "an empty bot": ({"bot_id": ""}, "bot_id"),
    "an empty user": ({"user_id": ""}, "user_id"),
    "a user of 513 characters": ({"user_id": "u" * 513}, "user_id"),
    "a history of 100,001 items": ({"messages": [{"bot": True, "content": []}] * 100_001}, "messages"),
    "a webhook that is no URL": ({"webhook": "hook"}, "webhook"),
    "a webhook of another scheme": ({"webhook": "file:///etc/passwd"}, "webhook"),
    "a webhook with a NUL": ({"webhook": "http://127.0.0.1/\0"}, "webhook"),
    "a webhook with a line break": ({"webhook": "http://127.0.0.1/\r\nX: y"}, "webhook"),
    "a webhook at a private address": ({"webhook": "http://10.0.0.1/"}, "webhook"),
    "a webhook at the cloud's metadata": ({"webhook": "http://169.254.169.254/"}, "webhook"),
    "a webhook of a megabyte": ({"webhook": "http://127.0.0.1/" + "x" * 2**20}, "webhook"),
}


@pytest.mark.parametrize(("changes", "where"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
async def test_a_value_that_cannot_be_served_is_a_422_that_says_where(
    world: World, changes: dict[str, Any], where: str
) -> None:
    refused(await raw_http.ask(world.url, post(body(world, **changes))), 422, "unprocessable", where)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "9" * 5000])
async def test_a_number_beyond_all_measure_is_refused(world: World, number: str) -> None:
    sent = body(world, min_delay=0).replace(b'"min_delay": 0', f'"min_delay": {number}'.encode())
    answer = await raw_http.ask(world.url, post(sent))
    assert answer.status in {400, 422}
    refused(answer, answer.status, "bad_request" if answer.status == 400 else "unprocessable")


async def test_an_error_shows_nothing_of_the_values(world: World) -> None:
    sent = body(world, min_delay="s3cret", user_kv_pairs={"s3cret-too": ["s3cret"]}, webhook="ftp://s3cret")
    answer = await raw_http.ask(world.url, post(sent))
    refused(answer, 400, "bad_request", "min_delay")
    assert '"s3cret"' not in answer.body.decode()
    assert "input_value" not in answer.body.decode()


# How large


async def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(world: World) -> None:
    answer = await raw_http.ask(world.url, head("/v2/complete", f"Content-Length: {10 * 2**20 + 1}"))
    refused(answer, 413, "payload_too_large", "at most 10485760")


async def test_a_body_that_becomes_too_large_is_refused_on_its_way(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Transfer-Encoding: chunked"))
        await connection.send(*[b"100000\r\n" + b"x" * 2**20 + b"\r\n"] * 11)
        refused(await connection.answer(), 413, "payload_too_large", "more than")


@pytest.mark.parametrize(
    "headers",
    [["X-Long: " + "x" * 70_000], [f"X-{number}: y" for number in range(101)], ["x" * 70_000 + ": y"]],
    ids=["a long value", "many", "a long name"],
)
async def test_headers_beyond_all_measure_are_a_431(world: World, headers: list[str]) -> None:
    refused(await raw_http.ask(world.url, head("/livez", *headers)), 431, "headers_too_large", "at most 100 headers")


async def test_a_target_beyond_all_measure_is_a_431(world: World) -> None:
    refused(await raw_http.ask(world.url, head("/" + "x" * 70_000, method="GET")), 431, "headers_too_large")


async def test_a_header_without_an_end_is_not_kept(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/livez", "X-Long: ").rstrip("\r\n"))
        await connection.drip(b"x" * 30_000)
        refused(await connection.answer(), 431, "headers_too_large")


@pytest.mark.parametrize("piece", [b"0\r\nX-Trailer: ", b"1;extension="], ids=["trailers", "extensions of chunks"])
async def test_what_stands_around_a_chunked_body_is_bounded(world: World, piece: bytes) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Transfer-Encoding: chunked"), piece)
        await connection.drip(b"x" * 30_000)
        refused(await connection.answer(), 431, "headers_too_large")


# How it is framed

HOSTS = {"none": [], "two": ["Host: a", "Host: b"], "the same twice": ["Host: a", "Host: a"]}


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS.keys())
async def test_a_request_names_one_host(world: World, hosts: list[str]) -> None:
    lines = "\r\n".join(["GET /livez HTTP/1.1", *hosts, "", ""])
    refused(await raw_http.ask(world.url, lines, method="GET"), 400, "bad_request", "Host")


async def test_a_request_of_http_1_0_needs_no_host(world: World) -> None:
    assert (await raw_http.ask(world.url, "GET /livez HTTP/1.0\r\n\r\n", method="GET")).status == 200


AMBIGUOUS = {
    "two lengths": ["Content-Length: 2", "Content-Length: 3"],
    "two lengths in one": ["Content-Length: 2, 3"],
    "a length with a sign": ["Content-Length: +2"],
    "a negative length": ["Content-Length: -1"],
    "a length that is no number": ["Content-Length: 0x2"],
    "a length of thirty digits": ["Content-Length: " + "9" * 30],
    "a length and chunks": ["Content-Length: 2", "Transfer-Encoding: chunked"],
    "chunks and a length": ["Transfer-Encoding: chunked", "Content-Length: 2"],
    "a coding that is not the last": ["Transfer-Encoding: chunked, gzip"],
    "a coding that is unknown": ["Transfer-Encoding: xchunked"],
    "a space before the colon": ["Content-Length : 2"],
    "a folded header": ["Content-Length: 2\r\n 3"],
    "a NUL in a header": ["X-Any: a\0b"],
    "a bare carriage return": ["X-Any: a\rb"],
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_where_the_body_ends_must_be_clear(world: World, headers: list[str]) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", *headers), "{}")
        refused(await connection.answer(), 400, "bad_request")
        assert await connection.rest() == b""


async def test_http_1_0_has_no_chunks(world: World) -> None:
    sent = "POST /v2/complete HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    refused(await raw_http.ask(world.url, sent), 400, "bad_request", "Transfer-Encoding")


async def test_a_chunk_of_no_size_breaks_the_request_off(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Transfer-Encoding: chunked"), "2\r\n{}\r\nno size\r\n")
        refused(await connection.answer(), 400, "bad_request")
        assert await connection.rest() == b""


async def test_what_comes_behind_an_answer_gets_no_second_one(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/nowhere", "Transfer-Encoding: chunked"))
        refused(await connection.answer(), 404, "not_found")
        await connection.send("no size\r\n")
        assert await connection.rest() == b""


async def test_trailers_are_no_headers(world: World) -> None:
    sent = head("/v2/complete", "Transfer-Encoding: chunked", key=None)
    trailers = "2\r\n{}\r\n0\r\nAuthorization: Bearer client-key-1\r\n\r\n"
    refused(await raw_http.ask(world.url, sent, trailers), 401, "unauthorized")


async def test_who_asks_first_is_told_to_go_on(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Expect: 100-continue", "Content-Length: 2"))
        assert [await connection.line(), await connection.line()] == ["HTTP/1.1 100 Continue", ""]
        await connection.send("[]")
        refused(await connection.answer(), 400, "bad_request", "one JSON object")
        await connection.send(head("/livez", method="GET"))
        assert (await connection.answer("GET")).status == 200


async def test_who_asks_first_and_is_refused_need_not_send_the_body(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Expect: 100-continue", "Content-Length: 2", key=None))
        answer = await connection.answer()
        refused(answer, 401, "unauthorized")
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_offer_of_another_protocol_is_passed_over(world: World, protocol: str) -> None:
    upgrade = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABk"]
    async with raw_http.connect(world.url) as connection:
        await connection.send(post(b"[]", *upgrade))
        refused(await connection.answer(), 400, "bad_request", "one JSON object")
        await connection.send(head("/livez", *upgrade, method="GET"), head("/livez", method="HEAD"))
        assert (await connection.answer("GET")).status == 200
        assert (await connection.answer("HEAD")).status == 200
        await connection.send(head("/v2/complete", *upgrade, "Transfer-Encoding: chunked"), "1\r\n[\r\n")
        await connection.send("1\r\n]\r\n0\r\n\r\n")
        refused(await connection.answer(), 400, "bad_request", "one JSON object")


async def test_a_refusal_leaves_the_connection_for_the_next_request(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/v2/complete", "Content-Length: 5", key=None), "{")
        refused(await connection.answer(), 401, "unauthorized")
        await connection.send("    ", head("/livez", method="GET"))
        assert (await connection.answer("GET")).status == 200


async def test_answers_come_in_the_order_of_their_requests_before_a_later_one_is_refused(world: World) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(head("/livez", method="GET"), post(b"[]"), "no request\r\n\r\n")
        assert (await connection.answer("GET")).status == 200
        assert (await connection.answer()).status == 400
        await connection.rest()


# Ids of requests


async def test_a_client_names_its_request(world: World) -> None:
    answer = await raw_http.ask(world.url, head("/nowhere", "X-Request-Id: mine-1", method="GET"), method="GET")
    assert answer.headers["x-request-id"] == answer.json["request_id"] == "mine-1"


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "caf\xe9"])
async def test_a_name_that_is_none_is_replaced(world: World, given: str) -> None:
    answer = await raw_http.ask(world.url, head("/nowhere", f"X-Request-Id: {given}", method="GET"), method="GET")
    refused(answer, 404, "not_found")
    assert answer.headers["x-request-id"] != given


# Requests that are served past ASGI, and the same ones by way of it

TARGETS = {"directly": "/v2/complete", "by way of ASGI": "/v2/complete?"}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
async def test_an_answer_has_the_same_headers_either_way(world: World, target: str) -> None:
    answer = await raw_http.ask(world.url, post(b"[]", "X-Request-Id: mine-1", target=target))
    refused(answer, 400, "bad_request", "one JSON object")
    assert list(answer.headers) == ["date", "content-length", "content-type", "x-request-id"]
    assert answer.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
async def test_requests_that_come_at_once_are_answered_in_their_order(world: World, target: str) -> None:
    async with raw_http.connect(world.url) as connection:
        names = [f"request-{number}" for number in range(20)]
        sent = [post(b"[]", f"X-Request-Id: {name}", target=target) for name in names]
        await connection.send(b"".join([*sent, head("/livez", method="GET").encode()]))
        assert [(await connection.answer()).headers["x-request-id"] for _ in names] == names
        assert (await connection.answer("GET")).status == 200


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
async def test_a_body_that_comes_in_pieces_is_read_whole(world: World, target: str, framing: str) -> None:
    pieces = (
        [b'["' + b"x" * 7, b"x" * 9 + b'"]'] if framing.startswith("C") else [b"1\r\n[\r\n", b"1\r\n]\r\n0\r\n\r\n"]
    )
    async with raw_http.connect(world.url) as connection:
        await connection.send(head(target, framing))
        for piece in pieces:
            await asyncio.sleep(0.01)  # what is sent at once may come at once
            await connection.send(piece)
        refused(await connection.answer(), 400, "bad_request", "one JSON object")
        await connection.send(head("/livez", method="GET"))
        assert (await connection.answer("GET")).status == 200


@pytest.mark.parametrize("line", ["POST {} HTTP/1.0", "POST {} HTTP/1.1\r\nConnection: close"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
async def test_a_client_that_wants_one_answer_is_hung_up_on_after_it(world: World, target: str, line: str) -> None:
    async with raw_http.connect(world.url) as connection:
        await connection.send(f"{line.format(target)}\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]")
        answer = await connection.answer()
        refused(answer, 401, "unauthorized")
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""
