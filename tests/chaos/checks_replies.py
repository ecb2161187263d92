"""What must hold of the way back: from the upstream's callback to the client's webhook."""

import itertools
import math
from collections import Counter

from tests.chaos import texts
from tests.chaos.oracle import Finding, invariant
from tests.chaos.receivers import UNRELIABLE
from tests.chaos.records import Arrival, Callback, Class, Request
from tests.chaos.story import Story

NOT_RECORDED = (Class.PROCESS, Class.STORE)
"""Faults that can come between a receiver's answer and its record."""

SETTLE_SECONDS = 1.0
"""How long after an answer its record may be under way."""

REST_SECONDS = 30.0
"""After its window, a reply to a receiver that answers is delivered within a lease and the pace of its bot."""

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
            called = story.callbacks.get(conversation.id, ())
            taken = [one for one in called if one.acknowledged_at is not None or _is_shown(story, one, request)]
            if request.id in texts.ids_in(one.text for one in taken):
                return None
            if story.logs.recovers and not story.is_deleted(conversation.id):
                answered = any(one.acknowledged and one.request == request.id for one in story.logs.arrivals)
                return "a part of its reply never came, and nothing after it" if answered else None
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


@invariant("I14", "every segment that was called back, or missed between others, is delivered exactly once, in order")
def every_segment(story: Story, finding: Finding) -> None:
    """Compare what the upstream said with what the client got, text by text."""
    lost: list[bool] = []
    shown = 0
    for chat, pair in story.pair_of_chat.items():
        got = Counter(text for said in story.received.get(chat, ()) for text in said)
        spoken: Counter[str] = Counter()
        for conversation in story.conversations_of.get(pair, ()):
            spoken.update(one.text for one in conversation.messages if one.from_bot)
            for callback in story.callbacks.get(conversation.id, ()):
                held = got[callback.text] > 0
                turn = _turn_of(story, chat, callback)
                what = f"{chat} never got {callback.text[:TEXT]!r}"
                if callback.acknowledged_at is not None:
                    excuse = turn and story.flushed(turn.began, _forgotten_by(turn))
                    finding.hold(held, what, excuse=excuse)
                    continue
                lost.append(held)
                by = story.revealing.get(callback.message_id)
                if by and story.logs.recovers:
                    shown += 1
                    finding.hold(held, f"{what}, which was missed", excuse=_unfindable(story, callback, by, turn))
        for text, count in got.items():
            if text in spoken:
                fresh = story.flushed(0)
                finding.hold(count <= spoken[text], f"{chat} got {text[:TEXT]!r} {count} times", excuse=fresh)
        _check_order(story, chat, finding)
    if lost:
        finding.figures |= {"never called back": len(lost), "of those found": sum(lost), "of those shown": shown}


def _is_shown(story: Story, missed: Callback, request: Request) -> bool:
    by = story.revealing.get(missed.message_id)
    return story.logs.recovers and by is not None and not _unfindable(story, missed, by, request)


def _unfindable(story: Story, missed: Callback, by: Callback, turn: Request | None) -> str | None:
    """Say why a message cannot have been found though another callback (`by`) showed that it had been missed."""
    if story.is_deleted(missed.conversation):
        return "the upstream deleted it"
    until = max((by.acknowledged_at or 0) + REST_SECONDS, _forgotten_by(turn) if turn else 0)
    return "the store was emptied" if story.flushed(missed.first_at, until) else None


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
    missed = {
        one.text
        for conversation in story.conversations_of.get(story.pair_of_chat[chat], ())
        for one in story.callbacks.get(conversation.id, ())
        if one.acknowledged_at is None
    }
    requests = story.chats[chat]
    disordered = any(
        fault.name == "callbacks reorder"
        for fault in story.near(requests[0].began, requests[-1].ended + story.logs.limits.turn, Class.CALLBACK)
    )
    ordered = all(place[one] <= place[other] for one, other in itertools.pairwise(got))
    others = [text for text in got if text not in missed]
    late = all(place[one] <= place[other] for one, other in itertools.pairwise(others)) and "one was found late"
    excuse = disordered or story.flushed(0) or late
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
