"""The control surface: records, resets, and questions that make no sense."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.sandbox import calls
from gateway.sandbox.driver import Driver
from gateway.sandbox.v3.callbacks import CallbackFault

Create = Callable[..., Awaitable[str]]


async def test_a_call_is_recorded_with_all_but_its_key(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await api.post("/api/users?x=%2F", json={"id": "max"}, headers={"X-Trace": "7"})
    await api.get("/api/users/eva")
    created, missing = await sandbox.calls(2)
    assert (created["method"], created["path"], created["query"]) == ("POST", "/api/users", "x=%2F")
    assert (created["json"], created["status"], missing["status"]) == ({"id": "max"}, 200, 404)
    assert created["account"] == missing["account"] == calls.account_name("key-one")
    assert ["x-trace", "7"] in created["headers"]
    assert "key-one" not in str(created)


async def test_calls_are_found_by_method_and_path(api: httpx.AsyncClient, sandbox: Driver) -> None:
    await api.post("/api/users", json={"id": "max"})
    await api.get("/api/users/max")
    await api.get("/api/bots")
    assert [call["path"] for call in await sandbox.calls(method="GET")] == ["/api/users/max", "/api/bots"]
    assert [call["method"] for call in await sandbox.calls(path="/api/users*")] == ["POST", "GET"]
    first, *_ = await sandbox.calls(3)
    assert len(await sandbox.calls(since=first["n"])) == 2


async def test_a_wait_for_calls_ends_with_the_call(api: httpx.AsyncClient, sandbox: Driver) -> None:
    wait = asyncio.create_task(sandbox.calls(1, path="/api/bots", seconds=30))
    await api.get("/api/users")
    assert not wait.done()
    await api.get("/api/bots")
    (call,) = await wait
    assert call["finished"]


async def test_pages_and_control_are_no_calls_of_the_api(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await http.get("/")
    await http.post("/inbox/api/")
    assert await sandbox.calls() == []


async def test_a_reset_forgets_everything_and_silences_the_bots(
    api: httpx.AsyncClient, create: Create, sandbox: Driver, http: httpx.AsyncClient, base_url: str
) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox")
    await api.patch("/api/config", json={"min_delay": 3600})
    message = {"message": {"text": "Hola", "from_bot": False}}
    await api.post(f"/api/conversations/{conversation_id}/messages", json=message)
    await http.post("/inbox/a")
    await sandbox.reset()
    await sandbox.idle(0)
    assert await sandbox.conversations() == []
    assert await sandbox.calls() == []
    assert await sandbox.deliveries() == []
    assert (await api.get("/api/config")).json()["config"]["min_delay"] is None


async def test_a_wait_for_silence_tells_when_it_does_not_come(
    api: httpx.AsyncClient, create: Create, sandbox: Driver
) -> None:
    await api.patch("/api/config", json={"min_delay": 3600})
    conversation_id = await create()
    message = {"message": {"text": "Hola", "from_bot": False}}
    await api.post(f"/api/conversations/{conversation_id}/messages", json=message)
    with pytest.raises(TimeoutError):
        await sandbox.idle(0)


async def test_one_conversation_is_shown_in_full(
    create: Create, http: httpx.AsyncClient, sandbox: Driver, bot_id: str
) -> None:
    conversation_id = await create(platform="web", with_messages=[{"text": "Hi", "from_bot": True}])
    shown = (await http.get(f"/sandbox/conversations/{conversation_id}")).json()
    assert shown["account"] == calls.account_name("key-one")
    assert (shown["bot_id"], shown["user_id"], shown["platform"]) == (bot_id, "max", "web")
    assert [message["text"] for message in shown["messages"]] == ["Hi"]
    assert (shown["speaking"], shown["unanswered"]) == (False, 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/sandbox/faults", {}, 422),
        ("PUT", "/sandbox/callback-faults", {"rules": [{"kind": "explode"}]}, 422),
        ("POST", "/sandbox/replies", {"segments": []}, 422),
        ("POST", "/sandbox/replies", {"segments": [{"txt": "x"}]}, 422),
        ("GET", "/sandbox/calls?status=200", None, 422),
        ("GET", "/sandbox/calls/wait?timeout=61", None, 422),
        ("GET", "/sandbox/conversations/none", None, 404),
        ("DELETE", "/sandbox/conversations/none", None, 404),
        ("POST", "/sandbox/conversations/none/bot-message", {"segments": ["x"]}, 404),
        ("GET", "/sandbox/nothing", None, 404),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()["message"]


async def test_faults_of_callbacks_are_shown_and_taken_away(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    shown = {"rules": [{"skip": 0, "times": None, "kind": "lost", "conversation_id": None, "used": 0}]}
    assert (await http.get("/sandbox/callback-faults")).json() == shown
    assert (await http.delete("/sandbox/callback-faults")).json() == {"rules": []}


async def test_the_driver_says_what_was_refused(sandbox: Driver) -> None:
    with pytest.raises(RuntimeError, match="404"):
        await sandbox.delete("none")
