"""What the users of a run say: each message carries its request's id, so that every log can be read for it."""

import random
import re
from collections.abc import Iterable

_ID = re.compile(r"\[(c\d+\.\d+)\]")

_SAYINGS = (
    "good morning, did you sleep well?",
    "Hola, ¿qué tal el día? 🙂",
    "cafe\u0301 or tea?",  # a combining accent, which must not be composed
    "it rains here\nand the cat sulks",
    'she said "maybe", with a \\ in it',
    "  two blanks before, one after ",
    "日本語もすこし",
    "family: 👩‍👩‍👧‍👦, flag: 🇪🇸",
    "tab\there, nul-free, zero\u200bwidth",
    "مرحبا، كيف حالك؟",
    "a < b && c > d; 100 % sure {not} a template",
)

BOT_FORGED = "Forged segment"
"""How every forged callback's text begins."""


def message(request_id: str, draw: random.Random) -> str:
    """Give a user's message, shorter than what bots quote."""
    return f"[{request_id}] {draw.choice(_SAYINGS)}"


def ids_in(texts: Iterable[str]) -> list[str]:
    """Give the ids of the requests whose messages the texts quote."""
    return [found for text in texts for found in _ID.findall(text)]


def chat_of(request_id: str) -> str:
    """Give the client's conversation of a request."""
    return request_id.partition(".")[0]
