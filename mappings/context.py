"""What an upstream is to know beside the messages: the site, the user's facts, and what the bot is told in words.

V1 says it with every request, a stateful upstream keeps it. The digests name a context, so that it is sent again only
when it has changed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any

from mappings import fates, quoting
from mappings.turn import Picture
from mappings.wire import v1 as wire

LANGUAGE_NAMES: Mapping[str, str] = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
"""Names of the languages that V3 knows; another one is told by its code alone."""

DIGEST_BYTES = 8
MAX_URL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What is known of the user. `attributes` are sorted by name; None and empty: nothing was said."""

    username: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    freeform: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What the upstream is to know of a conversation and of its user.

    `freeform` is added to the bot's prompt: one English sentence a line, always in the same order. A digest is empty
    where there is nothing to know, so that a conversation of which nothing was ever said needs no call.
    """

    platform: str | None = None
    freeform: str = ""
    segment: bool | None = None
    user: UserFacts = UserFacts()

    @property
    def conversation_digest(self) -> str:
        """Name what the conversation is told; it changes when any of it does."""
        return _digest(self.platform, self.freeform or None, self.segment)

    @property
    def user_digest(self) -> str:
        """Name what is known of the user; it changes when any of it does."""
        return _digest(self.user.username, self.user.attributes or None, self.user.freeform)


def carry(request: wire.CompleteRequest, *, mode: fates.Mode = "full") -> Context:
    """Give the context that a request carries; nothing at all in mode `none`."""
    if mode == "none":
        return Context()
    pairs = _said(request, "user_kv_pairs") or {}
    return Context(
        platform=_said(request, "platform"),
        freeform="\n".join(
            sentence(value) for name, sentence in _SENTENCES.items() if (value := _said(request, name)) is not None
        ),
        segment=_said(request, "segment"),
        user=UserFacts(
            username=_said(request, "user_display_name"),
            attributes=tuple(
                sorted((name, as_text(value)) for name, value in pairs.items() if name and value is not None)
            ),
            freeform=_said(request, "user_freeform"),
        ),
    )


def picture(request: wire.CompleteRequest, *, stored: Picture | None = None) -> Picture | None:
    """Give the picture of the new message; None where its address is not known.

    `stored` is what the gateway itself knows of the request's `image_id`; an `image_url` beside it goes first.
    """
    url = _said(request, "image_url")
    return stored if url is None else Picture(url, _said(request, "image_id"))


def as_text(value: wire.Scalar) -> str:
    """Write a fact as text: a string as it is, everything else as in JSON (30 → 30, 1.0 → 1.0, true → true)."""
    return value if isinstance(value, str) else json.dumps(value)


def _said(request: wire.CompleteRequest, name: str) -> Any:
    value = getattr(request, name)
    return value if fates.says_something(name, value) else None


def _digest(*parts: object) -> str:
    if all(part is None for part in parts):
        return ""
    return hashlib.blake2b(_as_json(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()


def _as_json(part: object) -> str:
    """Write what a digest is of as `json.dumps` would, in a third of the time."""
    match part:
        case str():
            return encode_basestring_ascii(part)
        case tuple():
            return f"[{', '.join(map(_as_json, part))}]"
        case _:
            return json.dumps(part) if part is not None else "null"


def _language(code: str) -> str:
    name = LANGUAGE_NAMES.get(known := code.strip().lower())
    return f"Write in {name} ({known})." if name else f"Write in the language {quoting.quote(code)}."


def _start_message(value: wire.Scalar) -> str:
    if value is True:
        return "You open this chat."
    return f"The opening message of this chat is {quoting.quote_lines(as_text(value))}."


_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "language": _language,
    "bot_display_name": lambda name: f"Your name in this chat is {quoting.quote(name)}.",
    "timezone": lambda zone: f"The time zone of this chat is {quoting.quote(zone)}.",
    "degrade_grammar": lambda degree: (
        f"Let your grammar be imperfect, to the degree {as_text(degree)} (0: not at all)."
    ),
    "question_mode": lambda mode: f"The question mode of this chat is {quoting.quote(mode)}.",
    "chat_images_enabled": lambda on: f"Pictures are {'enabled' if on else 'not enabled'} in this chat.",
    "user_can_send_photos": lambda can: f"The user {'can' if can else 'cannot'} send photos.",
    "offer_url": lambda url: f"The link of the offer in this chat is {quoting.quote(url, limit=MAX_URL_CHARACTERS)}.",
    "start_message": _start_message,
    "prompt": lambda text: f"The prompt for this chat is {quoting.quote_lines(text)}.",
}
"""The fields that are told in words, in the order of telling: short and general ones first, whole texts last."""
