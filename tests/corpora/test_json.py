"""JSON is taken or refused as the cases say, wherever it stands, and nothing that comes is more than a 400."""

import json

import httpx
import pytest

from tests.corpora import cases
from tests.flows.conftest import BOT, KEY, World

SHARED = dict(cases.shared_json())


async def send(world: World, body: bytes) -> httpx.Response:
    return await world.http.post(f"{world.url}/v2/complete", content=body, headers={"Authorization": f"Bearer {KEY}"})


def around(world: World, name: str, value: bytes) -> bytes:
    """Give a request that holds the value in a field that nobody knows."""
    request = json.dumps(
        {"bot_id": BOT, "user_id": name, "message": "hi", "webhook": f"{world.sandbox_url}/inbox/json"}
    )
    return request.encode()[:-1] + b', "new_field": ' + value + b"}"


def check(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in statuses, answer.text
    if answer.status_code != 200:
        assert set(answer.json()) == {"error", "message", "request_id"}


@pytest.mark.parametrize(("name", "value"), cases.JSON.items(), ids=cases.JSON.keys())
async def test_json_is_taken_or_refused(world: World, name: str, value: bytes) -> None:
    await judge(world, name, value)


@pytest.mark.skipif(not cases.FOLDER.is_dir(), reason=cases.ABSENT)
async def test_the_shared_cases_are_taken_or_refused(world: World) -> None:
    assert SHARED
    for name, value in SHARED.items():
        await judge(world, name, value)


async def judge(world: World, name: str, value: bytes) -> None:
    allowed = {"y": (200,), "n": (400,), "i": (200, 400)}
    check(await send(world, around(world, name, value)), *allowed[name[0]])
    history = json.dumps({"bot_id": BOT, "user_id": "u"}).encode()[:-1] + b', "messages": ' + value + b"}"
    check(await send(world, history), 400, 422)
    check(await send(world, value), 400)
