"""How many attempts run at once: in all, of one tenant, and of one tenant to one host.

**A tenant's share.** A tenant may take a place as long as it holds fewer than are free. So a lone tenant has half of
the places at most, two have a third each, and of n that want all they can get each has 1/(n + 1): there is always a
place for the next one, whatever hangs, and nobody has to set a number for it.

**A lane**, one tenant's attempts to one host, has a length. A delivery that finds it full is told when to come again:
each one later than the one before, at the pace at which the host answers. A receiver that hangs so costs its backlog
a look every 30 s, whatever its length, and one that is merely busy gets its deliveries as fast as it takes them.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 30.0
WEIGHT = 0.2  # of the newest attempt in the running mean


class Lane(NamedTuple):
    """Whose attempts to whom."""

    tenant: str
    host: str


@dataclass(slots=True)
class _Traffic:
    """One lane's attempts: who runs since when, their mean time, and when the next place can be had at that pace."""

    running: dict[Hashable, float] = field(default_factory=dict)
    mean: float = 0.0
    next_place: float = 0.0


class Lanes:
    """Places for attempts, in all and per lane. `clock` is monotonic, in seconds."""

    def __init__(self, places: int, places_per_lane: int, clock: Callable[[], float]) -> None:
        self._places = places
        self._per_lane = places_per_lane
        self._clock = clock
        self._traffic: dict[Lane, _Traffic] = {}
        self._held: Counter[str] = Counter()
        self._taken = 0

    @property
    def free(self) -> int:
        """Places that are free."""
        return self._places - self._taken

    @property
    def share(self) -> int:
        """How many places a tenant that has none could take now."""
        return (self.free + 1) // 2

    def shares_below(self, most: int) -> dict[str, int]:
        """Give how many more places they could take, for tenants that could take fewer than so many."""
        free = self.free  # after n more it holds n more, and n fewer are free
        shares = {tenant: max(free - held + 1, 0) // 2 for tenant, held in self._held.items()}
        return {tenant: share for tenant, share in shares.items() if share < most}

    def enter(self, lane: Lane, name: Hashable) -> timedelta | None:
        """Take a place under a name; where the lane or the tenant has none left, give the pause until the next try."""
        now = self._clock()
        traffic = self._traffic.get(lane) or _Traffic()
        if len(traffic.running) >= self._per_lane:
            oldest = next(iter(traffic.running.values()))
            pace = max(traffic.mean, now - oldest) / self._per_lane  # a hang shows before its first attempt ends
            traffic.next_place = min(max(traffic.next_place, now) + pace, now + LONGEST_PAUSE)
            return timedelta(seconds=max(traffic.next_place - now, SHORTEST_PAUSE))
        if self._held[lane.tenant] >= self.free:
            return timedelta(seconds=SHORTEST_PAUSE)
        self._traffic[lane] = traffic
        traffic.running[name] = now
        self._held[lane.tenant] += 1
        self._taken += 1
        return None

    def leave(self, lane: Lane, name: Hashable) -> None:
        """Give the place back."""
        traffic = self._traffic[lane]
        took = self._clock() - traffic.running.pop(name)
        traffic.mean += WEIGHT * (took - traffic.mean)
        self._taken -= 1
        self._held[lane.tenant] -= 1
        if not self._held[lane.tenant]:
            del self._held[lane.tenant]
        if not traffic.running:  # nothing is remembered of hosts that nobody calls
            del self._traffic[lane]
