"""Breakers: a tenant's deliveries to a host that takes none wait, and one at a time finds out whether it does again.

`THRESHOLD` failures in a row, counted over all processes, open the breaker of one tenant and one host. While it is
open its deliveries are postponed, which costs them no attempt. After a pause one of them goes as a probe: its success
closes the breaker, its failure opens it for twice as long, up to `LONGEST_PAUSE`.

The state is in the store. A process asks for all open breakers once a second and for a probe's permission when it
needs one, so that the many attempts to receivers that are well cost nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import structlog

from gateway import keys, metrics
from gateway.relay.delivery import Answered, Failed, Result
from gateway.relay.lanes import Lane
from gateway.store import Call, NoAnswer, Store, times

THRESHOLD = 10
"""Failures in a row: of a receiver that fails every second time, one run in a thousand is so long."""

LONGEST_PAUSE = timedelta(minutes=5)
REFRESH_SECONDS = 1.0

State: TypeAlias = Literal["open", "half_open"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Breaker:
    """One that is not closed. Until then nothing goes; from then on it is half open, and a probe may go."""

    tenant: str
    host: str
    state: State
    failures: int
    open_until: datetime


@dataclass(frozen=True, slots=True)
class _Note:
    lane: Lane
    attempt: str
    failed: bool


class Breakers:
    """The breakers as one process sees them. `pause` is the first; `clock` is monotonic, in seconds."""

    def __init__(self, store: Store, *, pause: timedelta, clock: Callable[[], float]) -> None:
        self._store = store
        self._pause = pause
        self._clock = clock
        self._open: dict[Lane, datetime] = {}
        self._suspects: dict[Lane, float] = {}  # lanes that failed here, by when: their next success is news
        self._notes: list[_Note] = []
        self._refresh_at = 0.0

    def open_until(self, lane: Lane) -> datetime | None:
        """Say until when a lane's breaker lets nothing through, in the store's time; None for one that is closed."""
        return self._open.get(lane)

    def note(self, lane: Lane, attempt: str, result: Result) -> None:
        """Take note of an attempt's end; `flush` tells the store what it must know."""
        match result:
            case Failed(fault="receiver") | Answered(429):
                failed = True
            case Answered(status):
                failed = status >= 500
            case Failed():  # nothing that the receiver has done
                return
        if failed:
            self._suspects[lane] = self._clock()
        elif lane not in self._open and self._suspects.pop(lane, None) is None:
            return
        self._notes.append(_Note(lane, attempt, failed))

    async def flush(self) -> None:
        """Tell the store of the attempts that matter. Those that it does not take are forgotten: others follow."""
        notes, self._notes = self._notes, []
        answers = await self._store.run_all(self._noting(note) for note in notes)
        for note, answer in zip(notes, answers, strict=True):
            if isinstance(answer, NoAnswer):
                continue
            state, open_until, changed, failures = answer
            if state == "open":
                self._open[note.lane] = times.moment(open_until)
            else:
                self._open.pop(note.lane, None)
            if changed:
                _tell(note.lane, state, int(failures), times.moment(open_until) if state == "open" else None)

    async def refresh(self) -> None:
        """Ask for all breakers, once in `REFRESH_SECONDS`."""
        now = self._clock()
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH_SECONDS
        for lane, failed_at in list(self._suspects.items()):
            if now - failed_at > keys.BREAKER_TTL_SECONDS:  # the store has forgotten it too
                del self._suspects[lane]
        found = await read(self._store)
        self._open = {Lane(one.tenant, one.host): one.open_until for one in found}
        for state in metrics.BREAKER_STATES:
            metrics.BREAKERS(state=state).set(sum(one.state == state for one in found))

    async def ask(self, lane: Lane, attempt: str, patience: timedelta) -> datetime | None:
        """Ask whether the attempt may go now; if not, say when to ask again. A probe has `patience` to end."""
        key = keys.BreakerKeys.of(*lane)
        state, again, changed = await self._store.run(
            "ask_breaker", [key.breaker], attempt, patience // timedelta(milliseconds=1)
        )
        if state == "open":
            self._open[lane] = times.moment(again)
            return self._open[lane]
        if state == "closed":
            self._open.pop(lane, None)
        elif changed:
            _tell(lane, "half_open", None, None)
        return None

    def _noting(self, note: _Note) -> Call:
        key = keys.BreakerKeys.of(*note.lane)
        longest = max(LONGEST_PAUSE, self._pause)
        return Call(
            "note_attempt",
            (key.breaker, key.shard.breakers),
            (
                key.digest,
                note.lane.tenant,
                note.lane.host,
                "1" if note.failed else "",
                note.attempt,
                THRESHOLD,
                self._pause // timedelta(milliseconds=1),
                longest // timedelta(milliseconds=1),
                keys.BREAKER_TTL_SECONDS,
            ),
        )


async def read(store: Store) -> list[Breaker]:
    """Give all breakers that are not closed."""
    shards = keys.all_shards()
    answers = await store.run_all(Call("read_breakers", (one.breakers,), (one.prefix,)) for one in shards)
    found = []
    for answer in answers:
        if isinstance(answer, NoAnswer):
            continue
        now, *breakers = answer
        for tenant, host, failures, open_until, probing in breakers:
            state: State = "half_open" if probing or now >= float(open_until) else "open"
            found.append(Breaker(tenant, host, state, int(failures), times.moment(open_until)))
    return found


def _tell(lane: Lane, state: str, failures: int | None, open_until: datetime | None) -> None:
    metrics.BREAKER_CHANGES(to=state).inc()
    log.warning(
        "breaker.changed",
        tenant=lane.tenant,
        host=lane.host,
        to=state,
        failures=failures,
        open_until=open_until and open_until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
