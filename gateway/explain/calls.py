"""What is said of an upstream's calls, whichever upstream it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mappings import context, v1
from mappings.turn import Turn

NO_MESSAGE = (
    "The request has no message: the bot is asked what it would say, and that is delivered and added to the "
    "conversation."
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that would be made, and when it would be; the body as JSON has it, empty where there is none."""

    method: str
    path: str
    when: str
    body: Mapping[str, Any]


class Face(Protocol):
    """What one upstream would be asked."""

    def calls(self, turn: Turn, carried: context.Context, now: datetime) -> Iterator[Call]:
        """Give the calls in the order in which `posting.Posting` makes them."""

    def notes(self, turn: Turn) -> Iterator[str]:
        """Say what hangs on what the gateway and the upstream know already."""


def text_of(turn: Turn) -> str | None:
    """Give the new message's text; a picture without one is a message, too. None where the bot is to speak first."""
    if turn.message is None and (context.picture(turn.request) or turn.request.image_id):
        return ""
    return turn.message


def creates(turn: Turn) -> bool:
    """Tell whether a conversation is begun for the turn where there is none: not for a follow-up of nothing."""
    return text_of(turn) is not None or bool(turn.history) or v1.opening(turn.request) == "start"


def what_is_asked(turn: Turn, *, ahead: str, nothing_to_follow: str) -> Iterator[str]:
    """Choose the notes about a history and about a missing message, in the upstream's words."""
    if turn.history:
        yield ahead
    if text_of(turn) is None:
        yield NO_MESSAGE
        if not creates(turn):
            yield nothing_to_follow
