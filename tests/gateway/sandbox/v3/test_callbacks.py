"""Callbacks that fail, and callbacks that are made to go wrong."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault

Create = Callable[..., Awaitable[str]]


def texts(deliveries: list[dict[str, Any]]) -> list[str]:
    return [delivery["json"]["message"]["text"] for delivery in deliveries]


@pytest.fixture
async def conversation_id(create: Create, base_url: str) -> str:
    return await create(webhook=f"{base_url}/inbox")


async def post(api: httpx.AsyncClient, conversation_id: str, text: str = "Hola") -> httpx.Response:
    message = {"text": text, "from_bot": False}
    return await api.post(f"/api/conversations/{conversation_id}/messages", json={"message": message})


async def test_a_callback_is_tried_again_after_a_server_error(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one")
    await sandbox.arm(RequestFault(path="/inbox*", when="after", status=503, times=2))
    await post(api, conversation_id)
    deliveries = await sandbox.deliveries(3)
    assert [delivery["answered"] for delivery in deliveries] == [
        "503 json after effect",
        "503 json after effect",
        "200",
    ]
    assert len({delivery["body"] for delivery in deliveries}) == 1
    (callback,) = await sandbox.callbacks(1)
    assert callback["state"] == "delivered"
    assert [attempt["status"] for attempt in callback["attempts"]] == [503, 503, 200]


async def test_a_callback_is_given_up_after_some_attempts_and_the_bot_goes_on(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one", "two")
    await sandbox.arm(RequestFault(path="/inbox*", status=500, times=3))
    await post(api, conversation_id)
    assert texts(await sandbox.deliveries(1)) == ["two"]
    given_up, delivered = await sandbox.callbacks(2)
    assert (given_up["state"], len(given_up["attempts"])) == ("given_up", 3)
    assert (delivered["state"], len(delivered["attempts"])) == ("delivered", 1)


@pytest.mark.parametrize("status", [301, 400, 404, 410])
async def test_an_answer_that_is_no_server_error_is_final_and_no_redirect_is_followed(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver, base_url: str, status: int
) -> None:
    await sandbox.script("one")
    away = {"Location": f"{base_url}/inbox/elsewhere"}
    await sandbox.arm(RequestFault(path="/inbox*", status=status, headers=away, times=None))
    await post(api, conversation_id)
    (callback,) = await sandbox.callbacks(1)
    assert callback["state"] == "given_up"
    assert [attempt["status"] for attempt in callback["attempts"]] == [status]
    assert await sandbox.deliveries() == []


async def test_a_receiver_that_cannot_be_reached_is_recorded(
    api: httpx.AsyncClient, create: Create, sandbox: Driver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await sandbox.script("one")
    await post(api, await create(webhook=f"http://127.0.0.1:{port}/"))
    (callback,) = await sandbox.callbacks(1)
    assert callback["state"] == "given_up"
    assert [(attempt["status"], attempt["error"]) for attempt in callback["attempts"]] == [
        (None, "ClientConnectorError")
    ] * 3


async def test_a_lost_callback_is_never_sent_but_stays_in_the_transcript(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one", "two")
    await sandbox.arm_callbacks(CallbackFault(kind="lost"))
    await post(api, conversation_id)
    assert [callback["state"] for callback in await sandbox.callbacks(2)] == ["lost", "delivered"]
    assert texts(await sandbox.deliveries()) == ["two"]
    (conversation,) = await sandbox.conversations()
    assert [message["text"] for message in conversation["messages"]] == ["Hola", "one", "two"]


async def test_a_duplicate_callback_carries_the_same_message(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one", "two")
    await sandbox.arm_callbacks(CallbackFault(kind="duplicate", skip=1))
    await post(api, conversation_id)
    deliveries = await sandbox.deliveries(3)
    assert texts(deliveries) == ["one", "two", "two"]
    assert deliveries[1]["body"] == deliveries[2]["body"]


async def test_reordered_callbacks_keep_the_times_at_which_they_were_spoken(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one", "two", "three")
    await sandbox.arm_callbacks(CallbackFault(kind="reorder"))
    await post(api, conversation_id)
    deliveries = await sandbox.deliveries(3)
    assert texts(deliveries) == ["two", "one", "three"]
    by_time = sorted(deliveries, key=lambda delivery: delivery["json"]["message"]["sent_at"])
    assert texts(by_time) == ["one", "two", "three"]


async def test_a_callback_can_outrun_the_answer_to_its_message(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one")
    await sandbox.arm_callbacks(CallbackFault(kind="before_ack"))
    answer = await post(api, conversation_id)
    assert texts(await sandbox.deliveries()) == ["one"]
    assert (answer.status_code, answer.content) == (202, b"")


async def test_a_minimal_callback_has_only_what_is_always_there(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one")
    await sandbox.arm_callbacks(CallbackFault(kind="minimal"))
    await post(api, conversation_id)
    (delivery,) = await sandbox.deliveries(1)
    assert delivery["json"] == {"conversation_id": conversation_id, "message": {"text": "one", "from_bot": True}}


async def test_a_fault_can_be_meant_for_one_conversation(
    api: httpx.AsyncClient, create: Create, sandbox: Driver, base_url: str
) -> None:
    spared, struck = [await create(user, webhook=f"{base_url}/inbox/{user}") for user in ("max", "eva")]
    await sandbox.arm_callbacks(CallbackFault(kind="lost", conversation_id=struck, times=None))
    for conversation_id in (spared, struck):
        await post(api, conversation_id)
    await sandbox.idle()
    assert len(await sandbox.deliveries(path="/max")) == 2
    assert await sandbox.deliveries(path="/eva") == []
    assert {c["state"] for c in await sandbox.callbacks(conversation_id=struck)} == {"lost"}


async def test_a_deleted_conversation_falls_silent(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await api.patch("/api/config", json={"min_delay": 3600})
    await post(api, conversation_id)
    await sandbox.delete(conversation_id)
    await sandbox.idle()
    assert await sandbox.callbacks() == []


async def test_every_callback_of_one_conversation_waits_for_the_one_before(
    api: httpx.AsyncClient, conversation_id: str, sandbox: Driver
) -> None:
    await sandbox.script("one")
    await sandbox.arm(RequestFault(path="/inbox*", status=500, times=2))
    await post(api, conversation_id)
    await sandbox.bot_says(conversation_id, "two")
    await sandbox.bot_says(conversation_id, "three")
    delivered = texts(await sandbox.deliveries(3))
    told = [callback["json"]["message"]["text"] for callback in await sandbox.callbacks(3)]
    assert delivered == told
