"""The neutral vocabulary between the APIs: what a turn is, whatever wire it came on.

CompleteRequest → Turn → Plan → open turn
callback → ReplySegment → Completion → delivery
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from mappings.wire import v1


class Utterance(msgspec.Struct, frozen=True, gc=False, rename={"from_bot": "bot", "segments": "content"}):
    """What one speaker said in one go, in one or more segments; a segment is one atomic text.

    `id` is the client's own name for it, where it gave one. It can be read off V1's wire as it stands, hence the other
    names: a history of 100 takes 17 µs, by way of a wire shape of its own 130.
    """

    from_bot: bool
    segments: tuple[str, ...]
    id: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One atomic text of one speaker, as stateful upstreams count them; `id` is the upstream's, where it has one.

    `sent_at` is in Unix seconds; None where nobody says it.
    """

    from_bot: bool
    text: str
    id: str | None = None
    picture: "Picture | None" = None
    sent_at: float | None = None


class DelayWindow(msgspec.Struct, frozen=True, gc=False):
    """When a reply may reach its webhook, counted from the acceptance of the request."""

    minimum: timedelta
    maximum: timedelta

    def draw(self, fraction: float) -> timedelta:
        """Choose the moment at `fraction` (0 to 1) of the window: uniform draws give uniform delays."""
        return self.minimum + (self.maximum - self.minimum) * fraction


class Turn(msgspec.Struct, frozen=True):
    """One request of a V1 client: the new message with the history that the client holds.

    `message` is None where the bot shall speak first; `webhook` is None where the answer itself is the reply.
    `request` is the envelope as it came, for the context that it carries, `unknown` the fields that V1 does not
    have. `history_segments`: how many atomic texts the history holds.
    """

    bot_id: str
    user_id: str
    client_conversation_id: str | None
    message: str | None
    history: Sequence[Utterance]
    window: DelayWindow
    webhook: str | None
    request: v1.CompleteRequest
    history_segments: int
    unknown: Mapping[str, Any] = {}


def flatten(history: Iterable[Utterance]) -> Iterator[Message]:
    """Give the history as atomic messages: each segment one message, same speaker, same order."""
    for utterance in history:
        for segment in utterance.segments:
            yield Message(utterance.from_bot, segment)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside a text. `content_id` is the upstream's own name for it, where it gave one."""

    url: str
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Moderation:
    """What the upstream's safety controls say of a message that they flagged."""

    category: str | None
    reasoning: str | None
    severity: str | None


@dataclass(frozen=True, slots=True)
class ReplySegment:
    """One atomic message of the bot: a piece of a reply, named by the upstream's message id.

    `sent_at` is in Unix seconds, as the upstream said it; None where it said nothing. `text` may be empty beside a
    picture. `position` is how many messages the upstream held with this one; None where it did not say.
    """

    message_id: str
    text: str
    sent_at: float | None = None
    picture: Picture | None = None
    tone: str | None = None
    moderation: Moderation | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply in the form that V1 clients know: texts in their order and at most one picture.

    `id` names the reply: all attempts to deliver it carry the same. `tone` is the last one told, `moderation` the first
    flag raised, `sent_at` (Unix seconds) the latest moment told.
    """

    id: str
    texts: tuple[str, ...]
    picture: Picture | None = None
    tone: str | None = None
    moderation: Moderation | None = None
    sent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One callback of an upstream: which of its conversations speaks, and what; a user's own message has no segment."""

    conversation_id: str
    segment: ReplySegment | None
