"""The neutral vocabulary between the APIs: what every dialect is decoded into and encoded from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside a text. `content_id` is the upstream's own name for it, where it gave one."""

    url: str
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReplySegment:
    """One atomic message of the bot: a piece of a reply, named by the upstream's message id.

    `sent_at` is in Unix seconds, as the upstream said it; None where it said nothing. `text` may be empty beside a
    picture.
    """

    message_id: str
    text: str
    sent_at: float | None = None
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply in the form that V1 clients know: texts in their order and at most one picture.

    `id` names the reply: all attempts to deliver it carry the same.
    """

    id: str
    texts: tuple[str, ...]
    picture: Picture | None = None
