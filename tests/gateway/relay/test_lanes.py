"""Places for attempts: in all, of one tenant, of one tenant to one host."""

from collections import Counter
from datetime import timedelta

import pytest

from gateway.relay import lanes
from gateway.relay.lanes import Lane, Lanes

SHORTEST = timedelta(seconds=lanes.SHORTEST_PAUSE)
LONGEST = timedelta(seconds=lanes.LONGEST_PAUSE)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_full_lane_leaves_the_other_places_free(clock: Clock) -> None:
    places = Lanes(8, 2, clock)
    assert [places.enter(Lane("t", "slow"), name) for name in "ab"] == [None, None]
    assert places.enter(Lane("t", "slow"), "c") is not None
    assert places.enter(Lane("t", "other"), "d") is None
    assert places.enter(Lane("u", "slow"), "e") is None
    assert places.free == 4


def taken(places: Lanes, tenants: str) -> Counter[str]:
    """Let tenants try in turn until none gets a place any more; give how many each has got."""
    got: Counter[str] = Counter()
    while True:
        entered = [tenant for tenant in tenants if not places.enter(Lane(tenant, f"host-{got}"), (tenant, got[tenant]))]
        if not entered:
            return got
        got.update(entered)


@pytest.mark.parametrize(("tenants", "each"), [("a", 30), ("ab", 20), ("abc", 15), ("abcde", 10)])
def test_tenants_that_want_all_have_equal_shares_and_leave_one_to_the_next(
    clock: Clock, tenants: str, each: int
) -> None:
    places = Lanes(60, 60, clock)
    assert taken(places, tenants) == dict.fromkeys(tenants, each)
    assert places.free == each
    assert places.enter(Lane("next", "host"), 1) is None


def test_a_tenant_alone_leaves_half_to_others_who_then_get_less_than_it_but_something(clock: Clock) -> None:
    places = Lanes(64, 64, clock)
    assert taken(places, "a") == {"a": 32}
    assert taken(places, "b") == {"b": 16}
    assert taken(places, "c") == {"c": 8}


@pytest.mark.parametrize("held", range(9))
def test_a_share_says_just_how_many_more_may_enter(clock: Clock, held: int) -> None:
    places = Lanes(16, 16, clock)
    for number in range(held):
        assert places.enter(Lane("t", "host"), number) is None
    share = places.shares_below(99).get("t", places.share)
    assert taken(places, "t").total() == share


def test_only_shares_that_are_small_are_told(clock: Clock) -> None:
    places = Lanes(10, 10, clock)
    for number in range(3):
        places.enter(Lane("t", "host"), number)
    places.enter(Lane("u", "host"), 9)
    assert places.share == 3
    assert places.shares_below(9) == {"t": 2, "u": 3}
    assert places.shares_below(3) == {"t": 2}


def test_a_place_that_was_left_can_be_had_again(clock: Clock) -> None:
    places = Lanes(4, 1, clock)
    places.enter(Lane("t", "host"), "a")
    places.leave(Lane("t", "host"), "a")
    assert places.free == 4
    assert places.enter(Lane("t", "host"), "b") is None


def test_who_finds_the_lane_full_comes_again_at_the_pace_at_which_the_host_answers(clock: Clock) -> None:
    places = Lanes(9, 2, clock)
    places.enter(Lane("t", "slow"), "a")
    places.enter(Lane("t", "slow"), "b")
    clock.now += 10
    places.leave(Lane("t", "slow"), "a")
    places.enter(Lane("t", "slow"), "c")
    places.leave(Lane("t", "slow"), "b")
    places.enter(Lane("t", "slow"), "d")
    mean = lanes.WEIGHT * 10 + (1 - lanes.WEIGHT) * lanes.WEIGHT * 10
    pauses = [places.enter(Lane("t", "slow"), name) for name in "efg"]
    expected = [timedelta(seconds=number * mean / 2) for number in (1, 2, 3)]
    assert all(abs((pause or LONGEST) - one) < SHORTEST for pause, one in zip(pauses, expected, strict=True))


def test_a_host_that_hangs_shows_before_its_first_attempt_ends(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter(Lane("t", "hangs"), "a")
    assert places.enter(Lane("t", "hangs"), "b") == SHORTEST
    clock.now += 8
    assert places.enter(Lane("t", "hangs"), "b") == timedelta(seconds=8)


def test_a_backlog_of_any_length_comes_again_within_a_bound(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter(Lane("t", "hangs"), "a")
    clock.now += 1
    pauses = [places.enter(Lane("t", "hangs"), str(number)) for number in range(10_000)]
    assert pauses[0] == timedelta(seconds=1)
    assert pauses[-1] == LONGEST


def test_a_backlog_is_forgotten_when_its_time_has_passed(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter(Lane("t", "busy"), "a")
    clock.now += 1
    for number in range(100):
        places.enter(Lane("t", "busy"), str(number))
    clock.now += lanes.LONGEST_PAUSE
    assert places.enter(Lane("t", "busy"), "b") == LONGEST  # the oldest has been at it for so long
    places.leave(Lane("t", "busy"), "a")
    assert places.enter(Lane("t", "busy"), "b") is None


def test_nothing_is_remembered_of_hosts_that_nobody_calls(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    for number in range(100):
        places.enter(Lane("t", f"host-{number}"), "a")
        places.leave(Lane("t", f"host-{number}"), "a")
    assert places._traffic == {}
    assert (places.free, places.share, places.shares_below(9)) == (9, 5, {})
