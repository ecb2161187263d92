"""What a route past ASGI makes of whatever its endpoint does."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from gateway import direct, errors, metrics, server
from gateway.exchange import Answer, Exchange
from tests.flows import raw_http
from tests.flows.raw_http import post

PATH = "/served-directly"


@contextlib.asynccontextmanager
async def served(endpoint: direct.Endpoint) -> AsyncIterator[str]:
    """Serve one route past ASGI and give the server's URL."""
    tasks: set[asyncio.Task[object]] = set()
    routes = {(b"POST", PATH.encode()): direct.Route("POST", PATH, endpoint, tasks).serve}

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, object]]:
        yield {direct.STATE_KEY: routes}

    async with server.running(Starlette(lifespan=lifespan)) as url:
        yield url
    assert not tasks


def counted(status: int) -> float:
    labels = {"http_request_method": "POST", "http_route": PATH, "http_response_status_code": str(status)}
    return metrics.REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0


async def test_an_answer_goes_out_with_its_headers_and_is_counted() -> None:
    async def endpoint(_exchange: Exchange, request_id: str) -> Answer:
        return Answer(b'"%b"' % request_id.encode(), 202, {"X-Some": "thing"})

    before = counted(202)
    async with served(endpoint) as url:
        answer = await raw_http.ask(url, post(b"{}", target=PATH))
    assert (answer.status, answer.headers["x-some"], answer.json) == (202, "thing", answer.headers["x-request-id"])
    assert counted(202) == before + 1
    assert metrics.REGISTRY.get_sample_value("http_server_active_requests") == 0


async def test_an_error_of_ours_is_its_answer() -> None:
    async def endpoint(_exchange: Exchange, _request_id: str) -> Answer:
        raise errors.Overloaded("too much", retry_after_seconds=7)

    async with served(endpoint) as url:
        answer = await raw_http.ask(url, post(b"{}", target=PATH))
    assert (answer.status, answer.headers["retry-after"], answer.json["error"]) == (503, "7", "overloaded")


async def test_a_defect_is_a_500_that_says_nothing_of_it_and_the_connection_goes_on() -> None:
    async def endpoint(_exchange: Exchange, _request_id: str) -> Answer:
        raise LookupError("s3cret")

    async with served(endpoint) as url, raw_http.connect(url) as connection:
        for _ in range(2):
            await connection.send(post(b"{}", target=PATH))
            answer = await connection.answer()
            assert (answer.status, answer.json["message"]) == (500, "the gateway failed")


async def test_an_answer_that_cannot_be_written_ends_the_connection() -> None:
    async def endpoint(_exchange: Exchange, _request_id: str) -> Answer:
        return Answer(b"{}", headers={"X-Some": "two\r\nlines: here"})

    async with served(endpoint) as url, raw_http.connect(url) as connection:
        await connection.send(post(b"{}", target=PATH))
        assert await connection.rest() == b""


async def test_an_endpoint_hears_of_a_client_that_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endpoint(exchange: Exchange, _request_id: str) -> Answer:
        begun.set()
        assert exchange.take_body() is None
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
        ended.set()
        return Answer(b"{}")

    async with served(endpoint) as url:
        async with raw_http.connect(url) as connection:
            await connection.send(raw_http.head(PATH, "Content-Length: 5"), "{")
            async with asyncio.timeout(raw_http.SECONDS):
                await begun.wait()
        async with asyncio.timeout(raw_http.SECONDS):
            await ended.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("target", "is_found"),
    [
        ("/calls/a-token_1.~", True),
        ("/calls/", False),
        ("/calls", False),
        ("/calls/a/b", False),
        ("/calls/a?b", False),
        ("/calls/a%41", False),
        ("/calls/a;b", False),
        ("/calls/caf\xe9", False),
        ("http://host/calls/a", False),
    ],
)
def test_a_route_with_an_open_end_takes_one_plain_segment(target: str, is_found: bool) -> None:
    async def serve(_exchange: Exchange) -> None: ...

    found = direct.find({(b"POST", b"/calls/"): serve}, b"POST", target.encode("latin-1"))
    assert found is (serve if is_found else None)
    assert direct.find({(b"POST", b"/calls/"): serve}, b"GET", target.encode("latin-1")) is None
