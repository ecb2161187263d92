"""Places for attempts, in all and to one host."""

from datetime import timedelta

import pytest

from gateway.relay import lanes
from gateway.relay.lanes import Lanes

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
    places = Lanes(4, 2, clock)
    assert [places.enter("slow", name) for name in "ab"] == [None, None]
    assert places.enter("slow", "c") is not None
    assert places.enter("other", "d") is None
    assert places.free == 1


def test_a_place_that_was_left_can_be_had_again(clock: Clock) -> None:
    places = Lanes(4, 1, clock)
    places.enter("host", "a")
    places.leave("host", "a")
    assert places.free == 4
    assert places.enter("host", "b") is None


def test_who_finds_the_lane_full_comes_again_at_the_pace_at_which_the_host_answers(clock: Clock) -> None:
    places = Lanes(9, 2, clock)
    places.enter("slow", "a")
    places.enter("slow", "b")
    clock.now += 10
    places.leave("slow", "a")
    places.enter("slow", "c")
    places.leave("slow", "b")
    places.enter("slow", "d")
    mean = lanes.WEIGHT * 10 + (1 - lanes.WEIGHT) * lanes.WEIGHT * 10
    pauses = [places.enter("slow", name) for name in "efg"]
    expected = [timedelta(seconds=number * mean / 2) for number in (1, 2, 3)]
    assert all(abs((pause or LONGEST) - one) < SHORTEST for pause, one in zip(pauses, expected, strict=True))


def test_a_host_that_hangs_shows_before_its_first_attempt_ends(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter("hangs", "a")
    assert places.enter("hangs", "b") == SHORTEST
    clock.now += 8
    assert places.enter("hangs", "b") == timedelta(seconds=8)


def test_a_backlog_of_any_length_comes_again_within_a_bound(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter("hangs", "a")
    clock.now += 1
    pauses = [places.enter("hangs", str(number)) for number in range(10_000)]
    assert pauses[0] == timedelta(seconds=1)
    assert pauses[-1] == LONGEST


def test_a_backlog_is_forgotten_when_its_time_has_passed(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter("busy", "a")
    clock.now += 1
    for number in range(100):
        places.enter("busy", str(number))
    clock.now += lanes.LONGEST_PAUSE
    assert places.enter("busy", "b") == LONGEST  # the oldest has been at it for so long
    places.leave("busy", "a")
    assert places.enter("busy", "b") is None


def test_nothing_is_remembered_of_hosts_that_nobody_calls(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    for number in range(100):
        places.enter(f"host-{number}", "a")
        places.leave(f"host-{number}", "a")
    assert places._lanes == {}
