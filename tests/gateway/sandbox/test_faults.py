"""Requests that are answered wrongly, late or not at all."""

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault

USER = {"id": "max"}


async def users(api: httpx.AsyncClient) -> int:
    total: int = (await api.get("/api/users")).json()["total_count"]
    return total


async def test_a_fault_before_the_effect_leaves_no_trace(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(path="/api/users", method="POST", status=503, headers={"Retry-After": "2"}))
    answer = await api.post("/api/users", json=USER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["message"]
    assert await users(api) == 0


async def test_a_fault_after_the_effect_spoils_only_the_answer(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(path="/api/users", method="POST", when="after", status=500))
    assert (await api.post("/api/users", json=USER)).status_code == 500
    assert await users(api) == 1


async def test_a_fault_strikes_as_often_as_it_says_and_after_what_it_skips(
    api: httpx.AsyncClient, sandbox: Driver, http: httpx.AsyncClient
) -> None:
    await sandbox.arm(RequestFault(skip=1, times=2))
    statuses = [(await api.get("/api/users")).status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]
    (rule,) = (await http.get("/sandbox/faults")).json()["rules"]
    assert rule["used"] == 2
    await http.delete("/sandbox/faults")
    assert (await http.get("/sandbox/faults")).json() == {"rules": []}


async def test_a_fault_without_a_number_strikes_until_it_is_taken_away(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(times=None, status=502))
    assert {(await api.get("/api/users")).status_code for _ in range(20)} == {502}
    await sandbox.arm()
    assert (await api.get("/api/users")).status_code == 200


async def test_a_fault_strikes_only_its_method_and_path(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(method="POST", path="/api/conversations/*/messages", times=None))
    assert (await api.get("/api/users")).status_code == 200
    assert (await api.post("/api/conversations/x/messages")).status_code == 500
    assert (await api.post("/api/conversations")).status_code == 422


async def test_faults_that_match_alike_strike_one_after_the_other(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(status=500), RequestFault(status=502))
    assert [(await api.get("/api/users")).status_code for _ in range(3)] == [500, 502, 200]


@pytest.mark.parametrize(
    ("fault", "media_type"),
    [
        (RequestFault(status=502, body="html"), "text/html"),
        (RequestFault(status=200, body="html"), "text/html"),
        (RequestFault(status=500, body="empty"), "application/json"),
        (RequestFault(status=200, body="empty"), "application/json"),
    ],
)
async def test_a_fault_can_have_a_body_that_is_no_json(
    api: httpx.AsyncClient, sandbox: Driver, fault: RequestFault, media_type: str
) -> None:
    await sandbox.arm(fault)
    answer = await api.get("/api/users")
    assert answer.status_code == fault.status
    assert answer.headers["content-type"] == media_type
    assert (answer.content == b"") is (fault.body == "empty")


async def test_an_answer_can_be_cut_off_in_the_middle(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(when="after", status=200, body="truncated"))
    async with api.stream("POST", "/api/users", json=USER) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await answer.aread()
    assert await users(api) == 1


async def test_an_answer_can_be_huge(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(status=200, body="huge", size=200_001))
    assert (await api.get("/api/users")).content == b"x" * 200_001


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
async def test_a_connection_can_be_dropped_without_a_byte(
    api: httpx.AsyncClient, sandbox: Driver, when: Any, created: int
) -> None:
    await sandbox.arm(RequestFault(method="POST", when=when, action="drop"))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await api.post("/api/users", json=USER)
    assert await users(api) == created
    (call,) = await sandbox.calls(1, method="POST")
    assert call["status"] is None
    assert call["fault"] == f"drop {when} effect"
    assert call["json"] == USER


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
async def test_a_call_that_hangs_is_silent(api: httpx.AsyncClient, sandbox: Driver, when: Any, created: int) -> None:
    await sandbox.arm(RequestFault(method="POST", action="hang", when=when, seconds=3600))
    silent = asyncio.create_task(api.post("/api/users", json=USER))
    (call,) = await sandbox.calls(1, method="POST", finished=False)
    assert (call["finished"], call["status"]) == (False, None)
    assert await users(api) == created
    assert not silent.done()
    silent.cancel()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_hang_ends_in_the_normal_answer(api: httpx.AsyncClient, sandbox: Driver, when: Any) -> None:
    await sandbox.arm(RequestFault(method="POST", action="hang", when=when, seconds=0.01))
    answer = await api.post("/api/users", json=USER)
    assert (answer.status_code, answer.json()["user"]["id"]) == (200, "max")
    assert await users(api) == 1


async def test_only_the_api_and_deliveries_suffer_faults(
    api: httpx.AsyncClient, sandbox: Driver, http: httpx.AsyncClient
) -> None:
    await sandbox.arm(RequestFault(path="*", times=None))
    for path in ("/", "/livez", "/inbox", "/inbox.json", "/conversations", "/calls", "/sandbox/faults"):
        assert (await http.get(path)).status_code == 200
    assert (await http.delete("/inbox")).status_code == 204
    assert (await http.post("/inbox")).status_code == 500
    assert (await http.put("/inbox/a")).status_code == 500
    assert (await api.get("/api/users")).status_code == 500


@pytest.mark.parametrize(
    "rule",
    [
        {"status": 99},
        {"status": 600},
        {"times": 0},
        {"skip": -1},
        {"action": "explode"},
        {"seconds": -1},
        {"headers": {"Bad Name": "x"}},
        {"headers": {"X-Bad": "a\r\nb"}},
        {"unknown": 1},
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(http: httpx.AsyncClient, rule: dict[str, Any]) -> None:
    assert (await http.put("/sandbox/faults", json={"rules": [rule]})).status_code == 422
    with pytest.raises(ValidationError):
        RequestFault.model_validate(rule)
