"""What a client of V1 may rely on, whichever upstream stands behind the gateway."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gateway.sandbox.faults import RequestFault
from gateway.store import Store
from tests.conformance.conftest import Gate

HISTORY = [{"bot": False, "content": ["Hi there."]}, {"bot": True, "content": ["Hello!", "How are you?"]}]
HELD = [("user", "Hi there."), ("bot", "Hello!"), ("bot", "How are you?")]


def texts(delivery: dict[str, Any]) -> list[str]:
    said: list[str] = delivery["json"]["completion"]
    return said


async def contents(store: Store, key: str) -> Any:
    """Read a key of any type."""
    match await store.redis.type(key):
        case "hash":
            return await store.redis.hgetall(key)
        case "zset":
            return await store.redis.zrange(key, 0, -1)
        case "list":
            return await store.redis.execute_command("LRANGE", key, 0, -1, NEVER_DECODE=True)  # it may be no text
        case _:
            return await store.redis.execute_command("GET", key, NEVER_DECODE=True)


async def test_a_conversation_begins_with_the_history_and_its_reply_comes_in_the_window(gate: Gate) -> None:
    await gate.side.script("I am well.")
    accepted = await gate.world.complete(message="And you?", messages=HISTORY, min_delay=50, max_delay=60)
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["status"] == "accepted"
    # A later reply of somebody else overtakes it: it waits for its window.
    await gate.world.complete(user_id="u-2", webhook=f"{gate.world.sandbox_url}/inbox/other")
    await gate.world.sandbox.deliveries(1, path="/other")
    await gate.world.sandbox.idle()
    assert await gate.world.sandbox.deliveries(path="/a") == []
    said = next(said for said in (await gate.side.transcripts()).values() if said[0] == HELD[0])
    assert said == [*HELD, ("user", "And you?"), ("bot", "I am well.")]
    gate.world.pass_time(timedelta(seconds=61))
    [delivery] = await gate.world.sandbox.deliveries(1, path="/a")
    assert texts(delivery) == ["I am well."]
    assert delivery["json"]["id"] == accepted.json()["message_id"]


async def test_a_known_conversation_gets_the_new_message_alone(gate: Gate) -> None:
    await gate.side.script("One.")
    await gate.world.complete(message="first")
    await gate.world.sandbox.deliveries(1)
    await gate.side.script("Two.")
    history = [{"bot": False, "content": ["first"]}, {"bot": True, "content": ["One."]}]
    await gate.world.complete(message="second", messages=history)
    await gate.world.sandbox.deliveries(2)
    assert await gate.transcript() == [("user", "first"), ("bot", "One."), ("user", "second"), ("bot", "Two.")]


async def test_a_client_without_a_webhook_is_answered_with_the_reply(gate: Gate) -> None:
    await gate.side.script("Here I am.")
    answer = await gate.world.complete(message="Where are you?", webhook=None)
    assert answer.status_code == 200, answer.text
    assert answer.json()["completion"] == ["Here I am."]
    assert await gate.transcript() == [("user", "Where are you?"), ("bot", "Here I am.")]


async def test_a_history_of_350_items_arrives_whole_and_in_order(gate: Gate) -> None:
    messages = [{"bot": bool(n % 2), "content": [f"text {n}"]} for n in range(350)]
    answer = await gate.world.complete(message="new", messages=messages)
    assert answer.status_code == 200, answer.text
    await gate.world.sandbox.deliveries(1)
    expected = [("bot" if n % 2 else "user", f"text {n}") for n in range(350)]
    assert (await gate.transcript())[:351] == [*expected, ("user", "new")]


async def test_first_messages_at_once_make_one_conversation_and_each_is_sent_once(gate: Gate) -> None:
    answers = await asyncio.gather(*(gate.world.complete(message=f"message {n}") for n in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    await gate.world.sandbox.deliveries(1)
    users = [text for speaker, text in await gate.transcript() if speaker == "user"]
    assert sorted(users) == [f"message {n}" for n in range(6)]


async def test_the_same_request_while_its_turn_is_open_is_sent_and_answered_once(gate: Gate) -> None:
    first, again = await asyncio.gather(*(gate.world.complete(min_delay=50, max_delay=50) for _ in range(2)))
    third = await gate.world.complete(min_delay=50, max_delay=50)
    assert first.json() == again.json() == third.json()
    await gate.world.complete(user_id="u-2", webhook=f"{gate.world.sandbox_url}/inbox/other")
    await gate.world.sandbox.deliveries(1, path="/other")
    await gate.world.sandbox.idle()
    assert await gate.post_count() == 2
    gate.world.pass_time(timedelta(seconds=51))
    assert len(await gate.world.sandbox.deliveries(1, path="/a")) == 1


async def test_a_conversation_that_was_deleted_upstream_is_begun_again_with_the_history(gate: Gate) -> None:
    await gate.world.complete(message="first")
    await gate.world.sandbox.deliveries(1)
    await gate.delete_all()
    answer = await gate.world.complete(message="second", messages=HISTORY)
    assert answer.status_code == 200, answer.text
    await gate.world.sandbox.deliveries(2)
    assert (await gate.transcript())[:4] == [*HELD, ("user", "second")]


async def test_with_the_store_flushed_the_conversation_is_found_again(gate: Gate, store: Store) -> None:
    await gate.side.script("One.")
    await gate.world.complete(message="first")
    await gate.world.sandbox.deliveries(1)
    before = list(await gate.side.transcripts())
    await store.redis.flushall()
    history = [{"bot": False, "content": ["first"]}, {"bot": True, "content": ["One."]}]
    assert (await gate.world.complete(message="second", messages=history)).status_code == 200
    await gate.world.sandbox.deliveries(2)
    assert list(await gate.side.transcripts()) == before
    assert (await gate.transcript())[:3] == [("user", "first"), ("bot", "One."), ("user", "second")]


async def test_a_message_of_which_nobody_knows_whether_it_arrived_is_not_sent_twice(gate: Gate) -> None:
    await gate.world.sandbox.arm(RequestFault(path=gate.side.posts, when="after", action="drop"))
    answer = await gate.world.complete(message="once")
    assert answer.status_code == 200, answer.text
    await gate.world.sandbox.deliveries(1)
    assert [text for speaker, text in await gate.transcript() if speaker == "user"] == ["once"]
    assert await gate.post_count() == 1


async def test_a_conversation_of_which_nobody_knows_whether_it_was_created_is_not_created_twice(gate: Gate) -> None:
    await gate.world.sandbox.arm(RequestFault(method="POST", path=gate.side.creations, when="after", action="drop"))
    assert (await gate.world.complete(message="hi", messages=HISTORY)).status_code == 200
    await gate.world.sandbox.deliveries(1)
    assert (await gate.transcript())[:4] == [*HELD, ("user", "hi")]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_the_clients_to_see(gate: Gate, status: int) -> None:
    await gate.world.sandbox.arm(RequestFault(path="*", status=status, times=None))
    answer = await gate.world.complete()
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message", "request_id"}


async def test_what_the_bot_said_elsewhere_is_added_before_the_new_message(gate: Gate) -> None:
    await gate.side.script("One.")
    await gate.world.complete(message="first")
    await gate.world.sandbox.deliveries(1)
    history = [{"bot": False, "content": ["first"]}, {"bot": True, "content": ["One.", "From elsewhere."]}]
    await gate.world.complete(message="second", messages=history)
    await gate.world.sandbox.deliveries(2)
    assert (await gate.transcript())[:4] == [
        ("user", "first"),
        ("bot", "One."),
        ("bot", "From elsewhere."),
        ("user", "second"),
    ]


async def test_the_bot_speaks_first_when_it_is_asked_to(gate: Gate) -> None:
    await gate.world.complete(message="first")
    await gate.world.sandbox.deliveries(1)
    answer = await gate.world.complete(message=None, is_follow_up=True)
    assert answer.status_code == 200, answer.text
    [_, followed] = await gate.world.sandbox.deliveries(2)
    assert (await gate.transcript())[-1] == ("bot", texts(followed)[-1])


async def test_two_keys_never_share_a_conversation(gate: Gate) -> None:
    await gate.world.complete(key="one")
    await gate.world.complete(key="two")
    await gate.world.sandbox.deliveries(2)
    assert len(await gate.side.transcripts()) == 2


@pytest.mark.parametrize("text", ["¿Qué?\n\u200b 👩‍👩‍👧 e\u0301", "\u202eltr", "x" * 100_000, "a\x00b", "{}[]<&>\"'\\"])
async def test_every_text_arrives_code_point_for_code_point_both_ways(gate: Gate, text: str) -> None:
    await gate.side.script(f"You said {text}")
    answer = await gate.world.complete(message=text)
    assert answer.status_code == 200, answer.text
    [delivery] = await gate.world.sandbox.deliveries(1)
    assert await gate.transcript() == [("user", text), ("bot", f"You said {text}")]
    assert texts(delivery) == [f"You said {text}"]


async def test_no_key_lies_in_the_store_in_clear(gate: Gate, store: Store) -> None:
    await gate.world.complete(key="sk-planted-secret", min_delay=50, max_delay=50)
    await gate.world.sandbox.calls(1, path=gate.side.posts)
    held = {key: await contents(store, key) async for key in store.redis.scan_iter()}
    assert held
    assert "sk-planted-secret" not in str(held)
