"""The whole flow on a real Redis Cluster, also while its slots are on the move."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import store_servers

from gateway import keys
from tests.flows.conftest import World, running_world

USERS = 24
PASSING = {429, 503, 504}
"""What a client that is told to come again may be told."""

UPSTREAMS_ATTEMPTS = 9
"""Of a callback, over 13 seconds: longer than a slot is ever on the move."""


@pytest.fixture
async def cluster() -> AsyncIterator[store_servers.Cluster]:
    with tempfile.TemporaryDirectory(prefix="gc-") as directory:
        async with store_servers.running_cluster(Path(directory)) as running:
            yield running


async def say(world: World, user: int, text: str) -> tuple[str, int]:
    """Send one message, again and again until it is taken; give the turn's id and how often it was not."""
    refused = 0
    while True:
        answer = await world.complete(user_id=f"u-{user}", message=text, webhook=f"{world.sandbox_url}/inbox/{user}/")
        if answer.status_code == 200:
            return answer.json()["message_id"], refused
        assert answer.status_code in PASSING, answer.text
        assert int(answer.headers["retry-after"]) >= 1 if answer.status_code == 503 else True
        refused += 1


async def talk(world: World, user: int, until: asyncio.Event) -> list[str]:
    """Say one thing after the other, each when something came back, and one more after the event."""
    turn_ids: list[str] = []
    last = False
    while not last:
        last = until.is_set()
        turn_id, _ = await say(world, user, f"message {len(turn_ids)} of {user}")
        turn_ids.append(turn_id)
        await world.sandbox.deliveries(len(turn_ids), path=f"/{user}/", seconds=20)
    return turn_ids


async def move(cluster: store_servers.Cluster, shard: keys.ShardKeys) -> int:
    """Move a shard's slot to the next master, in two halves with a pause; give how many keys went."""
    slot = store_servers.slot_of(shard.due)
    source = await cluster.owner(slot)
    target = cluster.masters[(cluster.masters.index(source) + 1) % len(cluster.masters)]
    await cluster.begin_to_move(slot, target)
    count = int(await source.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot))
    moved = await cluster.move_keys(slot, source, target, most=count // 2)
    await asyncio.sleep(0.2)  # the load meets a slot that is on the move
    moved += await cluster.move_keys(slot, source, target)
    await cluster.finish_to_move(slot, target)
    return moved


def spoken(conversations: list[dict[str, Any]]) -> Counter[str]:
    """Count what the bots have said."""
    return Counter(each["text"] for one in conversations for each in one["messages"] if each["from_bot"])


async def all_delivered(world: World, expected: Counter[str]) -> list[dict[str, Any]]:
    """Wait until the inbox has everything that the bots have spoken; give the deliveries."""
    async with asyncio.timeout(30):
        while True:
            deliveries = await world.sandbox.deliveries()
            if Counter(text for one in deliveries for text in one["json"]["completion"]) == expected:
                return deliveries
            await world.sandbox.deliveries(len(deliveries) + 1, seconds=30)


async def test_a_turn_of_every_shard_goes_all_the_way(cluster: store_servers.Cluster) -> None:
    async with running_world(cluster.url) as world:
        turn_ids = await asyncio.gather(*(say(world, user, "hello") for user in range(USERS)))
        await world.sandbox.deliveries(USERS)
        await world.sandbox.idle()
        delivered = await all_delivered(world, spoken(await world.sandbox.conversations()))
    # A segment that came late is a delivery of its own.
    assert {turn_id for turn_id, _ in turn_ids} <= {one["json"]["id"] for one in delivered}
    assert all(refused == 0 for _, refused in turn_ids)


async def test_slots_move_under_load_and_nothing_is_lost_or_posted_twice(cluster: store_servers.Cluster) -> None:
    moved = asyncio.Event()

    async def move_them_all() -> int:
        try:
            return sum([await move(cluster, shard) for shard in keys.all_shards()[::3]])
        finally:
            moved.set()

    async with (
        running_world(cluster.url, webhook_attempts=UPSTREAMS_ATTEMPTS) as world,
        asyncio.TaskGroup() as tasks,
    ):
        talking = [tasks.create_task(talk(world, user, moved)) for user in range(USERS)]
        await world.sandbox.deliveries(USERS)
        assert await move_them_all() > USERS
        turn_ids = [turn_id for one in talking for turn_id in await one]
        await world.sandbox.idle()
        conversations = await world.sandbox.conversations()
        messages = [message for one in conversations for message in one["messages"]]
        deliveries = await all_delivered(world, spoken(conversations))
    said = [message["text"] for message in messages if not message["from_bot"]]
    assert len(turn_ids) > 2 * USERS
    assert len(said) == len(set(said)) == len(turn_ids)
    delivered = Counter(one["json"]["id"] for one in deliveries)
    assert set(delivered.values()) == {1}
    assert set(turn_ids) <= set(delivered)  # a segment that came late is a delivery of its own
    assert len(conversations) == USERS
