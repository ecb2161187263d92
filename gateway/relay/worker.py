"""Flow 3, one loop over all shards: settle what has ended, claim what has fallen due, sleep until the next.

Any number of processes run it side by side on one store. A claim holds a reply for the length of a lease, and every
write carries the claim's fence: a process that dies leaves its claims to be taken over when their leases pass, and one
that was frozen meanwhile writes nothing and sends nothing more.

The time is the store's: due times, lateness and pauses are reckoned from what the last claim said it was.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

import structlog

from gateway import errors, keys, metrics
from gateway.relay.breakers import Breakers
from gateway.relay.delivery import (
    POISON_TAKEOVERS,
    Answered,
    DeadLettered,
    Delivery,
    Outcome,
    Policy,
    Reason,
    Result,
    RetryAt,
    classify,
)
from gateway.relay.lanes import Lane, Lanes
from gateway.relay.queue import Queue, Settlement, Shares
from gateway.settings import Settings
from mappings import completion

MAX_IN_FLIGHT = 512
MAX_IN_FLIGHT_PER_LANE = 128
"""Of one tenant to one host."""

MAX_BATCH = 128
"""Deliveries in one round trip: the loop is the HTTP server's too, and reading so many takes it 10 ms."""

SCAN_SECONDS = 0.25
"""How often a shard is looked at, whatever is known of it: other processes set due times too."""

ROUND_SECONDS = 0.004
"""The least time from one round's start to the next: under load a round so gathers what a round trip is worth.

At 1,000 deliveries a second it halves the CPU of each and adds 2 ms to half of them; a lone one waits for nothing.
"""

LEASE_MARGIN = timedelta(seconds=10)
"""How much longer than an attempt's deadline a claim is held."""

LONGEST_SPREAD = timedelta(seconds=10)
"""Over how long deliveries that a breaker holds back come again, so that they do not come all at once."""

SEND_MARGIN = LEASE_MARGIN / 2
"""How much of the lease must be left beyond the deadline for an attempt to begin."""

FIRST_STORE_PAUSE_SECONDS = 0.05
LONGEST_STORE_PAUSE_SECONDS = 0.5

FLUSH_SECONDS = 3.0
"""How long `stop` waits for the store to take the last outcomes; what it does not take comes back by its lease."""

Post: TypeAlias = Callable[[Delivery, bytes], Awaitable[Result]]
"""Sends a body to a delivery's webhook, within the deadline; what goes wrong on the way is a result, not raised."""

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Who is told of every attempt when it ends."""

    def attempted(
        self, delivery: Delivery, outcome: Outcome, lateness: timedelta, duration: timedelta, status: int | None
    ) -> None:
        """Take note of it. `lateness` is from when it was due to its start; `status` is the HTTP answer's, if any."""


def boot_clock() -> float:
    """Give monotonic seconds that go on while the machine sleeps, where it can tell: a lease does, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Worker:
    """The relay of one process. `clock` is in monotonic seconds, `draw` uniform in [0, 1)."""

    def __init__(
        self,
        queue: Queue,
        post: Post,
        settings: Settings,
        *,
        observer: Observer,
        clock: Callable[[], float] = boot_clock,
        draw: Callable[[], float] = random.random,
        places: int = MAX_IN_FLIGHT,
        places_per_lane: int = MAX_IN_FLIGHT_PER_LANE,
    ) -> None:
        self._queue = queue
        self._post = post
        self._observer = observer
        self._clock = clock
        self._draw = draw
        self._policy = Policy(settings.delivery_max_attempts, timedelta(seconds=settings.delivery_backoff_seconds))
        self._deadline = timedelta(seconds=settings.delivery_timeout_seconds)
        self._lease = self._deadline + LEASE_MARGIN
        self._lanes = Lanes(places, places_per_lane, clock)

        self._breakers = Breakers(queue.store, pause=self._policy.pause, clock=clock)

        self._looks = {shard.shard: clock() for shard in keys.all_shards()}  # when to look at each next
        self._store_ahead = 0.0  # the store's Unix time less our clock, as of the last claim
        self._short: Mapping[str, int] = {}  # tenants who got less than they may have waiting, as of the last claim
        self._attempts: set[asyncio.Task[None]] = set()
        self._settlements: list[Settlement] = []
        self._handed_back: list[tuple[Delivery, timedelta]] = []
        self._store_away_since: float | None = None

        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to relay, and to hear of what the queue's `fold` schedules."""
        self._queue.on_due = self.look_at
        self._loop = asyncio.create_task(self._run(), name="relay")

    async def stop(self, grace: timedelta) -> None:
        """Claim nothing more, give the attempts under way so long, hand back the rest."""
        self._stopping = True
        self._wake.set()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace.total_seconds())
        for attempt in self._attempts:
            attempt.cancel()
        if self._loop:
            await asyncio.wait([self._loop], timeout=FLUSH_SECONDS)
            self._loop.cancel()
            await asyncio.wait([self._loop])

    def look_at(self, shard: int, due: datetime) -> None:
        """Look at a shard at that moment, by the store's clock, rather than when it would be its turn."""
        at = self._our_time(due)
        if at < self._looks[shard]:
            self._looks[shard] = at
            self._wake.set()

    def wake(self) -> None:
        """Look at all shards now."""
        self._looks = dict.fromkeys(self._looks, self._clock())
        self._wake.set()

    async def _run(self) -> None:
        began = self._clock() - ROUND_SECONDS
        while not self._done:
            await asyncio.sleep(max(began + ROUND_SECONDS - self._clock(), 0))
            began = self._clock()
            self._wake.clear()
            try:
                await self._settle()
                await self._hand_back()
                await self._breakers.flush()
                if not self._stopping:
                    await self._claim()
            except errors.StoreUnavailable as error:
                await self._wait_for_the_store(error)
            except Exception:  # the loop outlives whatever one round meets; what it held is left to the leases
                log.exception("relay.round_failed")
                self._settlements.clear()
                self._handed_back.clear()
                await asyncio.sleep(LONGEST_STORE_PAUSE_SECONDS)
            else:
                self._note_the_store()
                await self._sleep()

    @property
    def _done(self) -> bool:
        return self._stopping and not (self._attempts or self._settlements or self._handed_back)

    async def _settle(self) -> None:
        """Record the outcomes of the attempts that have ended."""
        untaken: list[Settlement] = []
        while settlements := self._settlements[:MAX_BATCH]:
            answers = await self._queue.settle(settlements)
            del self._settlements[: len(settlements)]
            for settlement, settled in zip(settlements, answers, strict=True):
                if settled.verdict == "untaken":
                    untaken.append(settlement)
                if settled.verdict == "stale":
                    log.warning("delivery.lease_lost", delivery_id=settlement.delivery.id)
                if settled.next_due:
                    self.look_at(keys.ConversationKeys(settlement.delivery.conversation).shard.shard, settled.next_due)
        self._settlements += untaken

    async def _hand_back(self) -> None:
        while handed_back := self._handed_back[:MAX_BATCH]:
            await self._queue.release(handed_back)
            del self._handed_back[: len(handed_back)]

    async def _claim(self) -> None:
        """Claim what has fallen due, no more than there are places, and begin the attempts."""
        await self._breakers.refresh()
        now = self._clock()
        most = min(self._lanes.free, MAX_BATCH)
        shards = sorted((at, number) for number, at in self._looks.items() if at <= now)[:most]
        if not shards:
            return
        limits = {number: most // len(shards) for _, number in shards}
        scan = (now // SCAN_SECONDS + 1) * SCAN_SECONDS  # the same moment for all, so that one round trip does
        for number in limits:  # before the claim: `look_at` may bring it forward while the claim is under way
            self._looks[number] = scan
        self._short = self._lanes.shares_below(most)
        claims = await self._queue.claim(limits, self._lease, Shares(min(self._lanes.share, most), self._short))
        leased_until = now + self._lease.total_seconds()  # from before the claim was sent
        answered = self._clock()
        for number, claimed in claims.items():
            self._store_ahead = claimed.now.timestamp() - answered
            if claimed.next_due:
                self._looks[number] = min(self._looks[number], self._our_time(claimed.next_due))
            for delivery in claimed.deliveries:
                self._begin(delivery, leased_until)

    def _begin(self, delivery: Delivery, leased_until: float) -> None:
        if self._stopping:
            self._handed_back.append((delivery, timedelta()))
        elif delivery.takeovers >= POISON_TAKEOVERS:
            self._end(delivery, DeadLettered(Reason.POISON, "not settled"), began=self._clock())
        elif (open_until := self._breakers.open_until(_lane(delivery))) and self._store_time() < open_until:
            self._postpone(delivery, open_until)
        elif pause := self._lanes.enter(_lane(delivery), (delivery.id, delivery.fence)):
            self._handed_back.append((delivery, pause))
        else:
            attempt = asyncio.create_task(self._attempt(delivery, leased_until))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._forget)

    async def _attempt(self, delivery: Delivery, leased_until: float) -> None:
        """Make one attempt. What it fails by itself is left to the lease, and is poison after a few such claims."""
        began = self._clock()
        body: bytes | None = None
        try:
            if not await self._may_go(delivery):
                return
            if leased_until - began < (self._deadline + SEND_MARGIN).total_seconds():
                self._handed_back.append((delivery, timedelta()))
                return
            body = delivery.body or _freeze(delivery)
            result = await self._post(delivery, body)
            self._breakers.note(_lane(delivery), _name(delivery), result)
            outcome = classify(result, delivery, self._policy, now=self._store_time(), draw=self._draw())
            status = result.status if isinstance(result, Answered) else None
            self._end(delivery, outcome, began=began, status=status, body=body)
        except asyncio.CancelledError:  # draining: it may have arrived, so that its bytes stay as they are
            self._end(delivery, RetryAt(self._store_time(), "stopped", charged=False), began=began, body=body)
            raise
        except Exception:
            log.exception("delivery.failed", delivery_id=delivery.id)
        finally:
            self._lanes.leave(_lane(delivery), (delivery.id, delivery.fence))
            if delivery.tenant in self._short:  # what it has waiting may have been passed over
                self.wake()

    async def _may_go(self, delivery: Delivery) -> bool:
        """Ask the breaker, where it is not known to be closed; what may not go is handed back."""
        lane = _lane(delivery)
        if self._breakers.open_until(lane) is None:
            return True
        try:
            again = await self._breakers.ask(lane, _name(delivery), self._lease)
        except errors.StoreUnavailable:
            self._handed_back.append((delivery, timedelta()))
            return False
        if again is not None:
            self._postpone(delivery, again)
        return again is None

    def _postpone(self, delivery: Delivery, until: datetime) -> None:
        """Hand a delivery back until its breaker may let it through; one that has waited for too long is given up."""
        if until - delivery.not_before > self._policy.patience:
            self._end(delivery, DeadLettered(Reason.AGE, "breaker_open"), began=self._clock())
            return
        pause = until - self._store_time()
        spread = self._draw() * min(pause, LONGEST_SPREAD)
        self._handed_back.append((delivery, max(pause + spread, timedelta())))
        metrics.DELIVERIES_POSTPONED.inc()

    def _forget(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        self._wake.set()

    def _end(
        self,
        delivery: Delivery,
        outcome: Outcome,
        *,
        began: float,
        status: int | None = None,
        body: bytes | None = None,
    ) -> None:
        self._settlements.append(Settlement(delivery, outcome, body))
        lateness = timedelta(seconds=began - self._our_time(delivery.due))
        duration = timedelta(seconds=self._clock() - began)
        try:
            self._observer.attempted(delivery, outcome, lateness, duration, status)
        except Exception:  # what is told of an attempt must not change what comes of it
            log.exception("delivery.unobserved", delivery_id=delivery.id)

    async def _sleep(self) -> None:
        """Sleep until a shard is to be looked at, or until there is news: an attempt's end, a nearer due time."""
        if self._done:
            return
        until = self._clock() + SCAN_SECONDS
        if self._lanes.free and not self._stopping:
            until = min(self._looks.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(until - self._clock(), 0)):
                await self._wake.wait()

    async def _wait_for_the_store(self, error: errors.StoreUnavailable) -> None:
        now = self._clock()
        if self._store_away_since is None:
            self._store_away_since = now
            log.warning("relay.store_away", error=error.message)
        self._looks = dict.fromkeys(self._looks, now)  # the next round asks, whatever it has to do
        away = now - self._store_away_since
        await asyncio.sleep(min(FIRST_STORE_PAUSE_SECONDS + away / 2, LONGEST_STORE_PAUSE_SECONDS))

    def _note_the_store(self) -> None:
        if self._store_away_since is not None:
            log.info("relay.store_back", seconds=round(self._clock() - self._store_away_since, 3))
            self._store_away_since = None

    def _store_time(self) -> datetime:
        return datetime.fromtimestamp(self._clock() + self._store_ahead, UTC)

    def _our_time(self, at: datetime) -> float:
        return at.timestamp() - self._store_ahead


def _lane(delivery: Delivery) -> Lane:
    return Lane(delivery.tenant, delivery.host)


def _name(delivery: Delivery) -> str:
    return f"{delivery.id}:{delivery.fence}"


def _freeze(delivery: Delivery) -> bytes:
    segments = [completion.decode_segment(segment) for segment in delivery.segments]
    return completion.encode_callback(completion.complete(delivery.id, segments))
