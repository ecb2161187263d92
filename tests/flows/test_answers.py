"""Clients without a webhook: the request is answered with the reply itself."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.sandbox.v3.replies import Segment
from gateway.store import Store
from mappings.wire.v3 import AttachedMedia, Moderation
from tests.flows.conftest import BOT, KEY, World, running_world


async def ask(world: World, **changes: Any) -> httpx.Response:
    return await world.complete(webhook=None, **changes)


async def test_the_answer_is_the_completion(world: World) -> None:
    await world.sandbox.script("Hi!", Segment(text="How are you?", message_tone="Curious"))
    answer = await ask(world, conversation_id="chat-1", min_delay=40, max_delay=40)
    body = answer.json()
    assert answer.status_code == 200
    assert isinstance(body.pop("timestamp"), int)
    assert body == {
        "response": "Hi!\nHow are you?",
        "completion": ["Hi!", "How are you?"],
        "conversation_id": "chat-1",
        "bot_id": BOT,
        "message_id": body["message_id"],
        "delay": 40,  # the client applies it: the request is not held for it
        "tone": "Curious",
        "moderation": None,
        "media": None,
        "media_id": None,
    }
    assert await world.sandbox.deliveries() == []


async def test_pictures_and_flags_are_in_the_answer(world: World) -> None:
    await world.sandbox.script(
        Segment(
            text="look",
            attached_media=AttachedMedia(url="https://host/pic.jpg", content_id="c-9"),
            moderation=Moderation(category="spam", reasoning="links", severity="Low"),
        )
    )
    body = (await ask(world)).json()
    assert body["media"] == {"url": "https://host/pic.jpg", "type": "image"}
    assert body["media_id"] == "c-9"
    assert body["moderation"] == {"category": "spam", "reasoning": "links", "severity": "Low"}


async def test_of_several_pictures_the_others_are_told_by_their_addresses(world: World) -> None:
    pictures = [AttachedMedia(url=f"https://host/{number}.jpg", content_id=f"c-{number}") for number in range(3)]
    await world.sandbox.script(
        Segment(text="look", attached_media=pictures[0]),
        Segment(text="and here", attached_media=pictures[1]),
        Segment(text="", attached_media=pictures[2]),
    )
    answer = await ask(world)
    assert answer.status_code == 200
    assert answer.json()["media"] == {"url": "https://host/0.jpg", "type": "image"}
    assert answer.json()["completion"] == ["look", "and here\nhttps://host/1.jpg", "https://host/2.jpg"]


async def test_without_segments_nothing_is_gathered(store: Store, store_url: str) -> None:
    async with running_world(store_url, settle_seconds=30) as world:
        await world.sandbox.script("one text")
        assert (await ask(world, segment=False)).json()["completion"] == ["one text"]


async def test_whichever_process_gets_the_callback_the_client_gets_its_answer(store: Store, store_url: str) -> None:
    async with (
        running_world(store_url) as one,
        running_world(store_url, public_url=one.url, v3_url=one.sandbox_url) as two,
    ):
        two.sandbox = one.sandbox
        answer = await ask(two)
        assert answer.status_code == 200
        assert answer.json()["completion"]


async def test_an_answer_that_comes_too_late_is_kept_for_the_same_request(store: Store, store_url: str) -> None:
    async with running_world(store_url, answer_timeout_seconds=0.3) as world:
        await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
        await world.sandbox.script("Nobody heard it")
        late = await ask(world)
        assert (late.status_code, late.json()["error"]) == (504, "gateway_timeout")
        [conversation] = await world.sandbox.conversations()
        await world.sandbox.idle()
        await world.sandbox.arm_callbacks()
        before = len(await world.sandbox.callbacks())
        await world.sandbox.bot_says(conversation["id"], "Here I am")
        await world.sandbox.callbacks(1, since=before)
        world.pass_time(timedelta(seconds=2))  # what was lost is looked for by now
        while (again := await ask(world)).status_code == 504:
            pass
        assert again.json()["completion"] == ["Nobody heard it", "Here I am"]
        posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
        assert len(posts) == 1
        renewed = await ask(world)  # that one was answered: this is a new turn
        assert renewed.json().get("message_id") != again.json()["message_id"]


async def test_the_same_request_twice_gets_the_same_answer_and_posts_once(world: World) -> None:
    first, again = await asyncio.gather(ask(world), ask(world))
    assert first.json() == again.json()
    posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
    assert len(posts) == 1


async def test_turns_that_wait_for_answers_wait_for_each_other(world: World) -> None:
    answers = await asyncio.gather(*(ask(world, message=f"question {number}") for number in range(3)))
    for number, answer in enumerate(answers):
        assert f"“question {number}”" in answer.json()["response"]


async def test_a_client_that_hangs_up_frees_everything(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    asking = asyncio.create_task(ask(world))
    await world.sandbox.calls(1, path="*/messages")
    waiting = world.gateway.answers.waiting
    while not waiting:
        await asyncio.sleep(0.01)
    asking.cancel()
    while waiting:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("webhook", [True, False])
async def test_a_key_names_a_request_for_good(world: World, webhook: bool) -> None:
    async def send(key: str, **changes: Any) -> httpx.Response:
        body = world.request(**changes) if webhook else world.request(**changes) | {"webhook": None}
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": key}
        return await world.http.post(f"{world.url}/v2/complete", json=body, headers=headers)

    first = await send("order-1")
    if webhook:
        await world.sandbox.deliveries(1)
        await world.settled()
    again = await send("order-1")
    assert first.json() == again.json()
    posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
    assert len(posts) == 1
    other = await send("order-1", message="something else")
    assert (other.status_code, other.json()["error"]) == (422, "unprocessable")
    assert (await send("order-2")).json()["message_id"] != first.json()["message_id"]
    assert (await send("not a key\x7f")).status_code == 400
