"""Messages of the bot that the upstream holds and that no callback has brought."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mappings import reconcile
from mappings.turn import Message, ReplySegment


@dataclass(frozen=True, slots=True)
class Held:
    """A message that the upstream holds, with the ids under which its callback would be known."""

    message: Message
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a conversation some of whose messages are missing.

    `told`: how many the upstream has told that it holds. `since`: how many it held when the ids that were `taken` began
    to be remembered. `ours`: digests of the bot's messages that were added from here, under ids that are not known.
    """

    told: int
    since: int
    ours: Sequence[str]
    taken: frozenset[str]


@dataclass(frozen=True, slots=True)
class Missed:
    """One that was missed. `is_late`: the user has spoken since, so that it answers nothing that is asked now."""

    segment: ReplySegment
    is_late: bool


def find(held: Sequence[Held], known: Told, *, most: int) -> list[Missed]:
    """Find, oldest first, what the bot said and nobody brought, among the last so many (`most`) messages.

    `most` is how many ids are remembered as taken: what is older may have been taken and forgotten.
    """
    spoken_to = max((place for place, one in enumerate(held) if not one.message.from_bot), default=-1)
    ours = Counter(known.ours)
    missed = []
    for place in range(max(known.since, len(held) - most, 0), len(held)):
        message = held[place].message
        if not message.from_bot or held[place].ids & known.taken:
            continue
        name = reconcile.digest(message)
        if ours[name]:
            ours[name] -= 1
            continue
        missed.append(Missed(_segment(held[place], place + 1), is_late=place < spoken_to))
    return missed


def digests(text: str) -> Iterable[str]:
    """Read digests that stand one after the other."""
    return (text[at : at + reconcile.DIGEST_CHARACTERS] for at in range(0, len(text), reconcile.DIGEST_CHARACTERS))


def _segment(held: Held, position: int) -> ReplySegment:
    message = held.message
    message_id = message.id or min(held.ids, default="") or reconcile.digest(message)
    return ReplySegment(message_id, message.text, message.sent_at, message.picture, position=position)
