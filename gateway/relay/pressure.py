"""How many replies may wait: beyond that a turn is refused, so that what is promised can be kept.

The numbers are those of the last sample of the store, and what this process has taken since the one before it, since a
turn's reply comes some time after the turn: so some count twice for a while, which matters near the bounds only. What
other processes take within a sample's interval comes on top. A conversation counts once, however many of its replies
wait in line: how many those may be is bounded for each conversation.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway import errors
from gateway.relay.queue import Counts

RETRY_AFTER_SECONDS = 10
"""Two samples later."""


@dataclass(slots=True)
class _Taken:
    """Turns that were taken between two samples."""

    count: int = 0
    of_tenants: Counter[str] = field(default_factory=Counter)


class Pressure:
    """The bounds on what waits, in all and of each tenant."""

    def __init__(self, *, most: int, most_of_tenant: int) -> None:
        self._most = most
        self._most_of_tenant = most_of_tenant
        self._pending = 0
        self._of_tenants: Mapping[str, int] = {}
        self._now, self._before = _Taken(), _Taken()

    def learn(self, counts: Counts) -> None:
        """Go by a new sample from now on."""
        self._pending, self._of_tenants = counts.pending, counts.tenants
        self._now, self._before = _Taken(), self._now

    def take(self, tenant: str) -> None:
        """Count one more turn of the tenant; raise `TooManyReplies` or `Overloaded` when there is no room for it."""
        taken = self._now.of_tenants[tenant] + self._before.of_tenants[tenant]
        if self._of_tenants.get(tenant, 0) + taken >= self._most_of_tenant:
            raise errors.TooManyReplies(
                f"{self._most_of_tenant} of your replies wait for their delivery",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if self._pending + self._now.count + self._before.count >= self._most:
            raise errors.Overloaded("too many replies wait for their delivery", retry_after_seconds=RETRY_AFTER_SECONDS)
        self._now.count += 1
        self._now.of_tenants[tenant] += 1
