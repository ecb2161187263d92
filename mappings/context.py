"""What an upstream is to know beside the messages: the site, the user's facts, and what the bot is told in words.

V1 says it with every request, a stateful upstream keeps it. The digests name a context, so that it is sent again only
when it has changed.
"""

import functools
import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any

import msgspec

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

_NULL = "null"

MAX_KEPT = 1000
MAX_KEPT_CHARACTERS = 4000
"""How much of what bots are told is kept: so many conversations' facts, of so many characters as they came."""


class ConversationFacts(msgspec.Struct, frozen=True, dict=True):
    """What the upstream is to know of a conversation; None and empty: nothing was said.

    `freeform` is added to the bot's prompt: one English sentence a line, always in the same order.
    """

    platform: str | None = None
    freeform: str = ""
    segment: bool | None = None

    @functools.cached_property
    def digest(self) -> str:
        """Name what the conversation is told: another when any of it changes, empty where there is nothing to tell."""
        return _digest(_text(self.platform), _text(self.freeform or None), json.dumps(self.segment))


class UserFacts(msgspec.Struct, frozen=True, gc=False):
    """What is known of the user. `attributes` are sorted by name; None and empty: nothing was said."""

    username: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    freeform: str | None = None

    @property
    def digest(self) -> str:
        """Name what is known of the user, like the digest of a conversation's facts."""
        pairs = [f"[{_text(name)}, {_text(value)}]" for name, value in self.attributes]
        return _digest(_text(self.username), f"[{', '.join(pairs)}]" if pairs else _NULL, _text(self.freeform))


class Context(msgspec.Struct, frozen=True, gc=False):
    """What the upstream is to know beside the messages; where a digest is empty, there is nothing to tell it."""

    conversation: ConversationFacts = ConversationFacts()
    user: UserFacts = UserFacts()


def carry(request: wire.CompleteRequest, *, mode: fates.Mode = "full") -> Context:
    """Give the context that a request carries; nothing at all in mode `none`."""
    if mode == "none":
        return Context()
    return Context(_conversation_facts(request), _user_facts(request))


def _conversation_facts(request: wire.CompleteRequest) -> ConversationFacts:
    """Give what the conversation is told.

    A bot's conversations are mostly told alike: what was told is kept, and found in 1.5 µs instead of written in 12.
    """
    values = _said_of_conversation(request)
    key = values, type(request.start_message)  # the one field in which 1, 1.0 and true say different things
    facts = _kept.get(key)
    if facts is None:
        facts = ConversationFacts(
            platform=_said(request, "platform"),
            freeform="\n".join(
                sentence(value) for name, sentence in _SENTENCES.items() if (value := _said(request, name)) is not None
            ),
            segment=_said(request, "segment"),
        )
        if sum(len(value) for value in values if isinstance(value, str)) <= MAX_KEPT_CHARACTERS:
            if len(_kept) >= MAX_KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = facts
    return facts


def _user_facts(request: wire.CompleteRequest) -> UserFacts:
    pairs = request.user_kv_pairs or {}
    attributes = sorted([(name, as_text(value)) for name, value in pairs.items() if name and value is not None])
    return UserFacts(_said(request, "user_display_name"), tuple(attributes), _said(request, "user_freeform"))


def picture(request: wire.CompleteRequest, *, stored: Picture | None = None) -> Picture | None:
    """Give the picture of the new message; None where its address is not known.

    `stored` is what the gateway itself knows of the request's `image_id`; an `image_url` beside it goes first.
    """
    url = _said(request, "image_url")
    return stored if url is None else Picture(url, _said(request, "image_id"))


def as_text(value: wire.Scalar) -> str:
    """Write a fact as text: a string as it is, everything else as in JSON (30 → 30, 1.0 → 1.0, true → true)."""
    match value:
        case str():
            return value
        case bool() | None:
            return json.dumps(value)
        case _:
            return repr(value)  # which JSON takes its numbers from


def _said(request: wire.CompleteRequest, name: str) -> Any:
    value = getattr(request, name)
    return value if fates.says_something(name, value) else None


def _digest(*parts: str) -> str:
    """Name some values, written as by `json.dumps`; a third of the time goes into writing it by hand."""
    if all(part == _NULL for part in parts):
        return ""
    return hashlib.blake2b(f"[{', '.join(parts)}]".encode(), digest_size=DIGEST_BYTES).hexdigest()


def _text(text: str | None) -> str:
    return _NULL if text is None else encode_basestring_ascii(text)


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

_said_of_conversation = operator.attrgetter("platform", "segment", *_SENTENCES)
_kept: dict[tuple[tuple[object, ...], type], ConversationFacts] = {}
