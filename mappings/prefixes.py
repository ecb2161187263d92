"""The beginnings of long histories, decoded once: who sends his whole history sends it again with every turn.

A history grows at its end. Where it begins with bytes that were read before, only what follows them is decoded, and
all of it when somebody asks for it. No check is left out: the same bytes were checked in the same place when they were
met first, and whatever is not as it was then is read as a whole.

**How.** A row of bytes that makes an array of items when put between brackets leads a parser from behind the opening
bracket to behind an item, wherever that is. So does any one item. A request is decoded with one of ours in the place
of the row; when it comes out as the first item of `messages`, the row would have stood where its items count.

**Cost.** Bytes are known by a digest, 50 µs for a megabyte. A request with 10,000 messages takes 80 µs; decoded as a
whole, as it is the first two times, 2,100; to find nothing but its items' bounds 550. With 100 messages: 16, 22 and 6.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias, TypeVar, overload

import msgspec
from msgspec.structs import replace

from mappings import v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Turn, Utterance

MIN_BYTES: Final = 8192
"""Shorter bodies are as soon decoded."""

READ_ITEMS: Final = 24
"""So many of the last items, roughly, are decoded in any case: the verdict on a turn in step reads no more."""

MAX_REMEMBERED: Final = 16_384
"""Beginnings, in 4 MB. A conversation leaves one at every step that it grows by."""

_STEPS_BACK: Final = (0, 1, 2, 3, 5)
"""Where a known beginning is looked for: so many steps before the longest one that there could be."""

_MIN_STEP_BITS: Final = 10
_STEPS_BITS: Final = 6
"""A step is the power of two that goes 32 to 64 times into the body, at least 1 KiB."""

_SAMPLE_BYTES: Final = 4096
"""How much of the body's end tells how long its items are."""

_START_BYTES: Final = 1024
"""Histories that begin with the same so many bytes may be one."""

_MAX_BRACES: Final = 8
"""How many braces are looked at for an item's end: texts have braces, too."""

_ANY_ITEM: Final = msgspec.json.encode(Utterance(from_bot=False, segments=()))

_begin = re.compile(rb'"messages"\s*:\s*\[').search
_between = re.compile(rb'\}\s*,\s*\{\s*"(?:bot|content|id)"').match
"""What stands between two items, and in no text: quotation marks are escaped there."""

_nested = msgspec.json.Decoder(tuple[tuple[Utterance, ...]])

Value = TypeVar("Value")

Digest: TypeAlias = Callable[[bytes | memoryview], str]


class History(Sequence[Utterance]):
    """A history whose last items are decoded, the others as soon as they are asked for."""

    __slots__ = ("_all", "_begin", "_body", "_end", "_last", "_length")

    def __init__(self, body: bytes, begin: int, end: int, items: int, last: tuple[Utterance, ...]) -> None:
        """`body[begin:end]` holds the first `items` items, `last` are the others."""
        self._body = body
        self._begin = begin
        self._end = end
        self._last = last
        self._length = items + len(last)
        self._all: tuple[Utterance, ...] | None = None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self._whole())

    def __reversed__(self) -> Iterator[Utterance]:
        yield from reversed(self._last)
        yield from reversed(self._whole()[: self._length - len(self._last)])

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Utterance, ...]: ...
    def __getitem__(self, index: int | slice) -> Utterance | tuple[Utterance, ...]:
        return self._whole()[index]

    def _whole(self) -> tuple[Utterance, ...]:
        if self._all is None:
            self._all = decode_items(self._body, self._begin, self._end, after=False) + self._last
        return self._all


class _Read(msgspec.Struct, frozen=True, gc=False):
    """What a beginning holds."""

    items: int
    segments: int


_NOTHING = _Read(0, 0)


class _Recent(OrderedDict[str, Value]):
    """So many values, of those that were kept or found last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def find(self, name: str) -> Value | None:
        found = self.get(name)
        if found is not None:
            self.move_to_end(name)
        return found

    def keep(self, name: str, value: Value) -> None:
        self[name] = value
        if len(self) > self._most:
            self.popitem(last=False)


class Prefixes:
    """The beginnings that one process has read; `digest` names bytes so that nobody finds others of the same name."""

    def __init__(self, digest: Digest, most: int = MAX_REMEMBERED) -> None:
        self._digest = digest
        self._known: _Recent[_Read] = _Recent(most)
        self._met: _Recent[bool] = _Recent(most)
        """How histories begin that were met: one that never comes back, as a window that moves on, costs nothing."""

        self._token = digest(b"an item of ours")
        self._mark = msgspec.json.encode(Utterance(from_bot=False, segments=(), id=self._token))

    def decode_request(self, body: bytes) -> Turn:
        """Read the body of POST /v2/complete: give and raise what `v1.decode_request` does."""
        if len(body) >= MIN_BYTES:
            try:
                turn = self._decode(body)
            except (MalformedRequest, ValueOutOfRange, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # what is wrong, and where, is told of the body as it came
            else:
                if turn is not None:
                    return turn
        return v1.decode_request(body)

    def _decode(self, body: bytes) -> Turn | None:
        """Read a body by its parts; None where that cannot be done."""
        found = _begin(body)
        if found is None:
            return None
        begin = found.end()
        view = memoryview(body)
        ends = _ends(body, begin)
        end = next(ends, 0)
        if not end:
            return None
        name = self._digest(view[begin:end])
        read, known_end = self._known.find(name), end
        if read is None:
            start = self._digest(view[begin : begin + _START_BYTES])
            if start not in self._met:
                self._met.keep(start, value=True)
                return None
            read, known_end = self._find(view, begin, ends)
        added: tuple[Utterance, ...] = ()
        if known_end < end:
            added = decode_items(body, known_end, end, after=known_end > begin)
            read = _Read(read.items + len(added), read.segments + sum([len(item.segments) for item in added]))
        turn = v1.decode_request(b"%b%b%b" % (body[:begin], self._mark, body[end:]))
        history = tuple(turn.history)
        if not history or history[0].id != self._token or read.items + len(history) - 1 > v1.MAX_HISTORY_ITEMS:
            return None
        if known_end < end:
            self._known.keep(name, read)
        last = history[1:]
        return replace(
            turn,
            history=History(body, begin, end, read.items, last) if known_end > begin else added + last,
            history_segments=read.segments + turn.history_segments,
        )

    def _find(self, view: memoryview, begin: int, ends: Iterator[int]) -> tuple[_Read, int]:
        """Find the longest of other beginnings that is known; give what it holds, and where it ends."""
        for end in ends:
            read = self._known.find(self._digest(view[begin:end]))
            if read is not None:
                return read, end
        return _NOTHING, begin


def _ends(body: bytes, begin: int) -> Iterator[int]:
    """Give the ends of items up to which a history may be known, the last one first.

    They lie before multiples of a step, counted from where the history begins, so that they are found again in a body
    in which it has grown.
    """
    sample = min(len(body) - begin, _SAMPLE_BYTES)
    items = body.count(b'"bot"', len(body) - sample)
    if not items:
        return
    left = READ_ITEMS * sample // items
    step = 1 << max(_MIN_STEP_BITS, len(body).bit_length() - _STEPS_BITS)
    steps = (len(body) - begin - left) // step
    for back in _STEPS_BACK:
        if back + 1 >= steps:
            return
        edge = begin + (steps - back) * step
        if end := _last_end(body, edge - step, edge):
            yield end


def _last_end(body: bytes, low: int, high: int) -> int:
    """Give the end of the last item that ends there, with another one behind it; 0 where none seems to."""
    for _ in range(_MAX_BRACES):
        high = body.rfind(b"}", low, high)
        if high < 0:
            return 0
        if _between(body, high):
            return high + 1
    return 0


def decode_items(body: bytes, begin: int, end: int, *, after: bool) -> tuple[Utterance, ...]:
    """Decode a part of a history, as deeply nested as it is there; `after`: it begins behind an item."""
    before = _ANY_ITEM if after else b""
    [items] = _nested.decode(b"".join((b"[[", before, memoryview(body)[begin:end], b"]]")))
    return items[1:] if after else items
