"""The client's history against the upstream's conversation, turn by turn."""

from typing import Any

import httpx
import pytest

from gateway.relay.queue import Queue
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.store import Store
from tests.flows.conftest import BOT, World, running_world


def user(*segments: str) -> dict[str, Any]:
    return {"bot": False, "content": list(segments)}


def bot(*segments: str) -> dict[str, Any]:
    return {"bot": True, "content": list(segments)}


async def reply(world: World, *segments: str, **request: Any) -> list[str]:
    """Send a turn, let the bot answer so, and give what its webhook got."""
    await world.sandbox.script(*segments)
    before = len(await world.sandbox.deliveries())
    answer = await world.complete(**request)
    assert answer.status_code == 200, answer.text
    [delivery] = (await world.sandbox.deliveries(before + 1))[before:]
    while (await Queue(world.gateway.store).count()).pending:
        await world.sandbox.idle()
    completion: list[str] = delivery["json"]["completion"]
    return completion


async def transcript(world: World, index: int = 0) -> list[str]:
    conversations = await world.sandbox.conversations()
    return [("b:" if one["from_bot"] else "u:") + one["text"] for one in conversations[index]["messages"]]


async def test_a_client_in_step_costs_one_post_whatever_its_history(world: World) -> None:
    history: list[dict[str, Any]] = [bot("Welcome", "How are you?")]
    for number in range(3):
        calls = len(await world.sandbox.calls())
        answered = await reply(world, f"answer {number}", "and more", message=f"question {number}", messages=history)
        history += [user(f"question {number}"), bot(*answered)]
        made = [call["method"] for call in (await world.sandbox.calls())[calls:]]
        assert made == (["GET", "POST", "POST"] if number == 0 else ["POST"])
    assert await transcript(world) == [
        "b:Welcome",
        "b:How are you?",
        *(text for n in range(3) for text in (f"u:question {n}", f"b:answer {n}", "b:and more")),
    ]


async def test_a_client_that_sends_its_last_messages_only_is_no_reason_to_do_anything(world: World) -> None:
    await reply(world, "a1", message="q1", messages=[user("long ago"), bot("indeed"), user("and"), bot("yes")])
    await reply(world, "a2", message="q2", messages=[user("q1"), bot("a1")])
    await reply(world, "a3", message="q3", messages=[bot("a2")])
    assert (await transcript(world))[4:] == ["u:q1", "b:a1", "u:q2", "b:a2", "u:q3", "b:a3"]
    assert len(await world.sandbox.conversations()) == 1


async def test_what_the_bot_said_elsewhere_is_added_before_the_message(world: World) -> None:
    await reply(world, "a1", message="q1")
    await reply(world, "a2", message="q2", messages=[user("q1"), bot("a1"), bot("by the way", "one more")])
    assert await transcript(world) == ["u:q1", "b:a1", "b:by the way", "b:one more", "u:q2", "b:a2"]
    # And once: from now on the upstream is known to hold it.
    history = [user("q1"), bot("a1"), bot("by the way", "one more"), user("q2"), bot("a2")]
    await reply(world, "a3", message="q3", messages=history)
    assert (await transcript(world))[6:] == ["u:q3", "b:a3"]


async def test_what_was_added_before_a_refusal_is_not_added_again(world: World) -> None:
    await reply(world, "a1", message="q1")
    ahead = [user("q1"), bot("a1"), bot("by the way", "one more")]
    await world.sandbox.arm(RequestFault(method="POST", path="*/messages", skip=1, status=400))
    refused = await world.complete(message="q2", messages=ahead)
    assert refused.status_code == 400
    await reply(world, "a2", message="q2 in other words", messages=ahead)
    assert await transcript(world) == ["u:q1", "b:a1", "b:by the way", "b:one more", "u:q2 in other words", "b:a2"]


async def test_a_forked_history_goes_on_by_default(world: World) -> None:
    await reply(world, "a1", message="q1", messages=[user("one"), bot("two")])
    await reply(world, "a2", message="q2", messages=[user("uno"), bot("dos"), user("tres"), bot("cuatro")])
    assert len(await world.sandbox.conversations()) == 1
    assert (await transcript(world))[-2:] == ["u:q2", "b:a2"]


async def test_a_forked_history_begins_anew_where_the_operator_wants_it(store: Store, store_url: str) -> None:
    async with running_world(store_url, history_forked="reseed") as world:
        await reply(world, "a1", message="q1", messages=[user("one"), bot("two")])
        forked = [user("uno"), bot("dos"), user("tres"), bot("cuatro")]
        await reply(world, "a2", message="q2", messages=forked)
        old, new = sorted(await world.sandbox.conversations(), key=lambda one: len(one["user_id"]))
        assert (old["user_id"], new["user_id"][:5]) == ("u-1", "u-1~r")
        assert [one["text"] for one in new["messages"]] == ["uno", "dos", "tres", "cuatro", "q2", "a2"]
        # The conversation stays the new one, and is in step.
        await reply(world, "a3", message="q3", messages=[*forked, user("q2"), bot("a2")])
        assert len(await world.sandbox.conversations()) == 2


async def test_a_reply_from_the_conversation_that_was_left_reaches_its_client(store: Store, store_url: str) -> None:
    async with running_world(store_url, history_forked="reseed") as world:
        await reply(world, "a1", message="q1", messages=[user("one"), bot("two")])
        await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
        before = await world.complete(message="q2", messages=[user("one"), bot("two"), user("q1"), bot("a1")])
        forked = [user("uno"), bot("dos"), user("tres"), bot("cuatro")]
        after = await world.complete(message="q3", messages=forked, webhook=f"{world.sandbox_url}/inbox/b")
        await world.sandbox.callbacks(2)
        await world.sandbox.idle()
        await world.sandbox.arm_callbacks()
        left, new = sorted(await world.sandbox.conversations(), key=lambda one: len(one["user_id"]))
        await world.sandbox.bot_says(left["id"], "from before", "and more")
        [delivery] = (await world.sandbox.deliveries(2, path="/a"))[1:]
        assert delivery["json"]["completion"] == ["from before", "and more"]
        assert delivery["json"]["id"] == before.json()["message_id"]
        await world.sandbox.bot_says(new["id"], "from now")
        [delivery] = await world.sandbox.deliveries(1, path="/b")
        assert delivery["json"]["completion"] == ["You said “q3”.", "from now"]  # the lost one shows by now
        assert delivery["json"]["id"] == after.json()["message_id"]
        # What was said there is not taken for part of the new conversation.
        history = [*forked, user("q3"), bot("from now")]
        calls = len(await world.sandbox.calls())
        await reply(world, "a4", message="q4", messages=history)
        assert [call["method"] for call in (await world.sandbox.calls())[calls:]] == ["POST"]


async def test_a_lost_directory_costs_no_context(world: World) -> None:
    await reply(world, "a1", message="q1")
    await world.gateway.store.redis.flushall()
    await reply(world, "a2", message="q2", messages=[user("q1"), bot("a1")])
    assert len(await world.sandbox.conversations()) == 1
    assert await transcript(world) == ["u:q1", "b:a1", "u:q2", "b:a2"]


async def test_a_long_history_that_was_read_before_is_there_whole_where_it_is_needed(world: World) -> None:
    history = [part for number in range(200) for part in (user(f"question {number}"), bot(f"answer {number}"))]
    await reply(world, "a1", message="q1", messages=history)
    history += [user("q1"), bot("a1")]
    await reply(world, "a2", message="q2", messages=history)
    await world.gateway.store.redis.flushall()
    await reply(world, "b1", message="q1", messages=history, user_id="another")
    mine, others = sorted([await transcript(world, 0), await transcript(world, 1)], key=len, reverse=True)
    assert mine[400:] == ["u:q1", "b:a1", "u:q2", "b:a2"]
    assert others[-4:] == ["u:q1", "b:a1", "u:q1", "b:b1"]
    assert mine[:400] == others[:400] == [text for n in range(200) for text in (f"u:question {n}", f"b:answer {n}")]


async def test_the_upstream_is_told_the_context_when_it_changes_and_not_again(world: World) -> None:
    def told(calls: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(call["method"], call["path"].split("/")[2]) for call in calls if call["method"] in {"PATCH", "PUT"}]

    facts: dict[str, Any] = {"language": "es", "user_kv_pairs": {"age": 30}}
    await reply(world, "a1", message="q1", **facts)
    calls = await world.sandbox.calls()
    assert told(calls) == [("PUT", "users")]  # the conversation was told when it was created
    await reply(world, "a2", message="q2", **facts)
    assert told((await world.sandbox.calls())[len(calls) :]) == []
    calls = await world.sandbox.calls()
    await reply(world, "a3", message="q3", **facts | {"language": "fr"})
    assert told((await world.sandbox.calls())[len(calls) :]) == [("PATCH", "conversations")]
    calls = await world.sandbox.calls()
    await reply(world, "a4", message="q4", **facts | {"language": "fr", "user_kv_pairs": {"age": 31}})
    assert told((await world.sandbox.calls())[len(calls) :]) == [("PUT", "users")]
    [conversation] = await world.sandbox.conversations()
    assert conversation["freeform"] == "Write in French (fr)."


async def test_an_upstream_that_knows_no_context_is_told_none(store: Store, store_url: str) -> None:
    async with running_world(store_url, v3_context="none") as world:
        answer = await world.complete(language="es", user_kv_pairs={"age": 30})
        created = next(call for call in await world.sandbox.calls() if call["path"] == "/api/conversations")
        assert "freeform" not in (created["json"] or {})
        assert [call["method"] for call in await world.sandbox.calls()] == ["GET", "POST", "POST"]
        assert answer.headers["translation-losses"] == 'dropped=("language" "user_kv_pairs")'


async def test_strict_handling_refuses_a_loss_before_anything_is_sent(world: World) -> None:
    async def strictly(**fields: Any) -> httpx.Response:
        headers = {"Authorization": "Bearer k", "Prefer": "handling=strict"}
        return await world.http.post(f"{world.url}/v2/complete", json=world.request(**fields), headers=headers)

    refused = await strictly(language="es", fast_mode=True)
    assert refused.status_code == 400
    assert refused.json()["error"] == "bad_request"
    assert "language (approximated)" in refused.json()["message"]
    assert await world.sandbox.calls() == []
    assert await world.gateway.store.redis.dbsize() == 0
    assert (await strictly(platform="Qkkie")).status_code == 200


@pytest.mark.parametrize("items", [0, 1, 1_000])
async def test_histories_of_any_length_arrive_whole(world: World, items: int) -> None:
    history = [(bot if number % 2 else user)(f"text {number}", f"more {number}") for number in range(items)]
    await reply(world, "a", message="q", messages=history)
    expected = [f"{'b' if n % 2 else 'u'}:{word} {n}" for n in range(items) for word in ("text", "more")]
    assert await transcript(world) == [*expected, "u:q", "b:a"]


async def test_two_bots_and_two_users_are_four_conversations(world: World) -> None:
    other = "11111111-2222-4333-8444-555555555555"
    for bot_id in (BOT, other):
        for user_id in ("u-1", "u-2"):
            assert (await world.complete(bot_id=bot_id, user_id=user_id)).status_code == 200
    pairs = {(one["bot_id"], one["user_id"]) for one in await world.sandbox.conversations()}
    assert pairs == {(one, user_id) for one in (BOT, other) for user_id in ("u-1", "u-2")}
