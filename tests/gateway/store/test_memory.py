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

PENDING_REPLY_BYTES = 1500
"""With its turn, its place in the queues and 110 characters of text."""

KNOWN_CONVERSATION_BYTES = 600
"""On the day of its last turn; the ids of the messages taken, a fifth of it, are forgotten after a day."""

TEXT = "Thanks for your message! We'll look into it and come back to you as soon as we can, promised. Anything else?"


def conversation(number: int) -> keys.ConversationKeys:
    return keys.ConversationKeys(hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest())


async def for_each(work: Callable[[int], Awaitable[object]]) -> None:
    for start in range(0, COUNT, AT_ONCE):
        await asyncio.gather(*(work(number) for number in range(start, start + AT_ONCE)))


async def used(store: Store) -> int:
    """Tell the bytes of all keys, without what the server needs for itself."""
    dataset = 0
    async for key in store.redis.scan_iter(count=1000):
        dataset += await store.redis.memory_usage(key, samples=0)
    return dataset + int((await store.redis.memory_stats())["db.0"]["overhead.hashtable.main"])


async def test_pending_replies_and_known_conversations_stay_within_their_bounds(store: Store) -> None:
    queue = Queue(store)

    async def begin(number: int) -> None:
        webhook = f"https://api.client.example/webhooks/chat/replies?token=6f1d2b{number:08d}&chat=57"
        await open_turn(store, conversation(number), webhook=webhook, delay=timedelta(hours=1))
        await speak(queue, TEXT, conversation(number))

    await for_each(begin)
    pending = await used(store)
    advance(store, timedelta(hours=2))
    while deliveries := await claim(queue):
        await queue.settle([Settlement(delivery, Delivered(200)) for delivery in deliveries])
    known = await used(store)

    assert await store.redis.dbsize() < 3 * COUNT
    assert (pending - known) / COUNT < PENDING_REPLY_BYTES
    assert known / COUNT < KNOWN_CONVERSATION_BYTES
