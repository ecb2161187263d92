"""Places for attempts, in all and to one host."""

from datetime import timedelta

import pytest

from gateway.relay import lanes
from gateway.relay.lanes import Lanes


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
    assert [places.enter("slow") for _ in range(2)] == [None, None]
    assert places.enter("slow") is not None
    assert places.enter("other") is None
    assert places.free == 1


def test_a_place_that_was_left_can_be_had_again(clock: Clock) -> None:
    places = Lanes(4, 1, clock)
    places.enter("host")
    places.leave("host", 0.1)
    assert places.free == 4
    assert places.enter("host") is None


def test_who_finds_the_lane_full_comes_again_each_after_the_other(clock: Clock) -> None:
    places = Lanes(9, 2, clock)
    places.enter("slow")
    places.enter("slow")
    places.leave("slow", 15.0)
    places.enter("slow")
    pauses = [places.enter("slow") for _ in range(3)]
    mean = lanes.FIRST_GUESS + lanes.WEIGHT * (15.0 - lanes.FIRST_GUESS)
    assert [pause and pause.total_seconds() for pause in pauses] == pytest.approx([mean / 2, mean, 3 * mean / 2])


def test_a_backlog_of_any_length_comes_again_within_a_bound(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter("hangs")
    pauses = [places.enter("hangs") for _ in range(10_000)]
    assert pauses[0] == timedelta(seconds=lanes.SHORTEST_PAUSE)
    assert pauses[-1] == timedelta(seconds=lanes.LONGEST_PAUSE)


def test_a_lane_that_has_time_to_recover_starts_anew(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    places.enter("busy")
    for _ in range(100):
        places.enter("busy")
    clock.now += 3600
    assert places.enter("busy") == timedelta(seconds=lanes.SHORTEST_PAUSE)


def test_nothing_is_remembered_of_hosts_that_nobody_calls(clock: Clock) -> None:
    places = Lanes(9, 1, clock)
    for number in range(100):
        places.enter(f"host-{number}")
        places.leave(f"host-{number}", 1.0)
    assert places._lanes == {}
