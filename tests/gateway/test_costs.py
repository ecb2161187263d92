"""What a turn may cost, in counts: they depend on no machine, and none of them can grow unnoticed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import gateway
import mappings
from gateway import metrics
from gateway.sandbox.v3.callbacks import CallbackFault
from tests.flows.conftest import World, world

__all__ = ["world"]  # the fixture

OURS = tuple(str(Path(package.__file__ or "").parent) for package in (gateway, mappings))
NOT_OF_A_TURN = tuple(str(Path(OURS[0]) / part) for part in ("sandbox", "relay"))

HISTORY: list[dict[str, Any]] = [
    {"bot": number % 2 == 1, "content": [f"something said, number {number}"]} for number in range(1000)
]


def said(text: str) -> dict[str, Any]:
    return {"bot": False, "content": [text]}


class Count:
    """Calls of functions of ours, and of the store's scripts, while it is open."""

    functions = 0
    scripts: dict[str, int]


@contextmanager
def counting() -> Iterator[Count]:
    count = Count()
    before = _script_runs()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            count.functions += name.startswith(OURS) and not name.startswith(NOT_OF_A_TURN)

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)
        after = _script_runs()
        count.scripts = {name: runs - before.get(name, 0) for name, runs in after.items() if runs > before.get(name, 0)}


def _script_runs() -> dict[str, int]:
    return {
        sample.labels["script"]: int(sample.value)
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
        if sample.name == "gateway_store_call_duration_seconds_count"
    }


async def of_a_turn(world: World, **changes: Any) -> tuple[Count, list[str]]:
    """Lead one turn; give its counts, and what it asked of the upstream."""
    before = len(await world.sandbox.calls())
    with counting() as count:
        answer = await world.complete(**changes)
    assert answer.status_code == 200
    asked = [f"{call['method']} {call['path'].rpartition('/')[2]}" for call in await world.sandbox.calls(since=before)]
    return count, asked


@pytest.fixture
async def idle(world: World) -> World:
    """A gateway whose relay has stopped and whose upstream is silent: nothing is counted but what a turn does."""
    await world.gateway.worker.stop(timedelta(0))
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    return world


async def test_a_known_conversations_turn_is_two_scripts_and_one_call_upstream(idle: World) -> None:
    await idle.complete(messages=[], message="one")
    count, asked = await of_a_turn(idle, messages=[said("one")], message="two")
    assert asked == ["POST messages"]
    assert count.scripts == {"open_turn": 1, "record_post": 1}
    assert count.functions <= 410  # 314 when this was written


async def test_a_cold_turn_is_three_scripts_and_three_calls_upstream(idle: World) -> None:
    count, asked = await of_a_turn(idle, messages=HISTORY[:10])
    assert asked == ["GET conversations", "POST conversations", "POST messages"]
    assert count.scripts == {"open_turn": 1, "record_conversation": 1, "record_post": 1}
    assert count.functions <= 840  # 645


async def test_a_joined_request_is_one_script_and_nothing_upstream(idle: World) -> None:
    await idle.complete(min_delay=30, max_delay=30)
    count, asked = await of_a_turn(idle, min_delay=30, max_delay=30)
    assert asked == []
    assert count.scripts == {"open_turn": 1}
    assert count.functions <= 220  # 167


async def test_a_history_beyond_the_horizon_takes_no_more_calls_the_longer_it_is(idle: World) -> None:
    counts = []
    for user, length in (("short", 200), ("long", 1000)):
        await idle.complete(user_id=user, messages=HISTORY[:length], message="one")
        count, _ = await of_a_turn(idle, user_id=user, messages=[*HISTORY[:length], said("one")], message="two")
        counts.append(count.functions)
    assert abs(counts[1] - counts[0]) <= 20
    assert counts[1] <= 370  # 280
