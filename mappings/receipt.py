"""What became of one request's fields, and how its client is told: a response header, or a refusal if it asks for one.

The header is a structured field (RFC 9651): a dictionary of two lists and a count,
`approximated=("language" "timezone"), dropped=("fast_mode"), unnamed=2`. The few lines that write it are ours: names
are the only values in it, and what a structured string cannot hold is counted instead of written.
"""

import functools
import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec

from mappings import context, fates
from mappings.turn import Picture, Turn

HEADER = "Translation-Losses"

DIVERGED = "The upstream goes on with what it holds of the conversation, which is not all that the client does."
"""Of a history that was edited, or that holds what the upstream lacks and does not take."""

MAX_UNKNOWN_NAMED = 20
MAX_NAME_CHARACTERS = 64
MAX_PREFER_CHARACTERS = 4096

MAX_SHAPES_KEPT = 512
"""A client's requests have a handful of shapes; a kept one takes at most 10 KB."""

_WRITABLE = re.compile(rf"[\x20-\x7e]{{0,{MAX_NAME_CHARACTERS}}}")
"""The characters of a structured string, in a number that a header can bear."""

_TELLABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What the name of an unknown field must look like to be told in a log: others are only counted."""

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


class Unknown(msgspec.Struct, frozen=True):
    """The fields that V1 does not have: how many, and the first of those that look like names, sorted."""

    count: int
    names: tuple[str, ...]


class ByFate(msgspec.Struct, frozen=True):
    """The names of a request's fields by what became of them, each in V1's order."""

    exact: tuple[str, ...]
    emulated: tuple[str, ...]
    approximated: tuple[str, ...]
    dropped: tuple[str, ...]
    unknown: Unknown


class Outcomes(tuple[FieldOutcome, ...]):  # noqa: SLOT001 — it remembers what is told of it
    """What became of each field of a request that says something, in V1's order, the unknown ones last.

    Requests of one shape share one, so that what is told of it is written for the first of them.
    """

    @functools.cached_property
    def header(self) -> str:
        """The value of the header `HEADER`; empty when nothing was lost: then there is no header."""
        return encode_receipt(self)

    @functools.cached_property
    def by_fate(self) -> ByFate:
        """The names, for the log."""
        known: dict[fates.Kind, tuple[str, ...]] = {
            kind: tuple(outcome.name for outcome in self if outcome.known and outcome.kind == kind)
            for kind in fates.KINDS
        }
        unknown = [outcome.name for outcome in self if not outcome.known]
        told = sorted(filter(_TELLABLE.fullmatch, unknown))[:MAX_UNKNOWN_NAMED]
        return ByFate(**known, unknown=Unknown(len(unknown), tuple(told)))


def outcomes(
    turn: Turn,
    *,
    mode: fates.Mode = "full",
    upstream: fates.Upstream = "v3",
    stored: Picture | None = None,
    diverged: bool = False,
) -> Outcomes:
    """Give the outcomes of a request's fields.

    `stored` is the picture that the gateway knows of the request's `image_id`. `diverged`: the upstream goes on with
    another course of the conversation than the history tells.

    They hang on which fields say something, not on what they say: on the request's shape, by which they are found.
    """
    request = turn.request
    said = _MESSAGES if turn.history else 0
    for value, (bit, holds) in zip(_values_of(request), _CHECKS, strict=True):
        if value is not None and not (holds and holds(value)):
            said |= bit
    unmet = _unmet(turn, context.picture(request, stored=stored))
    more = turn.unknown
    if not more:
        return _of_shape(said, (), mode, upstream, unmet, diverged)
    unknown = tuple([name for name, value in more.items() if value is not None])
    is_usual = len(unknown) <= MAX_UNKNOWN_NAMED and max(map(len, unknown), default=0) <= MAX_NAME_CHARACTERS
    of_shape = _of_shape if is_usual else _of_shape.__wrapped__  # what clients may name is kept within bounds
    return of_shape(said, unknown, mode, upstream, unmet, diverged)


@functools.lru_cache(MAX_SHAPES_KEPT)
def _of_shape(
    said: int,
    unknown: tuple[str, ...],
    mode: fates.Mode,
    upstream: fates.Upstream,
    unmet: tuple[fates.Need, ...],
    diverged: bool,  # noqa: FBT001 — a name costs more in a look-up than a place
) -> Outcomes:
    found = []
    for row in fates.TABLE:
        if said & _BITS[row.name]:
            fate = fates.fate_of(row, upstream, mode=mode, unmet=unmet)
            if diverged and row.name == "messages":
                fate = replace(fate, kind="approximated", reason=DIVERGED)
            found.append(FieldOutcome(row.name, fate.kind, fate.target, fate.reason))
    dropped = fates.UNKNOWN
    found.extend(FieldOutcome(name, dropped.kind, dropped.target, dropped.reason, known=False) for name in unknown)
    return Outcomes(found)


def _unmet(turn: Turn, picture: Picture | None) -> tuple[fates.Need, ...]:
    if picture is not None:  # which is a message, too, if need be one without a text
        return ("no message",)
    return ("picture url",) if turn.message is None else ("picture url", "no message")


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
    if not prefer:
        return False
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


def _bounded(prefer: str) -> str:
    return prefer[:MAX_PREFER_CHARACTERS]


_BITS = {row.name: 1 << place for place, row in enumerate(fates.TABLE)}
_MESSAGES = _BITS["messages"]  # which the envelope lacks
_ENVELOPE = [row for row in fates.TABLE if row.name != "messages"]
_values_of = operator.attrgetter(*(row.name for row in _ENVELOPE))
_CHECKS = [(_BITS[row.name], None if row.neutral is fates.NULL else row.neutral.holds) for row in _ENVELOPE]
"""Each field's bit in a shape, and which of its values say nothing beside null."""
