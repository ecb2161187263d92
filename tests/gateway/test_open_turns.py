"""Turns in the store: one of a conversation at a time, each request once, dead senders settled."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from gateway import errors, keys
from gateway.directory import Directory, LeaseLost
from gateway.open_turns import MAX_OPEN_TURNS, Entered, Joined, OpenTurns, Proposal, Unsettled
from gateway.relay.delivery import Delivered
from gateway.relay.queue import Queue, Settlement
from gateway.store import Store
from mappings.turn import ReplySegment

CONVERSATION = keys.ConversationKeys("00" * 16)
LEASE = timedelta(seconds=60)
PATIENCE = timedelta(seconds=10)


def proposal(**changes: Any) -> Proposal:
    fields: dict[str, Any] = {
        "turn_id": str(uuid.uuid4()),
        "caller": uuid.uuid4().hex,
        "fingerprint": uuid.uuid4().hex,
        "webhook": "https://h/p?q=1",
        "delay": timedelta(seconds=45),
        "min_delay": timedelta(seconds=30),
        "settle": timedelta(seconds=1.5),
        "meta": b"{}",
        "message": "Au0A",
        "note": "Au0A",
        "sent_at": 1,
    }
    return Proposal(**fields | changes)


@pytest.fixture
def open_turns(store: Store) -> OpenTurns:
    return OpenTurns(store, LEASE)


async def enter(open_turns: OpenTurns, one: Proposal, patience: timedelta = PATIENCE) -> Entered:
    entered = await open_turns.enter(CONVERSATION, one, patience)
    assert isinstance(entered, Entered)
    return entered


async def record(open_turns: OpenTurns, one: Proposal) -> str:
    return await open_turns.record_post(CONVERSATION, one, one.turn_id, "c-1", {"context": "d"})


async def test_a_first_turn_enters_at_once_and_knows_nothing(open_turns: OpenTurns) -> None:
    one = proposal()
    assert await enter(open_turns, one) == Entered(one.turn_id, one.delay, [], 0, {})


async def test_what_was_recorded_is_known_to_the_next_turn(open_turns: OpenTurns) -> None:
    one = proposal()
    await enter(open_turns, one)
    assert await record(open_turns, one) == "posted"
    entered = await enter(open_turns, proposal())
    assert entered.directory["id"] == "c-1"
    assert entered.directory["tail"] == "Au0A"
    assert entered.directory["context"] == "d"
    assert entered.unanswered == 1
    assert entered.directory["webhook"] == one.webhook


async def test_turns_enter_in_the_order_of_their_acceptance(open_turns: OpenTurns) -> None:
    order = [proposal() for _ in range(5)]
    entered: list[str] = []

    async def speak(one: Proposal) -> None:
        await enter(open_turns, one)
        entered.append(one.turn_id)
        await record(open_turns, one)

    first = order[0]
    await enter(open_turns, first)
    waiting = []
    for position, one in enumerate(order[1:], 2):
        waiting.append(asyncio.create_task(speak(one)))
        while await open_turns._store.redis.llen(CONVERSATION.turns) < position:
            await asyncio.sleep(0)
    assert entered == []
    await record(open_turns, first)
    await asyncio.gather(*waiting)
    assert entered == [one.turn_id for one in order[1:]]


async def test_an_identical_request_joins_the_one_that_is_posted(open_turns: OpenTurns) -> None:
    one, again = proposal(fingerprint="same"), proposal(fingerprint="same", delay=timedelta(seconds=31))
    await enter(open_turns, one)
    await record(open_turns, one)
    assert await open_turns.enter(CONVERSATION, again, PATIENCE) == Joined(one.turn_id, one.delay)
    assert await open_turns._store.redis.llen(CONVERSATION.turns) == 1


async def test_an_identical_request_waits_for_the_one_that_is_being_posted(open_turns: OpenTurns) -> None:
    one, again = proposal(fingerprint="same"), proposal(fingerprint="same")
    await enter(open_turns, one)
    joining = asyncio.create_task(open_turns.enter(CONVERSATION, again, PATIENCE))
    await record(open_turns, one)
    assert await joining == Joined(one.turn_id, one.delay)


async def test_a_turn_that_failed_is_forgotten_and_its_twin_takes_its_place(open_turns: OpenTurns) -> None:
    one, again = proposal(fingerprint="same"), proposal(fingerprint="same")
    await enter(open_turns, one)
    entering = asyncio.create_task(enter(open_turns, again))
    assert await open_turns.abandon(CONVERSATION, one, one.turn_id, settled=True) == "forgotten"
    assert (await entering).turn_id == again.turn_id


async def test_a_dead_sender_is_settled_by_the_next_turn(open_turns: OpenTurns, store: Store) -> None:
    dead, heir = proposal(message="u7", sent_at=7), proposal()
    await enter(open_turns, dead)
    await store.redis.delete(CONVERSATION.lock)  # the lease has run out
    entered = await enter(open_turns, heir)
    assert entered.unsettled == [Unsettled(dead.turn_id, "u7", 7)]
    assert await open_turns.settle(CONVERSATION, heir, dead.turn_id, posted=True) == "posted"
    assert await record(open_turns, dead) == "posted"  # late, and without effect: the lease is another's
    assert await store.redis.get(CONVERSATION.lock) == heir.caller


async def test_a_dead_sender_whose_message_never_arrived_is_forgotten(open_turns: OpenTurns, store: Store) -> None:
    dead, heir = proposal(), proposal()
    await enter(open_turns, dead)
    await store.redis.delete(CONVERSATION.lock)
    await enter(open_turns, heir)
    assert await open_turns.settle(CONVERSATION, heir, dead.turn_id, posted=False) == "forgotten"
    assert await store.redis.lrange(CONVERSATION.turns, 0, -1) == [heir.turn_id]
    assert await record(open_turns, dead) == "lost"
    assert await open_turns.abandon(CONVERSATION, dead, dead.turn_id, settled=False) == "stale"


async def test_the_retry_of_a_dead_senders_client_takes_its_turn_over(open_turns: OpenTurns, store: Store) -> None:
    dead, retry = proposal(fingerprint="same"), proposal(fingerprint="same")
    await enter(open_turns, dead)
    await store.redis.delete(CONVERSATION.lock)
    entered = await enter(open_turns, retry)
    assert entered.turn_id == dead.turn_id
    assert [one.turn_id for one in entered.unsettled] == [dead.turn_id]


async def test_a_turn_of_unknown_outcome_stays_for_the_retry(open_turns: OpenTurns) -> None:
    one = proposal(fingerprint="same")
    await enter(open_turns, one)
    assert await open_turns.abandon(CONVERSATION, one, one.turn_id, settled=False) == "unsettled"
    entered = await enter(open_turns, proposal(fingerprint="same"))
    assert [dead.turn_id for dead in entered.unsettled] == [one.turn_id]


async def test_a_waiter_whose_process_died_loses_its_place(open_turns: OpenTurns, store: Store) -> None:
    first, dead, heir = proposal(), proposal(), proposal()
    await enter(open_turns, first)
    with pytest.raises(errors.TooManyTurns):
        await open_turns.enter(CONVERSATION, proposal(), timedelta(0))
    await open_turns._open(CONVERSATION, dead, "")  # waits, and never asks again
    await record(open_turns, first)
    entering = asyncio.create_task(enter(open_turns, heir))
    while await store.redis.llen(CONVERSATION.turns) < 3:
        await asyncio.sleep(0)
    store.clock_offset_ms = 60_000
    assert (await entering).turn_id == heir.turn_id
    assert await store.redis.exists(CONVERSATION.shard.turn(dead.turn_id)) == 0


async def test_a_full_conversation_refuses_and_others_do_not(open_turns: OpenTurns) -> None:
    for _ in range(MAX_OPEN_TURNS):
        one = proposal()
        await enter(open_turns, one)
        await record(open_turns, one)
    with pytest.raises(errors.TooManyTurns) as caught:
        await enter(open_turns, proposal())
    assert caught.value.retry_after_seconds
    other = keys.ConversationKeys("11" * 16)
    assert isinstance(await open_turns.enter(other, proposal(), PATIENCE), Entered)


async def test_opening_and_recording_may_be_sent_again(open_turns: OpenTurns, store: Store) -> None:
    one = proposal()
    first, again = await enter(open_turns, one), await enter(open_turns, one)
    assert isinstance(first, Entered)
    assert isinstance(again, Entered)
    assert first.turn_id == again.turn_id
    assert [dead.turn_id for dead in again.unsettled] == [one.turn_id]  # it looks before it posts
    assert await store.redis.llen(CONVERSATION.turns) == 1
    assert [await record(open_turns, one), await record(open_turns, one)] == ["posted", "posted"]


async def test_only_the_holder_of_the_place_records_a_conversation(open_turns: OpenTurns, store: Store) -> None:
    one, directory = proposal(), Directory(store)
    await enter(open_turns, one)
    assert await directory.record(CONVERSATION, one.caller, "c-1", {"tail": "Au1A", "count": "1"}) == []
    with pytest.raises(LeaseLost):
        await directory.record(CONVERSATION, "somebody else", "c-2", {})
    assert await directory.show(CONVERSATION) == {"id": "c-1", "tail": "Au1A", "count": "1"}


async def test_a_conversation_is_forgotten_only_while_it_is_the_one_known(open_turns: OpenTurns, store: Store) -> None:
    one, directory = proposal(), Directory(store)
    await enter(open_turns, one)
    await directory.record(CONVERSATION, one.caller, "c-2", {"count": "0"})
    await directory.forget(CONVERSATION, "c-1")
    assert (await directory.show(CONVERSATION))["id"] == "c-2"
    await directory.forget(CONVERSATION, "c-2")
    assert "id" not in await directory.show(CONVERSATION)
    assert await directory.erase(CONVERSATION)
    assert not await directory.erase(CONVERSATION)


async def test_the_turn_of_a_client_that_was_never_answered_is_opened_again_even_after_the_reply_has_left(
    open_turns: OpenTurns, store: Store
) -> None:
    one, again, third = proposal(fingerprint="same"), proposal(fingerprint="same"), proposal(fingerprint="same")
    first = proposal()
    await enter(open_turns, first)
    await record(open_turns, first)
    await enter(open_turns, one)  # and its process dies once the upstream has the message
    queue = Queue(store)
    folded = await queue.fold(CONVERSATION, "c-1", ReplySegment("m-1", "Hello!"))
    assert folded.reply_id == one.turn_id
    store.clock_offset_ms = 3_600_000
    shard = CONVERSATION.shard.shard
    [delivery] = (await queue.claim({shard: 1}, LEASE))[shard].deliveries
    await queue.settle([Settlement(delivery, Delivered(200))])

    await store.redis.delete(CONVERSATION.lock)  # its lease has run out
    entered = await enter(open_turns, again)
    assert entered.turn_id == one.turn_id
    assert [dead.turn_id for dead in entered.unsettled] == [one.turn_id]  # the transcript decides
    state = await open_turns.record_post(CONVERSATION, again, one.turn_id, "c-1", {}, found=True)
    assert state == "delivered"
    assert (await enter(open_turns, third)).turn_id == third.turn_id  # that one was answered: this regenerates


async def test_a_key_names_its_request_for_a_day(open_turns: OpenTurns) -> None:
    assert await open_turns.name("t", "k", "body", "turn-1") == "turn-1"
    assert await open_turns.name("t", "k", "body", "turn-2") == "turn-1"
    assert await open_turns.name("another tenant", "k", "body", "turn-3") == "turn-3"
    with pytest.raises(errors.OutOfRange, match="Idempotency-Key"):
        await open_turns.name("t", "k", "another body", "turn-4")
