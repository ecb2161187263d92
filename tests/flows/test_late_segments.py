"""Segments of an earlier reply that come while a later message is on its way: they prove nothing about that message."""

import asyncio

from gateway.sandbox.faults import RequestFault
from tests.flows.conftest import World

MESSAGES = "*/messages"


async def posts_of(world: World, text: str) -> int:
    calls = await world.sandbox.calls(path=MESSAGES)
    return sum(call["status"] == 202 and call["json"]["message"]["text"] == text for call in calls)


async def all_counted(world: World) -> None:
    await world.sandbox.idle()
    held, heard = await world.counted()
    assert heard == held


async def test_a_message_whose_post_failed_is_posted_by_the_retry_whatever_the_bot_said_meanwhile(world: World) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    [conversation] = await world.sandbox.conversations()
    # The post does not get there, and neither does the look at the transcript: nobody knows.
    await world.sandbox.arm(
        RequestFault(method="POST", path=MESSAGES, action="drop"),
        RequestFault(method="GET", path="*/api/conversations/*", status=500, times=None),
    )
    failed = await world.complete(message="two", min_delay=50, max_delay=50)
    assert failed.status_code >= 500
    await world.sandbox.arm()

    before = len(await world.sandbox.callbacks())
    await world.sandbox.bot_says(conversation["id"], "one more thing")
    await world.sandbox.callbacks(1, since=before)
    again = await world.complete(message="two", min_delay=50, max_delay=50)

    assert again.status_code == 200
    assert await posts_of(world, "two") == 1
    await all_counted(world)


async def test_a_message_is_acknowledged_whatever_the_bot_said_while_it_was_being_posted(world: World) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    [conversation] = await world.sandbox.conversations()
    await world.sandbox.arm(RequestFault(method="POST", path=MESSAGES, action="hang", seconds=1))

    calls = (await world.sandbox.calls())[-1]["n"]
    asking = asyncio.create_task(world.complete(message="two"))
    await world.sandbox.calls(1, since=calls, finished=False)
    await world.sandbox.bot_says(conversation["id"], "one more thing")
    await world.sandbox.deliveries(2)

    accepted = await asking
    assert await posts_of(world, "two") == 1
    assert accepted.status_code == 200
    await all_counted(world)


async def test_a_message_whose_post_was_answered_by_nobody_but_the_bot_is_posted_once(world: World) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    # The upstream takes the message and cannot say so, nor show its transcript.
    await world.sandbox.arm(
        RequestFault(method="POST", path=MESSAGES, when="after", status=500),
        RequestFault(method="GET", path="*/api/conversations/*", status=500, times=None),
    )
    before = len(await world.sandbox.callbacks())
    failed = await world.complete(message="two", min_delay=50, max_delay=50)
    assert failed.status_code >= 500
    await world.sandbox.callbacks(before + 1)  # the reply to it comes before the client asks again
    await world.sandbox.arm()

    again = await world.complete(message="two", min_delay=50, max_delay=50)

    assert again.status_code == 200
    [conversation] = await world.sandbox.conversations()
    assert [one["text"] for one in conversation["messages"] if not one["from_bot"]] == ["one", "two"]
    await all_counted(world)
