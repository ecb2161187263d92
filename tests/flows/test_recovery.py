"""Replies whose callbacks never come are found in the upstream's transcript."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.sandbox.v3.replies import Segment
from gateway.store import Store
from mappings.wire.v3 import AttachedMedia
from tests.flows.conftest import KEY, World, running_world


@pytest.fixture(name="silent")
async def world_without_callbacks(store: Store, store_url: str) -> AsyncIterator[World]:
    async with running_world(store_url, reply_timeout_seconds=60) as world:
        await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
        yield world


async def test_a_reply_without_callbacks_is_found_and_delivered(silent: World) -> None:
    picture = AttachedMedia(url="https://host/pic.jpg", content_id="c-9")
    await silent.sandbox.script("one", Segment(text="two", attached_media=picture))
    accepted = await silent.complete(message="hi")
    await silent.sandbox.callbacks(2)
    await silent.sandbox.idle()
    silent.pass_time(timedelta(seconds=61))
    [delivery] = await silent.sandbox.deliveries(1)
    assert delivery["json"] == {
        "completion": ["one", "two"],
        "id": accepted.json()["message_id"],
        "media": {"url": "https://host/pic.jpg", "type": "image"},
        "media_id": "c-9",
    }
    await silent.settled()
    posts = await silent.sandbox.calls(path="*/messages")
    assert len(posts) == 1


async def test_an_answer_without_callbacks_is_found_while_its_client_waits(store: Store, store_url: str) -> None:
    async with running_world(store_url, reply_timeout_seconds=0.5) as world:
        await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
        await world.sandbox.script("here")
        answer = await world.complete(webhook=None)
        assert answer.json()["completion"] == ["here"]


async def test_the_key_is_kept_sealed_and_only_while_the_turn_is_open(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost"))
    await world.sandbox.script("lost", "late")
    await world.complete(key=KEY, min_delay=50, max_delay=50)
    redis = world.gateway.store.redis
    kept = [key async for key in redis.scan_iter("*pull:*")]
    if kept:  # the second segment may have been as fast
        assert KEY not in str(await redis.hgetall(kept[0]))
    await world.sandbox.callbacks(2)
    await world.sandbox.idle()
    assert [key async for key in redis.scan_iter("*pull*")] == []


async def test_a_bot_that_never_answers_ends_in_one_dead_letter(silent: World) -> None:
    await silent.complete(message="hi")
    await silent.sandbox.callbacks(1)
    await silent.sandbox.idle()
    [conversation] = await silent.sandbox.conversations()
    await silent.sandbox.delete(conversation["id"])
    silent.pass_time(timedelta(seconds=61))
    while (await silent.gateway.store.redis.eval("return #redis.call('KEYS', 'gw:*:dead')", 0)) == 0:
        await silent.sandbox.idle()
    assert await silent.sandbox.deliveries() == []
