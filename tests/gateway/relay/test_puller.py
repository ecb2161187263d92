"""Replies that are pulled: once each, whoever dies on the way."""

import asyncio
from datetime import timedelta

import pytest
from puller_kit import LEASE, PATIENCE, Bot, Pulling, Talk, expected, kept
from relay_kit import EVERY_SHARD, ONE, UPSTREAM_ID, advance, open_turn
from structlog.testing import capture_logs

from gateway import errors
from gateway.relay import dead_letters, puller
from gateway.relay.pulls import Pull, Pulls
from gateway.relay.queue import Queue
from gateway.sealed import Sealer
from gateway.store import Store
from gateway.upstreams import base
from gateway.upstreams.pulling import Spoken
from mappings import completion, generation
from tests import entries

HOUR = timedelta(hours=1)


async def said(store: Store, queue: Queue) -> list[str]:
    """Give the texts of all replies that are under way."""
    advance(store, HOUR)
    claims = await queue.claim(EVERY_SHARD, timedelta(seconds=1))
    segments = [segment for claim in claims.values() for one in claim.deliveries for segment in one.segments]
    return [completion.decode_segment(segment).text for segment in segments]


async def asked(pulling: Pulling, text: str = "hi", told: str = "Be kind.") -> str:
    """Open a turn, send its message and ask for the reply."""
    turn = await open_turn(pulling.store)
    pulling.bot.user_says(text)
    await pulling.pulls.ask(ONE, expected(turn, text, told))
    return turn


async def test_a_reply_is_pulled_once_and_nothing_is_kept_of_it(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.ready("Hello!")
    await asked(pulling)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["heard"]
    assert pulling.bot.heard == [("sk-client", "Be kind.")]
    assert pulling.bot.looked == []  # nobody can have let it speak before
    assert await said(store, pulling.queue) == ["Hello!"]
    assert not await kept(store)


async def test_the_key_lies_in_the_store_sealed_only(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling, told="a told secret")
    fields = await store.command("hgetall", ONE.pull)
    assert "sk-client" not in str(fields)
    assert "a told secret" not in str(fields)


async def test_a_dead_process_s_pull_is_taken_over_after_its_lease_and_the_bot_speaks_again(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling)
    assert await pulling.pulls.claim(1, LEASE)  # and dies
    pulling.bot.ready("Hello!")
    advance(store, LEASE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["heard"]
    assert pulling.bot.looked == [1]
    assert await said(store, pulling.queue) == ["Hello!"]


async def test_a_reply_that_was_generated_before_the_process_died_is_taken_as_it_is(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.says("From the history.")
    await asked(pulling)
    assert await pulling.pulls.claim(1, LEASE)
    pulling.bot.says("Hello!")  # it dies before it hears
    advance(store, LEASE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["found"]
    assert pulling.bot.heard == []
    assert await said(store, pulling.queue) == ["Hello!"]
    assert not await kept(store)


async def test_a_reply_that_was_folded_before_the_process_died_is_not_folded_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulling = Pulling(store)
    pulling.bot.ready("Hello!")
    await asked(pulling)

    async def die(*_args: object, **_options: object) -> str:
        raise errors.StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(pulling.pulls, "end", die)
        async with pulling.running():
            assert await pulling.seen.until(1) == ["lost"]
    other = Pulling(store, pulling.bot)
    advance(store, LEASE)
    async with other.running():
        assert await other.seen.until(1) == ["found"]
    assert await said(store, pulling.queue) == ["Hello!"]


async def test_a_claim_is_held_for_as_long_as_the_bot_speaks(store: Store) -> None:
    pulling = Pulling(store, lease=timedelta(seconds=0.3))
    other = Pulling(store, pulling.bot, lease=timedelta(seconds=0.3))
    pulling.bot.answers = ["Hello!"]
    await asked(pulling)
    async with pulling.running():
        await pulling.bot.began.acquire()
        renewed = 0
        renew = pulling.pulls.renew

        async def counted(pull: Pull, lease: timedelta) -> str | None:
            nonlocal renewed
            renewed += 1
            if renewed == 6:  # twice the lease
                pulling.bot.gate.set()
            return await renew(pull, lease)

        pulling.pulls.renew = counted  # type: ignore[method-assign]
        async with other.running():
            assert await pulling.seen.until(1) == ["heard"]
    assert other.seen.results == []
    assert len(pulling.bot.heard) == 1


async def test_a_frozen_process_has_no_effect_once_its_claim_is_another_s(store: Store) -> None:
    frozen = Pulling(store, lease=timedelta(hours=2))  # renews nothing while this test lasts
    await asked(frozen)
    async with frozen.running():
        await frozen.bot.began.acquire()
        other = Pulling(store, Bot(frozen.bot.transcript[:], ["From the other."]))
        other.bot.gate.set()
        advance(store, timedelta(hours=2))
        async with other.running():
            assert await other.seen.until(1) == ["heard"]
        frozen.bot.answers = ["From the frozen."]
        frozen.bot.gate.set()
        assert await frozen.seen.until(1) == ["lost"]
    assert await said(store, frozen.queue) == ["From the other."]


async def test_a_process_that_stops_hands_back_what_it_cannot_finish(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling)
    async with pulling.running():
        await pulling.bot.began.acquire()
    assert [result.outcome for result in pulling.seen.results] == ["handed_back"]
    other = Pulling(store, pulling.bot)
    pulling.bot.ready("Hello!")
    async with other.running():
        assert await other.seen.until(1) == ["heard"]
    assert pulling.bot.looked == [1]


async def test_a_process_that_stops_lets_a_short_generation_end(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.answers = ["Hello!"]
    await asked(pulling)
    async with pulling.running(grace=timedelta(seconds=10)):
        await pulling.bot.began.acquire()
        pulling.bot.gate.set()
    assert [result.outcome for result in pulling.seen.results] == ["heard"]


async def test_a_message_that_is_sent_while_the_bot_speaks_gets_its_reply_too(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling, "one")
    async with pulling.running():
        await pulling.bot.began.acquire()
        await asked(pulling, "two", told="Be brief.")
        pulling.bot.answers = ["To one.", "To two."]
        pulling.bot.gate.set()
        assert await pulling.seen.until(2) == ["heard", "heard"]
    assert [told for _, told in pulling.bot.heard] == ["Be kind.", "Be brief."]
    assert await said(store, pulling.queue) == ["To one.", "To two."]
    assert not await kept(store)


async def test_a_message_whose_sender_died_after_sending_it_is_replied_to(store: Store) -> None:
    pulling = Pulling(store)
    turn = await open_turn(store, posted=True)
    await pulling.pulls.prepare(ONE, expected(turn), patience=PATIENCE)
    pulling.bot.user_says("hi")
    pulling.bot.ready("Hello!")
    claims = await pulling.pulls.claim(1, LEASE)
    assert claims
    assert not claims.pulls  # its sender may still be at it
    advance(store, PATIENCE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["heard"]
    assert await said(store, pulling.queue) == ["Hello!"]


async def test_a_message_whose_sender_died_before_sending_it_gets_no_reply(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.user_says("before")
    pulling.bot.says("An old reply.")
    turn = await open_turn(store)
    await pulling.pulls.prepare(ONE, expected(turn), patience=PATIENCE)
    advance(store, PATIENCE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["nothing"]
    assert pulling.bot.heard == []
    assert await said(store, pulling.queue) == []
    assert not await kept(store)


async def test_the_same_words_in_the_history_are_not_taken_for_the_message(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.user_says("hi")
    pulling.bot.says("An old reply.")
    turn = await open_turn(store)
    await pulling.pulls.prepare(ONE, expected(turn, "hi"), patience=PATIENCE)
    advance(store, PATIENCE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["nothing"]
    assert await said(store, pulling.queue) == []


@pytest.mark.parametrize(
    "failure",
    [
        generation.Failed("error", "out of order"),
        generation.Failed("abort"),
        generation.Failed("incomplete"),
        generation.Failed("empty", "iteration"),
        base.OutcomeUnknown(errors.UpstreamTimeout("too slow")),
        errors.UpstreamUnavailable("down"),
        errors.UpstreamRejected("slow down", status=429, retry_after_seconds=1),
    ],
)
async def test_a_failed_reply_is_asked_for_again(store: Store, failure: generation.Failed | Exception) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(failure, "Hello!")
    await asked(pulling)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["retry"]
        advance(store, timedelta(seconds=10))
        pulling.puller.wake()
        assert await pulling.seen.until(2) == ["retry", "heard"]
    assert pulling.bot.looked == [1]  # it may have spoken, and nobody heard it
    assert await said(store, pulling.queue) == ["Hello!"]


async def test_an_upstream_that_asks_for_a_pause_gets_it(store: Store) -> None:
    pulling = Pulling(store)
    slow = errors.UpstreamRejected("slow down", status=429, retry_after_seconds=600)
    pulling.bot.ready(slow)
    await asked(pulling)
    async with pulling.running():
        await pulling.seen.until(1)
    advance(store, timedelta(seconds=500))
    claims = await pulling.pulls.claim(1, LEASE)
    assert claims
    assert claims.pulls == []
    assert claims.next_due
    assert timedelta(seconds=95) < claims.next_due - claims.now <= timedelta(seconds=100)


@pytest.mark.parametrize(
    ("failure", "cause", "status"),
    [
        (base.ConversationGone(), "conversation gone", 404),
        (errors.UpstreamRejected("no", status=403), "status 403", 403),
    ],
)
async def test_what_will_not_pass_makes_a_dead_letter_at_once(
    store: Store, failure: Exception, cause: str, status: int
) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(failure)
    turn = await asked(pulling)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["given_up"]
    [letter] = await dead_letters.newest(store, 10)
    assert (letter.id, letter.reason, letter.cause, letter.status) == (turn, "no_reply", cause, status)
    assert (letter.segments, letter.turn_ids, letter.meta["user_id"]) == (0, (turn,), "u-1")
    assert not await kept(store)
    assert not await store.command("exists", ONE.turns)


async def test_a_reply_that_fails_again_and_again_makes_a_dead_letter(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(*([generation.Failed("error")] * puller.MAX_FAILURES))
    await asked(pulling)
    async with pulling.running():
        for number in range(1, puller.MAX_FAILURES + 1):
            outcomes = await pulling.seen.until(number)
            advance(store, HOUR)
            pulling.puller.wake()
    assert outcomes == ["retry"] * (puller.MAX_FAILURES - 1) + ["given_up"]
    assert [letter.cause for letter in await dead_letters.newest(store, 10)] == ["error"]


async def test_what_ends_its_workers_again_and_again_makes_a_dead_letter(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling)
    for _ in range(puller.MAX_TAKEOVERS):
        assert await pulling.pulls.claim(1, LEASE)
        advance(store, LEASE)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["given_up"]
    assert pulling.bot.heard == []
    assert [letter.cause for letter in await dead_letters.newest(store, 10)] == ["not ended"]


async def test_a_key_that_cannot_be_unsealed_makes_a_dead_letter(store: Store) -> None:
    pulling = Pulling(store)
    await asked(pulling)
    pulling.puller._pulls = Pulls(store, Sealer([b"another-secret-altogether"]))
    async with pulling.running():
        assert await pulling.seen.until(1) == ["given_up"]
    assert [letter.cause for letter in await dead_letters.newest(store, 10)] == ["the key cannot be unsealed"]


async def test_a_defect_is_left_to_the_lease(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(RuntimeError("a defect"))
    await asked(pulling)
    with capture_logs() as lines:
        async with pulling.running():
            assert await pulling.seen.until(1) == ["lost"]
    assert [line["event"] for line in lines] == ["pull.failed"]
    assert await kept(store)


async def test_many_pulls_go_side_by_side_as_far_as_there_are_places(store: Store) -> None:
    pulling = Pulling(store, places=1)
    pulling.bot.answers = ["one"]
    await asked(pulling)
    async with pulling.running():
        await pulling.bot.began.acquire()
        assert await pulling.puller._claim() == puller.SCAN.total_seconds()
        pulling.bot.gate.set()
        await pulling.seen.until(1)


async def test_the_puller_goes_on_when_the_store_is_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pulling = Pulling(store)
    pulling.bot.ready("Hello!")
    await asked(pulling)
    claim = pulling.pulls.claim
    failures = iter([errors.StoreUnavailable("away"), RuntimeError("a defect")])

    async def failing(limit: int, lease: timedelta) -> object:
        for failure in failures:
            raise failure
        return await claim(limit, lease)

    monkeypatch.setattr(pulling.pulls, "claim", failing)
    with capture_logs() as lines:
        async with pulling.running():
            assert await pulling.seen.until(1) == ["heard"]
    assert [line["event"] for line in lines] == ["puller.round_failed"]


async def test_two_processes_share_the_work_and_pull_each_reply_once(store: Store) -> None:
    from relay_kit import conversation

    bot = Bot(answers=["Hello!"] * 20)
    one, two = Pulling(store, bot), Pulling(store, bot)
    bot.gate.set()
    for number in range(20):
        turn = await open_turn(store, conversation(number))
        await one.pulls.ask(conversation(number), expected(turn))
    async with one.running(), two.running():
        async with asyncio.timeout(10):
            while len(one.seen.results) + len(two.seen.results) < 20:
                await asyncio.sleep(0.01)
    assert len(bot.heard) == 20
    assert await said(store, one.queue) == ["Hello!"] * 20


@pytest.mark.parametrize("fails", [False, True])
async def test_a_conversation_that_has_grown_long_is_summed_up_once(store: Store, fails: bool) -> None:
    pulling = Pulling(store, compact_after=100)
    pulling.bot.compact_fails = fails
    pulling.bot.ready(*(["Hello!"] * 3))
    with capture_logs() as lines:
        async with pulling.running():
            await asked(pulling, "one")  # nobody knows how long it is
            await pulling.seen.until(1)
            for ended, count in enumerate((99, 150), 2):  # before the reply
                await entries.know(store, ONE, UPSTREAM_ID, count=str(count))
                await asked(pulling, "more")
                await pulling.seen.until(ended)
    assert pulling.bot.compacted == 1
    assert [line["event"] for line in lines] == ["pull.not_compacted"] * fails
    assert [result.outcome for result in pulling.seen.results] == ["heard"] * 3


async def test_a_message_that_is_sent_while_the_upstream_is_looked_at_gets_its_reply_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulling = Pulling(store)
    await asked(pulling, "one")
    assert await pulling.pulls.claim(1, LEASE)
    pulling.bot.says("To one.")  # the process dies before it hears
    advance(store, LEASE)
    look = Talk.spoken

    async def look_and_be_late(talk: Talk, conversation_id: str, user_messages: int) -> Spoken:
        found = await look(talk, conversation_id, user_messages)
        monkeypatch.undo()
        await asked(pulling, "two")
        return found

    monkeypatch.setattr(Talk, "spoken", look_and_be_late)
    pulling.bot.ready("To two.")
    async with pulling.running():
        assert await pulling.seen.until(2) == ["found", "heard"]
    assert await said(store, pulling.queue) == ["To one.", "To two."]
    assert not await kept(store)


async def test_a_new_message_has_as_many_tries_as_the_one_before(store: Store) -> None:
    pulling = Pulling(store)
    failing = [generation.Failed("error")] * (puller.MAX_FAILURES - 1)
    pulling.bot.ready(*failing, generation.Failed("error"), "To both.")
    await asked(pulling, "one")
    async with pulling.running():
        for number in range(1, len(failing) + 1):
            await pulling.seen.until(number)
            if number == len(failing):
                await asked(pulling, "two")
            else:
                advance(store, HOUR)
                pulling.puller.wake()
        await pulling.seen.until(len(failing) + 1)
        advance(store, HOUR)
        pulling.puller.wake()
        assert (await pulling.seen.until(len(failing) + 2))[-2:] == ["retry", "heard"]
    assert await dead_letters.newest(store, 10) == []


async def test_giving_up_a_reply_does_not_give_up_the_message_that_came_meanwhile(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.answers = [errors.UpstreamRejected("no such thing", status=404), "To both."]
    await asked(pulling, "one")
    async with pulling.running():
        await pulling.bot.began.acquire()
        await asked(pulling, "two")
        pulling.bot.gate.set()
        assert await pulling.seen.until(2) == ["retry", "heard"]
    assert await said(store, pulling.queue) == ["To both."]


async def test_a_turn_that_its_client_names_is_not_sent_again_after_its_dead_letter(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(errors.UpstreamRejected("no such thing", status=404))
    turn = await asked(pulling)
    await store.redis.hset(ONE.shard.turn(turn), "keep", 1)
    async with pulling.running():
        assert await pulling.seen.until(1) == ["given_up"]
    assert [letter.id for letter in await dead_letters.newest(store, 10)] == [turn]
    assert await store.redis.hget(ONE.shard.turn(turn), "state") == "delivered"


async def test_a_dead_letter_does_not_take_the_name_of_a_reply_on_its_way(store: Store) -> None:
    pulling = Pulling(store)
    pulling.bot.ready(errors.UpstreamRejected("no such thing", status=404))
    turn = await asked(pulling)
    await store.redis.hset(ONE.shard.turn(turn), "reply", turn)  # of a late segment, while it was being posted
    async with pulling.running():
        assert await pulling.seen.until(1) == ["given_up"]
    [letter] = await dead_letters.newest(store, 10)
    assert (letter.id != turn, letter.turn_ids) == (True, (turn,))
