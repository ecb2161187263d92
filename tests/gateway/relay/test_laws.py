"""Laws of the queue, over any sequence of turns, segments, claims, outcomes, crashes and waits."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay_kit import EVERY_SHARD, LEASE, advance, conversation, open_turn, speak

from gateway import keys
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Outcome, Reason, RetryAt
from gateway.relay.queue import Queue, Settlement
from gateway.store import Store
from mappings import completion

MIN_DELAY, DELAY, PAUSE = timedelta(seconds=5), timedelta(seconds=4), timedelta(seconds=20)
TALKERS = [conversation(1), conversation(17)]  # on one shard

OFTEN = ("speak", "speak", "claim", "claim", "delivered")
SELDOM = ("turn", "long turn", "picture", "crash", "retry", "uncharged", "dead", "hand back", "late outcome")
ACTIONS = st.lists(
    st.tuples(st.sampled_from((*OFTEN, *SELDOM)), st.integers(0, len(TALKERS) - 1)), min_size=20, max_size=60
)


class History:
    """Acts on a queue, and keeps what clients, the upstream and receivers would have seen."""

    def __init__(self, store: Store) -> None:
        self.store, self.queue = store, Queue(store)
        self.spoken: dict[str, list[str]] = defaultdict(list)
        self.arrived: dict[str, list[str]] = defaultdict(list)
        self.dead: dict[str, list[str]] = defaultdict(list)
        self.sent: dict[str, tuple[str, ...]] = {}
        self.not_before: dict[str, datetime] = {}
        self.claimed: dict[str, tuple[Delivery, datetime]] = {}  # by conversation: one at a time
        self.taken_over: list[Delivery] = []
        self.crashed: set[int] = set()
        self.number = 0

    async def act(self, action: str, talker: int) -> None:
        of = TALKERS[talker]
        match action:
            case "turn":
                await self.turn(of, MIN_DELAY)
            case "long turn":
                await self.turn(of, 20 * MIN_DELAY)
            case "speak" | "picture":
                self.number += 1
                picture = f"https://host/{self.number}" if action == "picture" else None
                folded = await speak(self.queue, str(self.number), of, picture=picture, sent_at=self.number)
                if folded.outcome in {"opened", "folded"}:
                    self.spoken[of.digest].append(str(self.number))
            case "crash":
                for delivery, _ in self.claimed.values():
                    self.send(delivery)  # it may have been sent before
                    self.crashed.add(delivery.fence)
                advance(self.store, LEASE)
            case "claim":
                advance(self.store, PAUSE / 2)
                await self.claim()
            case "late outcome":
                late = [Settlement(delivery, Delivered(200)) for delivery in self.taken_over]
                assert {settled.verdict for settled in await self.queue.settle(late)} <= {"stale", "gone"}
            case _:
                if self.claimed:
                    await self.settle(self.claimed.pop(next(iter(self.claimed)))[0], action)

    async def turn(self, of: keys.ConversationKeys, min_delay: timedelta) -> None:
        turn = await open_turn(self.store, of, delay=min_delay + DELAY, min_delay=min_delay)
        accepted_at = int(await self.store.redis.hget(of.shard.turn(turn), "accepted_at"))
        self.not_before[turn] = datetime.fromtimestamp(accepted_at / 1000, UTC) + min_delay

    async def claim(self) -> None:
        for claimed in (await self.queue.claim(EVERY_SHARD, LEASE)).values():
            for delivery in claimed.deliveries:
                assert all(self.not_before[turn] <= claimed.now for turn in delivery.turn_ids)
                if delivery.conversation in self.claimed:
                    before, leased_until = self.claimed[delivery.conversation]
                    assert (before.id, leased_until <= claimed.now) == (delivery.id, True)
                    self.taken_over.append(before)
                self.claimed[delivery.conversation] = delivery, claimed.now + LEASE

    async def settle(self, delivery: Delivery, action: str) -> None:
        if action == "hand back":
            if delivery.fence not in self.crashed:  # only what was not sent is handed back
                await self.queue.release([(delivery, PAUSE)])
            return
        texts = self.send(delivery)
        now = (await self.queue.claim({0: 1}, LEASE))[0].now
        outcomes: dict[str, Outcome] = {
            "delivered": Delivered(200),
            "retry": RetryAt(now + PAUSE, "status 500", 500),
            "uncharged": RetryAt(now + PAUSE, "lookup_failed", charged=False),
            "dead": DeadLettered(Reason.GONE, "status 410", 410),
        }
        [settled] = await self.queue.settle([Settlement(delivery, outcomes[action], b"{}")])
        assert settled.verdict == "ok"
        if action in {"delivered", "dead"}:
            (self.arrived if action == "delivered" else self.dead)[delivery.conversation] += texts

    def send(self, delivery: Delivery) -> list[str]:
        """Let a receiver see an attempt: all attempts of one id carry the same."""
        assert self.sent.setdefault(delivery.id, delivery.segments) == delivery.segments
        return [completion.decode_segment(segment).text for segment in delivery.segments]

    async def finish(self) -> None:
        """Deliver all that is left."""
        for _ in range(200):
            advance(self.store, LEASE + PAUSE + DELAY)
            await self.claim()
            for digest in list(self.claimed):
                await self.settle(self.claimed.pop(digest)[0], "delivered")
            if (await self.queue.count()).pending == 0:
                return
        raise AssertionError("the queue never empties")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS)
async def test_every_segment_arrives_once_and_in_order_in_replies_that_never_change(
    store: Store, actions: list[tuple[str, int]]
) -> None:
    await store.redis.flushall()
    store.clock_offset_ms = 0
    history = History(store)
    for of in TALKERS:
        await history.turn(of, MIN_DELAY)
    for action, talker in actions:
        await history.act(action, talker)
    await history.finish()
    for digest, spoken in history.spoken.items():
        arrived, dead = history.arrived[digest], history.dead[digest]
        assert sorted(arrived + dead, key=int) == spoken
        assert arrived == sorted(arrived, key=int)
        assert dead == sorted(dead, key=int)
