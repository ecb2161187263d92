"""Accept a turn: find, adopt or create its conversation, post the message to it, acknowledge.

Read `Turns.accept` from top to bottom. Two orders matter. The turn is opened in the store *before* its message goes
upstream, since the reply can outrun the upstream's own answer; the client is answered *after* the upstream has taken
the message, so that an upstream's refusal is the client's to see. A process that dies in between leaves a turn in
state `posting`: the next request of that conversation reads the transcript and settles it.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from gateway import auth, errors, keys
from gateway.directory import Directory
from gateway.open_turns import Entered, Joined, OpenTurns, Proposal, Unsettled
from gateway.relay.queue import Queue
from gateway.replies import Replies, Sending
from gateway.upstreams import base
from mappings import completion, reconcile
from mappings.turn import Message, Turn, flatten

Plan: TypeAlias = Literal["reused", "adopted", "created", "recreated", "joined"]

CALLS_PER_TURN = 2
"""The upstream calls of one turn together have as many call timeouts; rarely more than one of them is slow."""

LEASE_MARGIN = timedelta(seconds=5)
"""By how much a turn's place outlasts its calls, so that nobody takes over while one is under way."""


@dataclass(slots=True)
class TurnTrace:
    """What became of one request on its way, for the mapping log; filled in as far as it gets."""

    request_id: str
    caller: auth.Caller | None = None
    turn: Turn | None = None
    turn_id: str | None = None
    plan: Plan | None = None
    upstream_id: str | None = None
    delay: timedelta | None = None
    calls: Sequence[base.Call] = ()


@dataclass(frozen=True, slots=True)
class Incoming:
    """One authenticated V1 request that can be served. `fingerprint` names its exact bytes."""

    turn: Turn
    webhook: str
    text: str
    caller: auth.Caller
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Place:
    """A turn's place at the head of its conversation, with what it needs there."""

    incoming: Incoming
    trace: TurnTrace
    conversation: keys.ConversationKeys
    proposal: Proposal
    session: base.Session
    callback_url: str
    sending: Sending


class Turns:
    """Flow 1. `call_timeout` bounds one upstream call, a turn has twice that for all of them."""

    def __init__(
        self,
        *,
        upstream: base.Upstream,
        open_turns: OpenTurns,
        directory: Directory,
        queue: Queue,
        call_timeout: timedelta,
        settle: timedelta,
        replies: Replies,
    ) -> None:
        self._upstream = upstream
        self._replies = replies
        self._directory = directory
        self._queue = queue
        self._settle = settle
        self._budget = CALLS_PER_TURN * call_timeout
        self._open_turns = open_turns

    async def accept(self, incoming: Incoming, trace: TurnTrace) -> str:
        """Take the turn and give its id; what goes wrong is raised as one of `errors`, with nothing half done."""
        conversation = keys.ConversationKeys(
            keys.conversation_digest(
                dialect=self._upstream.dialect,
                base_url=self._upstream.base_url,
                tenant=incoming.caller.tenant,
                bot_id=incoming.turn.bot_id,
                user_id=incoming.turn.user_id,
            )
        )
        proposal = self._propose(incoming, trace)
        entered = await self._open_turns.enter(conversation, proposal, patience=self._budget)
        trace.turn_id, trace.delay = entered.turn_id, entered.delay
        match entered:
            case Joined():
                trace.plan = "joined"
                return entered.turn_id
            case Entered():
                place = Place(
                    incoming,
                    trace,
                    conversation,
                    proposal,
                    self._upstream.session(incoming.caller.upstream_key),
                    self._replies.callback_url(conversation),
                    Sending(
                        conversation,
                        entered.turn_id,
                        incoming.turn,
                        incoming.caller.upstream_key,
                        proposal.message,
                        proposal.meta,
                    ),
                )
                trace.calls = place.session.calls
                return await self._speak(place, entered)

    def _propose(self, incoming: Incoming, trace: TurnTrace) -> Proposal:
        turn, now = incoming.turn, datetime.now(UTC)
        meta = {
            "tenant": incoming.caller.tenant,
            "bot_id": turn.bot_id,
            "user_id": turn.user_id,
            "conversation_id": turn.client_conversation_id,
            "request_id": trace.request_id,
        }
        return Proposal(
            turn_id=str(uuid.uuid4()),
            caller=uuid.uuid4().hex,
            fingerprint=incoming.fingerprint,
            webhook=incoming.webhook,
            delay=turn.window.draw(random.random()),  # noqa: S311 — a delay, not a secret
            min_delay=turn.window.minimum,
            settle=timedelta(0) if turn.request.segment is False else self._settle,
            meta=msgspec.json.encode(meta),
            message=reconcile.digest(Message(from_bot=False, text=incoming.text)),
            sent_at=int(now.timestamp()),
        )

    async def _speak(self, place: Place, entered: Entered) -> str:
        """Hold the place while the upstream takes the message; leave it in a state that the next one can go on from."""
        turn_id = entered.turn_id
        try:
            async with asyncio.timeout(self._budget.total_seconds()):
                upstream_id, tail = await self._post(place, entered)
        except asyncio.CancelledError:
            await self._abandon(place, turn_id, settled=False)
            raise
        except (base.OutcomeUnknown, TimeoutError) as error:
            # The message may be upstream: the turn stays, and the client's retry joins it once it is settled.
            if await self._abandon(place, turn_id, settled=False) == "answered":
                return turn_id
            if isinstance(error, base.OutcomeUnknown):
                raise error.outcome from error
            raise errors.UpstreamTimeout("the upstream did not take the message in time") from error
        except Exception:
            if await self._abandon(place, turn_id, settled=True) == "answered":
                return turn_id
            raise
        state = await self._open_turns.record_post(
            place.conversation, place.proposal, turn_id, upstream_id, {"tail": "".join(tail)}
        )
        if state == "lost":
            raise errors.UpstreamTimeout("the upstream took too long to take the message; send it again")
        with contextlib.suppress(errors.StoreUnavailable):  # what was prepared falls due by itself, a little later
            await self._replies.ask(place.sending, upstream_id)
        return turn_id

    async def _abandon(self, place: Place, turn_id: str, *, settled: bool) -> str:
        # A store that is away now cannot take this either: the lease runs out, and the transcript settles the turn.
        with contextlib.suppress(errors.StoreUnavailable):
            return await asyncio.shield(
                self._open_turns.abandon(place.conversation, place.proposal, turn_id, settled=settled)
            )
        return "unsettled"

    async def _post(self, place: Place, entered: Entered) -> tuple[str, Sequence[str]]:
        """Get the message into the pair's conversation, once; give its id and the digests of its last messages."""
        incoming, trace = place.incoming, place.trace
        message = Message(from_bot=False, text=incoming.text)
        upstream_id = entered.directory.get("id")
        known: Sequence[str] = reconcile.Known.read(entered.directory.get("tail", ""), None).tail
        if upstream_id is None:
            upstream_id, known = await self._find_or_create(place)
        else:
            trace.plan = "reused"
        trace.upstream_id = upstream_id
        try:
            if not await self._settle_dead(place, entered, upstream_id, known):
                await self._post_once(place, upstream_id, known, message)
        except base.ConversationGone:
            await self._directory.forget(place.conversation, upstream_id)
            upstream_id, known = await self._find_or_create(place)
            trace.plan, trace.upstream_id = "recreated", upstream_id
            await self._post_once(place, upstream_id, known, message)
        return upstream_id, reconcile.tail([message], before=known)

    async def _find_or_create(self, place: Place) -> tuple[str, Sequence[str]]:
        turn, session = place.incoming.turn, place.session
        known: Sequence[str] = ()
        found = await session.find(turn.bot_id, turn.user_id)
        if found is not None:
            with contextlib.suppress(base.ConversationGone):
                await session.adopt(found, place.callback_url)
                place.trace.plan = "adopted"
                await self._record(place, found, known)
                return found, known
        try:
            created = await session.create(turn, place.callback_url, datetime.now(UTC))
        except base.OutcomeUnknown:
            # Look before doing it again: it may be there, with our callback and the history.
            created = await session.find(turn.bot_id, turn.user_id) or await session.create(
                turn, place.callback_url, datetime.now(UTC)
            )
        place.trace.plan = "created"
        known = reconcile.tail(flatten(turn.history))
        await self._record(place, created, known)
        return created, known

    async def _record(self, place: Place, upstream_id: str, known: Sequence[str]) -> None:
        orphans = await self._directory.record(place.conversation, place.proposal.caller, upstream_id, "".join(known))
        for orphan in orphans:  # replies to earlier turns, from before the directory was lost
            await self._queue.fold(
                place.conversation, upstream_id, completion.decode_segment(orphan.segment), late=True
            )

    async def _settle_dead(self, place: Place, entered: Entered, upstream_id: str, known: Sequence[str]) -> bool:
        """Settle turns whose sender died while posting; tell whether this turn is one of them and already upstream."""
        ours = False
        for dead in entered.unsettled:
            posted = await self._is_there(place, upstream_id, known, dead)
            if dead.turn_id == entered.turn_id:
                ours = posted
            else:
                await self._open_turns.settle(place.conversation, place.proposal, dead.turn_id, posted=posted)
        return ours

    async def _is_there(self, place: Place, upstream_id: str, known: Sequence[str], dead: Unsettled) -> bool:
        try:
            return reconcile.holds(await place.session.transcript(upstream_id), known, dead.message)
        except errors.GatewayError as error:
            raise base.OutcomeUnknown(error) from error  # still unknown: the turn stays as it is

    async def _post_once(self, place: Place, upstream_id: str, known: Sequence[str], message: Message) -> None:
        """Post the message; when its outcome is unknown, look before doing it again."""
        session = place.session
        await self._replies.prepare(place.sending, upstream_id, patience=self._budget + LEASE_MARGIN)
        try:
            await session.post(upstream_id, message.text, datetime.now(UTC))
        except base.OutcomeUnknown as unknown:
            try:
                transcript = await session.transcript(upstream_id)
            except errors.GatewayError:
                raise unknown from None  # nobody can tell: the client's retry settles it
            if not reconcile.holds(transcript, known, reconcile.digest(message)):
                await session.post(upstream_id, message.text, datetime.now(UTC))
