"""The durable delay queue: typed functions over the scripts that move replies through the store.

A reply is opened by its first segment, takes further ones until it is claimed, and is settled by the outcome of an
attempt. Everything here may be sent again, and a claim that nobody settles comes back when its lease has passed.
"""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import structlog

from gateway import keys, people
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Outcome, RetryAt
from gateway.store import Answer, Argument, Call, NoAnswer, Store, times
from mappings import completion, reconcile
from mappings.turn import Message, ReplySegment

DEFAULT_SETTLE = timedelta(seconds=1.5)

LONGEST_SETTLE = timedelta(seconds=10)
"""A bot that never pauses does not hold its reply back for longer than this."""

MAX_SEGMENTS = 64
"""Segments of one reply; the next one opens another."""

MAX_IDS = 256
"""Message ids that a conversation remembers against repetition, and callbacks kept while nobody knows it."""

Fate: TypeAlias = Literal["opened", "folded", "answered", "duplicate", "foreign", "orphan", "full"]
Verdict: TypeAlias = Literal["ok", "stale", "gone", "broken", "untaken"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a segment.

    It opened a reply or was folded into the waiting one, which falls due at `due`; or it is part of the answer that a
    client waits for (`answered`: `reply_id` is the turn's); or it was taken before
    (`duplicate`), is another conversation's (`foreign`: nothing was changed), is kept until its conversation is known
    (`orphan`), or is one orphan too many (`full`: not taken, the upstream may send it again later).
    """

    outcome: Fate
    reply_id: str | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """How many replies a claim may bring of one tenant, over all shards: of `each`, and of those who may have less."""

    each: int
    less: Mapping[str, int] = field(default_factory=dict)

    def of_one(self, place: int, shards: int) -> tuple[Argument, ...]:
        """Give what the shard at that place, of so many, may take of it: in all the places together, just the share."""
        less = ((tenant, _part(share, place, shards)) for tenant, share in self.less.items())
        return _part(self.each, place, shards), *(argument for pair in less for argument in pair)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim on one shard brought, by the store's clock. `next_due`: None when nothing waits there."""

    now: datetime
    next_due: datetime | None
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of an attempt, with the body that it sent, None when it sent nothing."""

    delivery: Delivery
    outcome: Outcome
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a settlement.

    `ok`: it is recorded, and the conversation's next reply, if one waited for this, falls due at `next_due`. `stale`:
    the lease has passed to another, nothing was written. `gone`: there is no such reply. `broken`: its data is, and
    its lease runs out. `untaken`: its server of the cluster is away, and the settlement is to be sent again.
    """

    verdict: Verdict
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Conversations with a reply under way, those of them whose reply is due and unclaimed, and dead letters.

    `tenants` has the first of these by tenant.
    """

    pending: int
    due: int
    dead: int
    tenants: Mapping[str, int] = field(default_factory=dict, compare=False)


EVERYTHING = Shares(2**31)


class Queue:
    """The queue in the store. `settle` is the quiet after which a reply that answers no turn counts as whole.

    `on_due` is told of every moment that `fold` sets: the shard and the moment, by the store's clock.
    """

    def __init__(self, store: Store, *, settle: timedelta = DEFAULT_SETTLE) -> None:
        self.store = store
        self.on_due: Callable[[int, datetime], None] = _nobody
        self._settle_ms = times.milliseconds(settle)

    async def fold(
        self,
        conversation: keys.ConversationKeys,
        upstream_id: str,
        segment: ReplySegment,
        *,
        late: bool = False,
        noted: bool = True,
        answers: str = "",
    ) -> Folded:
        """Take a segment, once: into the waiting reply, or as the first of one that answers the open turns.

        `upstream_id` is the conversation that the upstream names. A `late` segment answers none of the turns that are
        open now: it came before them. Since it may answer an earlier try of one, it keeps their least delays. One that
        is not `noted` is left out of what is known of the transcript: it is known already, or not there yet. `answers`
        names the turn that is being posted where it surely is the segment's.
        """
        shard = conversation.shard
        outcome, *rest = await self.store.run(
            "fold_segment",
            [
                conversation.directory,
                conversation.turns,
                conversation.outbox,
                conversation.seen,
                conversation.orphans,
                shard.due,
            ],
            shard.prefix,
            conversation.digest,
            upstream_id,
            segment.message_id,
            completion.encode_segment(segment),
            "1" if segment.picture else "",
            str(uuid.uuid4()),
            self._settle_ms,
            times.milliseconds(LONGEST_SETTLE),
            MAX_SEGMENTS,
            "1" if late else "",
            keys.TURN_TTL_SECONDS,
            keys.REPLY_TTL_SECONDS,
            MAX_IDS,
            reconcile.tail([Message(from_bot=True, text=segment.text)]) if noted else "",
            keys.TAIL_CHARACTERS,
            keys.ANSWERS_CHANNEL,
            answers,
            "" if segment.position is None else segment.position,
            "1" if noted else "",
        )
        if not rest:
            return Folded(outcome)
        reply_id, due = rest[0], times.moment(rest[1])
        if outcome != "answered":
            self.on_due(shard.shard, due)
        return Folded(outcome, reply_id, due)

    async def claim(
        self, limits: Mapping[int, int], lease: timedelta, shares: Shares = EVERYTHING
    ) -> dict[int, Claimed]:
        """Claim of each shard at most so many due replies, for the length of the lease, in one round trip.

        They are taken from all tenants in turn, of each the earliest. A shard whose data breaks the script, or whose
        server is away, is missing in the answer: the others go on.
        """
        if not limits:
            return {}
        first = random.randrange(len(limits))  # noqa: S311 — a share that is less than the shards comes to all of them
        answers = await self.store.run_all(
            _claiming(number, limit, lease, shares.of_one((place + first) % len(limits), len(limits)))
            for place, (number, limit) in enumerate(limits.items())
        )
        return {
            number: Claimed(
                now=times.moment(answer[0]),
                next_due=None if answer[1] == "" else times.moment(answer[1]),
                deliveries=list(_read_all(answer[2:])),
            )
            for number, answer in zip(limits, answers, strict=True)
            if not isinstance(answer, NoAnswer)
        }

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Record outcomes in one round trip, and tell for each what came of it."""
        answers = await self.store.run_all(_settling(settlement) for settlement in settlements)
        return [_settled(answer) for answer in answers]

    async def release(self, handed_back: Sequence[tuple[Delivery, timedelta]]) -> None:
        """Hand claims back unused, each to be claimed again after its pause; the attempts do not count."""
        await self.store.run_all(_releasing(delivery, pause) for delivery, pause in handed_back)

    async def count(self) -> Counts:
        """Count over all shards, in one round trip."""
        shards = keys.all_shards()
        answers = await self.store.run_all(Call("count_replies", (one.due, one.dead)) for one in shards)
        counted = [answer for answer in answers if not isinstance(answer, NoAnswer)]
        tenants: Counter[str] = Counter()
        for *_, of_tenants in counted:
            tenants.update(dict(zip(of_tenants[::2], of_tenants[1::2], strict=True)))
        pending, due, dead = (sum(answer[column] for answer in counted) for column in range(3))
        return Counts(pending, due, dead, tenants)


def _nobody(_shard: int, _due: datetime) -> None:
    """Nobody listens."""


def _claiming(number: int, limit: int, lease: timedelta, shares: tuple[Argument, ...]) -> Call:
    shard = keys.ShardKeys(number)
    return Call("claim_due", (shard.due, shard.fence), (shard.prefix, times.milliseconds(lease), limit, *shares))


def _part(whole: int, place: int, parts: int) -> int:
    return whole // parts + (place < whole % parts)


def _settling(settlement: Settlement) -> Call:
    delivery, outcome = settlement.delivery, settlement.outcome
    conversation = keys.ConversationKeys(delivery.conversation)
    shard = conversation.shard
    what: tuple[Argument, ...]  # outcome, due ms, charged, reason, cause, status, body
    body = settlement.body or b""
    match outcome:
        case Delivered(status):
            what = ("delivered", 0, "1", "", "", status, "")
        case RetryAt(due, cause, status, charged):
            what = ("retry", _unix_ms(due), "1" if charged else "", "", cause, status or "", body)
        case DeadLettered(reason, cause, status):
            what = ("dead", 0, "1", reason.value, cause, status or "", body)
    return Call(
        "settle_delivery",
        (shard.due, shard.dead, shard.reply(delivery.id), conversation.outbox, conversation.fingerprints),
        (
            shard.prefix,
            delivery.id,
            delivery.fence,
            *what,
            keys.REPLY_TTL_SECONDS,
            keys.DEAD_LETTER_TTL_SECONDS,
            keys.TURN_OVER_TTL_SECONDS,
        ),
    )


def _settled(answer: Answer | NoAnswer) -> Settled:
    if isinstance(answer, NoAnswer):
        return Settled("broken" if answer is NoAnswer.BROKEN else "untaken")
    verdict, next_due = answer
    return Settled(verdict, None if next_due == "" else times.moment(next_due))


def _releasing(delivery: Delivery, pause: timedelta) -> Call:
    shard = keys.ConversationKeys(delivery.conversation).shard
    return Call(
        "release_claim", (shard.due, shard.reply(delivery.id)), (delivery.id, delivery.fence, times.milliseconds(pause))
    )


def _read_all(claims: Sequence[Sequence[Any]]) -> Iterator[Delivery]:
    for claim in claims:
        try:
            yield _read(claim)
        except (KeyError, ValueError) as error:  # its lease runs out: a newer version of the gateway may know better
            log.error("reply.unreadable", reply_id=claim[0], error=type(error).__name__)  # noqa: TRY400 — it would quote


def _read(claim: Sequence[Any]) -> Delivery:
    reply_id, segments, *parts = claim
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    conversation = fields["conversation"]
    bytes.fromhex(conversation)  # what its keys are derived from
    return Delivery(
        id=reply_id,
        conversation=conversation,
        webhook=fields["webhook"],
        segments=tuple(segments),
        turn_ids=tuple(fields["turns"].split(",")) if fields["turns"] else (),
        meta=people.read(fields["meta"]),
        accepted_at=times.moment(fields["accepted_at"]),
        delay=timedelta(milliseconds=float(fields["delay"])),
        not_before=times.moment(fields["base"]),
        due=times.moment(fields["due"]),
        attempts=int(fields["attempts"]),
        takeovers=int(fields.get("takeovers", 0)),
        fence=int(fields["fence"]),
        body=fields["body"].encode() if "body" in fields else None,
    )


def _unix_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
