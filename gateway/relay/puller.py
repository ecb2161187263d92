"""The work of pulling replies: let the bot speak, hold the claim while it does, take what it says.

Any number of processes do it side by side on one store; see `pulls` for what keeps them apart. Read `Puller._pull` from
top to bottom.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from gateway import errors, keys, metrics
from gateway.relay import gaps
from gateway.relay.delivery import Reason, backoff
from gateway.relay.pulls import AskedMeanwhile, Pull, Pulls, Result
from gateway.relay.queue import Queue
from gateway.upstreams import base
from gateway.upstreams.pulling import Source, Sources, Spoken
from mappings import generation, reconcile
from mappings.turn import Message, ReplySegment

MAX_UNDER_WAY = 256
"""Generations that one process listens to; they cost it a connection each, and little else."""

LEASE = timedelta(seconds=30)
RENEWALS = 3
"""How often a claim is renewed in the length of its lease: all but one may be lost."""

SCAN = timedelta(seconds=0.5)
"""How often the store is looked at, whatever is known of it: other processes ask for replies too."""

STORE_PAUSE_SECONDS = 0.25

MAX_FAILURES = 8
"""Failures after which a reply is given up: with the pauses of `delivery.backoff`, after about two hours."""

MAX_LOOKS = 3
"""Looks at a transcript for what the upstream has told that it holds; what is not there by then will not be."""

MAX_TAKEOVERS = 5
"""Claims in a row that nobody ended, after which a reply is taken to be what ended them."""

FIRST_PAUSE = timedelta(seconds=2)

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Who is told of every claim when it ends."""

    def pulled(self, pull: Pull, result: Result, *, dialect: str, calls: Sequence[base.Call], seconds: float) -> None:
        """Take note of it."""


class LeaseLost(Exception):
    """The claim has passed to another while the bot spoke."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a reply could not be had. A final one will not pass; others are tried again after `pause` at the earliest."""

    cause: str
    is_final: bool = False
    status: int | None = None
    pause: timedelta = timedelta()


KEY_GONE = Trouble("the key cannot be unsealed", is_final=True)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a claim lasts without a word, how many a process holds, and how long a conversation grows.

    One that has grown by `compact_after` messages is summed up once its reply is there; 0: never.
    """

    lease: timedelta = LEASE
    places: int = MAX_UNDER_WAY
    compact_after: int = 0


class Puller:
    """Pulls for one process. `clock` is in monotonic seconds, `draw` uniform in [0, 1)."""

    def __init__(
        self,
        pulls: Pulls,
        queue: Queue,
        sources: Sources,
        *,
        observer: Observer,
        bounds: Bounds = Bounds(),
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pulls = pulls
        self._queue = queue
        self._gaps = gaps.Gaps(pulls.store)
        self._sources = sources
        self._observer = observer
        self._lease = bounds.lease
        self._clock = clock
        self._draw = draw
        self._places = bounds.places
        self._compact_after = bounds.compact_after
        self._under_way: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to pull, and to hear of what is asked for in this process."""
        self._pulls.on_due = lambda _due: self.wake()
        self._loop = asyncio.create_task(self._run(), name="puller")

    async def stop(self, grace: timedelta) -> None:
        """Claim nothing more, give the generations under way so long, hand back the rest."""
        self._stopping = True
        self.wake()
        if self._loop:
            await asyncio.wait([self._loop])
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace.total_seconds())
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def wake(self) -> None:
        """Look at the store now."""
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                pause = await self._claim()
            except errors.StoreUnavailable:  # the relay beside this one tells of it
                pause = STORE_PAUSE_SECONDS
            except Exception:  # the loop outlives whatever one round meets
                log.exception("puller.round_failed")
                pause = STORE_PAUSE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _claim(self) -> float:
        """Claim what is due, as far as there are places; give the seconds until the next look."""
        free = self._places - len(self._under_way)
        if free <= 0:
            return SCAN.total_seconds()
        claims = await self._pulls.claim(max(free // keys.SHARDS, 1), self._lease)
        if claims is None:
            return STORE_PAUSE_SECONDS
        for pull in claims.pulls:
            task = asyncio.create_task(self._work(pull))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        ahead = SCAN if claims.next_due is None else claims.next_due - claims.now
        return max(min(ahead, SCAN).total_seconds(), 0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()

    async def _work(self, pull: Pull) -> None:
        """Do one claim's work; what goes wrong with the store is left to the lease."""
        began = self._clock()
        source = self._sources.session(pull.brief.key) if pull.brief else None
        try:
            result = await (self._pull(pull, source) if source else self._fail(pull, KEY_GONE))
        except asyncio.CancelledError:
            result = Result("handed_back")
            with contextlib.suppress(errors.StoreUnavailable):
                await asyncio.shield(self._pulls.end(pull, "release"))
            raise
        except errors.StoreUnavailable as error:
            result = Result("lost", cause=error.message)
        except Exception as error:  # left to the lease; a few of these and it is given up
            log.exception("pull.failed")
            result = Result("lost", cause=type(error).__name__)
        finally:
            self._observer.pulled(
                pull,
                result,
                dialect=self._sources.dialect,
                calls=source.calls if source else (),
                seconds=self._clock() - began,
            )

    async def _pull(self, pull: Pull, source: Source) -> Result:
        """Have the reply, by looking or by letting the bot speak; where that fails, try again later or give it up."""
        if pull.takeovers >= MAX_TAKEOVERS:
            return await self._fail(pull, Trouble("not ended", is_final=True))
        try:
            async with self._holding(pull):
                if pull.is_gap:
                    return await self._mend(pull, source)
                found = await self._look(pull, source) if pull.claims > 1 or not pull.asked else None
                asked = await self._pulls.renew(pull, self._lease)
                if asked is None:
                    raise LeaseLost  # noqa: TRY301 — as when a renewal finds it out
                if found is not None:
                    return await self._end(pull, found, pull.asked)  # what came after the look was not looked for
                heard = await source.hear(pull.upstream_id, pull.brief.told if pull.brief else "")
                if isinstance(heard, generation.Heard):
                    return await self._take(pull, source, heard, asked)
                trouble = Trouble(heard.kind)
        except LeaseLost:
            return Result("lost", cause="lease")
        except (base.ConversationGone, base.OutcomeUnknown, errors.GatewayError) as error:
            if isinstance(error, errors.StoreUnavailable):
                raise
            trouble = _trouble(error)
        return await self._fail(pull, trouble)

    async def _look(self, pull: Pull, source: Source) -> Result | None:
        """See what the upstream holds already; None when the bot is to speak."""
        if pull.asked and not pull.posted and not source.speaks_when_asked:
            return Result("nothing")  # the upstream has called meanwhile
        spoken = await source.spoken(pull.upstream_id, max(pull.posted, 1))
        if not pull.asked and not _is_last(spoken, pull.message):
            return Result("nothing")  # the message that this was prepared for never got there
        if not pull.asked and pull.claims == 1:
            return None if spoken.waiting else Result("nothing")  # nobody has let the bot speak about it yet
        if spoken.replies and not source.speaks_when_asked:
            metrics.RECOVERIES.inc()
        for reply in spoken.replies:
            await self._fold(pull, reply)
        return None if spoken.waiting else Result("found", messages=len(spoken.replies))

    async def _mend(self, pull: Pull, source: Source) -> Result:
        """Look for what no callback has brought, and fold it where it belongs."""
        known = await self._gaps.look(pull)
        if known is None:
            await self._gaps.close(pull, 0)
            return Result("nothing")
        missed, count = await gaps.read(source, pull, known)
        if await self._pulls.renew(pull, self._lease) is None:
            raise LeaseLost
        found = 0
        for one in missed:
            folded = await self._queue.fold(pull.conversation, pull.upstream_id, one.segment, late=one.is_late)
            metrics.SEGMENTS(outcome=folded.outcome).inc()
            found += folded.outcome in {"opened", "folded", "answered"}
        if found:
            metrics.RECOVERIES.inc()
        if count < known.told and pull.failures + 1 < MAX_LOOKS:
            return await self._fail(pull, Trouble("not there yet"))
        await self._gaps.close(pull, max(count, known.told))
        return Result("found" if found else "nothing", messages=found)

    async def _take(self, pull: Pull, source: Source, heard: generation.Heard, asked: str) -> Result:
        """Fold what the bot said into the conversation's reply. A claim that is another's by now changes nothing."""
        if await self._pulls.renew(pull, self._lease) is None:
            raise LeaseLost
        message_id = heard.id
        if message_id is None:  # the upstream named it nowhere in its stream: its list does
            replies = (await source.spoken(pull.upstream_id, 1)).replies
            message_id = replies[-1].id if replies else f"{pull.conversation.digest}:{pull.fence}"
        await self._fold(pull, Message(from_bot=True, text=heard.text, id=message_id))
        result = await self._end(pull, Result("heard", heard.reason, tokens=heard.tokens, messages=1), asked)
        await self._compact(pull, source)
        return result

    async def _compact(self, pull: Pull, source: Source) -> None:
        """Have the conversation summed up if it has grown long; that it fails changes nothing about the reply."""
        try:
            if self._compact_after and await self._pulls.is_long(pull, self._compact_after):
                await source.compact(pull.upstream_id)
        except (base.ConversationGone, errors.GatewayError) as error:
            log.warning("pull.not_compacted", error=type(error).__name__)

    async def _fold(self, pull: Pull, reply: Message) -> None:
        message_id = reply.id or reconcile.digest(reply)
        segment = ReplySegment(message_id, reply.text, reply.sent_at, reply.picture)
        folded = await self._queue.fold(pull.conversation, pull.upstream_id, segment)
        metrics.SEGMENTS(outcome=folded.outcome).inc()

    async def _end(self, pull: Pull, result: Result, asked: str) -> Result:
        ended = await self._pulls.end(pull, "done", asked=asked)
        if ended == "again":
            self.wake()
        return result

    async def _fail(self, pull: Pull, trouble: Trouble) -> Result:
        if not trouble.is_final and pull.failures + 1 < MAX_FAILURES:
            pause = max(backoff(pull.failures + 1, FIRST_PAUSE, self._draw()), trouble.pause)
            await self._pulls.end(pull, "retry", pause=pause)
            return Result("retry", cause=trouble.cause, status=trouble.status)
        if pull.is_gap:  # nobody awaits it; the next turn brings another key, and its callbacks show the gap again
            await self._pulls.end(pull, "done")
            return Result("given_up", cause=trouble.cause, status=trouble.status)
        try:
            letter = await self._pulls.give_up(pull, Reason.NO_REPLY, trouble.cause, trouble.status)
        except AskedMeanwhile:
            self.wake()
            return Result("retry", cause=trouble.cause, status=trouble.status)
        if letter is not None:
            metrics.DEAD_LETTERS(reason=Reason.NO_REPLY.value).inc()
        return Result("given_up", cause=trouble.cause, status=trouble.status)

    @contextlib.asynccontextmanager
    async def _holding(self, pull: Pull) -> AsyncIterator[None]:
        """Renew the claim for as long as this lasts; end it with `LeaseLost` once it is another's."""
        work = asyncio.current_task()
        assert work is not None  # noqa: S101 — asynchronous code runs in a task
        lost = False

        async def renew() -> None:
            nonlocal lost
            while not lost:
                await asyncio.sleep(self._lease.total_seconds() / RENEWALS)
                with contextlib.suppress(errors.StoreUnavailable):  # the next renewal may be in time
                    lost = await self._pulls.renew(pull, self._lease) is None
            work.cancel()

        renewing = asyncio.create_task(renew(), name="pull-lease")
        try:
            yield
        except asyncio.CancelledError:
            if lost and not work.uncancel():
                raise LeaseLost from None
            raise
        finally:
            renewing.cancel()


def _trouble(error: base.ConversationGone | base.OutcomeUnknown | errors.GatewayError) -> Trouble:
    match error:
        case base.ConversationGone():
            return Trouble("conversation gone", is_final=True, status=404)
        case base.OutcomeUnknown():
            return Trouble(error.outcome.code)
        case errors.UpstreamRejected() if error.status != 429:
            return Trouble(f"status {error.status}", is_final=True, status=error.status)
        case errors.GatewayError():
            pause = timedelta(seconds=error.retry_after_seconds or 0)
            return Trouble(error.code, status=429 if isinstance(error, errors.UpstreamRejected) else None, pause=pause)


def _is_last(spoken: Spoken, message: str) -> bool:
    return spoken.last is not None and reconcile.digest(Message(from_bot=False, text=spoken.last)) == message
