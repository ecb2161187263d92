"""How the emulated bots answer: segment by segment, to the webhook, open to interruption."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.sandbox import SandboxSettings, serve
from gateway.sandbox.driver import Driver
from gateway.sandbox.v3 import replies
from mappings.wire import v3

Create = Callable[..., Awaitable[str]]
Say = Callable[..., Awaitable[None]]

HOUR = timedelta(hours=1)


@pytest.fixture
def say(api: httpx.AsyncClient) -> Say:
    async def post(conversation_id: str, text: str, **fields: Any) -> None:
        message = {"text": text, "from_bot": False} | fields
        answer = await api.post(f"/api/conversations/{conversation_id}/messages", json={"message": message})
        assert answer.status_code == 202

    return post


def callbacks_of(deliveries: list[dict[str, Any]]) -> list[v3.MessageCreated]:
    return [v3.MessageCreated.model_validate_json(delivery["body"]) for delivery in deliveries]


async def test_a_reply_comes_to_the_webhook_segment_by_segment(
    create: Create, say: Say, sandbox: Driver, base_url: str, bot_id: str
) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox/hook?token=a%2Fb%20c&x=1")
    await say(conversation_id, "Hola 👋", sent_at=1640995200)
    deliveries = await sandbox.deliveries(2)
    assert {(d["path"], d["query"]) for d in deliveries} == {("/hook", "token=a%2Fb%20c&x=1")}
    assert all(["content-type", "application/json"] in d["headers"] for d in deliveries)
    callbacks = callbacks_of(deliveries)
    assert [callback.message.text for callback in callbacks] == list(replies.compose(["Hola 👋"], 1))
    assert [callback.conversation_messages_count for callback in callbacks] == [2, 3]
    assert {callback.conversation_id for callback in callbacks} == {conversation_id}
    assert {(callback.event, callback.bot_id, callback.user_id) for callback in callbacks} == {
        ("message.created", bot_id, "max")
    }
    first, second = (callback.message for callback in callbacks)
    assert first.id != second.id
    assert first.from_bot
    assert isinstance(first.sent_at, int)
    assert isinstance(second.sent_at, int)
    assert second.sent_at > first.sent_at
    assert first.message_tone in replies.TONES
    assert set(deliveries[0]["json"]["message"]) == {
        "id",
        "text",
        "from_bot",
        "sent_at",
        "message_tone",
        "moderation",
        "attached_media",
    }


async def test_what_was_called_back_is_what_the_transcript_has(
    create: Create, say: Say, sandbox: Driver, api: httpx.AsyncClient, base_url: str
) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox")
    await say(conversation_id, "Hola")
    told = [callback.message.id for callback in callbacks_of(await sandbox.deliveries(2))]
    await sandbox.idle()
    messages = (await api.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    assert [message["id"] for message in messages[1:]] == told


async def test_the_same_words_get_the_same_reply(create: Create, say: Say, sandbox: Driver) -> None:
    for user_id in ("max", "eva"):
        await say(await create(user_id), "Hola")
    await sandbox.idle()
    first, second = ([m["text"] for m in c["messages"]] for c in await sandbox.conversations())
    assert first == second == ["Hola", *replies.compose(["Hola"], 1)]


@pytest.mark.parametrize(
    ("account", "conversation", "segments"), [(None, False, 1), (False, None, 1), (False, True, 2), (None, None, 2)]
)
async def test_segments_are_allowed_by_the_conversation_else_by_the_account(
    create: Create,
    say: Say,
    sandbox: Driver,
    api: httpx.AsyncClient,
    account: bool | None,
    conversation: bool | None,
    segments: int,
) -> None:
    await api.patch("/api/config", json={"segment": account})
    await say(await create(segment=conversation), "Hola")
    await sandbox.idle()
    (found,) = await sandbox.conversations()
    assert len(found["messages"]) == 1 + segments


async def test_without_a_webhook_the_account_s_is_called(
    create: Create, say: Say, sandbox: Driver, api: httpx.AsyncClient, base_url: str
) -> None:
    await api.patch("/api/config", json={"webhook": f"{base_url}/inbox/account"})
    await say(await create(), "Hola")
    deliveries = await sandbox.deliveries(2)
    assert {delivery["path"] for delivery in deliveries} == {"/account"}


async def test_without_any_webhook_the_bot_answers_in_the_transcript_only(
    create: Create, say: Say, sandbox: Driver
) -> None:
    await say(await create(), "Hola")
    await sandbox.idle()
    (conversation,) = await sandbox.conversations()
    assert len(conversation["messages"]) == 3
    assert await sandbox.callbacks() == []


async def test_a_webhook_that_was_patched_is_called(
    create: Create, say: Say, sandbox: Driver, api: httpx.AsyncClient, base_url: str
) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox/old")
    await api.patch(f"/api/conversations/{conversation_id}", json={"webhook": f"{base_url}/inbox/new"})
    await say(conversation_id, "Hola")
    await sandbox.deliveries(2, path="/new")
    assert await sandbox.deliveries(path="/old") == []


async def test_a_picture_comes_with_the_last_segment_and_can_be_fetched(
    create: Create, say: Say, sandbox: Driver, http: httpx.AsyncClient, base_url: str
) -> None:
    await say(await create(webhook=f"{base_url}/inbox"), "Send me a picture")
    first, last = callbacks_of(await sandbox.deliveries(2))
    assert first.message.attached_media is None
    assert last.message.attached_media is not None
    picture = await http.get(last.message.attached_media.url)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.content.startswith(b"\x89PNG\r\n\x1a\n")
    assert str(last.message.attached_media.content_id) in last.message.attached_media.url


async def test_a_scripted_reply_is_spoken_verbatim(create: Create, say: Say, sandbox: Driver, base_url: str) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox")
    flagged = replies.Segment(
        text="e\u0301 \u200d\U0001f469 \x00 ",
        attached_media=v3.AttachedMedia(url="https://pictures.example/1.png"),
        message_tone="Neutral",
        moderation=v3.Moderation(category="spam", reasoning="a link", severity="Low"),
    )
    await sandbox.script("for another", conversation_id="0f8fad5b-d9cb-469f-a165-70867728950e")
    await sandbox.script("one", flagged)
    await say(conversation_id, "Hola")
    first, second = callbacks_of(await sandbox.deliveries(2))
    assert first.message.text == "one"
    assert second.message.text == flagged.text
    assert second.message.attached_media == flagged.attached_media
    assert second.message.moderation == flagged.moderation
    assert second.message.message_tone == "Neutral"


async def test_the_bot_can_speak_unasked(create: Create, sandbox: Driver, base_url: str) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox")
    await sandbox.bot_says(conversation_id, "Are you there?", "Hello?")
    texts = [callback.message.text for callback in callbacks_of(await sandbox.deliveries(2))]
    assert texts == ["Are you there?", "Hello?"]


@pytest.fixture
async def slow_url() -> AsyncIterator[str]:
    """Serve bots that think for no time, and would wait for an hour between two segments."""
    async with serve(SandboxSettings(first_segment_after=timedelta(0), segment_interval=HOUR)) as base_url:
        yield base_url


async def test_a_user_who_interrupts_gets_one_reply_to_both_messages(slow_url: str) -> None:
    async with httpx.AsyncClient(
        base_url=slow_url, headers={"authorization": "Bearer key"}, timeout=30, trust_env=False
    ) as api:
        sandbox = Driver(api)
        body = {
            "message": {"text": "one", "from_bot": False},
            "conversation_creation_params": {
                "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83",
                "user_id": "max",
                "webhook": f"{slow_url}/inbox",
            },
            "create_user_if_not_exists": True,
        }
        conversation_id = (await api.post("/api/messages", json=body)).json()["conversation"]["id"]
        await sandbox.deliveries(1)
        (conversation,) = await sandbox.conversations()
        assert (conversation["speaking"], conversation["unanswered"]) == (True, 1)

        message = {"message": {"text": "two", "from_bot": False}}
        await api.post(f"/api/conversations/{conversation_id}/messages", json=message)
        texts = [callback.message.text for callback in callbacks_of(await sandbox.deliveries(2))]
        assert texts == [replies.compose(["one"], 1)[0], replies.compose(["one", "two"], 2)[0]]

        # "three" is the third turn, whose reply has one segment: it ends, and with it what was unanswered.
        message = {"message": {"text": "three", "from_bot": False}}
        await api.post(f"/api/conversations/{conversation_id}/messages", json=message)
        third = callbacks_of(await sandbox.deliveries(3))[2]
        assert (third.message.text,) == replies.compose(["one", "two", "three"], 3)
        await sandbox.idle()
        (conversation,) = await sandbox.conversations()
        assert (conversation["speaking"], conversation["unanswered"]) == (False, 0)


async def test_a_user_who_writes_on_before_the_bot_speaks_gets_one_reply(
    api: httpx.AsyncClient, create: Create, say: Say, sandbox: Driver
) -> None:
    await api.patch("/api/config", json={"min_delay": 3600})
    conversation_id = await create()
    await say(conversation_id, "one")
    await api.patch("/api/config", json={"min_delay": 0})
    await say(conversation_id, "two")
    await sandbox.idle()
    (conversation,) = await sandbox.conversations()
    texts = [message["text"] for message in conversation["messages"]]
    assert texts == ["one", "two", *replies.compose(["one", "two"], 2)]


async def test_a_message_of_the_bot_does_not_interrupt(
    api: httpx.AsyncClient, create: Create, say: Say, sandbox: Driver, base_url: str
) -> None:
    conversation_id = await create(webhook=f"{base_url}/inbox")
    await say(conversation_id, "Hola")
    await say(conversation_id, "By the way", from_bot=True)
    texts = [callback.message.text for callback in callbacks_of(await sandbox.deliveries(2))]
    assert texts == list(replies.compose(["Hola"], 1))


async def test_webhooks_can_be_told_of_the_user_s_messages_too() -> None:
    async with (
        serve(SandboxSettings(echo_user_messages=True).fast()) as base_url,
        httpx.AsyncClient(
            base_url=base_url, headers={"authorization": "Bearer key"}, timeout=30, trust_env=False
        ) as api,
    ):
        params = {"bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83", "user_id": "max", "webhook": f"{base_url}/inbox"}
        body = {
            "message": {"text": "Hola", "from_bot": False},
            "conversation_creation_params": params,
            "create_user_if_not_exists": True,
        }
        await api.post("/api/messages", json=body)
        told = callbacks_of(await Driver(api).deliveries(3))
        assert [callback.message.from_bot for callback in told] == [False, True, True]
        assert told[0].message.text == "Hola"
        assert told[0].conversation_messages_count == 1
