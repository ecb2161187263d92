"""Whether the store's servers take calls: the gauge, the counter, and one log line per change of state."""

import time

import structlog

from gateway import metrics

ROOM_SECONDS = 5.0
"""A store that refused a call counts as willing again when it has refused none for so long: at the brink it wavers."""

log = structlog.get_logger(__name__)


class Health:
    """What is known of all servers of one store, each called by a name without secrets."""

    def __init__(self) -> None:
        self.is_calm = False
        """Whether a call that is taken changes nothing of what is known: nearly always."""
        self._away: dict[str, float] = {}
        self._refusing_since: float | None = None
        self._last_refusal = 0.0

    def took(self, server: str) -> None:
        """Note that a server took a call."""
        if server in self._away:
            seconds = time.monotonic() - self._away.pop(server)
            log.info("store.back", server=server, seconds=round(seconds, 3))
        if self._refusing_since is not None and time.monotonic() - self._last_refusal > ROOM_SECONDS:
            log.info("store.willing", seconds=round(self._last_refusal - self._refusing_since, 3))
            self._refusing_since = None
        if not self._away:
            metrics.STORE_UP.set(1)
            self.is_calm = self._refusing_since is None

    def went_away(self, server: str, error: BaseException) -> None:
        """Note that a server did not take a call: it is not there, does not answer, or is one that may not write."""
        metrics.STORE_UP.set(0)
        self.is_calm = False
        if server not in self._away:
            self._away[server] = time.monotonic()
            log.warning("store.away", server=server, error=type(error).__name__, reason=str(error))

    def is_gone(self, server: str) -> None:
        """Note that a server belongs to the store no longer."""
        self._away.pop(server, None)

    def refused(self, error: BaseException) -> None:
        """Note that a server that is there refused a call: it is full, cannot write its file, or does not let us."""
        metrics.STORE_FAILURES.inc()
        self.is_calm = False
        self._last_refusal = time.monotonic()
        if self._refusing_since is None:
            self._refusing_since = self._last_refusal
            log.warning("store.refuses", error=type(error).__name__, reason=str(error))
