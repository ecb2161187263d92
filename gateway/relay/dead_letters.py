"""Replies that were given up: kept for a while, listed newest first, sent again when an operator says so.

What is told of one names its people and its receiver's host, never the webhook's path or query, nor any text.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway import keys
from gateway.relay import batch
from gateway.relay.delivery import host_of
from gateway.relay.queue import read_meta
from gateway.store import Store

PAGE = 500

_FIELDS = ("died_at", "accepted_at", "reason", "cause", "status", "attempts", "webhook", "count", "turns", "meta")


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


async def newest(store: Store, limit: int) -> list[DeadLetter]:
    """Give the newest dead letters of all shards, at most so many."""
    found = [letter for shard in keys.all_shards() for letter in await _read(store, shard, limit)]
    return sorted(found, key=lambda letter: letter.died_at, reverse=True)[:limit]


async def show(store: Store, reply_id: str) -> DeadLetter | None:
    """Give one dead letter; None when there is none of that id."""
    for shard in keys.all_shards():
        if letter := await _read_one(store, shard, reply_id):
            return letter
    return None


async def redrive(store: Store, reply_ids: Iterable[str]) -> list[str]:
    """Send dead letters again at once, each under its id and with its bytes; give those that were any."""
    wanted = list(dict.fromkeys(reply_ids))
    queued = []
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        # An id does not tell its shard: all are asked, and one has it.
        asked = [(shard, reply_id) for reply_id in page for shard in keys.all_shards()]
        answers = await batch.run(store, (_redriving(shard, reply_id) for shard, reply_id in asked))
        queued += [reply_id for (_, reply_id), answer in zip(asked, answers, strict=True) if answer == 1]
    return queued


async def redrive_all(store: Store) -> int:
    """Send every dead letter again; tell how many. One that dies again meanwhile is not sent twice."""
    count = 0
    for shard in keys.all_shards():
        ids = await _ids(store, shard, 0)
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            answers = await batch.run(store, (_redriving(shard, reply_id) for reply_id in page))
            count += sum(answer == 1 for answer in answers)
    return count


def _redriving(shard: keys.ShardKeys, reply_id: str) -> batch.Call:
    return batch.Call("redrive", (shard.due, shard.dead, shard.reply(reply_id)), (reply_id, keys.REPLY_TTL_SECONDS))


async def _read(store: Store, shard: keys.ShardKeys, limit: int) -> list[DeadLetter]:
    """Read the newest of one shard; entries that have outlived their letters are taken out."""
    letters = []
    for reply_id in await _ids(store, shard, limit):
        letter = await _read_one(store, shard, reply_id)
        if letter:
            letters.append(letter)
        else:
            await store.call(functools.partial(store.redis.zrem, shard.dead, reply_id))
    return letters


async def _ids(store: Store, shard: keys.ShardKeys, limit: int) -> list[str]:
    """Give the newest ids, all of them where the limit is 0."""
    ids: list[str] = await store.call(lambda: store.redis.zrange(shard.dead, 0, limit - 1, desc=True))
    return ids


async def _read_one(store: Store, shard: keys.ShardKeys, reply_id: str) -> DeadLetter | None:
    values: list[str | None] = await store.call(lambda: store.redis.hmget(shard.reply(reply_id), _FIELDS))
    fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    if fields["died_at"] is None:
        return None
    return DeadLetter(
        id=reply_id,
        died_at=_moment(fields["died_at"]),
        accepted_at=_moment(fields["accepted_at"]),
        reason=fields["reason"],
        cause=fields["cause"],
        status=int(fields["status"]) if fields["status"] else None,
        attempts=int(fields["attempts"]),
        host=host_of(fields["webhook"]),
        segments=int(fields["count"]),
        turn_ids=tuple(fields["turns"].split(",")) if fields["turns"] else (),
        meta=read_meta(fields["meta"] or ""),
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)
