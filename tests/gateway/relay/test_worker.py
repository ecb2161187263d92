"""The worker on a real store: what leaves, when, in which order, and what survives whose death."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from relay_kit import LEASE, ONE, Receivers, Relay, advance, claim, conversation, open_turn, reply, speak
from structlog.testing import capture_logs

from gateway.relay import dead_letters
from gateway.relay.delivery import Answered, DeadLettered, Delivered, Delivery, Failed, Reason, RetryAt, backoff
from gateway.relay.queue import Claimed, Counts
from gateway.store import Store

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
NOTHING_LEFT = Counts(0, 0, 0)


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store)


async def replies(relay: Relay, *texts: str, first: int = 0) -> None:
    """Let replies of as many conversations fall due, each at a webhook of its own."""
    for number, text in enumerate(texts, first):
        await reply(relay.store, relay.queue, text, conversation(number), webhook=f"https://{text}.example/")


# What leaves, and when


async def test_a_reply_leaves_when_it_is_due_and_not_before(relay: Relay) -> None:
    await open_turn(relay.store, delay=45 * SECOND)
    async with relay.running():
        await speak(relay.queue, "Hello!")
        await replies(relay, "due", first=2)
        assert [sent.texts for sent in await relay.receivers.until(1)] == [["due"]]
        relay.advance(44 * SECOND)
        await replies(relay, "due-too", first=3)
        assert [sent.texts for sent in await relay.receivers.until(2)] == [["due"], ["due-too"]]
        relay.advance(SECOND)
        assert [sent.texts for sent in await relay.receivers.until(3)][2] == ["Hello!"]
    assert await relay.queue.count() == NOTHING_LEFT


async def test_the_webhook_gets_all_segments_in_their_order(relay: Relay) -> None:
    await open_turn(relay.store)
    await speak(relay.queue, "How are you?", sent_at=2)
    turn = (await speak(relay.queue, "Hello!", sent_at=1)).reply_id
    await speak(relay.queue, "", sent_at=3, picture="https://host/1.jpg")
    advance(relay.store, HOUR)
    async with relay.running():
        [sent] = await relay.receivers.until(1)
    assert json.loads(sent.body) == {
        "completion": ["Hello!", "How are you?"],
        "id": turn,
        "media": {"url": "https://host/1.jpg", "type": "image"},
        "media_id": None,
    }


async def test_a_segment_that_schedules_a_reply_wakes_the_worker_for_it(relay: Relay) -> None:
    delay = 0.2 * SECOND
    await open_turn(relay.store, delay=delay, min_delay=delay, settle=timedelta())
    async with relay.running():
        folded = await speak(relay.queue, "Hello!")
        [seen] = await relay.observations.until(1)
    assert folded.due == seen.delivery.due
    assert seen.lateness >= timedelta()


async def test_the_observer_is_told_how_late_an_attempt_was(relay: Relay) -> None:
    await replies(relay, "late")
    advance(relay.store, HOUR)
    async with relay.running():
        [seen] = await relay.observations.until(1)
    assert HOUR <= seen.lateness < HOUR + 10 * SECOND
    assert timedelta() <= seen.duration < 10 * SECOND
    assert (seen.outcome, seen.status, seen.delivery.attempts) == (Delivered(200), 200, 1)


async def test_replies_of_one_conversation_leave_one_after_the_other(relay: Relay) -> None:
    for text in "abc":
        await reply(relay.store, relay.queue, text)
    async with relay.running():
        await relay.receivers.until(3)
    assert relay.receivers.said == ["a", "b", "c"]


async def test_workers_side_by_side_deliver_each_reply_once_and_in_order(store: Store) -> None:
    receivers = Receivers()
    relays = [Relay(store, receivers) for _ in range(3)]
    for number in range(40):
        for text in "abc":
            await reply(store, relays[0].queue, text, conversation(number), webhook=f"https://{number}.example/")
    async with relays[0].running(), relays[1].running(), relays[2].running():
        await receivers.until(120)
    said: dict[str, list[str]] = {}
    for sent in receivers.sent:
        said.setdefault(sent.webhook, []).extend(sent.texts)
    assert said == {f"https://{number}.example/": ["a", "b", "c"] for number in range(40)}
    assert len({sent.id for sent in receivers.sent}) == 120
    assert await relays[0].queue.count() == NOTHING_LEFT


async def test_more_replies_than_places_all_leave(store: Store) -> None:
    relay = Relay(store, places=3)
    texts = [f"r{number}" for number in range(20)]
    await replies(relay, *texts)
    async with relay.running():
        await relay.receivers.until(20)
    assert sorted(relay.receivers.said) == sorted(texts)


async def test_there_are_never_more_attempts_than_places(store: Store) -> None:
    relay = Relay(store, places=6)  # half of them for a tenant alone
    opened = asyncio.Event()
    for number in range(9):
        relay.receivers.ready[f"https://r{number}.example/"] = [opened]
    await replies(relay, *(f"r{number}" for number in range(9)))
    async with relay.running():
        await relay.receivers.until(3)
        assert await relay.queue.count() == Counts(pending=9, due=6, dead=0)
        opened.set()
        await relay.receivers.until(9)


# Failures


async def test_a_failed_attempt_is_repeated_with_its_id_and_its_bytes(relay: Relay) -> None:
    relay.receivers.ready["https://a.example/"] = [Answered(500), Failed("connect_failed")]
    await replies(relay, "a")
    async with relay.running():
        await relay.observations.until(1)
        await replies(relay, "later", first=0)  # the conversation goes on meanwhile: it waits for its turn
        relay.advance(20 * SECOND)
        await relay.observations.until(2)
        relay.advance(68 * SECOND)
        sent = await relay.receivers.until(4)
    assert [one.attempt for one in sent] == [1, 2, 3, 1]
    assert len({(one.id, one.body) for one in sent[:3]}) == 1
    assert relay.receivers.said == ["a", "a", "a", "later"]


async def test_a_segment_that_comes_after_a_failed_attempt_goes_into_the_next_reply(relay: Relay) -> None:
    relay.receivers.ready["https://a.example/"] = [Answered(500)]
    await replies(relay, "a")
    async with relay.running():
        await relay.observations.until(1)
        assert (await speak(relay.queue, "more", conversation(0))).outcome == "opened"
        relay.advance(20 * SECOND)
        await relay.receivers.until(2)
        relay.advance(20 * SECOND)
        sent = await relay.receivers.until(3)
    assert [one.texts for one in sent] == [["a"], ["a"], ["more"]]


@pytest.mark.parametrize(
    ("result", "reason"),
    [(Answered(410), Reason.GONE), (Failed("forbidden_address", "destination"), Reason.REFUSED_DESTINATION)],
)
async def test_what_can_never_arrive_is_tried_once(relay: Relay, result: Any, reason: Reason) -> None:
    relay.receivers.ready["https://a.example/"] = [result]
    await replies(relay, "a")
    await replies(relay, "b", first=0)
    async with relay.running():
        await relay.receivers.until(2)
    assert relay.receivers.said == ["a", "b"]
    assert [letter.reason for letter in await dead_letters.newest(relay.store, 9)] == [reason]


async def test_a_receiver_that_never_takes_it_gets_all_attempts_and_then_none(relay: Relay) -> None:
    relay.receivers.ready["https://a.example/"] = [Answered(500)] * 99
    await replies(relay, "a")
    async with relay.running():
        for attempt in range(1, 9):
            await relay.observations.until(attempt)
            relay.advance(backoff(attempt, 20 * SECOND, 0.5))
        await replies(relay, "b", first=2)
        await relay.receivers.until(9)
    assert relay.observations.outcomes[7] == DeadLettered(Reason.ATTEMPTS, "status 500", 500)
    assert relay.receivers.said == ["a"] * 8 + ["b"]


async def test_a_dead_letter_leaves_again_with_its_id_and_its_bytes(relay: Relay) -> None:
    relay.receivers.ready["https://a.example/"] = [Answered(410)]
    await replies(relay, "a")
    async with relay.running():
        await relay.observations.until(1)
    again = Relay(relay.store, relay.receivers)
    async with again.running():
        assert await dead_letters.redrive_all(relay.store) == 1
        again.worker.wake()
        first, second = await again.receivers.until(2)
    assert first == second
    assert await again.queue.count() == NOTHING_LEFT


async def test_an_attempt_that_breaks_does_not_touch_the_others_and_is_poison_in_the_end(relay: Relay) -> None:
    relay.receivers.ready["https://broken.example/"] = [RuntimeError("a defect")] * 99
    await replies(relay, "broken", "fine")
    with capture_logs() as lines:
        async with relay.running():
            await relay.receivers.until(2)
            for attempt in (3, 4):
                relay.advance(LEASE)
                await relay.receivers.until(attempt)
            relay.advance(LEASE)
            await relay.observations.until(2)
    assert sorted(relay.receivers.said) == ["broken"] * 3 + ["fine"]
    assert relay.observations.outcomes == [Delivered(200), DeadLettered(Reason.POISON, "not settled")]
    assert [line["event"] for line in lines] == ["delivery.failed"] * 3
    [letter] = await dead_letters.newest(relay.store, 9)
    assert (letter.reason, letter.attempts) == ("poison", 4)


async def test_a_reply_whose_segments_cannot_be_read_is_poison(relay: Relay) -> None:
    turn = await reply(relay.store, relay.queue, "Hello!")
    await relay.store.redis.lset(ONE.shard.reply(turn), 1, "no segment")
    await reply(relay.store, relay.queue, "next")
    with capture_logs():
        async with relay.running():
            for _ in range(4):
                await replies(relay, "barrier", first=2)
                await relay.receivers.until(len(relay.receivers.sent) + 1)
                relay.advance(LEASE)
            await relay.receivers.until(5)
    assert relay.receivers.said.count("next") == 1
    assert [letter.id for letter in await dead_letters.newest(relay.store, 9)] == [turn]


async def test_an_observer_that_fails_changes_nothing(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(relay.observations, "attempted", fail)
    await replies(relay, "a")
    with capture_logs() as lines:
        async with relay.running():
            await relay.receivers.until(1)
    assert [line["event"] for line in lines] == ["delivery.unobserved"]
    assert await relay.queue.count() == NOTHING_LEFT


@pytest.mark.parametrize("step", ["settle", "claim"])
async def test_a_round_that_fails_is_not_the_last(relay: Relay, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    does = getattr(relay.queue, step)
    failures = [RuntimeError("a defect")]

    async def fail_once(*arguments: Any) -> Any:
        if failures and arguments[0]:
            raise failures.pop()
        return await does(*arguments)

    monkeypatch.setattr(relay.queue, step, fail_once)
    await replies(relay, "a")
    with capture_logs() as lines:
        async with relay.running():
            await relay.observations.until(1)
            await replies(relay, "b", first=1)
            await relay.observations.until(2)
    assert [line["event"] for line in lines] == ["relay.round_failed"]
    assert relay.receivers.said == ["a", "b"]


async def test_a_process_that_takes_its_own_delivery_over_again_keeps_its_places_straight(store: Store) -> None:
    relay = Relay(store, places=4)
    thaw = asyncio.Event()
    relay.receivers.ready["https://a.example/"] = [thaw, Answered(500)]
    await replies(relay, "a")
    with capture_logs() as lines:
        async with relay.running():
            await relay.receivers.until(1)
            relay.advance(LEASE)
            await relay.observations.until(1)
            thaw.set()
            await relay.observations.until(2)
            await replies(relay, "b", "c", "d", first=1)
            await relay.receivers.until(5)
    assert [line["event"] for line in lines] == ["delivery.lease_lost"]
    assert relay.worker._lanes.free == 4


# One host that hangs


async def test_a_host_that_hangs_leaves_places_for_the_others(store: Store) -> None:
    relay = Relay(store, places=8, places_per_lane=2)
    hang = asyncio.Event()
    relay.receivers.ready["https://hangs.example/"] = [hang, hang]
    for number in range(6):
        await reply(store, relay.queue, f"h{number}", conversation(number), webhook="https://hangs.example/")
    await replies(relay, *(f"r{number}" for number in range(9)), first=10)
    async with relay.running():
        await relay.receivers.until(11)
        assert sum(sent.webhook == "https://hangs.example/" for sent in relay.receivers.sent) == 2
        assert all(isinstance(outcome, Delivered) for outcome in relay.observations.outcomes)
        hang.set()
        await relay.observations.until(11)
        relay.advance(HOUR)
        sent = await relay.receivers.until(15)
    assert {one.attempt for one in sent} == {1}
    assert len({one.id for one in sent}) == 15
    assert await relay.queue.count() == NOTHING_LEFT


# Leases


async def test_an_attempt_whose_lease_has_passed_to_another_writes_nothing(store: Store) -> None:
    frozen = Relay(store)
    thaw = asyncio.Event()
    frozen.receivers.ready["https://a.example/"] = [thaw, Answered(410)]
    await replies(frozen, "a")
    with capture_logs() as lines:
        async with frozen.running():
            await frozen.receivers.until(1)
            advance(store, LEASE)
            other = Relay(store)
            other.receivers.ready["https://a.example/"] = [Answered(500)]
            async with other.running():
                await other.receivers.until(1)
            thaw.set()
            await frozen.observations.until(1)
    assert [line["event"] for line in lines] == ["delivery.lease_lost"]
    [first], [second] = frozen.receivers.sent, other.receivers.sent
    assert (first.id, first.body) == (second.id, second.body)
    assert (first.attempt, second.attempt) == (1, 2)
    assert await other.queue.count() == Counts(pending=1, due=0, dead=0)


async def test_a_process_frozen_between_claim_and_send_does_not_send(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_of_the_queue = relay.queue.claim
    freezes = [relay.settings.delivery_timeout_seconds]

    async def freeze_once(limits: Any, lease: timedelta, shares: Any) -> dict[int, Claimed]:
        claims = await claim_of_the_queue(limits, lease, shares)
        if freezes and any(claimed.deliveries for claimed in claims.values()):
            relay.clock.ahead += freezes.pop()
        return claims

    monkeypatch.setattr(relay.queue, "claim", freeze_once)
    await replies(relay, "a")
    async with relay.running():
        [sent] = await relay.receivers.until(1)
    assert freezes == []
    assert sent.attempt == 1
    assert len(relay.receivers.sent) == 1


async def test_a_process_frozen_for_longer_than_its_lease_does_not_send(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_of_the_queue = relay.queue.claim
    taken_over: list[Delivery] = []
    frozen = asyncio.Event()

    async def freeze(limits: Any, lease: timedelta, shares: Any) -> dict[int, Claimed]:
        claims = await claim_of_the_queue(limits, lease, shares)
        if not taken_over and any(claimed.deliveries for claimed in claims.values()):
            relay.clock.ahead += lease.total_seconds()
            advance(relay.store, lease)
            taken_over.extend(await claim(Relay(relay.store).queue))
            frozen.set()
        return claims

    monkeypatch.setattr(relay.queue, "claim", freeze)
    await replies(relay, "a")
    async with relay.running():
        await frozen.wait()
        await replies(relay, "b", first=1)
        await relay.receivers.until(1)
    assert relay.receivers.said == ["b"]
    assert [delivery.takeovers for delivery in taken_over] == [1]


# The end


async def test_attempts_under_way_may_end_in_the_time_given(relay: Relay) -> None:
    hang = asyncio.Event()
    relay.receivers.ready["https://a.example/"] = [hang]
    await replies(relay, "a")
    async with relay.running():
        await relay.receivers.until(1)
        stopping = asyncio.create_task(relay.worker.stop(60 * SECOND))
        await replies(relay, "b", first=1)
        hang.set()
        await stopping
    assert relay.receivers.said == ["a"]
    assert relay.observations.outcomes == [Delivered(200)]
    assert await relay.queue.count() == Counts(pending=1, due=1, dead=0)


async def test_attempts_that_take_longer_are_handed_back_with_their_bytes(relay: Relay) -> None:
    relay.receivers.ready["https://a.example/"] = [asyncio.Event()]
    await replies(relay, "a")
    async with relay.running(grace=timedelta()):
        await relay.receivers.until(1)
    [outcome] = relay.observations.outcomes
    assert isinstance(outcome, RetryAt)
    assert (outcome.cause, outcome.charged) == ("stopped", False)
    assert (await speak(relay.queue, "more", conversation(0))).outcome == "opened"
    other = Relay(relay.store, relay.receivers)
    async with other.running():
        first, second = await other.receivers.until(2)
    assert first == second


async def test_what_is_claimed_while_the_worker_stops_is_handed_back(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_of_the_queue = relay.queue.claim
    stopping = asyncio.get_running_loop().create_future()

    async def stop_meanwhile(limits: Any, lease: timedelta, shares: Any) -> dict[int, Claimed]:
        stopping.set_result(asyncio.create_task(relay.worker.stop(60 * SECOND)))
        await asyncio.sleep(0)
        return await claim_of_the_queue(limits, lease, shares)

    monkeypatch.setattr(relay.queue, "claim", stop_meanwhile)
    await replies(relay, "a")
    relay.worker.start()
    await (await stopping)
    assert relay.receivers.sent == []
    assert await relay.queue.count() == Counts(pending=1, due=1, dead=0)


async def test_a_worker_that_never_ran_can_be_stopped(relay: Relay) -> None:
    await relay.worker.stop(SECOND)
