"""What the emulated bots say: small talk that follows from the messages alone, so that a test can predict it."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mappings.wire import v3

SMALL_TALK = (
    "How is the weather where you are?",
    "Do you prefer tea or coffee?",
    "I went for a long walk this morning.",
    "What are you reading these days?",
    "My neighbour is learning to play the cello.",
)
TONES = ("Friendly", "Curious", "Neutral")

_QUOTED_CHARACTERS = 200
_SUMMARISED_MESSAGES = 10
_REMEMBERED = 20
_ABOUT_ONESELF = re.compile(r"\b(I|I'm|my|me)\b", re.IGNORECASE)
_WANTS_PICTURE = re.compile(r"\b(picture|photo)\b", re.IGNORECASE)


class Segment(BaseModel):
    """One message that a bot is about to send."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    attached_media: v3.AttachedMedia | None = None
    message_tone: str | None = None
    moderation: v3.Moderation | None = None


def compose(asked: Sequence[str], turn: int, *, segmented: bool = True) -> tuple[str, ...]:
    """Return the texts of a reply to the messages in `asked`; `turn` counts the user's messages so far.

    It quotes what was asked, counts, and asks back: one, two or three segments, 1 + turn modulo 3 of them.
    If it may not be segmented, the same is one text, joined by spaces.
    """
    quoted = " and ".join(f"“{text[:_QUOTED_CHARACTERS]}”" for text in asked)
    parts = (
        f"You said {quoted}." if asked else "Hello! How is your day going?",
        f"That was message {turn} of our chat.",
        SMALL_TALK[turn % len(SMALL_TALK)],
    )[: 1 + turn % 3]
    return parts if segmented else (" ".join(parts),)


def tone(turn: int) -> str:
    """Return the tone of a reply."""
    return TONES[turn % len(TONES)]


def wants_picture(asked: Sequence[v3.Message]) -> bool:
    """Tell whether the reply has a picture: the user sent one, or wrote of one."""
    return any(message.attached_media or _WANTS_PICTURE.search(message.text) for message in asked)


def last_asked(messages: Sequence[v3.Message]) -> list[v3.Message]:
    """Return the user's messages since the bot last spoke."""
    asked: list[v3.Message] = []
    for message in reversed(messages):
        if message.from_bot:
            break
        asked.append(message)
    return asked[::-1]


def summary(messages: Sequence[v3.Message]) -> str | None:
    """Return the summary of a longer conversation, None for a short one."""
    if len(messages) < _SUMMARISED_MESSAGES:
        return None
    return f"A chat of {len(messages)} messages that began with “{messages[0].text[:_QUOTED_CHARACTERS]}”."


def memories(messages: Sequence[v3.Message]) -> v3.Memories:
    """Return what each side said about itself, newest last."""

    def of(from_bot: bool) -> list[v3.Memory]:  # noqa: FBT001 — the name of the field on the wire
        said = [m.text for m in messages if m.from_bot is from_bot and _ABOUT_ONESELF.search(m.text)]
        return [v3.Memory(text=text) for text in said[-_REMEMBERED:]]

    return v3.Memories(bot_memories=of(from_bot=True), user_memories=of(from_bot=False))
