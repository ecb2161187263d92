"""How much waits in the store, sampled into the metrics: replies under way, those of them that are late, dead letters.

Every process samples, also one that leaves deliveries to others: so it shows when nobody delivers. All count the same
store: take the newest of them, or the largest, not the sum.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from gateway import errors, metrics
from gateway.relay.pressure import Pressure
from gateway.relay.queue import Queue

INTERVAL = timedelta(seconds=5)
"""Below what scrapers wait between two looks; a sample is one round trip."""


async def sample(queue: Queue, pressure: Pressure | None = None) -> None:
    """Count once; while the store is away the last numbers stay. `pressure` is told, too."""
    try:
        counts = await queue.count()
    except errors.StoreUnavailable:  # told by the store's own metrics
        return
    if pressure is not None:
        pressure.learn(counts)
    metrics.PENDING_REPLIES.set(counts.pending)
    metrics.DUE_REPLIES.set(counts.due)
    metrics.DEAD_LETTERS_KEPT.set(counts.dead)


@contextlib.asynccontextmanager
async def sampling(
    queue: Queue, interval: timedelta = INTERVAL, *, pressure: Pressure | None = None
) -> AsyncIterator[None]:
    """Sample for as long as the context is open."""
    ended = asyncio.Event()

    async def keep_sampling() -> None:
        while not ended.is_set():
            await sample(queue, pressure)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval.total_seconds()):
                    await ended.wait()

    task = asyncio.create_task(keep_sampling(), name="gauges")
    try:
        yield
    finally:
        ended.set()  # and not cancelled: a count that is under way ends by itself, within the bound of a call
        await task
