"""The webhook inbox keeps what it gets."""

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.sandbox import SandboxSettings, serve
from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault


async def test_a_delivery_is_kept_as_it_was_sent(http: httpx.AsyncClient, sandbox: Driver) -> None:
    body = '{"completion": ["¿Qué tal?", "e\u0301"],  "id": null}'.encode()
    url = f"{http.base_url}/inbox/hook%2Fone/?token=a%2Fb%20c&flag&token=2"
    answer = await http.post(url, content=body, headers={"X-Id": "7", "content-type": "application/json"})
    assert answer.status_code == 200
    (delivery,) = await sandbox.deliveries(1)
    assert delivery["method"] == "POST"
    assert delivery["path"] == "/hook%2Fone/"
    assert delivery["query"] == "token=a%2Fb%20c&flag&token=2"
    assert ["x-id", "7"] in delivery["headers"]
    assert delivery["body"].encode() == body
    assert delivery["json"] == {"completion": ["¿Qué tal?", "e\u0301"], "id": None}
    assert delivery["answered"] == "200"
    assert delivery["received_at"].endswith("+00:00")


@pytest.mark.parametrize("path", ["/inbox", "/inbox/"])
async def test_the_inbox_itself_takes_deliveries(http: httpx.AsyncClient, sandbox: Driver, path: str) -> None:
    assert (await http.put(path, content=b"")).status_code == 200
    (delivery,) = await sandbox.deliveries(1)
    assert (delivery["method"], delivery["path"], delivery["body"]) == ("PUT", "/", "")


@pytest.mark.parametrize("body", [b"no json", b"NaN", b'{"a": "\\ud800"}', b"[" * 50_000, b""])
async def test_what_is_no_json_is_kept_as_text(http: httpx.AsyncClient, sandbox: Driver, body: bytes) -> None:
    await http.post("/inbox/a", content=body)
    (delivery,) = await sandbox.deliveries(1)
    assert (delivery["body"], delivery["json"]) == (body.decode(), None)
    assert (await http.get("/inbox")).status_code == 200


async def test_numbers_beyond_range_do_not_break_the_list(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await http.post("/inbox/a", content=b'{"n": 1e999}')
    (delivery,) = await sandbox.deliveries(1)
    assert delivery["body"] == '{"n": 1e999}'


async def test_bytes_that_are_no_text_are_kept_in_base64(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await http.post("/inbox/a", content=b"\xff\x00")
    (delivery,) = await sandbox.deliveries(1)
    assert delivery["body"] is None
    assert base64.b64decode(delivery["body_base64"]) == b"\xff\x00"


async def test_deliveries_are_listed_by_path_and_number(http: httpx.AsyncClient, sandbox: Driver) -> None:
    for path in ("a/1", "b", "a/2"):
        await http.post(f"/inbox/{path}", content=path)
    first, second = await sandbox.deliveries(path="/a/")
    assert [first["body"], second["body"]] == ["a/1", "a/2"]
    assert await sandbox.deliveries(path="/a/", since=first["n"]) == [second]
    listing = (await http.get("/inbox.json")).json()
    assert [delivery["body"] for delivery in listing["deliveries"]] == ["a/1", "b", "a/2"]
    assert listing["last"] == second["n"]


async def test_a_wait_ends_with_the_delivery_that_it_waits_for(http: httpx.AsyncClient, sandbox: Driver) -> None:
    wait = asyncio.create_task(sandbox.deliveries(2, path="/a", seconds=30))
    for path in ("a", "b", "a"):
        assert not wait.done()
        await http.post(f"/inbox/{path}", content=path)
    assert [delivery["body"] for delivery in await wait] == ["a", "a"]


async def test_a_wait_that_runs_out_gives_what_there_is(http: httpx.AsyncClient, sandbox: Driver) -> None:
    answer = await http.get("/inbox/wait", params={"after": 0, "timeout": 0})
    assert answer.json()["deliveries"] == []
    with pytest.raises(TimeoutError, match="0 came instead of 1"):
        await sandbox.deliveries(1, seconds=0)


@pytest.mark.parametrize("query", [{"timeout": "61"}, {"count": "0"}, {"after": "x"}, {"unknown": "1"}])
async def test_a_wrong_wait_is_refused(http: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await http.get("/inbox/wait", params=query)).status_code == 422


async def test_clearing_forgets_but_numbers_go_on(http: httpx.AsyncClient, sandbox: Driver) -> None:
    first = (await http.post("/inbox/a")).json()["received"]
    assert (await http.delete("/inbox")).status_code == 204
    assert await sandbox.deliveries() == []
    assert (await http.post("/inbox/a")).json()["received"] == first + 1


async def test_a_receiver_can_be_made_to_fail_and_still_keeps_the_delivery(
    http: httpx.AsyncClient, sandbox: Driver
) -> None:
    await sandbox.arm(
        RequestFault(path="/inbox/a", when="after", status=500, times=2),
        RequestFault(path="/inbox/a", when="after", status=307, headers={"Location": "/inbox/b"}),
        RequestFault(path="/inbox/a", when="after", action="drop"),
        RequestFault(path="/inbox/a", when="after", status=429, headers={"Retry-After": "3"}),
    )
    statuses: list[int | None] = []
    for _ in range(6):
        try:
            statuses.append((await http.post("/inbox/a", content=b"x")).status_code)
        except httpx.TransportError:
            statuses.append(None)
    assert statuses == [500, 500, 307, None, 429, 200]
    answered = [delivery["answered"] for delivery in await sandbox.deliveries(6)]
    assert answered == [
        "500 json after effect",
        "500 json after effect",
        "307 json after effect",
        "drop after effect",
        "429 json after effect",
        "200",
    ]


@pytest.fixture
async def small_url() -> AsyncIterator[str]:
    async with serve(SandboxSettings(max_delivery_bytes=100, journal_items=2)) as base_url:
        yield base_url


async def test_the_inbox_is_bounded(small_url: str) -> None:
    async with httpx.AsyncClient(base_url=small_url, trust_env=False) as http:
        assert (await http.post("/inbox/a", content=b"x" * 101)).status_code == 413
        for number in range(3):
            await http.post("/inbox/a", content=str(number))
        listing = (await http.get("/inbox.json")).json()
        assert [delivery["body"] for delivery in listing["deliveries"]] == ["1", "2"]
