"""Conversations and messages, as the documentation has them."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.sandbox.driver import Driver
from gateway.sandbox.v3 import replies

Create = Callable[..., Awaitable[str]]

OTHER_BOT = "306066b7-e47a-405b-8726-ccec362858ac"


async def test_a_conversation_is_created_with_its_history(api: httpx.AsyncClient, bot_id: str) -> None:
    history = [
        {"text": "Hola", "from_bot": False, "sent_at": 1640995200},
        {"text": "Hi! How are you?", "from_bot": True, "sent_at": 1640995205.5, "attached_media": None},
    ]
    answer = await api.post(
        "/api/conversations",
        json={"bot_id": bot_id, "user_id": "max", "create_user_if_not_exists": True, "with_messages": history},
    )
    assert answer.status_code == 200
    conversation = answer.json()["conversation"]
    assert str(uuid.UUID(conversation["id"])) == conversation["id"]
    assert (conversation["bot_id"], conversation["user_id"]) == (bot_id, "max")
    stored = conversation["messages"]
    assert [(m["text"], m["from_bot"], m["sent_at"]) for m in stored] == [
        ("Hola", False, 1640995200),
        ("Hi! How are you?", True, 1640995205.5),
    ]
    assert len({uuid.UUID(m["id"]) for m in stored}) == 2


async def test_with_messages_triggers_no_reply(create: Create, sandbox: Driver) -> None:
    conversation_id = await create(with_messages=[{"text": "Hola", "from_bot": False}])
    await sandbox.idle()
    (conversation,) = await sandbox.conversations()
    assert conversation["id"] == conversation_id
    assert [message["text"] for message in conversation["messages"]] == ["Hola"]
    assert conversation["unanswered"] == 0


async def test_a_second_creation_gives_the_first_back_unchanged(create: Create, api: httpx.AsyncClient) -> None:
    first = await create(webhook="https://a.example/1", platform="one")
    again = await create(webhook="https://a.example/2", with_messages=[{"text": "x", "from_bot": True}])
    assert again == first
    detail = (await api.get(f"/api/conversations/{first}")).json()
    assert (detail["webhook"], detail["platform"], detail["messages"]) == ("https://a.example/1", "one", [])


async def test_another_user_or_bot_has_another_conversation(create: Create) -> None:
    ids = {await create(), await create("eva"), await create(bot_id=OTHER_BOT)}
    assert len(ids) == 3


async def test_the_id_of_a_bot_is_one_however_it_is_written(create: Create, bot_id: str) -> None:
    assert await create() == await create(bot_id=bot_id.upper())


@pytest.mark.parametrize("flag", [{}, {"create_user_if_not_exists": False}, {"create_user_if_not_exists": None}])
async def test_an_unknown_user_is_not_created_unasked(
    api: httpx.AsyncClient, bot_id: str, flag: dict[str, Any]
) -> None:
    answer = await api.post("/api/conversations", json={"bot_id": bot_id, "user_id": "max"} | flag)
    assert answer.status_code == 404
    assert "user" in answer.json()["message"]
    await api.post("/api/users", json={"id": "max"})
    answer = await api.post("/api/conversations", json={"bot_id": bot_id, "user_id": "max"} | flag)
    assert answer.status_code == 200


async def test_a_conversation_shows_its_settings(create: Create, api: httpx.AsyncClient, bot_id: str) -> None:
    settings = {"webhook": "https://a.example/hook?token=a%2Fb", "platform": "web", "freeform": "Be brief."}
    conversation_id = await create(segment=False, **settings)
    detail = (await api.get(f"/api/conversations/{conversation_id}")).json()
    assert detail == settings | {
        "bot_id": bot_id,
        "user_id": "max",
        "messages": [],
        "segment": False,
        "latest_summary": None,
    }


async def test_a_patch_changes_what_it_names_and_null_clears(create: Create, api: httpx.AsyncClient) -> None:
    conversation_id = await create(webhook="https://a.example/1", platform="one", freeform="Be brief.")
    patch = {"webhook": "https://a.example/2", "platform": None, "segment": True}
    answer = await api.patch(f"/api/conversations/{conversation_id}", json=patch)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    detail = (await api.get(f"/api/conversations/{conversation_id}")).json()
    assert {name: detail[name] for name in patch} == patch
    assert detail["freeform"] == "Be brief."


async def test_a_message_is_taken_with_202_and_no_body(create: Create, api: httpx.AsyncClient) -> None:
    conversation_id = await create()
    message = {
        "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "text": "¿Qué tal? 👩‍🚀",
        "from_bot": True,
        "sent_at": 1640995205,
        "attached_media": {"url": "https://a.example/1.png"},
    }
    answer = await api.post(f"/api/conversations/{conversation_id}/messages", json={"message": message})
    assert (answer.status_code, answer.content) == (202, b"")
    (stored,) = (await api.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    assert stored == message | {
        "attached_media": {"url": "https://a.example/1.png", "content_id": None},
        "message_tone": None,
        "moderation": None,
    }


async def test_a_message_of_the_bot_only_extends_the_history(
    create: Create, api: httpx.AsyncClient, sandbox: Driver
) -> None:
    conversation_id = await create()
    await api.post(f"/api/conversations/{conversation_id}/messages", json={"message": {"text": "Hi", "from_bot": True}})
    await sandbox.idle()
    (conversation,) = await sandbox.conversations()
    assert [message["text"] for message in conversation["messages"]] == ["Hi"]


async def test_sending_finds_or_creates_the_conversation(api: httpx.AsyncClient, sandbox: Driver, bot_id: str) -> None:
    body = {
        "message": {"text": "Hola", "from_bot": False, "sent_at": 1640995200},
        "conversation_creation_params": {"bot_id": bot_id, "user_id": "max"},
        "create_user_if_not_exists": True,
    }
    first = (await api.post("/api/messages", json=body)).json()
    assert first["created_conversation"] is True
    assert [message["text"] for message in first["conversation"]["messages"]] == ["Hola"]
    await sandbox.idle()
    second = (await api.post("/api/messages", json=body)).json()
    assert second["created_conversation"] is False
    assert second["conversation"]["id"] == first["conversation"]["id"]
    texts = [message["text"] for message in second["conversation"]["messages"]]
    assert texts == ["Hola", *replies.compose(["Hola"], 1), "Hola"]
    assert (await api.post("/api/messages", json=body | {"create_user_if_not_exists": False})).status_code == 200


async def test_sending_for_an_unknown_user_creates_nothing(
    api: httpx.AsyncClient, sandbox: Driver, bot_id: str
) -> None:
    body = {
        "message": {"text": "Hola", "from_bot": False},
        "conversation_creation_params": {"bot_id": bot_id, "user_id": "max"},
    }
    answer = await api.post("/api/messages", json=body)
    assert answer.status_code == 404
    assert await sandbox.conversations() == []


async def test_the_list_filters_by_everything_that_is_documented(
    create: Create, api: httpx.AsyncClient, bot_id: str
) -> None:
    def at(moment: int, *texts: str) -> list[dict[str, Any]]:
        return [{"text": text, "from_bot": True, "sent_at": moment} for text in texts]

    old = await create("max", with_messages=at(1_600_000_000, "Tea or coffee?", "I like TEA", "Bye"))
    new = await create("eva", with_messages=at(1_700_000_000, "Hello"))
    empty = await create("max", bot_id=OTHER_BOT)

    async def listed(**query: str | int) -> list[str]:
        answer = await api.get("/api/conversations", params=query)
        assert answer.status_code == 200, answer.text
        return [header["id"] for header in answer.json()["conversations"]]

    assert await listed() == [new, old, empty]
    assert await listed(bot_id=bot_id) == [new, old]
    assert await listed(user_id="max") == [old, empty]
    assert await listed(bot_id=bot_id, user_id="max") == [old]
    assert await listed(conversation_id=new) == [new]
    assert await listed(min_messages=1) == [new, old]
    assert await listed(max_messages=1) == [new, empty]
    assert await listed(message_content="tea") == [old]
    assert await listed(min_last_message_date=1_650_000_000) == [new]
    assert await listed(min_last_message_date="2022-01-01T00:00:00Z") == [new]
    assert await listed(max_last_message_date="2022-01-01") == [old]
    assert await listed(user_id="nobody") == []


async def test_a_row_of_the_list_counts_and_shows_the_last_and_the_found_message(
    create: Create, api: httpx.AsyncClient, bot_id: str
) -> None:
    texts = ["Tea?", "More tea?", "Bye"]
    conversation_id = await create(with_messages=[{"text": text, "from_bot": True} for text in texts])
    (row,) = (await api.get("/api/conversations", params={"message_content": "TEA"})).json()["conversations"]
    assert (row["id"], row["bot_id"], row["user_id"]) == (conversation_id, bot_id, "max")
    assert row["message_count"] == 3
    assert row["last_message"]["text"] == "Bye"
    assert row["searched_message"]["text"] == "More tea?"
    (row,) = (await api.get("/api/conversations")).json()["conversations"]
    assert row["searched_message"] is None


async def test_memories_come_from_the_transcript(create: Create, api: httpx.AsyncClient) -> None:
    lines = [{"text": "I like tea", "from_bot": False}, {"text": "My cat sleeps", "from_bot": True}]
    conversation_id = await create(with_messages=lines)
    answer = await api.get(f"/api/conversations/{conversation_id}/memories")
    assert answer.json() == {"bot_memories": [{"text": "My cat sleeps"}], "user_memories": [{"text": "I like tea"}]}


async def test_generated_responses_are_not_added(create: Create, api: httpx.AsyncClient) -> None:
    conversation_id = await create(with_messages=[{"text": "Hola", "from_bot": False}])
    answer = await api.post(f"/api/conversations/{conversation_id}/generate-response", json={"batch_size": 2})
    assert answer.status_code == 200
    candidates = [[message["text"] for message in c["messages"]] for c in answer.json()["candidates"]]
    assert candidates == [list(replies.compose(["Hola"], 1)), list(replies.compose(["Hola"], 2))]
    assert len((await api.get(f"/api/conversations/{conversation_id}")).json()["messages"]) == 1
    answer = await api.post(f"/api/conversations/{conversation_id}/generate-response", json={})
    assert len(answer.json()["candidates"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/messages"),
        ("GET", "/memories"),
        ("POST", "/generate-response"),
    ],
)
@pytest.mark.parametrize("conversation_id", ["0f8fad5b-d9cb-469f-a165-70867728950e", "no-uuid"])
async def test_an_unknown_conversation_is_404(
    api: httpx.AsyncClient, method: str, path: str, conversation_id: str
) -> None:
    answer = await api.request(method, f"/api/conversations/{conversation_id}{path}", json={})
    assert answer.status_code == 404
    assert answer.json()["message"]


async def test_a_deleted_conversation_is_gone_and_can_be_created_anew(
    create: Create, api: httpx.AsyncClient, sandbox: Driver
) -> None:
    first = await create()
    await sandbox.delete(first)
    assert (await api.get(f"/api/conversations/{first}")).status_code == 404
    assert (await api.get("/api/conversations")).json() == {"conversations": []}
    assert await create() != first
