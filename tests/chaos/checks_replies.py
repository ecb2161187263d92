"""What must hold of the way back: from the upstream's callback to the client's webhook."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos import texts
from tests.chaos.oracle import Finding, invariant
from tests.chaos.records import Arrival, Callback, Class, Fault, Request
from tests.chaos.story import Story

NOT_RECORDED = (Class.PROCESS, Class.STORE)
"""Faults that can come between a receiver's answer and its record."""

HOLDING_UP = (*NOT_RECORDED, Class.DRAIN, Class.FLUSH, Class.SUITE)
"""Faults that can delay a delivery."""

EARLY_SECONDS = 0.005
"""The store's clock counts milliseconds, and drops what is less."""

LATE_SECONDS = 1.0
HELD_UP_SECONDS = 0.3
REST_SECONDS = 30.0
"""After its window, a reply to a receiver that answers is delivered within a lease and the pace of its bot."""

UNRELIABLE = ("flaky", "gone", "redirecting", "hanging")
"""Receivers of which replies become dead letters, and for which a breaker may open."""
LEAST_DRAWS = 30
KOLMOGOROV = 1.95
"""The statistic times the root of the count exceeds this once in a thousand uniform samples."""

TEXT = 60


@invariant("I1", "every accepted request ends in an acknowledged delivery or a dead letter")
def nothing_lost(story: Story, finding: Finding) -> None:
    """Look for each accepted request's message in what its client got."""
    accepted = [request for request in story.logs.requests if request.accepted_at is not None]
    for request in accepted:
        got = texts.ids_in(text for said in story.received.get(request.chat, ()) for text in said)
        finding.hold(request.id in got, f"{request.id} was never answered", excuse=_excuse(story, request))
    finding.figures["accepted"] = len(accepted)
    finding.figures["delivered"] = len({one.delivery for one in story.logs.arrivals if one.acknowledged})
    finding.figures["dead letters"] = len(story.logs.dead_letters)


def _excuse(story: Story, request: Request) -> str | None:
    """Say why nobody can have answered a request; None when somebody did, or should have."""
    if story.flushed(request.began, _forgotten_by(request)):
        return "the store was emptied"
    for conversation in story.conversations_of.get(story.pair(request), ()):
        said = [one.text for one in conversation.messages if one.from_bot]
        if request.id in texts.ids_in(said):
            taken = [one for one in story.callbacks.get(conversation.id, ()) if one.acknowledged_at is not None]
            if request.id in texts.ids_in(one.text for one in taken) or story.logs.recovers:
                return None
            return "its callback never came"
    if any(story.is_deleted(one.id) for one in story.conversations_of.get(story.pair(request), ())):
        return "the upstream deleted it"
    return None


@invariant("I2", "exactly one acknowledged delivery; more only around a fault")
def delivered_once(story: Story, finding: Finding) -> None:
    """Count the acknowledged attempts of each delivery."""
    for delivery, arrivals in story.deliveries.items():
        taken = [one for one in arrivals if one.acknowledged]
        if not taken:
            continue
        near = story.near(taken[0].at, taken[0].ended_at + SETTLE_SECONDS, *NOT_RECORDED)
        finding.hold(len(taken) == 1, f"{delivery} for {taken[0].request} came {len(taken)} times", excuse=near)


SETTLE_SECONDS = 1.0
"""How long after an answer its record may be under way."""


@invariant("I3", "all attempts of a delivery carry the same id and bytes, to one webhook")
def same_bytes(story: Story, finding: Finding) -> None:
    """Compare the attempts of each delivery, also those made when a dead letter was sent again."""
    every = [*story.logs.arrivals, *story.logs.redriven]
    known: dict[str, Arrival] = {}
    for arrival in every:
        first = known.setdefault(arrival.delivery, arrival)
        finding.hold(bool(arrival.delivery), f"an attempt for {arrival.request} had no id")
        same = (first.body, first.request) == (arrival.body, arrival.request)
        finding.hold(same, f"{arrival.delivery} changed between attempts")


@invariant("I8", "no delivery before request start + min_delay")
def never_early(story: Story, finding: Finding) -> None:
    """Compare each attempt with the windows of all requests that it answers."""
    for arrival in story.logs.arrivals:
        for request_id in {arrival.request, *texts.ids_in(arrival.texts)}:
            request = story.requests.get(request_id)
            if request:
                early = request.began + request.min_delay - arrival.at
                finding.hold(early <= EARLY_SECONDS, f"{arrival.delivery} came {early:.3f} s early for {request_id}")


@invariant("I9", "no delivery later than its window and its last segment allow, + 1 s; near a fault, + the lease")
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


@invariant("I21", "receivers that hang or fail do not delay what goes to the others")
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
    segments = [
        one.acknowledged_at + story.logs.limits.settle
        for one in _callbacks_of(story, request)
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
    return _Due(latest, is_exact=latest > window or request.min_delay == request.max_delay)


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
        if texts.ids_in(first.texts) != [request.id]:
            continue  # it also answers others, and waits for the last of their windows
        segments = [one.acknowledged_at or math.inf for one in _callbacks_of(story, request) if one.text in first.texts]
        ready = max(segments, default=math.inf) + story.logs.limits.settle
        # The same stretch for all, lest long delays are left out more often than short ones.
        near = story.near(request.began, request.began + request.max_delay + LATE_SECONDS, *HOLDING_UP)
        if ready <= request.began + request.min_delay and not near:
            draws.append((first.at - request.began - request.min_delay) / (request.max_delay - request.min_delay))
    if len(draws) < LEAST_DRAWS:
        return
    ordered = sorted(draws)
    apart = max(abs(value - (index + 0.5) / len(ordered)) for index, value in enumerate(ordered))
    statistic = apart * math.sqrt(len(ordered))
    finding.figures["Kolmogorov"] = round(statistic, 2)
    finding.checked += len(draws) - 1
    finding.hold(statistic < KOLMOGOROV, f"{len(draws)} delays are not uniform: {statistic:.2f}")


@invariant("I12", "a reply never goes to another conversation's webhook, and its query is the client's own")
def never_misrouted(story: Story, finding: Finding) -> None:
    """Look at whose messages each attempt quotes, and at the URL that it came to."""
    for arrival in (*story.logs.arrivals, *story.logs.redriven):
        chat = texts.chat_of(arrival.request)
        others = [one for one in texts.ids_in(arrival.texts) if texts.chat_of(one) != chat]
        finding.hold(not others, f"{chat} got the reply to {others}")
        request = story.requests.get(arrival.request)
        query = request.webhook.partition("?")[2] if request else None
        finding.hold(arrival.query == query, f"{arrival.request} was called with another query")


@invariant("I14", "every acknowledged segment is in some delivery, exactly once and in order")
def every_segment(story: Story, finding: Finding) -> None:
    """Compare what the upstream said with what the client got, text by text."""
    for chat, pair in story.pair_of_chat.items():
        got = Counter(text for said in story.received.get(chat, ()) for text in said)
        spoken: Counter[str] = Counter()
        for conversation in story.conversations_of.get(pair, ()):
            spoken.update(one.text for one in conversation.messages if one.from_bot)
            for callback in story.callbacks.get(conversation.id, ()):
                if callback.acknowledged_at is None and not story.logs.recovers:
                    continue
                held = got[callback.text] > 0
                turn = _turn_of(story, chat, callback)
                excuse = turn and story.flushed(turn.began, _forgotten_by(turn))
                finding.hold(held, f"{chat} never got {callback.text[:TEXT]!r}", excuse=excuse)
        for text, count in got.items():
            if text in spoken:
                fresh = story.flushed(0)
                finding.hold(count <= spoken[text], f"{chat} got {text[:TEXT]!r} {count} times", excuse=fresh)
        _check_order(story, chat, finding)


def _turn_of(story: Story, chat: str, callback: Callback) -> Request | None:
    """Give the last request before a callback."""
    before = [one for one in story.chats[chat] if one.began <= callback.first_at]
    return max(before, key=lambda one: one.began, default=None)


def _forgotten_by(request: Request) -> float:
    """Give when a reply surely has left the store: never where its receiver may have made a dead letter of it."""
    return math.inf if request.receiver in UNRELIABLE else request.ended + request.max_delay + REST_SECONDS


def _check_order(story: Story, chat: str, finding: Finding) -> None:
    """Hold the order of the deliveries against the transcripts', where no callback was sent out of it."""
    spoken = [
        one.text
        for conversation in story.conversations_of.get(story.pair_of_chat[chat], ())
        for one in conversation.messages
        if one.from_bot
    ]
    if len(set(spoken)) != len(spoken):
        spoken = [text for text in spoken if spoken.count(text) == 1]
    place = {text: index for index, text in enumerate(spoken)}
    got = [text for said in story.delivered.get(chat, ()) for text in said if text in place]
    requests = story.chats[chat]
    disordered = any(
        fault.name == "callbacks reorder"
        for fault in story.near(requests[0].began, requests[-1].ended + story.logs.limits.turn, Class.CALLBACK)
    )
    ordered = all(place[one] <= place[other] for one, other in itertools.pairwise(got))
    excuse = disordered or story.flushed(0)
    finding.hold(ordered, f"{chat} got what was said in another order", excuse=excuse)


@invariant("I15", "text is identical, code point for code point, on its way back")
def same_words(story: Story, finding: Finding) -> None:
    """Look for each delivered text in what the upstream said in that conversation."""
    for arrival in (*story.logs.arrivals, *story.logs.redriven):
        pair = story.pair_of_chat.get(texts.chat_of(arrival.request))
        spoken = {
            one.text
            for conversation in (story.conversations_of.get(pair, ()) if pair else ())
            for one in conversation.messages
            if one.from_bot
        }
        for text in arrival.texts:
            finding.hold(text in spoken, f"{arrival.request} got {text[:TEXT]!r}, which was never said there")


@invariant("I17", "redirects are never followed, 410 ends it, no forbidden address is called")
def never_led_astray(story: Story, finding: Finding) -> None:
    """Look at the traps, and at what came after a 410."""
    finding.hold(story.logs.trapped == 0, f"{story.logs.trapped} connections to where nobody may go")
    for delivery, arrivals in story.deliveries.items():
        gone = next((one for one in arrivals if one.answer == "410"), None)
        if gone:
            near = story.near(gone.at, gone.ended_at + SETTLE_SECONDS, *NOT_RECORDED)
            finding.hold(arrivals[-1] is gone, f"{delivery} was tried again after 410", excuse=near)


@invariant("I23", "a frozen and thawed process has no effect once its lease has passed to another")
def nothing_stale(story: Story, finding: Finding) -> None:
    """Look for attempts that came after a later one of the same delivery."""
    for delivery, arrivals in story.deliveries.items():
        numbers = [one.attempt for one in arrivals]
        finding.hold(numbers == sorted(numbers), f"{delivery} came as attempts {numbers}")


@invariant("I27", "every dead letter can be sent again, with its id, and is then gone")
def sent_again(story: Story, finding: Finding) -> None:
    """Look for each dead letter among what came when they were sent again."""
    arrived = {one.delivery: one for one in story.logs.redriven if one.acknowledged}
    for letter in story.logs.dead_letters:
        again = arrived.get(letter.id)
        finding.hold(again is not None, f"dead letter {letter.id} did not come again")
    finding.hold(story.logs.dead_letters_left == 0, f"{story.logs.dead_letters_left} dead letters are left")
