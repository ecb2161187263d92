"""What became of one request's fields, and how its client is told: a response header, or a refusal if it asks for one.

The header is a structured field (RFC 9651): a dictionary of two lists and a count,
`approximated=("language" "timezone"), dropped=("fast_mode"), unnamed=2`. The few lines that write it are ours: names
are the only values in it, and what a structured string cannot hold is counted instead of written.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mappings import context, fates
from mappings.turn import Picture, Turn

HEADER = "Translation-Losses"

DIVERGED = "The upstream goes on with what it holds of the conversation, which is not all that the client does."
"""Of a history that was edited, or that holds what the upstream lacks and does not take."""

MAX_UNKNOWN_NAMED = 20
MAX_NAME_CHARACTERS = 64
MAX_PREFER_CHARACTERS = 4096

_WRITABLE = re.compile(rf"[\x20-\x7e]{{0,{MAX_NAME_CHARACTERS}}}")
"""The characters of a structured string, in a number that a header can bear."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """What became of one field of one request; `known` is False for a field that V1 does not have."""

    name: str
    kind: fates.Kind
    target: fates.Target
    reason: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Losses:
    """The fields that were not carried as they are, by name, in V1's order, the unknown ones last.

    `unnamed` counts unknown fields that were dropped too, but have no printable name or are too many to name.
    """

    approximated: tuple[str, ...]
    dropped: tuple[str, ...]
    unnamed: int = 0

    def __bool__(self) -> bool:
        """Tell whether anything was lost."""
        return bool(self.approximated or self.dropped or self.unnamed)


def outcomes(
    turn: Turn,
    *,
    mode: fates.Mode = "full",
    upstream: fates.Upstream = "v3",
    stored: Picture | None = None,
    diverged: bool = False,
) -> tuple[FieldOutcome, ...]:
    """Give the outcome of each field of the request that says something, in V1's order, then the unknown ones.

    `stored` is the picture that the gateway knows of the request's `image_id`. `diverged`: the upstream goes on with
    another course of the conversation than the history tells.
    """
    request = turn.request
    unmet = _unmet(turn, context.picture(request, stored=stored))
    found = []
    for row in fates.TABLE:
        value = turn.history if row.name == "messages" else getattr(request, row.name)
        if fates.says_something(row.name, value):
            fate = fates.fate_of(row, upstream, mode=mode, unmet=unmet)
            if diverged and row.name == "messages":
                fate = replace(fate, kind="approximated", reason=DIVERGED)
            found.append(_outcome(row.name, fate))
    unknown = fates.UNKNOWN
    found.extend(
        FieldOutcome(name, unknown.kind, unknown.target, unknown.reason, known=False)
        for name, value in (request.model_extra or {}).items()
        if fates.says_something(name, value)
    )
    return tuple(found)


def _unmet(turn: Turn, picture: Picture | None) -> tuple[fates.Need, ...]:
    if picture is not None:  # which is a message, too, if need be one without a text
        return ("no message",)
    return ("picture url",) if turn.message is None else ("picture url", "no message")


@functools.cache  # a row has few fates: all its outcomes are as many objects
def _outcome(name: str, fate: fates.Fate) -> FieldOutcome:
    return FieldOutcome(name, fate.kind, fate.target, fate.reason)


def losses(found: Iterable[FieldOutcome]) -> Losses:
    """Give what was lost, bounded: at most `MAX_UNKNOWN_NAMED` unknown fields are named, the others counted."""
    approximated: list[str] = []
    dropped: list[str] = []
    named = unnamed = 0
    for outcome in found:
        if outcome.kind == "approximated":
            approximated.append(outcome.name)
        elif outcome.kind == "dropped":
            if not outcome.known and (named == MAX_UNKNOWN_NAMED or not _WRITABLE.fullmatch(outcome.name)):
                unnamed += 1
                continue
            named += not outcome.known
            dropped.append(outcome.name)
    return Losses(tuple(approximated), tuple(dropped), unnamed)


def encode_receipt(found: Iterable[FieldOutcome]) -> str:
    """Give the value of the header `HEADER`; empty when nothing was lost: then there is no header."""
    return ", ".join(_members(losses(found)))


def is_strict(prefer: str | None) -> bool:
    """Tell whether a `Prefer` header (RFC 7240; several are joined by commas) asks for `handling=strict`.

    The first `handling` counts, its parameters do not, and what is no preference is passed over.
    """
    plain = _QUOTED.sub(lambda quoted: quoted[1] if _TOKEN.fullmatch(quoted[1]) else "_", _bounded(prefer))
    for preference in plain.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "handling":
            return value.strip().lower() == "strict"
    return False


def strict_refusal(found: Iterable[FieldOutcome]) -> str | None:
    """Say why a request that is to be handled strictly is refused; None when nothing would be lost."""
    lost = losses(found)
    if not lost:
        return None
    parts = [f"{', '.join(names)} ({kind})" for kind, names in _by_kind(lost) if names]
    if lost.unnamed:
        parts.append(f"{lost.unnamed} more (dropped)")
    return f"handling=strict: the upstream cannot take these fields as they are: {'; '.join(parts)}"


def _members(lost: Losses) -> Iterator[str]:
    for key, names in _by_kind(lost):
        if names:
            yield f"{key}=({' '.join(_as_string(name) for name in names)})"
    if lost.unnamed:
        yield f"unnamed={lost.unnamed}"


def _by_kind(lost: Losses) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("approximated", lost.approximated), ("dropped", lost.dropped)


def _as_string(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bounded(prefer: str | None) -> str:
    return (prefer or "")[:MAX_PREFER_CHARACTERS]
