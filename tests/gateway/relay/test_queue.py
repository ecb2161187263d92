"""The queue's transitions on a real server: every script, every branch."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from relay_kit import (
    EVERY_SHARD,
    LEASE,
    META,
    ONE,
    TENANT,
    UPSTREAM_ID,
    WEBHOOK,
    advance,
    alter,
    claim,
    claim_one,
    conversation,
    open_turn,
    reply,
    speak,
)
from structlog.testing import capture_logs

from gateway import errors, keys
from gateway import store as store_module
from gateway.directory import Directory
from gateway.relay import queue as queue_module
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Reason, RetryAt
from gateway.relay.queue import EVERYTHING, Counts, Folded, Queue, Settled, Settlement, Shares
from gateway.store import Store
from mappings import completion
from mappings.turn import ReplySegment
from tests import entries

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def texts(delivery: Delivery) -> list[str]:
    return [completion.decode_segment(segment).text for segment in delivery.segments]


async def settle(queue: Queue, delivery: Delivery, outcome: Delivered | RetryAt | DeadLettered) -> Settled:
    [settled] = await queue.settle([Settlement(delivery, outcome, b'{"completion":["as sent"]}')])
    return settled


async def now(queue: Queue) -> datetime:
    return (await queue.claim({0: 1}, LEASE))[0].now


def retry(at: datetime, *, charged: bool = True) -> RetryAt:
    return RetryAt(at, "status 500", 500, charged)


DEAD = DeadLettered(Reason.ATTEMPTS, "status 500", 500)


# A segment comes


async def test_the_first_segment_opens_a_reply_that_is_due_at_the_moment_drawn(store: Store, queue: Queue) -> None:
    turn = await open_turn(store, delay=timedelta(seconds=45))
    accepted_at = int(await store.redis.hget(ONE.shard.turn(turn), "accepted_at"))
    folded = await speak(queue, "Hello!")
    assert folded == Folded("opened", turn, datetime.fromtimestamp(accepted_at / 1000, UTC) + timedelta(seconds=45))


async def test_a_second_callback_folds_into_the_waiting_reply(store: Store, queue: Queue) -> None:
    await open_turn(store)
    first = await speak(queue, "Hello!")
    assert await speak(queue, "How are you?") == dataclasses.replace(first, outcome="folded")
    advance(store, HOUR)
    assert texts(await claim_one(queue)) == ["Hello!", "How are you?"]


async def test_a_claim_reads_all_that_is_known_of_a_reply(store: Store, queue: Queue) -> None:
    turn = await open_turn(store, delay=timedelta(seconds=45))
    folded = await speak(queue, "Hello!")
    advance(store, HOUR)
    delivery = await claim_one(queue)
    assert folded.due
    assert delivery == Delivery(
        id=turn,
        conversation=ONE.digest,
        webhook=WEBHOOK,
        segments=delivery.segments,
        turn_ids=(turn,),
        meta=META,
        accepted_at=folded.due - timedelta(seconds=45),
        delay=timedelta(seconds=45),
        not_before=folded.due,
        due=folded.due,
        attempts=1,
        takeovers=0,
        fence=1,
        body=None,
    )


async def test_without_a_delay_each_segment_waits_for_the_quiet_after_it(store: Store, queue: Queue) -> None:
    await open_turn(store, delay=timedelta(), min_delay=timedelta(), settle=2 * SECOND)
    first = await speak(queue, "Hello!")
    advance(store, SECOND)
    second = await speak(queue, "How are you?")
    assert first.due
    assert second.due
    assert first.due + SECOND <= second.due < first.due + 2 * SECOND


async def test_a_bot_that_never_pauses_does_not_hold_its_reply_back(store: Store, queue: Queue) -> None:
    await open_turn(store, delay=timedelta(), min_delay=timedelta(), settle=3 * SECOND)
    first = await speak(queue, "0")
    advance(store, queue_module.LONGEST_SETTLE - 2 * SECOND)
    later = {first.reply_id: 2**53}  # as if nobody had claimed it meanwhile
    await store.redis.zadd(ONE.shard.due_of(TENANT), later)
    folded = await speak(queue, "1")
    assert first.due
    assert folded == Folded("folded", first.reply_id, first.due - 3 * SECOND + queue_module.LONGEST_SETTLE)


async def test_a_segment_that_comes_twice_is_taken_once(store: Store, queue: Queue) -> None:
    await open_turn(store)
    await speak(queue, "Hello!", message_id="m1")
    assert await speak(queue, "Hello!", message_id="m1") == Folded("duplicate")
    advance(store, HOUR)
    delivery = await claim_one(queue)
    await settle(queue, delivery, Delivered(200))
    assert texts(delivery) == ["Hello!"]
    assert await speak(queue, "Hello!", message_id="m1") == Folded("duplicate")


async def test_only_so_many_message_ids_are_remembered(
    store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MAX_IDS", 2)
    await open_turn(store)
    for message_id in ("m1", "m2", "m3"):
        await speak(queue, message_id, message_id=message_id)
        advance(store, SECOND)
    assert await store.redis.zrange(ONE.seen, 0, -1) == ["m2", "m3"]


async def test_a_callback_of_another_conversation_changes_nothing(store: Store, queue: Queue) -> None:
    await open_turn(store)
    before = sorted(await store.redis.keys("*"))
    assert await queue.fold(ONE, "c-2", ReplySegment("m1", "Hello!")) == Folded("foreign")
    assert sorted(await store.redis.keys("*")) == before
    assert (await speak(queue, "Hello!", message_id="m1")).outcome == "opened"


async def test_the_reply_answers_every_turn_that_was_posted_at_the_newest_ones_webhook(
    store: Store, queue: Queue
) -> None:
    first = await open_turn(store, delay=90 * SECOND, min_delay=80 * SECOND)
    second = await open_turn(store, webhook="https://other.example/", delay=10 * SECOND, min_delay=5 * SECOND)
    not_before = int(await store.redis.hget(ONE.shard.turn(first), "not_before"))
    folded = await speak(queue, "Hello!")
    assert folded == Folded("opened", second, datetime.fromtimestamp(not_before / 1000, UTC))
    advance(store, HOUR)
    delivery = await claim_one(queue)
    assert (delivery.webhook, delivery.turn_ids) == ("https://other.example/", (first, second))
    assert await store.redis.llen(ONE.turns) == 0


async def test_of_an_answered_turn_the_store_keeps_what_an_identical_request_needs(store: Store, queue: Queue) -> None:
    turn = await open_turn(store, fingerprint="same")
    await speak(queue, "Hello!")
    fields = await store.redis.hgetall(ONE.shard.turn(turn))
    assert fields == {"state": "answered", "reply": turn, "fingerprint": "same", "delay": "45000"}


async def test_a_reply_that_outruns_the_upstreams_own_answer_finds_its_turn(store: Store, queue: Queue) -> None:
    await reply(store, queue, "earlier")
    turn = await open_turn(store, posted=False)
    assert (await speak(queue, "Hello!")).reply_id == turn


async def test_a_turn_that_still_waits_for_its_place_is_not_answered(store: Store, queue: Queue) -> None:
    turn = await open_turn(store)
    await store.redis.rpush(ONE.turns, "queued")
    await store.redis.hset(ONE.shard.turn("queued"), "state", "queued")
    await store.redis.expire(ONE.shard.turn("queued"), 9)
    assert (await speak(queue, "Hello!")).reply_id == turn
    assert await store.redis.lrange(ONE.turns, 0, -1) == ["queued"]


async def test_a_late_segment_goes_to_the_last_webhook_and_leaves_the_turn_open(store: Store, queue: Queue) -> None:
    turn = await open_turn(store)
    folded = await speak(queue, "Sorry, I was away.", late=True)
    assert folded.outcome == "opened"
    assert folded.reply_id != turn
    assert await store.redis.lrange(ONE.turns, 0, -1) == [turn]
    advance(store, HOUR)
    assert (await claim_one(queue)).webhook == WEBHOOK


async def test_a_late_segment_is_no_earlier_than_the_open_turn_whose_earlier_try_it_may_answer(
    store: Store, queue: Queue
) -> None:
    """The store was emptied behind the post, and the client has sent his request again."""
    for delay in (20, 40, 10):
        await open_turn(store, min_delay=timedelta(seconds=delay), delay=timedelta(seconds=delay + 5))
    await speak(queue, "The answer to the first try.", late=True)
    advance(store, timedelta(seconds=39))
    assert await claim(queue) == []
    advance(store, timedelta(seconds=2))
    assert texts(await claim_one(queue)) == ["The answer to the first try."]


async def test_a_bot_that_speaks_first_is_heard_at_the_last_webhook(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    await settle(queue, await claim_one(queue), Delivered(200))
    await speak(queue, "Still there?")
    advance(store, queue_module.DEFAULT_SETTLE)
    delivery = await claim_one(queue)
    assert (delivery.webhook, delivery.turn_ids, delivery.meta, delivery.delay) == (WEBHOOK, (), META, timedelta())


async def test_a_segment_behind_a_frozen_reply_opens_the_next_one(store: Store, queue: Queue) -> None:
    first = await reply(store, queue, "Hello!")
    frozen = await claim_one(queue)
    folded = await speak(queue, "How are you?")
    assert folded.outcome == "opened"
    assert folded.reply_id != first
    assert await claim(queue) == []
    await settle(queue, frozen, Delivered(200))
    advance(store, HOUR)
    delivery = await claim_one(queue)
    assert (texts(delivery), delivery.webhook) == (["How are you?"], WEBHOOK)


async def test_a_second_picture_opens_another_reply_in_the_same_window(store: Store, queue: Queue) -> None:
    await open_turn(store)
    first = await speak(queue, "Look:", picture="https://host/1.jpg")
    second = await speak(queue, "", picture="https://host/2.jpg")
    assert (await speak(queue, "Nice?")).outcome == "folded"
    assert (second.outcome, second.due) == ("opened", first.due)
    advance(store, HOUR)
    one = await claim_one(queue)
    assert texts(one) == ["Look:"]
    await settle(queue, one, Delivered(200))
    assert texts(await claim_one(queue)) == ["", "Nice?"]


async def test_a_picture_folds_into_a_reply_without_one(store: Store, queue: Queue) -> None:
    await open_turn(store)
    await speak(queue, "Look:")
    assert (await speak(queue, "", picture="https://host/1.jpg")).outcome == "folded"
    assert (await speak(queue, "", picture="https://host/2.jpg")).outcome == "opened"


async def test_a_reply_takes_only_so_many_segments(store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_SEGMENTS", 2)
    await open_turn(store)
    outcomes = [(await speak(queue, text)).outcome for text in "abc"]
    assert outcomes == ["opened", "folded", "opened"]


async def test_a_delay_longer_than_the_stores_memory_keeps_its_reply(store: Store, queue: Queue) -> None:
    await open_turn(store, delay=timedelta(days=30))
    folded = await speak(queue, "Hello!")
    at_least = 30 * 86400 + keys.REPLY_TTL_SECONDS - 60
    assert await store.redis.ttl(ONE.shard.reply(folded.reply_id or "")) > at_least
    assert await store.redis.ttl(ONE.outbox) > at_least


async def test_replies_that_are_gone_do_not_hold_up_the_conversation(store: Store, queue: Queue) -> None:
    gone = [await reply(store, queue, "gone"), (await reply(store, queue, "kept")), await reply(store, queue, "gone")]
    await store.redis.delete(ONE.shard.reply(gone[0]), ONE.shard.reply(gone[2]))
    assert await claim(queue) == []  # the first one was the head: claiming finds it gone
    await speak(queue, "more")
    advance(store, HOUR)
    assert texts(await claim_one(queue)) == ["kept", "more"]


# Callbacks that nobody knows yet


async def test_a_callback_before_its_conversation_is_known_is_kept_once(store: Store, queue: Queue) -> None:
    assert await speak(queue, "Hello!", message_id="m1") == Folded("orphan")
    assert await speak(queue, "Hello!", message_id="m1") == Folded("duplicate")
    assert await store.redis.hlen(ONE.orphans) == 1


async def test_orphans_are_handed_over_as_they_arrived_and_taken_once(store: Store, queue: Queue) -> None:
    for number in range(20):
        await speak(queue, "long " * 20, message_id=f"m{number}")
    turn = await open_turn(store, posted=False)
    caller = await store.redis.get(ONE.lock)
    orphans = await Directory(store).record(ONE, caller, UPSTREAM_ID, {})
    assert [orphan.message_id for orphan in orphans] == [f"m{number}" for number in range(20)]
    taken = [await queue.fold(ONE, UPSTREAM_ID, completion.decode_segment(orphan.segment)) for orphan in orphans]
    assert [folded.outcome for folded in taken] == ["opened", *["folded"] * 19]
    assert {folded.reply_id for folded in taken} == {turn}


async def test_an_orphan_that_was_taken_is_none_any_more(store: Store, queue: Queue) -> None:
    await speak(queue, "Hello!", message_id="m1")
    await open_turn(store)
    await speak(queue, "Hello!", message_id="m1")
    assert await store.redis.exists(ONE.orphans) == 0


async def test_one_orphan_too_many_is_not_taken(store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_IDS", 2)
    assert [(await speak(queue, text)).outcome for text in "abc"] == ["orphan", "orphan", "full"]


async def test_without_a_webhook_a_segment_is_kept(store: Store, queue: Queue) -> None:
    await entries.know(store, ONE, UPSTREAM_ID)
    assert await speak(queue, "Hello!") == Folded("orphan")


# Claims


async def test_what_is_not_due_is_not_claimed_but_told(store: Store, queue: Queue) -> None:
    await open_turn(store)
    folded = await speak(queue, "Hello!")
    claimed = (await queue.claim(EVERY_SHARD, LEASE))[ONE.shard.shard]
    assert (claimed.deliveries, claimed.next_due) == ([], folded.due)


async def test_a_shard_without_replies_has_no_next_moment(queue: Queue) -> None:
    claims = await queue.claim(EVERY_SHARD, LEASE)
    assert [(one.next_due, one.deliveries) for one in claims.values()] == [(None, [])] * keys.SHARDS


async def test_the_earliest_are_claimed_first_and_no_more_than_asked_for(store: Store, queue: Queue) -> None:
    same_shard = [conversation(number * keys.SHARDS) for number in range(3)]
    for of, delay in zip(same_shard, (3, 1, 2), strict=True):
        await open_turn(store, of, delay=delay * SECOND, min_delay=SECOND)
        await speak(queue, str(delay), of)
    advance(store, HOUR)
    claimed = (await queue.claim({0: 2}, LEASE))[0]
    assert [texts(delivery) for delivery in claimed.deliveries] == [["1"], ["2"]]
    assert claimed.next_due
    assert claimed.next_due < claimed.now


async def of_tenants(store: Store, queue: Queue, **counts: int) -> None:
    """Let so many replies of each tenant fall due, one tenant after the other, all on the first shard."""
    number = 0
    for name, count in counts.items():
        for text in range(count):
            of = conversation(number * keys.SHARDS)
            await reply(store, queue, f"{name}{text}", of, tenant=name * 16)
            store.clock_offset_ms += 1  # of one millisecond's the order is nobody's
            number += 1


async def claim_some(queue: Queue, most: int, shares: Shares = EVERYTHING) -> list[str]:
    return [texts(delivery)[0] for delivery in (await queue.claim({0: most}, LEASE, shares))[0].deliveries]


async def test_a_claim_takes_from_all_tenants_in_turn_of_each_the_earliest(store: Store, queue: Queue) -> None:
    await of_tenants(store, queue, a=20, b=2, c=4)
    assert sorted(await claim_some(queue, 6)) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert sorted(await claim_some(queue, 7)) == ["a2", "a3", "a4", "a5", "a6", "c2", "c3"]
    assert sorted(await claim_some(queue, 99)) == sorted(f"a{number}" for number in range(7, 20))


async def test_of_more_tenants_than_a_claim_may_bring_each_gets_its_turn(store: Store, queue: Queue) -> None:
    await of_tenants(store, queue, a=9, b=9, c=9)
    claims = [await claim_some(queue, 1) for _ in range(9)]
    assert sorted(text for [text] in claims) == [f"{tenant}{number}" for tenant in "abc" for number in range(3)]


async def test_no_tenant_gets_more_than_its_share(store: Store, queue: Queue) -> None:
    await of_tenants(store, queue, a=9, b=9, c=1)
    claimed = await claim_some(queue, 99, Shares(3, {"b" * 16: 1}))
    assert sorted(claimed) == ["a0", "a1", "a2", "b0", "c0"]


async def test_who_has_no_share_left_is_no_reason_to_look_again(store: Store, queue: Queue) -> None:
    await of_tenants(store, queue, a=2)
    await open_turn(store, conversation(99 * keys.SHARDS), tenant="b" * 16)
    later = await speak(queue, "later", conversation(99 * keys.SHARDS))
    claimed = (await queue.claim({0: 9}, LEASE, Shares(9, {"a" * 16: 1})))[0]
    assert (len(claimed.deliveries), claimed.next_due) == (1, later.due)
    assert await claim_some(queue, 9) == ["a1"]


async def test_a_share_is_what_all_shards_together_bring(store: Store, queue: Queue) -> None:
    for number in range(60):
        await reply(store, queue, str(number), conversation(number))
    for share in (0, 1, 5, 20):
        claims = await queue.claim(EVERY_SHARD, LEASE, Shares(share))
        brought = sum(len(claimed.deliveries) for claimed in claims.values())
        assert share // 2 <= brought <= share  # a shard may have none


async def test_a_reply_whose_tenant_cannot_be_told_waits_among_its_like(store: Store, queue: Queue) -> None:
    await open_turn(store, tenant="?")
    await speak(queue, "Hello!")
    assert await store.redis.zcard(ONE.shard.due_of("-")) == 1


async def test_replies_are_counted_by_tenant(store: Store, queue: Queue) -> None:
    await of_tenants(store, queue, a=2, b=1)
    await reply(store, queue, "elsewhere", conversation(1), tenant="b" * 16)
    assert (await queue.count()).tenants == {"a" * 16: 2, "b" * 16: 2}


async def test_several_shards_are_claimed_at_once(store: Store, queue: Queue) -> None:
    for number in range(keys.SHARDS):
        await reply(store, queue, str(number), conversation(number))
    assert sorted(int(texts(delivery)[0]) for delivery in await claim(queue)) == list(range(keys.SHARDS))


async def test_a_claim_is_held_for_its_lease_and_then_taken_over(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    first = await claim_one(queue)
    advance(store, LEASE - SECOND)
    assert await claim(queue) == []
    advance(store, SECOND)
    second = await claim_one(queue)
    assert (second.attempts, second.takeovers, second.due) == (2, 1, first.due)
    assert second.fence > first.fence


async def test_no_two_claims_have_the_same_fence(store: Store, queue: Queue) -> None:
    fences = []
    for number in range(5):
        await reply(store, queue, str(number), conversation(number * keys.SHARDS))
        delivery = await claim_one(queue)
        fences.append(delivery.fence)
        await settle(queue, delivery, Delivered(200))
    assert len(set(fences)) == 5


async def test_replies_of_one_conversation_leave_in_order(store: Store, queue: Queue) -> None:
    for text in "abc":
        await reply(store, queue, text)
    for text in "abc":
        delivery = await claim_one(queue)
        assert texts(delivery) == [text]
        await settle(queue, delivery, Delivered(200))
    assert await claim(queue) == []


async def test_a_reply_behind_another_falls_due_when_its_turn_comes(store: Store, queue: Queue) -> None:
    await reply(store, queue, "first")
    await reply(store, queue, "second")
    first = await claim_one(queue)
    advance(store, 10 * SECOND)
    settled = await settle(queue, first, Delivered(200))
    second = await claim_one(queue)
    assert settled == Settled("ok", second.due)
    assert first.due + 10 * SECOND <= second.due
    assert second.not_before < second.due


async def test_a_reply_behind_another_keeps_a_later_moment_of_its_own(store: Store, queue: Queue) -> None:
    await reply(store, queue, "first")
    await open_turn(store, delay=HOUR)
    later = await speak(queue, "second")
    assert await settle(queue, await claim_one(queue), Delivered(200)) == Settled("ok", later.due)
    assert await claim(queue) == []


@pytest.mark.parametrize(("field", "value"), [("webhook", None), ("conversation", "none"), ("due", "soon")])
async def test_a_reply_that_cannot_be_read_is_left_to_its_lease(
    store: Store, queue: Queue, field: str, value: str | None
) -> None:
    await reply(store, queue, "fine", conversation(0))
    broken = await reply(store, queue, "broken", conversation(keys.SHARDS))
    await alter(store, conversation(0).shard.reply(broken), field, value)
    with capture_logs() as lines:
        assert texts(await claim_one(queue)) == ["fine"]
    assert [(line["event"], line["reply_id"]) for line in lines] == [("reply.unreadable", broken)]


async def test_what_informs_only_may_be_unreadable(store: Store, queue: Queue) -> None:
    turn = await reply(store, queue, "Hello!")
    await alter(store, ONE.shard.reply(turn), "meta", "[]")
    assert (await claim_one(queue)).meta == {}


async def test_broken_data_on_one_shard_leaves_the_others_alone(store: Store, queue: Queue) -> None:
    await reply(store, queue, "fine", conversation(1))
    await store.redis.set(keys.ShardKeys(0).due, "not a sorted set")
    with capture_logs() as lines:
        claims = await queue.claim(EVERY_SHARD, LEASE)
        counts = await queue.count()
    assert 0 not in claims
    assert [texts(delivery) for delivery in claims[1].deliveries] == [["fine"]]
    assert counts == Counts(pending=1, due=0, dead=0)
    assert [line["script"] for line in lines] == ["claim_due", "count_replies"]


# Outcomes


async def test_a_delivered_reply_leaves_its_turn_for_a_minute_and_nothing_else(store: Store, queue: Queue) -> None:
    turn = await reply(store, queue, "Hello!")
    await settle(queue, await claim_one(queue), Delivered(200))
    left = {ONE.directory, ONE.seen, ONE.shard.fence, ONE.shard.turn(turn)}
    assert set(await store.redis.keys("*")) == left
    assert await store.redis.hget(ONE.shard.turn(turn), "state") == "delivered"
    assert 0 < await store.redis.ttl(ONE.shard.turn(turn)) <= keys.TURN_OVER_TTL_SECONDS


async def test_an_identical_request_after_the_reply_is_a_new_turn(store: Store, queue: Queue) -> None:
    nothing = timedelta()
    first = await open_turn(store, delay=nothing, min_delay=nothing, settle=nothing, fingerprint="same")
    await speak(queue, "Hello!")
    await settle(queue, await claim_one(queue), Delivered(200))
    assert await open_turn(store, fingerprint="same") != first


async def test_a_fingerprint_that_a_newer_turn_has_taken_stays(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    [(fingerprint, _)] = (await store.redis.hgetall(ONE.fingerprints)).items()
    await store.redis.hset(ONE.fingerprints, fingerprint, "another turn")
    await settle(queue, await claim_one(queue), Delivered(200))
    assert await store.redis.hgetall(ONE.fingerprints) == {fingerprint: "another turn"}


async def test_a_failed_attempt_comes_back_at_its_moment_with_its_bytes(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    first = await claim_one(queue)
    at = (await now(queue)) + HOUR
    assert await settle(queue, first, retry(at)) == Settled("ok")
    advance(store, HOUR - SECOND)
    assert await claim(queue) == []
    advance(store, SECOND)
    second = await claim_one(queue)
    assert second == dataclasses.replace(
        first, attempts=2, due=at, fence=second.fence, body=b'{"completion":["as sent"]}'
    )


async def test_the_bytes_of_the_first_attempt_are_the_ones_that_stay(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    for body in (b"first", b"second"):
        await queue.settle([Settlement(await claim_one(queue), retry(await now(queue)), body)])
    assert (await claim_one(queue)).body == b"first"


async def test_an_attempt_that_is_not_charged_does_not_count(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    await settle(queue, await claim_one(queue), retry(await now(queue), charged=False))
    assert (await claim_one(queue)).attempts == 1
    assert (await speak(queue, "more")).outcome == "opened"  # it was sent, perhaps: it stays frozen


async def test_a_failed_attempt_keeps_its_reply_alive(store: Store, queue: Queue) -> None:
    turn = await reply(store, queue, "Hello!")
    await store.redis.expire(ONE.shard.reply(turn), 5)
    await store.redis.expire(ONE.outbox, 5)
    await settle(queue, await claim_one(queue), retry(await now(queue) + HOUR))
    assert await store.redis.ttl(ONE.shard.reply(turn)) > keys.REPLY_TTL_SECONDS + 3500
    assert await store.redis.ttl(ONE.outbox) > keys.REPLY_TTL_SECONDS + 3500


async def test_takeovers_count_since_the_last_outcome(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    await claim_one(queue)
    advance(store, LEASE)
    delivery = await claim_one(queue)
    assert delivery.takeovers == 1
    await settle(queue, delivery, retry(await now(queue)))
    assert (await claim_one(queue)).takeovers == 0


async def test_a_dead_letter_lets_the_next_reply_leave(store: Store, queue: Queue) -> None:
    await reply(store, queue, "first")
    await reply(store, queue, "second")
    await settle(queue, await claim_one(queue), DEAD)
    assert texts(await claim_one(queue)) == ["second"]
    assert await queue.count() == Counts(pending=1, due=0, dead=1)


async def test_a_dead_letter_closes_its_turns(store: Store, queue: Queue) -> None:
    turn = await reply(store, queue, "Hello!")
    await settle(queue, await claim_one(queue), DEAD)
    assert await store.redis.hget(ONE.shard.turn(turn), "state") == "delivered"
    assert await store.redis.exists(ONE.fingerprints, ONE.outbox) == 0
    assert 0 < await store.redis.ttl(ONE.shard.reply(turn)) <= keys.DEAD_LETTER_TTL_SECONDS


async def test_the_index_forgets_dead_letters_that_have_expired(store: Store, queue: Queue) -> None:
    for number in (0, 1):
        await reply(store, queue, "Hello!", conversation(number * keys.SHARDS))
        dead = await claim_one(queue)
        await settle(queue, dead, DEAD)
        advance(store, timedelta(seconds=keys.DEAD_LETTER_TTL_SECONDS))
    assert await store.redis.zrange(keys.ShardKeys(0).dead, 0, -1) == [dead.id]


@pytest.mark.parametrize("outcome", [Delivered(200), DEAD, retry(datetime(2100, 1, 1, tzinfo=UTC))])
async def test_an_outcome_that_is_sent_again_changes_nothing(
    store: Store, queue: Queue, outcome: Delivered | RetryAt | DeadLettered
) -> None:
    await reply(store, queue, "Hello!")
    delivery = await claim_one(queue)
    await settle(queue, delivery, outcome)
    before = {key: await store.redis.dump(key) for key in await store.redis.keys("*") if "reply" not in key}
    assert (await settle(queue, delivery, outcome)).verdict in {"ok", "gone"}
    assert {key: await store.redis.dump(key) for key in await store.redis.keys("*") if "reply" not in key} == before


@pytest.mark.parametrize("outcome", [Delivered(200), DEAD, retry(datetime(2100, 1, 1, tzinfo=UTC))])
async def test_an_outcome_after_the_lease_has_passed_to_another_is_refused(
    store: Store, queue: Queue, outcome: Delivered | RetryAt | DeadLettered
) -> None:
    await reply(store, queue, "Hello!")
    late = await claim_one(queue)
    advance(store, LEASE)
    current = await claim_one(queue)
    assert await settle(queue, late, outcome) == Settled("stale")
    await queue.release([(late, timedelta())])
    assert await claim(queue) == []
    assert await settle(queue, current, Delivered(200)) == Settled("ok")
    assert await settle(queue, late, outcome) == Settled("gone")


async def test_replies_that_are_gone_are_skipped_when_the_next_one_is_due(store: Store, queue: Queue) -> None:
    await reply(store, queue, "first")
    gone = await reply(store, queue, "gone")
    await reply(store, queue, "last")
    await store.redis.delete(ONE.shard.reply(gone))
    await settle(queue, await claim_one(queue), Delivered(200))
    assert texts(await claim_one(queue)) == ["last"]


async def test_outcomes_are_recorded_each_for_itself(store: Store, queue: Queue) -> None:
    for number in range(3):
        await reply(store, queue, str(number), conversation(number))
    deliveries = sorted(await claim(queue), key=lambda delivery: delivery.conversation)
    await store.redis.delete(conversation(1).outbox)
    await store.redis.set(conversation(1).outbox, "not a list", ex=9)
    with capture_logs() as lines:
        settled = await queue.settle([Settlement(delivery, Delivered(200)) for delivery in deliveries])
    assert [one.verdict for one in settled] == ["ok", "broken", "ok"]
    assert [line["event"] for line in lines] == ["store.broken_data"]


# Handing back


async def test_a_claim_that_is_handed_back_is_there_at_once_and_was_no_attempt(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    first = await claim_one(queue)
    await queue.release([(first, timedelta())])
    second = await claim_one(queue)
    assert second == dataclasses.replace(first, fence=second.fence)


async def test_a_claim_is_handed_back_with_a_pause_and_stays_late(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    first = await claim_one(queue)
    await queue.release([(first, 10 * SECOND)])
    assert await claim(queue) == []
    advance(store, 10 * SECOND)
    assert (await claim_one(queue)).due == first.due


async def test_a_reply_that_was_never_sent_takes_segments_again_when_it_is_handed_back(
    store: Store, queue: Queue
) -> None:
    turn = await reply(store, queue, "Hello!")
    await queue.release([(await claim_one(queue), 10 * SECOND)])
    folded = await speak(queue, "How are you?")
    assert (folded.outcome, folded.reply_id) == ("folded", turn)


async def test_a_reply_that_may_have_been_sent_stays_as_it_is_when_it_is_handed_back(
    store: Store, queue: Queue
) -> None:
    await reply(store, queue, "Hello!")
    await claim_one(queue)
    advance(store, LEASE)
    await queue.release([(await claim_one(queue), timedelta())])
    assert (await speak(queue, "How are you?")).outcome == "opened"


async def test_handing_back_twice_is_handing_back_once(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    delivery = await claim_one(queue)
    await queue.release([(delivery, timedelta()), (delivery, timedelta())])
    assert (await claim_one(queue)).attempts == 1


# The store itself


async def test_a_full_store_still_delivers(store: Store, queue: Queue) -> None:
    for number in (1, 2):
        await reply(store, queue, str(number), conversation(number))
    await store.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(errors.StoreUnavailable):
            await speak(queue, "more")
        one, other = await claim(queue)
        await queue.release([(other, timedelta())])
        other = await claim_one(queue)
        assert await settle(queue, one, DEAD) == Settled("ok")
        assert await settle(queue, other, Delivered(200)) == Settled("ok")
    finally:
        await store.redis.config_set("maxmemory", 0)


async def test_a_server_that_has_forgotten_the_scripts_learns_them_again(store: Store, queue: Queue) -> None:
    await reply(store, queue, "Hello!")
    await store.redis.script_flush()
    assert texts(await claim_one(queue)) == ["Hello!"]


async def test_a_store_that_is_away_takes_nothing() -> None:
    async with store_module.connect("unix:///nowhere/store.sock") as away:
        with pytest.raises(errors.StoreUnavailable):
            await claim(Queue(away))


async def test_nothing_is_asked_of_the_store_for_nothing(queue: Queue) -> None:
    assert await queue.claim({}, LEASE) == {}
    assert await queue.settle([]) == []


async def test_who_wants_to_know_is_told_when_a_reply_falls_due(store: Store, queue: Queue) -> None:
    told: list[tuple[int, datetime]] = []
    queue.on_due = lambda shard, due: told.append((shard, due))
    await open_turn(store)
    first = await speak(queue, "Hello!", message_id="m1")
    await speak(queue, "Hello!", message_id="m1")
    assert told == [(ONE.shard.shard, first.due)]


async def test_replies_are_counted(store: Store, queue: Queue) -> None:
    for number in range(4):
        await reply(store, queue, "due", conversation(number))
    await open_turn(store, conversation(9))
    await speak(queue, "later", conversation(9))
    one, other, *_ = await claim(queue, LEASE)
    await settle(queue, one, DEAD)
    await queue.release([(other, timedelta())])
    assert await queue.count() == Counts(pending=4, due=1, dead=1)
