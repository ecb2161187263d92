"""Replies whose callbacks never come are found in the upstream's transcript."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway import keys, metrics
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.sandbox.v3.replies import Segment
from gateway.store import Store
from mappings.wire.v3 import AttachedMedia
from tests.flows.conftest import KEY, World, running_world

UPSTREAMS_PAUSE = 1.5
"""Longer than a reply without a delay takes to go out."""


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


async def test_the_key_is_kept_sealed_and_a_minute_longer_than_the_turn_is_open(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", skip=2))  # none yet
    await world.sandbox.script("one", "two")
    await world.complete(key=KEY, min_delay=50, max_delay=50)
    await world.sandbox.callbacks(2)
    await world.sandbox.idle()
    redis = world.gateway.store.redis
    [kept] = [key async for key in redis.scan_iter("*pull:*")]
    assert KEY not in str(await redis.hgetall(kept))
    assert 0 < await redis.ttl(kept) <= 60


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


# One callback of several is lost, and another one tells how many messages there are.

TRANSCRIPT = "*/api/conversations/*"


async def lose(world: World, *numbers: int) -> None:
    """Lose callbacks, by their numbers from now on, the first being 0."""
    gaps = [number - before - 1 for before, number in zip((-1, *numbers), numbers, strict=False)]
    await world.sandbox.arm_callbacks(*(CallbackFault(kind="lost", skip=gap) for gap in gaps))


async def called_back(world: World, count: int) -> None:
    """Wait until the fate of so many callbacks is known."""
    await world.sandbox.callbacks(count)
    await world.sandbox.idle()


async def mend(world: World, *, after: float = 1.6) -> None:
    """Let the time pass that overtaken callbacks have, and wait until nothing is looked for any more."""
    world.pass_time(timedelta(seconds=after))
    async with asyncio.timeout(10):
        while await looks(world):
            await asyncio.sleep(0.01)


async def looks(world: World) -> list[str]:
    """Give what is to be looked for."""
    redis = world.gateway.store.redis
    return [name for shard in keys.all_shards() for name in await redis.zrange(shard.pulls, 0, -1) if ":gap" in name]


async def reads(world: World) -> int:
    """Count how often a transcript was read."""
    return len(await world.sandbox.calls(path=TRANSCRIPT, method="GET"))


async def got(world: World, count: int) -> list[list[str]]:
    """Wait for so many deliveries; give the texts of each."""
    deliveries = await world.sandbox.deliveries(count)
    await world.settled()
    assert len(await world.sandbox.deliveries()) == count
    return [delivery["json"]["completion"] for delivery in deliveries]


def recovered() -> float:
    """Count recoveries so far."""
    return metrics.REGISTRY.get_sample_value("gateway_recoveries_total") or 0


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
async def test_a_lost_message_takes_its_place_in_the_reply_that_waits(world: World, lost: tuple[int, ...]) -> None:
    before = recovered()
    await lose(world, *lost)
    await world.sandbox.script("one", "two", "three")
    await world.complete(min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 1) == [["one", "two", "three"]]
    assert recovered() - before == 1
    assert await reads(world) == 1


async def test_a_reply_without_delay_waits_for_its_lost_message(world: World) -> None:
    await lose(world, 0)
    await world.sandbox.script("one", "two")
    await world.complete()
    await called_back(world, 2)
    await mend(world)
    assert await got(world, 1) == [["one", "two"]]


async def test_a_client_that_waits_for_its_answer_gets_the_lost_message_in_it(world: World) -> None:
    await lose(world, 0)
    await world.sandbox.script("one", "two")
    asking = asyncio.create_task(world.complete(webhook=None))
    await called_back(world, 2)
    await mend(world)
    assert (await asking).json()["completion"] == ["one", "two"]


async def test_a_message_whose_reply_has_left_comes_by_itself(world: World) -> None:
    await lose(world, 0)
    await world.sandbox.arm(RequestFault(method="GET", path=TRANSCRIPT, status=500, times=None))
    await world.sandbox.script("one", "two")
    await world.complete()
    await called_back(world, 2)
    world.pass_time(timedelta(seconds=4))
    assert await got(world, 1) == [["two"]]
    await world.sandbox.calls(1, path=TRANSCRIPT)
    await world.sandbox.arm()
    while await looks(world):
        world.pass_time(timedelta(seconds=10))
        await asyncio.sleep(0.05)
    assert await got(world, 2) == [["two"], ["one"]]


@pytest.mark.parametrize(
    ("lost", "replies"),
    [
        ((0,), [["one", "two"], ["three"]]),
        ((1,), [["one"], ["two", "three"]]),
        ((0, 1), [["one", "two", "three"]]),  # one reply answers both turns
    ],
)
async def test_the_next_turns_reply_shows_what_was_lost_before_it(
    world: World, lost: tuple[int, ...], replies: list[list[str]]
) -> None:
    await lose(world, *lost)
    await world.sandbox.script("one", "two")
    await world.complete(message="first", min_delay=20, max_delay=20)
    await called_back(world, 2)
    await world.sandbox.script("three")
    await world.complete(message="second", min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, len(replies)) == replies


async def test_what_was_lost_is_found_with_the_next_turns_key_when_the_first_is_not_kept_any_more(world: World) -> None:
    await lose(world, 1)
    await world.sandbox.script("one", "two")
    await world.complete(message="first")
    await called_back(world, 2)
    assert await got(world, 1) == [["one"]]
    async for key in world.gateway.store.redis.scan_iter("*pull:*"):
        await world.gateway.store.redis.delete(key)
    await world.sandbox.script("three")
    history = [{"bot": False, "content": ["first"]}, {"bot": True, "content": ["one"]}]
    await world.complete(message="second", messages=history, min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 2) == [["one"], ["two", "three"]]
    # What has come late is no news to the upstream, and no other course of the conversation.
    history += [{"bot": False, "content": ["second"]}, {"bot": True, "content": ["two", "three"]}]
    await world.complete(message="third", messages=history)
    await world.sandbox.idle()
    [conversation] = await world.sandbox.conversations()
    said = [message["text"] for message in conversation["messages"]]
    assert said[:6] == ["first", "one", "two", "second", "three", "third"]


async def test_what_was_only_overtaken_is_not_looked_for(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="reorder", times=None))
    await world.sandbox.script("one", "two", "three")
    await world.complete(min_delay=20, max_delay=20)
    await called_back(world, 3)
    assert await looks(world) == []
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 1) == [["one", "two", "three"]]
    assert await reads(world) == 0


async def test_what_comes_after_it_was_found_is_not_delivered_twice(world: World) -> None:
    await lose(world, 0)
    await world.sandbox.script("one", "two")
    await world.complete(min_delay=20, max_delay=20)
    await called_back(world, 2)
    await mend(world)
    [lost, _] = await world.sandbox.callbacks()
    answer = await world.http.post(lost["url"], json=lost["json"])
    assert answer.status_code == 200
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 1) == [["one", "two"]]


async def test_a_process_that_dies_while_it_looks_is_followed_by_another(world: World) -> None:
    assert world.gateway.puller
    await lose(world, 0)
    await world.sandbox.arm(RequestFault(method="GET", path=TRANSCRIPT, action="hang", seconds=30))
    await world.sandbox.script("one", "two")
    await world.complete(min_delay=99, max_delay=99)
    await called_back(world, 2)
    world.pass_time(timedelta(seconds=1.6))
    await world.sandbox.calls(1, path=TRANSCRIPT, finished=False)
    await mend(world, after=31)  # its lease has run out, whatever it does
    world.pass_time(timedelta(seconds=99))
    assert await got(world, 1) == [["one", "two"]]


async def test_what_the_client_holds_and_the_upstream_gets_from_it_is_nothing_lost(world: World) -> None:
    await world.sandbox.script("one")
    await world.complete(message="first")
    await called_back(world, 1)
    await got(world, 1)
    history = [
        {"bot": False, "content": ["first"]},
        {"bot": True, "content": ["one"]},
        {"bot": True, "content": ["from elsewhere"]},
    ]
    await lose(world, 0)
    await world.sandbox.script("two", "three")
    await world.complete(message="second", messages=history, min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 2) == [["one"], ["two", "three"]]


@pytest.mark.parametrize("without", ["id", "sent_at"])
async def test_callbacks_that_leave_out_a_name_are_known_again_in_the_transcript(world: World, without: str) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    await world.sandbox.script("one", "two", "three")
    await world.complete(min_delay=20, max_delay=20)
    await called_back(world, 3)
    [first, _, third] = await world.sandbox.callbacks()
    for callback in (first, third):
        body = callback["json"]
        message = {name: value for name, value in body["message"].items() if name not in {"id", without}}
        assert (await world.http.post(callback["url"], json=body | {"message": message})).status_code == 200
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    [texts] = await got(world, 1)
    assert sorted(texts) == ["one", "three", "two"]


@pytest.mark.parametrize("count", [{}, {"conversation_messages_count": None}])
async def test_an_upstream_that_does_not_count_is_taken_at_its_word(world: World, count: dict[str, Any]) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    await world.sandbox.script("one", "two")
    await world.complete()
    await called_back(world, 2)
    [_, second] = await world.sandbox.callbacks()
    body = {name: value for name, value in second["json"].items() if name != "conversation_messages_count"} | count
    assert (await world.http.post(second["url"], json=body)).status_code == 200
    assert await got(world, 1) == [["two"]]
    assert await looks(world) == []
    assert [key async for key in world.gateway.store.redis.scan_iter("*pull*")] == []


async def test_an_upstream_that_counts_more_than_it_shows_is_looked_at_a_few_times(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    await world.sandbox.script("one")
    await world.complete()
    await called_back(world, 1)
    [only] = await world.sandbox.callbacks()
    body = only["json"] | {"conversation_messages_count": 9}
    assert (await world.http.post(only["url"], json=body)).status_code == 200
    while await looks(world):
        world.pass_time(timedelta(seconds=10))
        await asyncio.sleep(0.05)
    assert await reads(world) == 3
    assert await got(world, 1) == [["one"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"bot": False, "content": ["so"]}, {"bot": True, "content": ["well", "  ", "yes"]}]},
        {"message": "", "media": {"url": "https://host/pic.jpg", "type": "image"}},
    ],
)
async def test_all_that_a_conversation_holds_is_counted(world: World, changes: dict[str, Any]) -> None:
    picture = Segment(text="", attached_media=AttachedMedia(url="https://host/pic.jpg", content_id="c-9"))
    for answers in ("one",), (picture, "two"):
        await world.sandbox.script(*answers)
        assert (await world.complete(**changes)).status_code == 200
        await world.sandbox.idle()
    held, heard = await world.counted()
    assert heard == held


async def test_what_is_older_than_the_memory_of_what_was_taken_is_not_delivered_again(world: World) -> None:
    await world.sandbox.script("one")
    await world.complete(message="first")
    await called_back(world, 1)
    await got(world, 1)
    async for key in world.gateway.store.redis.scan_iter("*seen:*"):  # a day has passed
        await world.gateway.store.redis.delete(key)
    await lose(world, 0)
    await world.sandbox.script("two", "three")
    await world.complete(message="second", min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 2) == [["one"], ["two", "three"]]


async def test_a_key_that_is_refused_ends_the_look_and_the_next_turn_begins_another(world: World) -> None:
    await lose(world, 0)
    await world.sandbox.arm(RequestFault(method="GET", path=TRANSCRIPT, status=401, times=None))
    await world.sandbox.script("one", "two")
    await world.complete(message="first")
    await called_back(world, 2)
    await mend(world)
    assert [key async for key in world.gateway.store.redis.scan_iter("*pull:*")] == []
    world.pass_time(timedelta(seconds=4))
    assert await got(world, 1) == [["two"]]
    await world.sandbox.arm()
    await world.sandbox.script("three")
    await world.complete(message="second", min_delay=20, max_delay=20)
    await called_back(world, 3)
    await mend(world)
    world.pass_time(timedelta(seconds=20))
    assert await got(world, 2) == [["two"], ["one", "three"]]


async def test_a_conversation_that_was_replaced_is_not_looked_at_for_what_it_lacks(
    store: Store, store_url: str
) -> None:
    async with running_world(store_url, history_forked="reseed") as world:
        await lose(world, 0)
        await world.sandbox.script("one", "two")
        await world.complete(message="first", min_delay=20, max_delay=20)
        await called_back(world, 2)
        forked = [{"bot": False, "content": ["another"]}, {"bot": True, "content": ["course"]}] * 2
        await world.complete(message="second", messages=forked, min_delay=20, max_delay=20)
        await world.sandbox.idle()
        before = await reads(world)
        await mend(world)
        assert await reads(world) == before


@pytest.mark.parametrize("query", ["", "?by=asgi"], ids=["past ASGI", "by way of it"])
async def test_who_gave_up_waiting_for_a_slow_upstream_joins_his_turn_even_when_its_reply_has_gone_out(
    world: World, query: str
) -> None:
    await world.sandbox.script("one", "two")
    await world.sandbox.arm(
        RequestFault(method="POST", path="*/messages", when="after", action="hang", seconds=UPSTREAMS_PAUSE)
    )
    url, headers = f"{world.url}/v2/complete{query}", {"Authorization": f"Bearer {KEY}"}
    with pytest.raises(httpx.ReadTimeout):
        await world.http.post(url, json=world.request(), headers=headers, timeout=UPSTREAMS_PAUSE / 3)
    [delivery] = await world.sandbox.deliveries(1)
    turn_id, redis = delivery["json"]["id"], world.gateway.store.redis
    [turn] = [key async for key in redis.scan_iter(f"*turn:{turn_id}")]
    while not await redis.hexists(turn, "unacknowledged"):
        await asyncio.sleep(0.01)
    await world.settled()

    again = await world.http.post(url, json=world.request(), headers=headers)
    assert (again.status_code, again.json()["message_id"]) == (200, turn_id)
    assert len(await world.sandbox.calls(path="*/messages")) == 1
    # He knows now: from here on the same request is a new one.
    anew = await world.http.post(url, json=world.request(), headers=headers)
    assert anew.json()["message_id"] != turn_id
    assert len(await world.sandbox.deliveries(2)) == 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("delay", [60, 0], ids="delay {}".format)
async def test_whatever_is_lost_or_overtaken_all_is_delivered_once_and_in_order(
    world: World, seed: int, delay: int
) -> None:
    draw = random.Random(seed)
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))  # this test calls back by itself
    spoken: list[str] = []
    overtaken: list[dict[str, Any]] = []
    for turn in range(4):
        texts = [f"{turn}.{number}" for number in range(draw.randint(1, 3))]
        before = len(spoken)
        spoken += texts
        await world.sandbox.script(*texts)
        assert (await world.complete(message=f"turn {turn}", min_delay=delay, max_delay=delay)).status_code == 200
        await called_back(world, len(spoken))
        fresh = (await world.sandbox.callbacks())[before:]
        overtaken += [one for one in fresh[:-1] if draw.random() < 0.3]
        taken = [one for one in fresh if one not in overtaken and draw.random() < 0.6]
        if turn == 3 and fresh[-1] not in taken:
            taken.append(fresh[-1])
        late = [one for one in overtaken if one not in fresh and draw.random() < 0.5]
        for one in draw.sample([*taken, *late], len(taken) + len(late)):
            assert (await world.http.post(one["url"], json=one["json"])).status_code == 200
        if draw.random() < 0.4:
            await mend(world)
    await mend(world)
    world.pass_time(timedelta(seconds=60))
    await world.settled()
    got = [text for one in await world.sandbox.deliveries() for text in one["json"]["completion"]]
    assert sorted(got) == sorted(spoken)
    assert got == spoken or not delay  # what has left cannot be overtaken
    held, heard = await world.counted()
    assert heard == held


async def test_a_look_while_nobody_knows_of_a_message_does_not_count_it_twice(world: World) -> None:
    await world.complete(message="one")
    await called_back(world, 2)
    # The upstream takes the message and cannot say so, nor show its transcript; its bot answers.
    unknown = RequestFault(method="GET", path=TRANSCRIPT, status=500, times=None)
    await world.sandbox.arm(RequestFault(method="POST", path="*/messages", when="after", status=500), unknown)
    assert (await world.complete(message="two", min_delay=50, max_delay=50)).status_code >= 500
    await world.sandbox.idle()
    assert (await world.complete(message="two", min_delay=50, max_delay=50)).status_code >= 500
    [conversation] = await world.sandbox.conversations()
    await world.sandbox.bot_says(conversation["id"], "one more thing")
    await world.sandbox.idle()
    await world.sandbox.arm()
    assert await looks(world)
    await mend(world)
    assert (await world.complete(message="two", min_delay=50, max_delay=50)).status_code == 200
    held, heard = await world.counted()
    assert heard == held
