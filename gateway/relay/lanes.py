"""How many attempts run at once: in all, and to one host, so that one that hangs does not take every place."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta

SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 30.0
WEIGHT = 0.2  # of the newest attempt in the running mean


@dataclass(slots=True)
class _Lane:
    """One host's attempts: who runs since when, their mean time, and when the next place can be had at that pace."""

    running: dict[Hashable, float] = field(default_factory=dict)
    mean: float = 0.0
    next_place: float = 0.0


class Lanes:
    """Places for attempts. `clock` is monotonic, in seconds.

    A delivery that finds its host's lane full is told when to come again: each one later than the one before, at the
    pace at which the host answers. A receiver that hangs so costs its backlog a look every 30 s, whatever its length,
    and one that is merely busy gets its deliveries as fast as it takes them.
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

    def enter(self, host: str, name: Hashable) -> timedelta | None:
        """Take a place under a name; where the host has none left, give the pause after which to try again."""
        now = self._clock()
        lane = self._lanes.setdefault(host, _Lane())
        if len(lane.running) < self._per_host:
            lane.running[name] = now
            self._taken += 1
            return None
        oldest = next(iter(lane.running.values()))
        pace = max(lane.mean, now - oldest) / self._per_host  # one that hangs shows before its first attempt ends
        lane.next_place = min(max(lane.next_place, now) + pace, now + LONGEST_PAUSE)
        return timedelta(seconds=max(lane.next_place - now, SHORTEST_PAUSE))

    def leave(self, host: str, name: Hashable) -> None:
        """Give the place back."""
        lane = self._lanes[host]
        took = self._clock() - lane.running.pop(name)
        lane.mean += WEIGHT * (took - lane.mean)
        self._taken -= 1
        if not lane.running:  # nothing is remembered of hosts that nobody calls
            del self._lanes[host]
