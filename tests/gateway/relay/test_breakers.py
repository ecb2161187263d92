"""Breakers on a real store: what opens them, who may probe, what closes them, and what the relay does meanwhile."""

import itertools
from datetime import timedelta

import pytest
from relay_kit import LEASE, TENANT, Clock, Relay, Sent, advance, conversation, reply
from structlog.testing import capture_logs

from gateway import errors, keys, metrics
from gateway.relay import breakers as breakers_module
from gateway.relay import dead_letters
from gateway.relay.breakers import THRESHOLD, Breaker, Breakers
from gateway.relay.delivery import Answered, DeadLettered, Failed, Reason, Result
from gateway.relay.lanes import Lane
from gateway.relay.queue import Counts
from gateway.store import Store

SECOND = timedelta(seconds=1)
PAUSE = 20 * SECOND
LANE = Lane(TENANT, "hooks.example")
DOWN = Answered(500)
_numbers = itertools.count()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(store: Store, clock: Clock) -> Breakers:
    return Breakers(store, pause=PAUSE, clock=clock)


async def end(breakers: Breakers, *results: Result, lane: Lane = LANE, attempt: str | None = None) -> None:
    """Let attempts end, one after the other."""
    for result in results:
        breakers.note(lane, attempt or str(next(_numbers)), result)
    await breakers.flush()


async def states(store: Store) -> list[tuple[str, int]]:
    return [(one.state, one.failures) for one in await breakers_module.read(store)]


# What opens it


@pytest.mark.parametrize("result", [DOWN, Answered(429), Answered(503), Failed("deadline_exceeded")])
async def test_failures_in_a_row_open_it(store: Store, breakers: Breakers, result: Result) -> None:
    await end(breakers, *[result] * (THRESHOLD - 1))
    assert breakers.open_until(LANE) is None
    assert await states(store) == []
    await end(breakers, result)
    until = breakers.open_until(LANE)
    assert until is not None
    assert await breakers_module.read(store) == [Breaker(*LANE, "open", THRESHOLD, until)]


@pytest.mark.parametrize("result", [Answered(200), Answered(404), Answered(410), Answered(302)])
async def test_an_answer_of_a_receiver_that_is_well_ends_the_row(breakers: Breakers, result: Result) -> None:
    await end(breakers, *[DOWN] * (THRESHOLD - 1), result, *[DOWN] * (THRESHOLD - 1))
    assert breakers.open_until(LANE) is None


async def test_what_is_not_the_receivers_fault_counts_for_nothing(breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * (THRESHOLD - 1))
    await end(breakers, *[Failed("lookup_failed", "ours"), Failed("forbidden_address", "destination")] * THRESHOLD)
    assert breakers.open_until(LANE) is None
    await end(breakers, DOWN)
    assert breakers.open_until(LANE)


async def test_an_attempt_whose_end_is_told_twice_counts_once(breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * THRESHOLD, attempt="the same")
    assert breakers.open_until(LANE) is None


async def test_failures_of_all_processes_count_together(store: Store, clock: Clock) -> None:
    one, other = Breakers(store, pause=PAUSE, clock=clock), Breakers(store, pause=PAUSE, clock=clock)
    await end(one, *[DOWN] * (THRESHOLD - 1))
    await end(other, DOWN)
    assert one.open_until(LANE) is None
    await one.refresh()
    assert one.open_until(LANE) == other.open_until(LANE) is not None


async def test_other_tenants_and_other_hosts_have_breakers_of_their_own(breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    assert breakers.open_until(Lane("ffff000011112222", LANE.host)) is None
    assert breakers.open_until(Lane(LANE.tenant, "other.example")) is None


async def test_success_costs_the_store_nothing(store: Store, breakers: Breakers) -> None:
    before = (await store.redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    await end(breakers, *[Answered(200)] * 100)
    after = (await store.redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert before == after


# The probe


async def test_one_probe_goes_when_the_pause_is_over_and_its_success_closes_it(
    store: Store, breakers: Breakers
) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    advance(store, PAUSE - SECOND)
    assert await breakers.ask(LANE, "a", LEASE) == breakers.open_until(LANE)
    advance(store, SECOND)
    assert await states(store) == [("half_open", THRESHOLD)]
    assert await breakers.ask(LANE, "a", LEASE) is None
    assert await breakers.ask(LANE, "b", LEASE) is not None
    assert await breakers.ask(LANE, "a", LEASE) is None  # asked again, the answer being lost
    await end(breakers, Answered(200), attempt="a")
    assert breakers.open_until(LANE) is None
    assert await breakers.ask(LANE, "b", LEASE) is None
    assert await states(store) == []


async def test_each_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound(store: Store, breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    pauses = []
    for number in range(7):
        before = breakers.open_until(LANE)
        assert before
        advance(store, breakers_module.LONGEST_PAUSE)
        assert await breakers.ask(LANE, f"probe {number}", LEASE) is None
        asked = (await breakers_module.read(store))[0]
        assert asked.state == "half_open"
        await end(breakers, DOWN, attempt=f"probe {number}")
        [key] = [key async for key in store.redis.scan_iter("*breaker:*")]
        pauses.append(int(await store.redis.hget(key, "pause")) // 1000)
    assert pauses == [40, 80, 160, 300, 300, 300, 300]


async def test_an_attempt_from_before_the_pause_does_not_lengthen_it(store: Store, breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    until = breakers.open_until(LANE)
    await end(breakers, DOWN)
    advance(store, PAUSE)
    await breakers.ask(LANE, "probe", LEASE)
    await end(breakers, DOWN)
    assert breakers.open_until(LANE) == until


async def test_a_probe_that_never_ends_is_followed_by_another(store: Store, breakers: Breakers) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    advance(store, PAUSE)
    assert await breakers.ask(LANE, "dies", LEASE) is None
    advance(store, LEASE - SECOND)
    assert await breakers.ask(LANE, "next", LEASE) is not None
    advance(store, SECOND)
    assert await breakers.ask(LANE, "next", LEASE) is None


async def test_a_breaker_that_expired_is_closed_and_leaves_no_trace(
    store: Store, breakers: Breakers, clock: Clock
) -> None:
    await end(breakers, *[DOWN] * THRESHOLD)
    await store.redis.delete(keys.BreakerKeys.of(*LANE).breaker)
    await breakers.refresh()
    assert breakers.open_until(LANE) is None
    assert await store.redis.exists(keys.BreakerKeys.of(*LANE).shard.breakers) == 0


async def test_each_change_is_told_once_and_counted(store: Store, breakers: Breakers) -> None:
    with capture_logs() as lines:
        await end(breakers, *[DOWN] * THRESHOLD)
        await breakers.refresh()
        assert metrics.BREAKERS(state="open")._value.get() == 1
        advance(store, PAUSE)
        for _ in range(2):
            await breakers.ask(LANE, "probe", LEASE)
        await end(breakers, Answered(204), attempt="probe")
    changes = [line for line in lines if line["event"] == "breaker.changed"]
    assert [(line["to"], line["failures"]) for line in changes] == [
        ("open", THRESHOLD),
        ("half_open", None),
        ("closed", THRESHOLD),
    ]
    assert {(line["tenant"], line["host"]) for line in changes} == {LANE}


# In the relay


async def fall_due(relay: Relay, count: int, host: str = "down.example", first: int = 0) -> None:
    for number in range(first, first + count):
        await reply(relay.store, relay.queue, f"{host} {number}", conversation(number), webhook=f"https://{host}/")


async def a_round(relay: Relay) -> None:
    """Let the relay settle what has ended, and then deliver something: the second of two has seen all of it."""
    for _ in range(2):
        before = len(sent_to(relay, "well.example"))
        await fall_due(relay, 1, "well.example", first=1000 + next(_numbers))
        relay.worker.wake()
        while len(sent_to(relay, "well.example")) == before:
            await relay.receivers.until(len(relay.receivers.sent) + 1)


def sent_to(relay: Relay, host: str) -> list[Sent]:
    return [sent for sent in relay.receivers.sent if sent.webhook == f"https://{host}/"]


async def test_what_an_open_breaker_holds_back_costs_no_attempt_and_leaves_when_it_closes(store: Store) -> None:
    relay = Relay(store, places=8)
    relay.receivers.ready["https://down.example/"] = [DOWN] * THRESHOLD
    await fall_due(relay, THRESHOLD)
    async with relay.running():
        await relay.observations.until(THRESHOLD)
        await a_round(relay)
        await fall_due(relay, 5, first=100)
        await a_round(relay)
        assert len(sent_to(relay, "down.example")) == THRESHOLD
        while len(sent_to(relay, "down.example")) < 2 * THRESHOLD + 5:  # one as a probe, then the others
            relay.advance(30 * SECOND)
            await a_round(relay)
    later = [sent for sent in sent_to(relay, "down.example") if int(sent.texts[0].split()[1]) >= 100]
    assert [sent.attempt for sent in later] == [1] * 5
    assert await relay.queue.count() == Counts(0, 0, 0)


async def test_what_waits_behind_a_receiver_that_never_comes_back_is_given_up_in_the_end(store: Store) -> None:
    relay = Relay(store)
    relay.receivers.ready["https://down.example/"] = [DOWN] * 99
    await fall_due(relay, THRESHOLD)
    async with relay.running():
        await relay.observations.until(THRESHOLD)
        await a_round(relay)
        await fall_due(relay, 1, first=100)
        await a_round(relay)  # it is handed back
        for_years = {"until": 2**43}  # as if probe after probe had failed
        await store.redis.hset(keys.BreakerKeys.of(TENANT, "down.example").breaker, mapping=for_years)
        relay.clock.ahead += breakers_module.REFRESH_SECONDS
        relay.advance(timedelta(hours=1))
        seen = await relay.observations.until(2 * THRESHOLD + 5)
    assert {one.outcome for one in seen[THRESHOLD + 4 :]} == {DeadLettered(Reason.AGE, "breaker_open")}
    assert {letter.cause for letter in await dead_letters.newest(store, 99)} == {"breaker_open"}
    assert len(sent_to(relay, "down.example")) == THRESHOLD


async def test_a_store_that_is_away_when_a_probe_asks_leaves_it_for_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(store)
    relay.receivers.ready["https://down.example/"] = [DOWN] * THRESHOLD
    await fall_due(relay, THRESHOLD)
    async with relay.running():
        await relay.observations.until(THRESHOLD)
        await a_round(relay)
        ask = relay.worker._breakers.ask
        refusals = [errors.StoreUnavailable("away")]

        async def refuse_once(*arguments: object) -> object:
            if refusals:
                raise refusals.pop()
            return await ask(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(relay.worker._breakers, "ask", refuse_once)
        while len(sent_to(relay, "down.example")) < 2 * THRESHOLD:
            relay.advance(30 * SECOND)
            await a_round(relay)
    assert not refusals
