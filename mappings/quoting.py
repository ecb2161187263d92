"""A client's value inside a sentence to the bot: quoted, bounded, with nothing in it that a reader cannot see.

The upstream puts these sentences into the bot's prompt. A value must not be able to end its quotation, to begin a
line of its own, or to carry signs that only the model reads.
"""

import re

MAX_VALUE_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 8000

_CUT = "…"

_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f"  # control characters that are no white space
    "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # directions, joints, annotations
    "\U000e0000-\U000e007f]"  # tags: whole texts that no one sees
)


def clean(text: str) -> str:
    """Give the text on one line, white space collapsed, without invisible signs; joiners of scripts and emoji stay."""
    return " ".join(_INVISIBLE.sub("", text).split())


def is_blank(text: str) -> bool:
    """Tell whether `clean` would leave nothing of the text: mostly its first sign says that it would not."""
    return not ("!" <= text[:1] <= "~" or clean(text))


def quote(text: str, *, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """Quote the text as one line of at most `limit` characters; a longer one ends in an ellipsis."""
    return _quoted(clean(text), limit)


def quote_lines(text: str, *, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Quote the text with its line breaks, for texts that are whole paragraphs; bounded like `quote`."""
    lines = (clean(line) for line in text.splitlines())
    return _quoted("\n".join(lines).strip(), limit)


def _quoted(text: str, limit: int) -> str:
    kept = text if len(text) <= limit else text[: limit - 1].rstrip() + _CUT
    return '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'
