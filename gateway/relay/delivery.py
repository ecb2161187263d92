"""A delivery, and what comes of an attempt: pure, handed the time and the draws.

**The schedule.** The pause after attempt n is `pause * 3.4 ** (n - 1)`, give or take a quarter. With the defaults, 8
attempts and a first pause of 20 s, a reply is tried at once and then after about 20 s, 1.5 min, 5 min, 18 min, 1 h,
3.5 h and 12 h. A `Retry-After` can only lengthen a pause, so that a receiver cannot use the attempts up within
seconds; no pause is longer than 12 h.

**The end.** A reply is given up after its attempts, or when twice the schedule's length (24 h with the defaults) has
passed since it should have left: what waited behind a failing forerunner gets a try, not another 12 h of its own, so
that a conversation whose receiver is gone drains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

GROWTH = 3.4
JITTER = 0.25
LONGEST_PAUSE = timedelta(hours=12)
SHORTEST_PATIENCE = timedelta(hours=1)
LONGEST_PATIENCE = timedelta(days=7)
"""Half of what the store keeps a pending reply for: no setting lets one expire before it is given up."""

POISON_TAKEOVERS = 3
"""Claims in a row that were never settled, after which a reply is taken to be what ended its workers."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One reply on its way to one webhook, as a claim reads it.

    `segments` are in their stored form, as they arrived; `body` is what an earlier attempt sent, None before the
    first. `not_before` is the moment that the reply was promised for, `due` the one that this attempt was. `attempts`
    counts this one. `takeovers` counts the claims since the last outcome that nobody settled. `fence` names this claim.
    """

    id: str
    conversation: str
    webhook: str
    segments: tuple[str, ...]
    turn_ids: tuple[str, ...]
    meta: Mapping[str, object]
    accepted_at: datetime
    delay: timedelta
    not_before: datetime
    due: datetime
    attempts: int
    takeovers: int
    fence: int
    body: bytes | None

    @property
    def tenant(self) -> str:
        """Whose it is, as the store keeps its queue: `-` when nothing readable says so."""
        tenant = self.meta.get("tenant")
        return tenant if isinstance(tenant, str) else "-"

    @property
    def host(self) -> str:
        """Whom it goes to: the webhook's host and port, nothing of its path or query."""
        return host_of(self.webhook)


class Reason(StrEnum):
    """Why a reply was given up."""

    GONE = "gone"  # the receiver said 410
    REFUSED_DESTINATION = "refused_destination"  # we may not or cannot call such an address
    ATTEMPTS = "attempts"
    AGE = "age"
    POISON = "poison"
    NO_REPLY = "no_reply"  # the upstream was asked for the reply, and never gave it


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has acknowledged it with this 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class RetryAt:
    """It failed and is to be tried again. `charged`: the attempt counts, since it was the receiver's failure."""

    due: datetime
    cause: str
    status: int | None = None
    charged: bool = True


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """It is given up: kept as a dead letter that an operator may send again. `cause` is the last failure."""

    reason: Reason
    cause: str
    status: int | None = None


Outcome: TypeAlias = Delivered | RetryAt | DeadLettered


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver answered; `retry_after` is the pause that it asks for, if it does."""

    status: int
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer came. `cause` is one of a few words; `fault` says whose it is, or that the destination is refused."""

    cause: str
    fault: Literal["receiver", "ours", "destination"] = "receiver"


Result: TypeAlias = Answered | Failed


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a receiver is given: so many attempts, the first pause, and from both the patience in all."""

    max_attempts: int = 8
    pause: timedelta = timedelta(seconds=20)

    @property
    def patience(self) -> timedelta:
        """Twice the length of the schedule, within an hour and a week."""
        pauses = (backoff(attempt, self.pause, 0.5) for attempt in range(1, self.max_attempts))
        return min(max(2 * sum(pauses, timedelta()), SHORTEST_PATIENCE), LONGEST_PATIENCE)


def backoff(attempt: int, pause: timedelta, draw: float) -> timedelta:
    """Give the pause after the attempt, counted from 1; `draw` is uniform in [0, 1) and spreads it."""
    growth = GROWTH ** min(attempt - 1, 64)
    seconds = pause.total_seconds() * growth * (1 - JITTER + 2 * JITTER * draw)
    return timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))


def classify(result: Result, delivery: Delivery, policy: Policy, *, now: datetime, draw: float) -> Outcome:
    """Decide what comes of an attempt.

    2xx is delivered; 410 and a destination that is refused end it at once; all else is tried again, redirects too,
    which are a receiver's misconfiguration and are never followed.
    """
    pause = backoff(max(delivery.attempts, 1), policy.pause, draw)
    match result:
        case Answered(status) if 200 <= status < 300:
            return Delivered(status)
        case Answered(410):
            return DeadLettered(Reason.GONE, "status 410", 410)
        case Failed(cause, "destination"):
            return DeadLettered(Reason.REFUSED_DESTINATION, cause)
        case Failed(cause, "ours"):
            retry = RetryAt(now + backoff(1, policy.pause, draw), cause, charged=False)
        case Failed(cause):
            retry = RetryAt(now + pause, cause)
        case Answered(429 | 503 as status, timedelta() as asked):
            retry = RetryAt(now + max(pause, min(asked, LONGEST_PAUSE)), f"status {status}", status)
        case Answered(status):
            retry = RetryAt(now + pause, f"status {status}", status)
    if retry.charged and delivery.attempts >= policy.max_attempts:
        return DeadLettered(Reason.ATTEMPTS, retry.cause, retry.status)
    if retry.due - delivery.not_before > policy.patience:
        return DeadLettered(Reason.AGE, retry.cause, retry.status)
    return retry


def host_of(webhook: str) -> str:
    """Give the host and port of a URL, empty when it has none: without user, path or query, which may be secret."""
    try:
        return urlsplit(webhook).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
