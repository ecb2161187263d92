"""Dead letters: listed, found, shown, sent again."""

from datetime import timedelta

import pytest
from relay_kit import META, WEBHOOK, advance, claim, claim_one, conversation, reply

from gateway import metrics
from gateway.relay import dead_letters
from gateway.relay.dead_letters import Filter
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Reason
from gateway.relay.queue import Counts, Queue, Settlement
from gateway.store import Store

DEAD = DeadLettered(Reason.ATTEMPTS, "status 500", 500)
BODY = b'{"completion":["as sent"]}'


async def die(store: Store, queue: Queue, number: int, outcome: DeadLettered = DEAD) -> Delivery:
    """Let a reply of that conversation die, a second after the one before."""
    await reply(store, queue, "Hello!", conversation(number))
    delivery = await claim_one(queue)
    await queue.settle([Settlement(delivery, outcome, BODY)])
    advance(store, timedelta(seconds=1))
    return delivery


async def test_a_dead_letter_tells_who_why_and_where_but_nothing_secret(store: Store, queue: Queue) -> None:
    dead = await die(store, queue, 1)
    letter = await dead_letters.show(store, dead.id)
    assert letter
    assert letter == dead_letters.DeadLetter(
        id=dead.id,
        died_at=letter.died_at,
        accepted_at=dead.accepted_at,
        reason="attempts",
        cause="status 500",
        status=500,
        attempts=1,
        host="client.example",
        segments=1,
        turn_ids=(dead.id,),
        meta=META,
    )
    assert letter.died_at >= dead.due
    assert "s3cret" in WEBHOOK
    assert "s3cret" not in repr(letter)


async def test_a_dead_letter_without_an_answer_has_no_status(store: Store, queue: Queue) -> None:
    dead = await die(store, queue, 1, DeadLettered(Reason.REFUSED_DESTINATION, "forbidden_address"))
    letter = await dead_letters.show(store, dead.id)
    assert letter
    assert letter.status is None


async def test_the_newest_of_all_shards_come_first(store: Store, queue: Queue) -> None:
    dead = [await die(store, queue, number) for number in (1, 2, 17, 3)]
    listed = await dead_letters.newest(store, 3)
    assert [letter.id for letter in listed] == [one.id for one in reversed(dead)][:3]


async def test_what_is_alive_is_no_dead_letter(store: Store, queue: Queue) -> None:
    turn = await reply(store, queue, "Hello!")
    assert await dead_letters.show(store, turn) is None
    assert await dead_letters.redrive(store, [turn, "nothing"]) == []
    assert await dead_letters.newest(store, 9) == []


@pytest.mark.parametrize("all_of_them", [True, False])
async def test_a_dead_letter_sent_again_has_its_id_its_bytes_and_all_its_attempts(
    store: Store, queue: Queue, all_of_them: bool
) -> None:
    dead = await die(store, queue, 1)
    advance(store, timedelta(days=3))
    if all_of_them:
        assert await dead_letters.redrive_all(store) == 1
    else:
        assert await dead_letters.redrive(store, [dead.id, dead.id]) == [dead.id]
    assert await dead_letters.newest(store, 9) == []
    again = await claim_one(queue)
    assert (again.id, again.webhook, again.body, again.attempts, again.takeovers) == (dead.id, WEBHOOK, BODY, 1, 0)
    assert again.not_before == again.due > dead.due + timedelta(days=3)
    await queue.settle([Settlement(again, Delivered(200))])
    assert await queue.count() == Counts(0, 0, 0)


async def test_a_dead_letter_sent_again_goes_beside_the_conversations_line(store: Store, queue: Queue) -> None:
    dead = await die(store, queue, 1)
    waiting = await reply(store, queue, "Hello again!", conversation(1))
    await dead_letters.redrive(store, [dead.id])
    claimed = {delivery.id: delivery for delivery in await claim(queue)}
    assert set(claimed) == {dead.id, waiting}
    await queue.settle([Settlement(claimed[dead.id], Delivered(200))])
    await queue.settle([Settlement(claimed[waiting], Delivered(200))])
    assert await queue.count() == Counts(0, 0, 0)


async def test_a_dead_letter_may_die_again(store: Store, queue: Queue) -> None:
    dead = await die(store, queue, 1)
    await dead_letters.redrive(store, [dead.id])
    await queue.settle([Settlement(await claim_one(queue), DeadLettered(Reason.GONE, "status 410", 410), BODY)])
    [letter] = await dead_letters.newest(store, 9)
    assert (letter.id, letter.reason) == (dead.id, "gone")


async def test_all_dead_letters_are_sent_again_each_once(store: Store, queue: Queue) -> None:
    dead = {(await die(store, queue, number)).id for number in range(20)}
    assert await dead_letters.redrive_all(store) == 20
    assert await dead_letters.redrive_all(store) == 0
    assert {delivery.id for delivery in await claim(queue)} == dead


async def test_entries_that_have_outlived_their_letters_are_taken_out(store: Store, queue: Queue) -> None:
    gone, kept = await die(store, queue, 1), await die(store, queue, 17)
    await store.redis.delete(conversation(1).shard.reply(gone.id))
    assert [letter.id for letter in await dead_letters.newest(store, 9)] == [kept.id]
    assert await store.redis.zrange(conversation(1).shard.dead, 0, -1) == [kept.id]


async def test_an_entry_that_has_outlived_its_letter_cannot_be_sent_again(store: Store, queue: Queue) -> None:
    gone = await die(store, queue, 1)
    await store.redis.delete(conversation(1).shard.reply(gone.id))
    assert await dead_letters.redrive(store, [gone.id]) == []
    assert await queue.count() == Counts(0, 0, 0)


REFUSED = DeadLettered(Reason.REFUSED_DESTINATION, "forbidden_address")


async def test_what_is_searched_for_is_counted_and_its_newest_are_given(store: Store, queue: Queue) -> None:
    dead = [await die(store, queue, number, REFUSED if number % 2 else DEAD) for number in range(7)]
    found = await dead_letters.find(store, Filter(reason="refused_destination"), 2)
    assert found.count == 3
    assert [letter.id for letter in found.newest] == [dead[5].id, dead[3].id]
    assert await dead_letters.newest(store, 2, Filter(reason="refused_destination")) == list(found.newest)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), True),
        (Filter(tenant=str(META["tenant"])), True),
        (Filter(tenant="ffffffffffffffff"), False),
        (Filter(host="Client.Example"), True),
        (Filter(host="client.exam"), False),
        (Filter(reason="attempts", bot_id="b-1", user_id="u-1"), True),
        (Filter(reason="attempts", bot_id="b-1", user_id="u-2"), False),
        (Filter(bot_id="u-1"), False),
        (Filter(reason=""), False),
    ],
)
async def test_a_dead_letter_is_meant_when_it_agrees_with_all_that_is_given(
    store: Store, queue: Queue, wanted: Filter, found: bool
) -> None:
    dead = await die(store, queue, 1)
    assert [letter.id for letter in (await dead_letters.find(store, wanted, 9)).newest] == [dead.id] * found


async def test_only_what_is_meant_is_sent_again_and_progress_is_told(store: Store, queue: Queue) -> None:
    dead = [await die(store, queue, number, REFUSED if number % 2 else DEAD) for number in range(7)]
    counted = metrics.REGISTRY.get_sample_value("gateway_redriven_total")
    told: list[int] = []
    assert await dead_letters.redrive_all(store, Filter(reason="refused_destination"), progress=told.append) == 3
    assert sum(told) == 3
    assert {delivery.id for delivery in await claim(queue)} == {one.id for one in dead[1::2]}
    assert (await dead_letters.find(store, dead_letters.EVERYTHING, 0)).count == 4
    assert counted is not None
    assert metrics.REGISTRY.get_sample_value("gateway_redriven_total") == counted + 3


async def test_what_dies_after_the_moment_of_the_preview_is_not_meant(store: Store, queue: Queue) -> None:
    seen, later = await die(store, queue, 1), await die(store, queue, 2)
    letter = await dead_letters.show(store, seen.id)
    assert letter
    assert await dead_letters.redrive_all(store, Filter(died_until=letter.died_at)) == 1
    assert [left.id for left in await dead_letters.newest(store, 9)] == [later.id]


async def test_more_than_a_page_is_sent_again(store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE", 2)
    dead = {(await die(store, queue, 16 * number)).id for number in range(5)}  # all on one shard
    assert {letter.id for letter in await dead_letters.newest(store, 3)} < dead
    assert await dead_letters.redrive_all(store) == 5
    assert {delivery.id for delivery in await claim(queue)} == dead
