"""The history that the client holds against the transcript that the upstream holds: a verdict, and what to do.

The upstream's side is a bounded tail of digests, four characters for each of its last `TAIL_MESSAGES` messages, kept in
the directory and added to as messages go there and come from there (`codes` tells what a digest is). Sixteen of them
are 64 bytes of a conversation's 400.

A text without words (a picture's) is no message: neither compared, nor counted, nor added.

**Limits.**
- An edit farther back than the tail goes unseen, unless the history ends there.
- A reply that waits for delivery while a whole tail of other messages passes comes back as an unknown one.
- A client that rewrites what the bot said, or joins what the user said, has `forked` at every turn.
- Where texts are repeated ("ok", "ok") several alignments fit; then a client rather counts as in step.
- `window` tells from `in_sync` only up to `COUNTED` messages, and a client that joins segments or got a reply late may
  seem to send a window. Nothing hangs on that: both go on.

**Cost.** Only the end of the history is read. `decide` takes 6 µs for a history in step, of 10 messages or of 10,000,
and 30 µs where none of its texts was met before; 50 µs when the client is ahead, 130 µs when it has forked, 0.7 ms for
the worst that we could make up (one core, texts of 4 to 20 words).
"""

import binascii
import hashlib
import re
import string
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice, starmap
from typing import Literal, Self, TypeAlias

import msgspec

from mappings import alignment, codes
from mappings.alignment import Alignment
from mappings.turn import Message, Utterance

TAIL_MESSAGES = 16
"""How many of the last known messages the directory remembers, as digests."""

DIGEST_CHARACTERS = 4

HORIZON = 128
"""How many of the client's last messages are looked at, at most: what a client may be ahead, and a tail behind it."""

COUNTED = 256
"""A history of so many messages is no window, however many the upstream holds."""

MAX_USER_ID_CHARACTERS = 512

_DERIVED = re.compile(r"~r[0-9a-f]{8}$")

_DIGESTS = re.compile(".{4}")

_USER_INITIALS = frozenset(string.ascii_uppercase + "abcdef")


class Verdict(StrEnum):
    """How a client's history stands to the upstream's transcript."""

    SEED = "seed"
    """Nothing is known of a conversation."""
    IN_SYNC = "in_sync"
    """The client holds what the upstream holds, but for what has not reached it yet."""
    WINDOW = "window"
    """The same, but the client sends only the end of it, or nothing."""
    AHEAD = "ahead"
    """The client holds messages behind the upstream's last ones that the upstream lacks."""
    FORKED = "forked"
    """The client holds another course of the conversation: edited, or regenerated."""
    DUPLICATE = "duplicate"
    """The same request once more. The store tells, not `decide`."""


@dataclass(frozen=True, slots=True)
class Create:
    """Begin the conversation with the history."""

    history: Sequence[Utterance]


@dataclass(frozen=True, slots=True)
class Continue:
    """Post the new message and nothing else."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Add messages in order and in silence, then post the new one; `lost` messages of the user cannot be added."""

    add: tuple[Message, ...]
    lost: int


@dataclass(frozen=True, slots=True)
class Reseed:
    """Leave the conversation and begin another one with the history."""

    history: Sequence[Utterance]


CONTINUE = Continue()

Plan: TypeAlias = Create | Continue | CatchUp | Reseed


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done about a client that is not in step.

    `upstream_takes_user_messages`: whether the upstream takes a user's message without answering it (V3 does not).
    """

    ahead: Literal["catch_up", "reseed", "continue"] = "catch_up"
    forked: Literal["continue", "reseed"] = "continue"
    upstream_takes_user_messages: bool = False


STANDARD = Policy()


class Known(msgspec.Struct, frozen=True):
    """What is remembered of the upstream's transcript.

    `tail`: digests of its last messages, oldest first, one after the other. `count`: how many it holds in all; None
    when that is unknown.
    """

    tail: str = ""
    count: int | None = None

    @classmethod
    def of(cls, transcript: Iterable[Message]) -> Self:
        """Remember a whole transcript: one that was read, or the history that a conversation begins with."""
        spoken = [message for message in transcript if has_words(message.text)]
        return cls(tail(spoken[-TAIL_MESSAGES:]), len(spoken))

    @classmethod
    def read(cls, tail: str, count: str | None) -> Self:
        """Read the stored form: digests one after the other, a decimal count; what is unreadable is unknown."""
        try:
            binascii.a2b_base64(tail, strict_mode=True)
            return cls(tail, None if count is None else int(count))
        except ValueError:
            return cls()


class Decision(msgspec.Struct, frozen=True):
    """A verdict and its plan, with what it rests on.

    `restart`: what the user said so far is not what the client holds, and will not be: it is to be forgotten from the
    tail, together with the count, so that the same difference is not found again at the next turn. The bot's side
    stays, since replies that are still on their way may show up.

    For the log: `matched` messages of the tail are the client's too, `missing` newer ones are not, and `extra`
    messages of the client are not the upstream's.
    """

    verdict: Verdict
    plan: Plan
    restart: bool = False
    matched: int = 0
    missing: int = 0
    extra: int = 0


def decide(
    history: Sequence[Utterance],
    known: Known | None,
    *,
    unanswered: int = 0,
    policy: Policy | None = None,
    segments: int | None = None,
) -> Decision:
    """Compare the client's history with what is known of the upstream's, and plan the turn.

    `unanswered` says how many of the user's last known messages belong to turns whose reply has not reached the
    client. After the store has lost them it is unknown: pass `TAIL_MESSAGES`, and no lag counts as a fork. `segments`
    says how many texts the history holds, and spares counting them.
    """
    policy = policy or STANDARD
    if known is None:
        return Decision(Verdict.SEED, Create(history))
    remembered = len(known.tail) // DIGEST_CHARACTERS
    held = _from_the_user(known.tail)
    newest_first = _newest_first(history)
    end = "".join(reversed(codes.digests(islice(newest_first, remembered))))
    if held and end.endswith(held):  # nearly always; a search finds the same, for ten times more
        return _in_step(history, segments, known, Alignment((), len(held) // DIGEST_CHARACTERS, 0))
    row = [code for code in codes.read(known.tail) if code & codes.TEXT]
    recent = alignment.Recent(chain(reversed(codes.read(end)), starmap(codes.of, newest_first)))
    found = alignment.align(recent, row, unanswered=unanswered, whole=known.count == remembered)
    if found is None:
        return _parted(history, policy, len(row), says_nothing=recent[0] is None)
    if found.lacking:
        plan, restart = _plan_ahead(history, found.lacking, policy)
        return Decision(Verdict.AHEAD, plan, restart, found.matched, found.missing, len(found.lacking))
    return _in_step(history, segments, known, found)


def digest(message: Message) -> str:
    """Name a message by its speaker and its text, in four characters of base64."""
    [name] = codes.digests([(message.from_bot, message.text)])
    return name


def tail(messages: Iterable[Message], *, before: str = "") -> str:
    """Give the digests of the last messages, oldest first, where `before` are those of the ones before them."""
    last = deque((message for message in messages if has_words(message.text)), TAIL_MESSAGES)
    digests = "".join(codes.digests((message.from_bot, message.text) for message in last))
    return (before + digests)[-TAIL_MESSAGES * DIGEST_CHARACTERS :]


def has_words(text: str) -> bool:
    """Tell whether a text is a message, to be compared and counted."""
    return bool(text) and not text.isspace()


def holds(transcript: Sequence[Message], known: str, message: str) -> bool:
    """Tell whether a user message whose posting had no known outcome is in the transcript.

    `known` is the tail of what the upstream surely held before it, `message` is the digest of the one in question.
    Only the user's side is compared, since replies may have come that nobody told us of. The transcript that has the
    message ends with the known ones and then it: the same text sent twice in a row counts twice. Where somebody else
    has written to the conversation, its last user message decides.
    """
    present = [digest(item) for item in transcript if not item.from_bot]
    expected = [name for name in _DIGESTS.findall(known) if name[0] in _USER_INITIALS]
    if present[-len(expected) - 1 :] == [*expected, message]:
        return True
    if expected and present[-len(expected) :] == expected:
        return False
    return present[-1:] == [message]


def history_digest(history: Sequence[Utterance], *, leaving: str) -> str:
    """Name a history that is to begin a conversation anew; `leaving` is the id of the one that it leaves.

    The same for the same request sent again; another one when the client comes back to a history that it has left
    before, whose conversation has gone on since.
    """
    return hashlib.blake2b(repr((leaving, tuple(history))).encode(), digest_size=16).hexdigest()


def derived_user_id(user_id: str, history_digest: str) -> str:
    """Give the user's id under which an upstream with one conversation per bot and user begins another: `user~r8hex`.

    Always derive it from the id that the client uses. Since creating is then idempotent, a request that is sent
    again after a crash finds the conversation that it had begun.

    The directory remembers it beside the conversation's id, as `user`, and everything that names the user to the
    upstream (find, create, recreate) takes it from there; the entry's own key stays that of the client's user. A
    directory that was lost finds the conversation of the client's user again: its history has forked then, and a
    reseed follows as before.
    """
    mark = "~r" + hashlib.blake2b(f"{user_id} {history_digest}".encode(), digest_size=4).hexdigest()
    return user_id[: MAX_USER_ID_CHARACTERS - len(mark)] + mark


def base_user_id(user_id: str) -> str:
    """Give the client's id of the user for one that `derived_user_id` made of it; others as they are.

    Where the client's was longer than it may be, what is left of it.
    """
    return _DERIVED.sub("", user_id)


def _plan_ahead(history: Sequence[Utterance], lacking: Sequence[int], policy: Policy) -> tuple[Plan, bool]:
    if policy.ahead == "reseed":
        return Reseed(history), False
    if policy.ahead == "continue":
        return CONTINUE, True
    newest_first = list(islice(_newest_first(history), lacking[0] + 1))
    messages = tuple(Message(*newest_first[index]) for index in lacking)
    if policy.upstream_takes_user_messages:
        return CatchUp(messages, lost=0), False
    add = tuple(message for message in messages if message.from_bot)
    lost = len(messages) - len(add)
    return CatchUp(add, lost), lost > 0


def _from_the_user(tail: str) -> str:
    """Give a tail without the bot's oldest messages: what the client holds of these, and how, says little."""
    at = 0
    while at < len(tail) and tail[at] not in _USER_INITIALS:
        at += DIGEST_CHARACTERS
    return tail[at:]


def _parted(history: Sequence[Utterance], policy: Policy, missing: int, *, says_nothing: bool) -> Decision:
    if says_nothing:
        return Decision(Verdict.WINDOW, CONTINUE, missing=missing)
    if policy.forked == "reseed":
        return Decision(Verdict.FORKED, Reseed(history), missing=missing)
    return Decision(Verdict.FORKED, CONTINUE, restart=True, missing=missing)


def _in_step(history: Sequence[Utterance], segments: int | None, known: Known, found: Alignment) -> Decision:
    if known.count is None:
        is_whole = bool(history)
    else:
        if segments is None:
            segments = sum([len(utterance.segments) for utterance in history[-COUNTED:]])
        is_whole = segments >= min(known.count - found.missing, COUNTED)
    verdict = Verdict.IN_SYNC if is_whole else Verdict.WINDOW
    return Decision(verdict, CONTINUE, matched=found.matched, missing=found.missing)


def _newest_first(history: Sequence[Utterance]) -> Iterator[tuple[bool, str]]:
    """Give the client's last messages from the end, as far as the horizon; those without words count for it, too."""
    left = HORIZON
    for utterance in islice(reversed(history), HORIZON):
        from_bot = utterance.from_bot
        for text in reversed(utterance.segments):
            if not left:
                return
            left -= 1
            if text and not text.isspace():
                yield from_bot, text
