"""What waits in the store, as the metrics have it."""

import asyncio
from datetime import timedelta

from relay_kit import claim_one, conversation, open_turn, reply, speak

from gateway import errors, metrics
from gateway.relay import gauges
from gateway.relay.delivery import DeadLettered, Reason
from gateway.relay.queue import Counts, Queue, Settlement
from gateway.store import Store


def shown() -> tuple[float | None, ...]:
    names = ("gateway_pending_replies", "gateway_due_replies", "gateway_dead_letters_kept")
    return tuple(metrics.REGISTRY.get_sample_value(name) for name in names)


async def test_what_waits_is_due_or_dead_is_counted(store: Store, queue: Queue) -> None:
    await gauges.sample(queue)
    assert shown() == (0, 0, 0)
    await reply(store, queue, "Hello!", conversation(1))
    await queue.settle([Settlement(await claim_one(queue), DeadLettered(Reason.GONE, "status 410", 410), b"{}")])
    await reply(store, queue, "Hello!", conversation(2))
    await open_turn(store, conversation(3))
    await speak(queue, "Later!", conversation(3))
    await gauges.sample(queue)
    assert shown() == (2, 1, 1)


class Counted(Queue):
    """A queue that tells how often it was counted."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.counts = 0
        self.third = asyncio.Event()
        self.away = False

    async def count(self) -> Counts:
        self.counts += 1
        if self.counts == 3:
            self.third.set()
        if self.away:
            raise errors.StoreUnavailable("away")
        return await super().count()


async def test_it_is_counted_again_and_again_until_the_end(store: Store) -> None:
    queue = Counted(store)
    async with gauges.sampling(queue, timedelta()):
        async with asyncio.timeout(10):
            await queue.third.wait()
    counted = queue.counts
    await asyncio.sleep(0)
    assert queue.counts == counted
    assert "gauges" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_while_the_store_is_away_the_last_numbers_stay(store: Store) -> None:
    queue = Counted(store)
    await reply(store, queue, "Hello!", conversation(1))
    await gauges.sample(queue)
    queue.away = True
    await gauges.sample(queue)
    assert queue.counts == 2
    assert shown() == (1, 1, 0)
