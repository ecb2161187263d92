"""What pulling replies asks of an upstream that calls nobody back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.upstreams.base import Call
from mappings import fates, generation
from mappings.missed import Held
from mappings.turn import Message


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was said since the user's last messages.

    `replies` are the bot's, oldest first; `waiting` tells whether the user spoke last; `last` is the user's last text,
    None when there is none.
    """

    replies: Sequence[Message]
    waiting: bool
    last: str | None


class Source(Protocol):
    """Whom replies are pulled from, under one client's key. Raises what `base.Session` raises."""

    calls: list[Call]
    speaks_when_asked: bool
    """Whether the bot speaks when it is asked to; else it does by itself, and its replies are only looked for."""

    async def spoken(self, conversation_id: str, user_messages: int) -> Spoken:
        """Read what was said since the first of the user's last so many messages."""

    async def held(self, conversation_id: str) -> Sequence[Held]:
        """Read all that the upstream holds, oldest first."""

    async def hear(self, conversation_id: str, told: str) -> generation.Outcome:
        """Let the bot speak, and listen until it has ended, which may take many minutes.

        `told` is what it is told for this call only. When the outcome is unknown the bot may have spoken.
        """

    async def compact(self, conversation_id: str) -> None:
        """Have a long conversation summed up, so that the bot need not read all of it."""


class Sources(Protocol):
    """An upstream whose replies are pulled."""

    dialect: fates.Upstream

    def session(self, key: str) -> Source:
        """Begin dealings under the key."""
