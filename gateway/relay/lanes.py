"""How many attempts run at once: in all, and to one host, so that one that hangs does not take every place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
FIRST_GUESS = 0.1  # of how long an attempt takes, before one has ended
WEIGHT = 0.2  # of the newest attempt in the running mean


@dataclass(slots=True)
class _Lane:
    """One host's attempts: running, their mean time in seconds, and when the next place can be had at that pace."""

    running: int = 0
    mean: float = FIRST_GUESS
    next_place: float = 0.0


class Lanes:
    """Places for attempts. `clock` is monotonic, in seconds.

    A delivery that finds its host's lane full is told when to come again: each one later than the one before, at the
    pace at which the host has answered so far. A receiver that hangs so costs its backlog a look every 30 s, whatever
    its length, and one that is merely busy gets its deliveries as fast as it takes them.
    """

    def __init__(self, places: int, places_per_host: int, clock: Callable[[], float]) -> None:
        self._places = places
        self._per_host = places_per_host
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._taken = 0

    @property
    def free(self) -> int:
        """Places that are free."""
        return self._places - self._taken

    def enter(self, host: str) -> timedelta | None:
        """Take a place; where the host has none left, give the pause after which to try again."""
        lane = self._lanes.setdefault(host, _Lane())
        if lane.running < self._per_host:
            lane.running += 1
            self._taken += 1
            return None
        now = self._clock()
        lane.next_place = min(max(lane.next_place, now) + lane.mean / self._per_host, now + LONGEST_PAUSE)
        return timedelta(seconds=max(lane.next_place - now, SHORTEST_PAUSE))

    def leave(self, host: str, seconds: float) -> None:
        """Give the place back after an attempt of so many seconds."""
        lane = self._lanes[host]
        lane.running -= 1
        self._taken -= 1
        lane.mean += WEIGHT * (seconds - lane.mean)
        if lane.running == 0:  # nothing is remembered of hosts that nobody calls
            del self._lanes[host]
