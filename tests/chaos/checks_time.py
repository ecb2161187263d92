"""What must hold of when replies arrive: in their window, at its drawn moment, whatever other receivers do."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos import texts
from tests.chaos.oracle import Finding, invariant
from tests.chaos.receivers import UNRELIABLE
from tests.chaos.records import Arrival, Callback, Class, Fault, Request
from tests.chaos.story import Story

HOLDING_UP = (Class.PROCESS, Class.STORE, Class.DRAIN, Class.FLUSH, Class.SUITE)
"""Faults that can delay a delivery."""

EARLY_SECONDS = 0.005
"""The store's clock counts milliseconds, and drops what is less."""

LATE_SECONDS = 1.0
HELD_UP_SECONDS = 0.3

MISSED_SECONDS = 3.0
"""How long a reply waits for a message that was missed, from the callback that showed it on."""

LEAST_DRAWS = 30
KOLMOGOROV = 1.95
"""The statistic times the root of the count exceeds this once in a thousand uniform samples."""


@invariant("I8", "no delivery before request start + min_delay")
def never_early(story: Story, finding: Finding) -> None:
    """Compare each attempt with the windows of all requests that it answers."""
    for arrival in story.logs.arrivals:
        answered = texts.ids_in(arrival.texts)
        for request_id in {arrival.request, *answered}:
            request = story.requests.get(request_id)
            if request:
                early = request.began + request.min_delay - arrival.at
                # What was on its way when the store was emptied comes with the next request, and is late itself.
                excuse = request_id not in answered and story.flushed(0, arrival.at)
                what = f"{arrival.delivery} came {early:.3f} s early for {request_id}"
                finding.hold(early <= EARLY_SECONDS, what, excuse=excuse)


@invariant(
    "I9", "no delivery later than its window and its last segment allow, + 1 s; near a fault, + the lease", timed=True
)
def never_late(story: Story, finding: Finding) -> None:
    """Compare each delivery's first attempt with what it had to wait for."""
    limits = story.logs.limits
    lateness: list[float] = []
    for arrivals in story.deliveries.values():
        first = arrivals[0]
        due = _due(story, first)
        if due is None:
            continue
        late = first.at - due.latest
        held_up = _held_up(story, due.latest, first.at)
        if due.is_exact and not held_up:
            lateness.append(late)
        allowed = LATE_SECONDS
        if held_up:
            allowed += max(fault.ended - due.latest for fault in held_up) + limits.lease + limits.scan
        what = f"{first.delivery} for {first.request} was {late:.2f} s late"
        finding.hold(late <= LATE_SECONDS, what, excuse=late <= allowed)
    if len(lateness) > 1:
        cuts = statistics.quantiles(lateness, n=100, method="inclusive")
        finding.figures |= {"late p50 s": round(cuts[49], 3), "late p99 s": round(cuts[98], 3)}
    finding.figures["of"] = len(lateness)


@invariant("I21", "receivers that hang or fail do not delay what goes to the others", timed=True)
def nobody_held_up(story: Story, finding: Finding) -> None:
    """Hold what the receivers that answer have got, far from faults, against a tenth of what is late."""
    if not any(arrival.receiver == "hanging" for arrival in story.logs.arrivals):
        return
    for arrivals in story.deliveries.values():
        due = _due(story, arrivals[0])
        if due and due.is_exact and not _held_up(story, due.latest, arrivals[0].at):
            late = arrivals[0].at - due.latest
            finding.hold(late <= HELD_UP_SECONDS, f"{arrivals[0].delivery} was held up for {late:.2f} s")
    slack = math.ceil(finding.checked / 100)  # the p99 is judged: one in a hundred may meet a busy machine
    del finding.violations[:slack]


def _held_up(story: Story, due: float, at: float) -> Sequence[Fault]:
    """Give the faults that can have held a delivery up; a claim of a process that died waits for its lease."""
    lease = story.logs.limits.lease
    return [*story.near(due - lease if at - due > LATE_SECONDS else due, at, *HOLDING_UP)]


@dataclass(frozen=True, slots=True)
class _Due:
    """When a delivery had to leave at the latest; `is_exact`: it is known when, since no draw decided it."""

    latest: float
    is_exact: bool


def _due(story: Story, first: Arrival) -> _Due | None:
    """Give when a delivery had to leave at the latest; None where that cannot be told or a breaker may be open."""
    request = story.requests.get(first.request)
    if request is None or request.accepted_at is None or first.receiver in UNRELIABLE:
        return None
    called = list(_callbacks_of(story, request))
    shown = [by.acknowledged_at or 0 for one in called if (by := story.revealing.get(one.message_id))]
    segments = [
        one.acknowledged_at
        + story.logs.limits.settle
        + MISSED_SECONDS * any(0 <= one.acknowledged_at - at <= MISSED_SECONDS for at in shown)
        for one in called
        if one.text in first.texts and one.acknowledged_at and one.acknowledged_at <= first.at
    ]
    if not segments:
        return None
    # Deliveries of one conversation leave one after the other.
    before = [
        one.ended_at + (0 if one.acknowledged else story.logs.limits.delivery_timeout)
        for one in story.arrivals_of[request.chat]
        if one.delivery != first.delivery and one.at < first.at
    ]
    # A reply that answers several requests is early for none of them.
    others = [story.requests[one] for one in texts.ids_in(first.texts) if one in story.requests]
    earliest = [one.accepted_at + one.min_delay for one in others if one.accepted_at is not None]
    window = request.accepted_at + request.max_delay
    latest = max(window, *segments, *before, *earliest)
    # What nobody called back with was found in the transcript, and waits to be whole from then on.
    was_found = any(one.text in first.texts and one.acknowledged_at is None for one in called)
    return _Due(latest, is_exact=not was_found and (latest > window or request.min_delay == request.max_delay))


def _callbacks_of(story: Story, request: Request) -> Iterator[Callback]:
    for conversation in story.conversations_of.get(story.pair(request), ()):
        yield from story.callbacks.get(conversation.id, ())


@invariant("I10", "drawn delays are uniform over the window")
def uniform_delays(story: Story, finding: Finding) -> None:
    """Hold the delays of the replies that were whole before their window against the uniform distribution."""
    draws = []
    for arrivals in story.deliveries.values():
        first = arrivals[0]
        request = story.requests.get(first.request)
        if request is None or request.max_delay <= request.min_delay or len(request.exchanges) != 1:
            continue
        due = _due(story, first)
        if due is None or due.is_exact or texts.ids_in(first.texts) != [request.id]:
            continue  # something else than the draw decides: a breaker, a reply before it, another request's window
        segments = [one.acknowledged_at or math.inf for one in _callbacks_of(story, request) if one.text in first.texts]
        ready = max(segments, default=math.inf) + story.logs.limits.settle
        # The same stretch for all, lest long delays are left out more often than short ones.
        near = story.near(request.began, request.began + request.max_delay + LATE_SECONDS, *HOLDING_UP)
        if ready <= request.began + request.min_delay and not near:
            drawn = (first.at - request.began - request.min_delay) / (request.max_delay - request.min_delay)
            draws.append(min(max(drawn, 0.0), 1.0))
    if len(draws) < LEAST_DRAWS:
        return
    ordered = sorted(draws)
    apart = max(abs(value - (index + 0.5) / len(ordered)) for index, value in enumerate(ordered))
    statistic = apart * math.sqrt(len(ordered))
    finding.figures["Kolmogorov"] = round(statistic, 2)
    finding.checked += len(draws) - 1
    finding.hold(statistic < KOLMOGOROV, f"{len(draws)} delays are not uniform: {statistic:.2f}")
