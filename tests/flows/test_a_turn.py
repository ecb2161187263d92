"""One turn from the client's request to the client's webhook."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox.v3.callbacks import CallbackFault, FaultKind
from gateway.sandbox.v3.replies import Segment
from gateway.store import Store
from mappings.wire.v3 import AttachedMedia
from tests.flows.conftest import BOT, World

SEED = json.loads((Path(__file__).parents[1] / "golden/seed/v1_request.json").read_text())


def texts(delivery: dict[str, Any]) -> list[str]:
    completion: list[str] = delivery["json"]["completion"]
    return completion


async def test_the_production_request_becomes_a_conversation_and_its_reply_a_webhook(world: World) -> None:
    webhook = f"{world.sandbox_url}/inbox/hooks/reply?token=s3cr%2Bt~42&chat=57"
    await world.sandbox.script("¡Hola, Max!", "¿Cómo estás?")

    accepted = await world.complete(**SEED | {"webhook": webhook})

    assert accepted.status_code == 200
    message_id = accepted.json()["message_id"]
    assert accepted.json() == {
        "status": "accepted",
        "conversation_id": SEED["conversation_id"],
        "bot_id": SEED["bot_id"],
        "message_id": message_id,
    }
    listed, created, told, posted = await world.sandbox.calls()
    assert (listed["method"], listed["path"]) == ("GET", "/api/conversations")
    assert listed["query"] == f"bot_id={SEED['bot_id']}&user_id={SEED['user_id']}"
    assert (created["method"], created["path"]) == ("POST", "/api/conversations")
    assert created["json"]["create_user_if_not_exists"] is True
    assert created["json"]["webhook"].startswith(f"{world.url}/callbacks/v3/")
    assert [(one["from_bot"], one["text"]) for one in created["json"]["with_messages"]] == [
        (True, "¡Hola! Soy Angela."),
        (True, "¿Qué tal tu día?"),
        (True, "Aquí hace sol, por fin."),
    ]
    assert created["json"]["platform"] == SEED["platform"]
    assert "Write in Spanish (es)." in created["json"]["freeform"].splitlines()
    assert (told["method"], told["path"]) == ("PUT", f"/api/users/{SEED['user_id']}")
    assert told["json"]["attributes"] == [{"name": "age", "value": "30"}]
    assert accepted.headers["translation-losses"] == (
        'approximated=("language" "degrade_grammar" "question_mode" "bot_display_name"), dropped=("enable_protections")'
    )
    assert posted["status"] == 202
    assert {name: posted["json"]["message"][name] for name in ("text", "from_bot")} == {
        "text": "Hola",
        "from_bot": False,
    }
    await world.sandbox.callbacks(2)
    await world.sandbox.idle()
    assert await world.sandbox.deliveries() == []  # the window has not begun

    world.pass_time(timedelta(seconds=61))

    [delivery] = await world.sandbox.deliveries(1)
    assert (delivery["path"], delivery["query"]) == ("/hooks/reply", "token=s3cr%2Bt~42&chat=57")
    assert delivery["json"] == {
        "completion": ["¡Hola, Max!", "¿Cómo estás?"],
        "id": message_id,
        "media": None,
        "media_id": None,
    }
    assert dict(delivery["headers"])["content-type"] == "application/json"


async def test_a_known_conversation_gets_the_message_alone(world: World) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    before = len(await world.sandbox.calls())
    await world.complete(message="two", messages=[{"bot": False, "content": ["one"]}])
    [posted] = await world.sandbox.calls(1, since=before)
    assert posted["path"].endswith("/messages")
    assert posted["json"]["message"]["text"] == "two"


async def test_nothing_leaves_before_the_window_and_everything_in_it(world: World) -> None:
    await world.complete(min_delay=100, max_delay=100)
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    world.pass_time(timedelta(seconds=95))
    await world.complete(user_id="u-2", webhook=f"{world.sandbox_url}/inbox/other")  # a later reply overtakes it
    await world.sandbox.deliveries(1, path="/other")
    assert await world.sandbox.deliveries(path="/a") == []
    world.pass_time(timedelta(seconds=6))
    assert await world.sandbox.deliveries(1, path="/a")


async def test_a_conversation_that_exists_upstream_is_adopted(world: World) -> None:
    headers = {"Authorization": "Bearer client-key-1"}
    body = {"bot_id": BOT, "user_id": "u-1", "create_user_if_not_exists": True, "with_messages": []}
    made = await world.http.post(f"{world.sandbox_url}/api/conversations", json=body, headers=headers)
    conversation_id = made.json()["conversation"]["id"]

    assert (await world.complete()).status_code == 200

    _, listed, patched, read, posted = await world.sandbox.calls()
    assert (listed["method"], patched["method"], read["method"]) == ("GET", "PATCH", "GET")
    assert patched["json"]["webhook"].startswith(f"{world.url}/callbacks/v3/")
    assert posted["path"] == f"/api/conversations/{conversation_id}/messages"
    [conversation] = await world.sandbox.conversations()
    assert conversation["id"] == conversation_id
    assert await world.sandbox.deliveries(1)


async def test_a_conversation_that_upstream_deleted_is_created_again_with_the_history(world: World) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    [old] = await world.sandbox.conversations()
    await world.sandbox.delete(old["id"])

    history = [{"bot": False, "content": ["one"]}, {"bot": True, "content": ["x", "y"]}]
    assert (await world.complete(message="two", messages=history)).status_code == 200

    [new] = await world.sandbox.conversations()
    assert new["id"] != old["id"]
    assert [message["text"] for message in new["messages"]][:4] == ["one", "x", "y", "two"]
    assert len(await world.sandbox.deliveries(2)) == 2


async def test_first_messages_at_once_create_one_conversation(world: World) -> None:
    answers = await asyncio.gather(*(world.complete(message=f"message {number}") for number in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    [conversation] = await world.sandbox.conversations()
    users = [message["text"] for message in conversation["messages"] if not message["from_bot"]]
    assert sorted(users) == sorted(f"message {number}" for number in range(8))


async def test_an_identical_request_while_its_turn_is_open_posts_once_and_delivers_once(
    store: Store,  # an empty one: what other tests left on its way would be waited for
    world: World,
) -> None:
    first, again = await asyncio.gather(
        world.complete(max_delay=50, min_delay=50), world.complete(max_delay=50, min_delay=50)
    )
    third = await world.complete(max_delay=50, min_delay=50)
    assert first.json() == again.json() == third.json()
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    world.pass_time(timedelta(seconds=51))
    await world.sandbox.deliveries(1)
    posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
    assert len(posts) == 1
    await world.settled()
    renewed = await world.complete(max_delay=50, min_delay=50)  # the reply has gone out: this regenerates
    assert renewed.json()["message_id"] != first.json()["message_id"]


async def test_a_picture_comes_as_media(world: World) -> None:
    await world.sandbox.script(
        Segment(text="look", attached_media=AttachedMedia(url="https://host/pic.jpg", content_id="c-9"))
    )
    await world.complete()
    [delivery] = await world.sandbox.deliveries(1)
    assert delivery["json"]["completion"] == ["look"]
    assert delivery["json"]["media"] == {"url": "https://host/pic.jpg", "type": "image"}
    assert delivery["json"]["media_id"] == "c-9"


async def test_two_keys_never_share_a_conversation(world: World) -> None:
    await world.complete(key="one")
    await world.complete(key="two")
    assert len({one["account"] for one in await world.sandbox.conversations()}) == 2


@pytest.mark.parametrize("rule", ["duplicate", "reorder"])
async def test_callbacks_twice_or_out_of_order_make_one_reply_in_order(world: World, rule: FaultKind) -> None:
    await world.sandbox.script("a", "b", "c")
    await world.sandbox.arm_callbacks(CallbackFault(kind=rule))
    await world.complete()
    [delivery] = await world.sandbox.deliveries(1)
    await world.sandbox.idle()
    assert texts(delivery) == ["a", "b", "c"]
    assert len(await world.sandbox.deliveries()) == 1
