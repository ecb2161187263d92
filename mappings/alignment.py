"""Where the client's history ends in what is remembered of the upstream's transcript.

Both sides are rows of codes (`mappings.codes`), one for each message.

**The speakers are compared apart.** A reply reaches its client a minute after the upstream has spoken it, and whatever
the user says in that minute comes before it in the client's history and after it in the upstream's. Only the order
within one speaker is the same on both sides.

**The user's side decides.** The client wrote it, so that it must agree message by message. The bot's side is what
reached the client: there, replies may be missing (they wait for delivery, or died), and a reply may have come back
with its segments joined into one text. What a bot's message of the client may not be is unknown, unless it is older
than all that is remembered.

Of several alignments the one with the smallest extra is taken, and among those the one with the smallest lag: each is
the longest match of its kind, and a repeated "ok" is rather taken for a client in step than for one ahead.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

from mappings.codes import FROM_BOT, TEXT

LOOK_BACK = 64
"""How many messages a client may be ahead. Further back nothing is looked for: one turn could not add so many."""


class Recent:
    """Codes of what the client holds, newest first; read (and so digested) only as far as somebody looks."""

    def __init__(self, newest_first: Iterable[int]) -> None:
        self._unread = iter(newest_first)
        self._read: list[int] = []

    def __getitem__(self, index: int) -> int | None:
        """Give the code at `index`, where 0 is the newest; None where the history has begun."""
        while len(self._read) <= index:
            code = next(self._unread, None)
            if code is None:
                return None
            self._read.append(code)
        return self._read[index]

    def behind(self, extra: int) -> Iterator[int]:
        """Give the codes from the newest but `extra` on."""
        while (code := self[extra]) is not None:
            yield code
            extra += 1


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the two sides meet.

    `lacking`: indices, newest first, of the client's messages that the upstream lacks, the oldest one in front.
    `matched`: how many remembered messages the client holds. `missing`: how many it does not, of those that came
    since the oldest that it does.
    """

    lacking: Sequence[int]
    matched: int
    missing: int


@dataclass(frozen=True, slots=True)
class _Match:
    """Positions, in what is remembered, of the messages that the client holds too."""

    positions: Sequence[int]

    @property
    def oldest(self) -> int:
        return min(self.positions, default=0)

    @property
    def newest(self) -> int:
        return max(self.positions, default=-1)


class _Remembered:
    """The last messages of the transcript by speaker, newest first, each with its position."""

    def __init__(self, codes: Sequence[int], *, whole: bool) -> None:
        newest_first = [(position, codes[position]) for position in reversed(range(len(codes)))]
        self.users = [said for said in newest_first if not said[1] & FROM_BOT]
        self.bots = [said for said in newest_first if said[1] & FROM_BOT]
        self.replies = {  # every row of them, as it would be if it were joined
            total & TEXT
            for begin in range(len(self.bots))
            for total in accumulate(code for _, code in self.bots[begin:])
        }
        self.whole = whole

    def match(self, recent: Recent, extra: int, lag: int) -> _Match | None:
        """Match the client's history without its newest `extra` messages; it lacks the user's newest `lag`."""
        users = self.users[lag:]
        agreed = 0
        said: list[int] = []  # by the bot, newest first, up to the user's oldest message that can be compared
        for code in recent.behind(extra):
            if code & FROM_BOT:
                said.append(code)
                continue
            if not users:
                break
            if code != users[agreed][1]:
                return None
            agreed += 1
            if agreed == len(users):
                break
        positions = [position for position, _ in users[:agreed]]
        replies = self._match_bots(said)
        if replies is None:
            return None
        positions += replies
        if not agreed and sum(position > max(positions, default=-1) for position, _ in self.users) > lag:
            return None
        if not positions and not (self.whole and recent[extra] is None):
            return None  # nothing in common says nothing, but where both sides begin here
        return _Match(positions)

    def doubts(self, match: _Match, oldest_extra: int | None, *, all_new: bool) -> bool:
        """Tell whether what the client has behind a match is no addition.

        It has a reply where the upstream has another, or only some reply, maybe repeated, speaks against its lagging.
        """
        if oldest_extra is not None and oldest_extra & FROM_BOT and any(p > match.newest for p, _ in self.bots):
            return True
        by_bots = not any(position in match.positions for position, _ in self.users)
        return all_new and by_bots and len(match.positions) < len(self.bots)

    def _match_bots(self, said: Sequence[int]) -> list[int] | None:
        """Give the positions of what the client says that the bot said; None when there is something unknown."""
        if self.whole and len(said) > len(self.bots):
            return None  # sparing the search
        for undelivered in range(max(len(self.bots), 1)):
            positions = self._match_bots_from(undelivered, said)
            if positions is not None or self._find(said[0], undelivered) is None:
                return positions
        return None

    def _match_bots_from(self, begin: int, said: Sequence[int]) -> list[int] | None:
        positions: list[int] = []
        skipped: list[tuple[int, int]] = []
        for code in said:
            piece = self._find(code, begin)
            if piece is not None:
                skipped += self.bots[begin : piece.start]
                positions += [position for position, _ in self.bots[piece]]
                begin = piece.stop
            elif late := [reply for reply in skipped if reply[1] == code]:
                skipped.remove(late[0])  # it reached the client behind a younger one
                positions.append(late[0][0])
            elif begin == len(self.bots) and not self.whole:
                break  # older than all that is remembered, and so is the rest
            else:
                return None
        return positions

    def _find(self, code: int, begin: int) -> slice | None:
        """Find a message of the bot, or consecutive ones that were joined: the nearest, which leaves most to others."""
        if code & TEXT not in self.replies:
            return None
        for end in range(begin, len(self.bots)):
            total = 0
            for start in range(end, begin - 1, -1):
                total += self.bots[start][1]
                if not (total ^ code) & TEXT:
                    return slice(start, end + 1)
        return None


def align(recent: Recent, codes: Sequence[int], *, unanswered: int, whole: bool) -> Alignment | None:
    """Align the client's history with the upstream's last messages (oldest first); None when they have parted.

    `unanswered` of the user's last messages belong to turns whose reply has not reached the client: it may not hold
    them yet. `whole` says that `codes` is all that the upstream holds.
    """
    remembered = _Remembered(codes, whole=whole)
    all_new = len(remembered.users) <= unanswered and not whole  # the client may not hold any of it
    lags = range(min(unanswered, len(remembered.users)) + 1)
    for extra in range(LOOK_BACK + 1):
        if extra:
            oldest_extra = recent[extra - 1]
            if oldest_extra is None:
                break
            if not oldest_extra & FROM_BOT:
                lags = range(1)  # the user went on in other words: that is no lag
        for lag in lags:
            match = remembered.match(recent, extra, lag)
            if match is None or (extra and remembered.doubts(match, recent[extra - 1], all_new=all_new)):
                continue
            matched = len(match.positions)
            return Alignment(_lacking(recent, extra, remembered, match), matched, len(codes) - match.oldest - matched)
    return Alignment((), 0, len(codes)) if all_new else None


def _lacking(recent: Recent, extra: int, remembered: _Remembered, match: _Match) -> Sequence[int]:
    """Give what the client has on top, without replies of the upstream that reached it late."""
    late = [code for _, code in takewhile(lambda reply: reply[0] not in match.positions, remembered.bots)]
    lacking = []
    for index in reversed(range(extra)):
        code = recent[index]
        if code in late:
            late.remove(code)
        else:
            lacking.append(index)
    return lacking
