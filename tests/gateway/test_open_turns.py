"""Turns in the store: one of a conversation at a time, each request once, dead senders settled."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway import errors, keys
from gateway.directory import Directory, Entry, LeaseLost
from gateway.open_turns import AWAITED_MS, MAX_OPEN_TURNS, Entered, Joined, OpenTurns, Proposal, Unsettled
from gateway.relay.delivery import Delivered
from gateway.relay.queue import Folded, Queue, Settlement
from gateway.store import Store, times
from mappings import completion
from mappings.turn import Message, ReplySegment
from tests import entries

CONVERSATION = keys.ConversationKeys("00" * 16)
LEASE = timedelta(seconds=60)
PATIENCE = timedelta(seconds=10)


def proposal(**changes: Any) -> Proposal:
    fields: dict[str, Any] = {
        "turn_id": str(uuid.uuid4()),
        "caller": uuid.uuid4().hex,
        "fingerprint": uuid.uuid4().hex,
        "webhook": "https://h/p?q=1",
        "delay_ms": 45_000,
        "min_delay_ms": 30_000,
        "settle_ms": 1_500,
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
    assert await enter(open_turns, one) == Entered(one.turn_id, timedelta(seconds=45), [], 0, None)


async def test_what_was_recorded_is_known_to_the_next_turn(open_turns: OpenTurns, store: Store) -> None:
    one = proposal()
    await enter(open_turns, one)
    assert await record(open_turns, one) == "posted"
    entered = await enter(open_turns, proposal())
    assert entered.known == Entry("c-1", tail="Au0A", context="d")
    assert entered.unanswered == 1
    assert (await Directory(store).show(CONVERSATION))["webhook"] == one.webhook


async def test_an_entry_that_was_erased_meanwhile_is_not_made_anew_by_a_note(
    open_turns: OpenTurns, store: Store
) -> None:
    one, directory = proposal(), Directory(store)
    await enter(open_turns, one)
    await directory.record(CONVERSATION, one.caller, "c-1", {"tail": "Au0A", "count": "1"})
    assert (await directory.show(CONVERSATION))["count"] == "1"
    assert await directory.erase(CONVERSATION)
    added = [Message(from_bot=True, text="Hello!")]
    await directory.record_added(CONVERSATION, one.caller, one.turn_id, added, restart=False)
    assert await store.redis.exists(CONVERSATION.directory) == 0


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
    one, again = proposal(fingerprint="same"), proposal(fingerprint="same", delay_ms=31_000)
    await enter(open_turns, one)
    await record(open_turns, one)
    assert await open_turns.enter(CONVERSATION, again, PATIENCE) == Joined(one.turn_id, timedelta(seconds=45))
    assert await open_turns._store.redis.llen(CONVERSATION.turns) == 1


async def test_an_identical_request_waits_for_the_one_that_is_being_posted(open_turns: OpenTurns) -> None:
    one, again = proposal(fingerprint="same"), proposal(fingerprint="same")
    await enter(open_turns, one)
    joining = asyncio.create_task(open_turns.enter(CONVERSATION, again, PATIENCE))
    await record(open_turns, one)
    assert await joining == Joined(one.turn_id, timedelta(seconds=45))


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


# Turns that are opened again


async def say(store: Store, text: str) -> Folded:
    return await Queue(store).fold(CONVERSATION, "c-1", ReplySegment(str(uuid.uuid4()), text))


async def deliver(store: Store) -> list[str]:
    """Deliver what is due within the hour; give the ids."""
    store.clock_offset_ms += 3_600_000
    queue, shard = Queue(store), CONVERSATION.shard.shard
    deliveries = (await queue.claim({shard: 10}, LEASE))[shard].deliveries
    await queue.settle([Settlement(delivery, Delivered(200)) for delivery in deliveries])
    return [delivery.id for delivery in deliveries]


async def opened_again(open_turns: OpenTurns, store: Store, **changes: Any) -> tuple[Proposal, Entered]:
    """Have a turn's sender die while a segment comes, and its client's retry open it again; give the retry."""
    first = proposal()
    await enter(open_turns, first)
    await record(open_turns, first)
    dead = proposal(fingerprint="same", **changes)
    # Somebody who waits for his answer lets the reply to the turn before him come first.
    await say(store, "before")
    await deliver(store)
    await enter(open_turns, dead)
    await say(store, "meanwhile")
    await store.redis.delete(CONVERSATION.lock)  # its lease has run out
    retry = proposal(fingerprint="same", **changes)
    return retry, await enter(open_turns, retry)


async def test_a_delivery_does_not_close_the_turn_that_was_opened_again_beside_it(
    open_turns: OpenTurns, store: Store
) -> None:
    retry, entered = await opened_again(open_turns, store)
    assert await deliver(store) == [entered.turn_id]
    # The transcript has said no: it was a late segment of the reply before, and the message is posted only now.
    state = await open_turns.record_post(CONVERSATION, retry, entered.turn_id, "c-1", {})
    assert state == "posted"
    folded = await say(store, "the answer")
    assert folded.outcome == "opened"
    assert folded.reply_id
    reply = CONVERSATION.shard.reply(folded.reply_id)
    assert await store.run("read_dead", [reply], folded.reply_id, "turns") == [entered.turn_id]


async def test_late_segments_do_not_note_a_message_that_is_being_posted_again_twice(
    open_turns: OpenTurns, store: Store
) -> None:
    retry, entered = await opened_again(open_turns, store, message="Au7A", note="Au7A")
    before = (await Directory(store).show(CONVERSATION))["tail"]
    assert "Au7A" not in before
    assert (await say(store, "and more")).outcome == "folded"
    await open_turns.record_post(CONVERSATION, retry, entered.turn_id, "c-1", {})
    assert (await Directory(store).show(CONVERSATION))["tail"].count("Au7A") == 1


async def test_a_message_that_was_refused_is_not_in_what_is_known_of_the_transcript(
    open_turns: OpenTurns, store: Store
) -> None:
    first, refused = proposal(), proposal(message="Au7A", note="Au7A")
    await enter(open_turns, first)
    await record(open_turns, first)
    await say(store, "before")
    await deliver(store)
    await enter(open_turns, refused)
    await say(store, "a late segment")
    assert await open_turns.abandon(CONVERSATION, refused, refused.turn_id, settled=True) == "forgotten"
    assert "Au7A" not in (await Directory(store).show(CONVERSATION))["tail"]


async def test_a_turn_that_its_client_names_never_lends_its_name_to_two_replies(
    open_turns: OpenTurns, store: Store
) -> None:
    named = proposal(fingerprint="same", keep=True)
    await enter(open_turns, named)
    await entries.know(store, CONVERSATION, "c-1", webhook="https://h", meta="{}")
    first = await say(store, "a late segment")
    assert await open_turns.abandon(CONVERSATION, named, named.turn_id, settled=True) == "forgotten"
    assert await deliver(store) == [first.reply_id]
    again = msgspec.structs.replace(named, caller="another")
    await enter(open_turns, again)
    await record(open_turns, again)
    second = await say(store, "the answer")
    assert second.outcome == "opened"
    assert second.reply_id != first.reply_id


async def test_the_answer_to_a_message_whose_sender_died_is_there_for_the_retry(
    open_turns: OpenTurns, store: Store
) -> None:
    retry, entered = await opened_again(open_turns, store, webhook="")
    state = await open_turns.record_post(CONVERSATION, retry, entered.turn_id, "c-1", {}, found=True)
    assert state == "answered"
    store.clock_offset_ms += 5_000
    assert await take(store, entered.turn_id) == ["meanwhile"]


async def test_a_late_segment_is_not_lost_when_its_turn_is_posted_after_all(
    open_turns: OpenTurns, store: Store
) -> None:
    retry, entered = await opened_again(open_turns, store, webhook="")
    assert await open_turns.record_post(CONVERSATION, retry, entered.turn_id, "c-1", {}) == "posted"
    store.clock_offset_ms += 5_000
    assert await take(store, entered.turn_id) == []  # that was not its answer
    await say(store, "the answer")
    store.clock_offset_ms += 5_000
    assert await take(store, entered.turn_id) == ["meanwhile", "the answer"]


async def take(store: Store, turn_id: str) -> list[str]:
    """Take what the client waits for; empty while it is not there."""
    shard = CONVERSATION.shard
    outcome, *rest = await store.run(
        "take_answer", [CONVERSATION.directory, CONVERSATION.fingerprints, shard.turn(turn_id)], turn_id, 300, 300
    )
    return [completion.decode_segment(one).text for one in rest] if outcome == "answer" else []


async def test_a_post_is_recorded_after_the_lease_while_nobody_else_has_it(open_turns: OpenTurns, store: Store) -> None:
    one = proposal()
    await enter(open_turns, one)
    await store.redis.delete(CONVERSATION.lock)
    assert await record(open_turns, one) == "posted"
    assert (await enter(open_turns, proposal())).unsettled == []


async def test_what_the_bot_has_said_of_itself_for_a_turn_is_not_asked_for_again(
    open_turns: OpenTurns, store: Store
) -> None:
    dead = proposal(fingerprint="same", message="", note="")
    await enter(open_turns, dead)
    await Directory(store).record(CONVERSATION, dead.caller, "c-1", {})
    segment = ReplySegment(str(uuid.uuid4()), "Hello!")
    folded = await Queue(store).fold(CONVERSATION, "c-1", segment, noted=False, answers=dead.turn_id)
    assert folded.reply_id == dead.turn_id
    await store.redis.delete(CONVERSATION.lock)  # its process has died, and the lease has run out
    retry = proposal(fingerprint="same", message="", note="")
    assert await open_turns.enter(CONVERSATION, retry, PATIENCE) == Joined(dead.turn_id, timedelta(seconds=45))


async def test_a_late_word_does_not_bring_a_conversation_back_that_another_has_replaced(
    open_turns: OpenTurns, store: Store
) -> None:
    one, other = proposal(), proposal()
    await enter(open_turns, one)
    await store.redis.delete(CONVERSATION.lock)
    await enter(open_turns, other)
    await Directory(store).record(CONVERSATION, other.caller, "c-2", {})
    await open_turns.abandon(CONVERSATION, other, other.turn_id, settled=True)
    await record(open_turns, one)
    assert (await Directory(store).show(CONVERSATION))["id"] == "c-2"


# Turns of both kinds


@pytest.mark.parametrize("kinds", ["webhook first", "answer first"])
async def test_a_reply_that_was_promised_to_a_webhook_goes_there(
    open_turns: OpenTurns, store: Store, kinds: str
) -> None:
    webhook, answer = proposal(), proposal(webhook="")
    order = [webhook, answer] if kinds == "webhook first" else [answer, webhook]
    for one in order:
        store.clock_offset_ms += AWAITED_MS + 1  # the one before has waited for too long to hold others up
        await enter(open_turns, one)
        await record(open_turns, one)
    folded = await say(store, "late")
    assert (folded.outcome, folded.reply_id) == ("opened", webhook.turn_id)
    left = await store.redis.lrange(CONVERSATION.turns, 0, -1)
    assert left == ([answer.turn_id] if kinds == "webhook first" else [])


# Long delays


async def test_an_identical_request_joins_for_as_long_as_the_reply_waits(open_turns: OpenTurns, store: Store) -> None:
    week = timedelta(days=7)
    one = proposal(fingerprint="same", delay_ms=times.milliseconds(week), min_delay_ms=times.milliseconds(week))
    await enter(open_turns, one)
    await record(open_turns, one)
    await say(store, "Hello!")
    await enter(open_turns, proposal())  # which must not shorten what is remembered of the other
    for key in (CONVERSATION.shard.turn(one.turn_id), CONVERSATION.fingerprints):
        assert await store.redis.ttl(key) > week.total_seconds()


async def test_a_turn_whose_recording_the_store_did_not_answer_is_joined_after_its_reply_has_gone_out(
    open_turns: OpenTurns, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, again, anew = (proposal(fingerprint="same") for _ in range(3))
    await enter(open_turns, one)
    run = store.run

    async def run_unheard(name: str, *arguments: Any) -> Any:
        await run(name, *arguments)
        raise errors.StoreUnavailable("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(store, "run", run_unheard)
        with pytest.raises(errors.StoreUnavailable):
            await record(open_turns, one)
    await say(store, "the answer")
    assert await deliver(store) == [one.turn_id]
    while not await store.redis.hexists(CONVERSATION.shard.turn(one.turn_id), "unacknowledged"):
        await asyncio.sleep(0.01)
    assert await open_turns.enter(CONVERSATION, again, PATIENCE) == Joined(one.turn_id, timedelta(seconds=45))
    assert await enter(open_turns, anew)
