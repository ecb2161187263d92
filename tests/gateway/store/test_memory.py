"""What conversations and replies cost in the store, written by the real scripts: bounds that no change may pass."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from relay_kit import advance, claim, open_turn, speak

from gateway import keys
from gateway.relay.delivery import Delivered
from gateway.relay.queue import Queue, Settlement
from gateway.store import Store

COUNT = 2000
AT_ONCE = 200

PENDING_REPLY_BYTES = 1450
"""With its turn, its place in the queues, the ids of the messages taken, and 110 characters of text."""

KNOWN_CONVERSATION_BYTES = 310
"""At rest, when what is kept for a day after its last turn is gone; a quarter of it is its webhook's URL."""

TEXT = "Thanks for your message! We'll look into it and come back to you as soon as we can, promised. Anything else?"


def conversation(number: int) -> keys.ConversationKeys:
    return keys.ConversationKeys(hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest())


async def for_each(work: Callable[[int], Awaitable[object]]) -> None:
    for start in range(0, COUNT, AT_ONCE):
        await asyncio.gather(*(work(number) for number in range(start, start + AT_ONCE)))


async def used(store: Store, kind: str = "*") -> float:
    """Tell the bytes of all keys of a kind, with their share of the table of keys."""
    sizes = [await store.redis.memory_usage(key, samples=0) async for key in store.redis.scan_iter(kind, count=1000)]
    table = int((await store.redis.memory_stats())["db.0"]["overhead.hashtable.main"])
    return sum(sizes) + table * len(sizes) / int(await store.redis.dbsize())


async def test_pending_replies_and_known_conversations_stay_within_their_bounds(store: Store) -> None:
    queue = Queue(store)

    async def begin(number: int) -> None:
        webhook = f"https://api.client.example/webhooks/chat/replies?token=6f1d2b{number:08d}&chat=57"
        await open_turn(store, conversation(number), webhook=webhook, delay=timedelta(hours=1))
        await speak(queue, TEXT, conversation(number))

    await for_each(begin)
    known = await used(store, "*}:conv:*")
    assert known / COUNT < KNOWN_CONVERSATION_BYTES
    assert (await used(store) - known) / COUNT < PENDING_REPLY_BYTES

    advance(store, timedelta(hours=2))
    while deliveries := await claim(queue):
        await queue.settle([Settlement(delivery, Delivered(200)) for delivery in deliveries])
    assert await store.redis.keys("*}:reply:*") == []
    assert await used(store, "*}:conv:*") / COUNT < KNOWN_CONVERSATION_BYTES
