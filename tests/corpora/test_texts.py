"""Every text arrives as it was sent, code point for code point: the client's in V3, the bot's in the webhook."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora import cases
from tests.flows.conftest import KEY, World

_numbers = itertools.count()


async def converse(world: World, message: str, history: list[str], reply: str, *, escaped: bool) -> None:
    """Say the message with that history before it, let the bot reply, and look at both ends."""
    number = next(_numbers)
    path = f"/text-{number}"
    request = world.request(
        user_id=f"u-{number}",
        message=message,
        messages=[{"bot": False, "content": history}, {"bot": True, "content": "".join(history)}],
        webhook=f"{world.sandbox_url}/inbox{path}",
    )
    before = len(await world.sandbox.calls())
    await world.sandbox.script(reply)

    answer = await world.http.post(
        f"{world.url}/v2/complete",
        content=json.dumps(request, ensure_ascii=escaped).encode(),
        headers={"Authorization": f"Bearer {KEY}"},
    )

    assert answer.status_code == 200, answer.text
    _, created, posted = (await world.sandbox.calls(3, since=before))[:3]
    assert [one["text"] for one in created["json"]["with_messages"]] == [*history, "".join(history)]
    assert posted["json"]["message"]["text"] == message
    [delivery] = await world.sandbox.deliveries(1, path=path)
    assert completion(delivery) == [reply]


def completion(delivery: dict[str, Any]) -> Any:
    return delivery["json"]["completion"]


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "as UTF-8"])
@pytest.mark.parametrize("text", cases.TEXTS.values(), ids=cases.TEXTS.keys())
async def test_a_text_arrives_as_it_was_sent(world: World, text: str, escaped: bool) -> None:
    await converse(world, text, [text, "", text], text, escaped=escaped)


@settings(max_examples=40)
@given(st.text(min_size=1), st.lists(st.text(), max_size=3), st.text(min_size=1), st.booleans())
async def test_any_text_arrives_as_it_was_sent(
    world: World, message: str, history: list[str], reply: str, escaped: bool
) -> None:
    await converse(world, message, history, reply, escaped=escaped)


@pytest.mark.skipif(not cases.FOLDER.is_dir(), reason=cases.ABSENT)
async def test_the_shared_texts_arrive_as_they_were_sent(world: World) -> None:
    texts = list(cases.shared_texts())
    assert texts
    for text in texts:
        await converse(world, text, [text], text or "-", escaped=False)


@pytest.mark.parametrize("text", cases.TEXTS.values(), ids=cases.TEXTS.keys())
async def test_ids_and_facts_of_any_kind_harm_nothing(world: World, text: str) -> None:
    number = next(_numbers)
    path = f"/id-{number}"
    answer = await world.complete(
        user_id=f"{number} {text[:300]}",
        conversation_id=text,
        webhook=f"{world.sandbox_url}/inbox{path}",
        platform=text,
        user_kv_pairs={text: text},
        user_display_name=text,
        prompt=text,
    )
    assert (answer.status_code, answer.json()["conversation_id"]) == (200, text)
    assert await world.sandbox.deliveries(1, path=path)
