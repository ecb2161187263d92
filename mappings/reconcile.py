"""The history that the client holds against the transcript that the upstream holds."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from mappings.turn import Message

TAIL_MESSAGES = 16
"""How many of the last known messages the directory remembers, as digests."""


def digest(message: Message) -> str:
    """Name a message by its speaker (`b` or `u`) and eight hex digits of its text.

    It is blind to Unicode form and white space, which upstreams may change on the way.
    """
    text = " ".join(unicodedata.normalize("NFC", message.text).split())
    name = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return ("b" if message.from_bot else "u") + name


def tail(messages: Iterable[Message], *, before: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the digests of the last messages, oldest first, where `before` are those of the ones before them."""
    return (*before, *(digest(message) for message in messages))[-TAIL_MESSAGES:]


def holds(transcript: Sequence[Message], known: Sequence[str], message: str) -> bool:
    """Tell whether a user message whose posting had no known outcome is in the transcript.

    `known` are the digests of the last messages that the upstream surely held before it, `message` is the digest of
    the one in question. Only the user's side is compared, since replies may have come that nobody told us of. The
    transcript that has the message ends with the known ones and then it: the same text sent twice in a row counts
    twice. Where somebody else has written to the conversation, its last user message decides.
    """
    present = [digest(item) for item in transcript if not item.from_bot]
    expected = [name for name in known if name.startswith("u")]
    if present[-len(expected) - 1 :] == [*expected, message]:
        return True
    if expected and present[-len(expected) :] == expected:
        return False
    return present[-1:] == [message]
