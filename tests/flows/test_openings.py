"""The bot speaks first: a request without a message."""

from typing import Any

import pytest

from gateway.sandbox.faults import RequestFault
from tests.flows.conftest import World

HISTORY = [{"bot": False, "content": ["I like tea"]}, {"bot": True, "content": ["So do I"]}]


@pytest.mark.parametrize(
    "request_", [{"is_follow_up": True, "messages": HISTORY}, {"start_message": True}, {"start_message": "Hi there"}]
)
async def test_the_bot_says_something_of_itself_and_it_is_delivered(world: World, request_: dict[str, Any]) -> None:
    accepted = await world.complete(message=None, **request_)
    assert accepted.status_code == 200
    [delivery] = await world.sandbox.deliveries(1)
    assert delivery["json"]["id"] == accepted.json()["message_id"]
    said = delivery["json"]["completion"]
    assert said
    [conversation] = await world.sandbox.conversations()
    added = conversation["messages"][len(request_.get("messages", [])) :]
    assert [(one["from_bot"], one["text"]) for one in added] == [(True, text) for text in said]


async def test_what_the_bot_said_first_is_known_afterwards(world: World) -> None:
    await world.complete(message=None, start_message=True)
    [delivery] = await world.sandbox.deliveries(1)
    await world.settled()
    calls = len(await world.sandbox.calls())
    opening = [{"bot": True, "content": delivery["json"]["completion"]}]
    await world.complete(message="Hello yourself", messages=opening, start_message=True)
    assert [call["method"] for call in (await world.sandbox.calls())[calls:]] == ["POST"]


async def test_an_opening_that_the_conversation_did_not_get_is_mended_by_the_next_turn(world: World) -> None:
    await world.sandbox.arm(RequestFault(method="POST", path="*/messages", status=500, times=3))
    await world.complete(message=None, start_message=True)
    [delivery] = await world.sandbox.deliveries(1)
    await world.settled()
    await world.sandbox.arm()
    said = delivery["json"]["completion"]
    await world.complete(message="Hello yourself", messages=[{"bot": True, "content": said}])
    [conversation] = await world.sandbox.conversations()
    assert [one["text"] for one in conversation["messages"]][: len(said) + 1] == [*said, "Hello yourself"]


async def test_an_opening_can_be_the_answer(world: World) -> None:
    answer = await world.complete(message=None, start_message=True, webhook=None)
    assert answer.json()["completion"]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"is_follow_up": True},
        {"is_follow_up": False, "start_message": None},
        {"start_message": "Hi there", "no_start_message": True},
    ],
)
async def test_with_nothing_to_follow_there_is_nothing_to_say(world: World, request_: dict[str, Any]) -> None:
    refused = await world.complete(message=None, **request_)
    assert (refused.status_code, refused.json()["error"]) == (422, "unprocessable")
    assert "message: required" in refused.json()["message"]
    assert [call for call in await world.sandbox.calls() if call["method"] == "POST"] == []
