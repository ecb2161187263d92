"""Replies that were given up: kept for a while, found and counted, sent again when an operator says so.

What is told of one names its people and its receiver's host, never the webhook's path or query, nor any text.
"""

import contextlib
import heapq
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gateway import keys, metrics, people
from gateway.relay.delivery import host_of
from gateway.store import Call, NoAnswer, Store, times

PAGE = 500
"""Dead letters in one round trip."""

_FIELDS = ("died_at", "accepted_at", "reason", "cause", "status", "attempts", "webhook", "count", "turns", "meta")
_TOLD_OF_META = ("tenant", "bot_id", "user_id", "conversation_id", "request_id")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One reply that was given up. `cause` is the last failure; `status` the receiver's last answer, if it gave one."""

    id: str
    died_at: datetime
    accepted_at: datetime
    reason: str
    cause: str
    status: int | None
    attempts: int
    host: str
    segments: int
    turn_ids: tuple[str, ...]
    meta: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which dead letters are meant: those that agree with all that is given. `died_until` includes its moment."""

    tenant: str | None = None
    host: str | None = None
    reason: str | None = None
    bot_id: str | None = None
    user_id: str | None = None
    died_until: datetime | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Tell whether the letter is meant."""
        if self.died_until is not None and letter.died_at > self.died_until:
            return False
        asked: tuple[tuple[str | None, object], ...] = (
            (self.tenant, letter.meta.get("tenant")),
            (self.host and self.host.lower(), letter.host),
            (self.reason, letter.reason),
            (self.bot_id, letter.meta.get("bot_id")),
            (self.user_id, letter.meta.get("user_id")),
        )
        return all(wanted is None or wanted == value for wanted, value in asked)


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came upon: how many, and the newest few of them, newest first."""

    count: int
    newest: Sequence[DeadLetter]


async def find(store: Store, wanted: Filter, limit: int) -> Found:
    """Count the dead letters that are meant, and give the newest of them, at most so many."""
    count = 0
    kept: list[DeadLetter] = []
    for shard in keys.all_shards():
        async for page in _pages(store, shard, wanted):
            count += len(page)
            kept = _newest([*kept, *page], limit)
    return Found(count, kept)


async def newest(store: Store, limit: int, wanted: Filter = EVERYTHING) -> list[DeadLetter]:
    """Give the newest dead letters of those that are meant, at most so many; no more is read than that takes."""
    found: list[DeadLetter] = []
    for shard in keys.all_shards():
        here: list[DeadLetter] = []
        async with contextlib.aclosing(_pages(store, shard, wanted, min(limit, PAGE))) as pages:
            async for page in pages:
                here += page
                if len(here) >= limit:
                    break
        found = _newest([*found, *here], limit)
    return found


async def show(store: Store, reply_id: str) -> DeadLetter | None:
    """Give one dead letter; None when there is none of that id."""
    for shard in keys.all_shards():
        if letter := (await _read(store, shard, [reply_id])).get(reply_id):
            return letter
    return None


def describe(letter: DeadLetter) -> dict[str, Any]:
    """Give what is told of a dead letter as JSON takes it; whom it was for is among the rest."""
    told = asdict(letter) | {
        "died_at": _instant(letter.died_at),
        "accepted_at": _instant(letter.accepted_at),
        "turn_ids": list(letter.turn_ids),
    }
    del told["meta"]
    return told | {name: letter.meta.get(name) for name in _TOLD_OF_META}


async def redrive(store: Store, reply_ids: Iterable[str]) -> list[str]:
    """Send dead letters again at once, each under its id and with its bytes; give those that were any."""
    wanted = list(dict.fromkeys(reply_ids))
    queued = []
    for start in range(0, len(wanted), PAGE):
        # An id does not tell its shard: all are asked, and one has it.
        for shard in keys.all_shards():
            queued += await _redrive(store, shard, wanted[start : start + PAGE])
    return queued


async def redrive_all(
    store: Store, wanted: Filter = EVERYTHING, *, progress: Callable[[int], object] = lambda _count: None
) -> int:
    """Send every dead letter that is meant again; tell how many. One that dies again meanwhile is not sent twice.

    `progress` is told of each page how many of it were meant.
    """
    count = 0
    for shard in keys.all_shards():
        async for page in _pages(store, shard, wanted):
            count += len(await _redrive(store, shard, [letter.id for letter in page]))
            progress(len(page))
    return count


async def _redrive(store: Store, shard: keys.ShardKeys, reply_ids: Sequence[str]) -> list[str]:
    calls = [
        Call("redrive", (shard.due, shard.dead, shard.reply(reply_id)), (reply_id, keys.REPLY_TTL_SECONDS))
        for reply_id in reply_ids
    ]
    answers = await store.run_all(calls)
    queued = [reply_id for reply_id, answer in zip(reply_ids, answers, strict=True) if answer == 1]
    metrics.REDRIVEN.inc(len(queued))
    return queued


async def _pages(
    store: Store, shard: keys.ShardKeys, wanted: Filter, size: int | None = None
) -> AsyncGenerator[list[DeadLetter], None]:
    """Give the shard's dead letters that are meant, newest first, as they were when it began.

    Entries that have outlived their letters are taken out.
    """
    ids: list[str] = await store.command("zrange", shard.dead, 0, -1, desc=True)
    size = size or PAGE
    for start in range(0, len(ids), size):
        letters = await _read(store, shard, ids[start : start + size])
        gone = [reply_id for reply_id, letter in letters.items() if letter is None]
        await store.run_all(Call("prune_dead", (shard.dead, shard.reply(one)), (one,)) for one in gone)
        yield [letter for letter in letters.values() if letter and wanted.matches(letter)]


async def _read(store: Store, shard: keys.ShardKeys, reply_ids: Sequence[str]) -> dict[str, DeadLetter | None]:
    """Read letters of one shard in one round trip: None where there is none, nothing of what cannot be read."""
    answers = await store.run_all(
        Call("read_dead", (shard.reply(reply_id),), (reply_id, *_FIELDS)) for reply_id in reply_ids
    )
    return {
        reply_id: _decode(reply_id, answer)
        for reply_id, answer in zip(reply_ids, answers, strict=True)
        if not isinstance(answer, NoAnswer)
    }


def _decode(reply_id: str, values: Sequence[str | None]) -> DeadLetter | None:
    fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    if fields["died_at"] is None:
        return None
    return DeadLetter(
        id=reply_id,
        died_at=times.moment(fields["died_at"]),
        accepted_at=times.moment(fields["accepted_at"]),
        reason=fields["reason"],
        cause=fields["cause"],
        status=int(fields["status"]) if fields["status"] else None,
        attempts=int(fields["attempts"]),
        host=host_of(fields["webhook"]),
        segments=int(fields["count"]),
        turn_ids=tuple(fields["turns"].split(",")) if fields["turns"] else (),
        meta=people.read(fields["meta"] or ""),
    )


def _newest(letters: Iterable[DeadLetter], limit: int) -> list[DeadLetter]:
    return heapq.nlargest(limit, letters, key=lambda letter: letter.died_at)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
