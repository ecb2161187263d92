"""Accept a turn: open it, get its message upstream, acknowledge it, or wait for its answer.

Read `Turns.accept` from top to bottom. Two orders matter. The turn is opened in the store *before* its message goes
upstream, since the reply can outrun the upstream's own answer; the client is answered *after* the upstream has taken
the message, so that an upstream's refusal is the client's to see. A process that dies in between leaves a turn in
state `posting`: the next request of that conversation reads the transcript and settles it.
"""

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import Mapping
from datetime import timedelta

from gateway import errors, ids, keys, people
from gateway.deadlines import Within
from gateway.directory import Directory
from gateway.open_turns import Entered, Joined, OpenTurns, Proposal
from gateway.people import People
from gateway.posting import Incoming, Means, Place, Posting, Rules
from gateway.relay.queue import Queue
from gateway.replies import Replies, Sending
from gateway.store import times
from gateway.trace import TurnTrace
from gateway.upstreams import base
from mappings import reconcile
from mappings.reconcile import Verdict
from mappings.turn import Message

CALLS_PER_TURN = 2
"""The upstream calls of one turn together have as many call timeouts; rarely more than one of them is slow."""

LEASE_MARGIN = timedelta(seconds=5)
"""By how much a turn's place outlasts its calls, so that nobody takes over while one is under way."""


class Turns:
    """Flow 1. `call_timeout` bounds one upstream call, a turn has twice that for all of them."""

    def __init__(
        self,
        *,
        upstream: base.Upstream,
        open_turns: OpenTurns,
        directory: Directory,
        queue: Queue,
        replies: Replies,
        call_timeout: timedelta,
        settle: timedelta,
        rules: Rules,
    ) -> None:
        self.dialect = upstream.dialect
        self.rules = rules
        self._upstream = upstream
        self._open_turns = open_turns
        self._replies = replies
        self._settle_ms = times.milliseconds(settle)
        self._budget = CALLS_PER_TURN * call_timeout
        self._budget_seconds = self._budget.total_seconds()
        self._means = Means(
            open_turns,
            directory,
            queue,
            replies,
            rules,
            patience=self._budget + LEASE_MARGIN,
            keeps_what_it_speaks=upstream.keeps_what_it_speaks,
        )

    def conversation_of(self, incoming: Incoming) -> keys.ConversationKeys:
        """Name the conversation that a request belongs to."""
        return keys.ConversationKeys(
            keys.conversation_digest(
                dialect=self._upstream.dialect,
                base_url=self._upstream.base_url,
                tenant=incoming.caller.tenant,
                bot_id=incoming.turn.bot_id,
                user_id=incoming.turn.user_id,
            )
        )

    async def accept(self, incoming: Incoming, trace: TurnTrace) -> str:
        """Take the turn and give its id; what goes wrong is raised as one of `errors`, with nothing half done."""
        conversation = self.conversation_of(incoming)
        caller, turn_id, fingerprint = ids.new(), None, incoming.fingerprint
        if incoming.key is not None:
            turn_id = await self._open_turns.name(incoming.caller.tenant, incoming.key, fingerprint, caller)
            fingerprint = hashlib.blake2b(f"{fingerprint} {incoming.key}".encode(), digest_size=16).hexdigest()
        proposal = self._proposal(incoming, turn_id or caller, caller, fingerprint, trace.request_id)
        entered = await self._open_turns.enter(conversation, proposal, patience=self._budget)
        trace.turn_id, trace.delay = entered.turn_id, entered.delay
        match entered:
            case Joined():
                trace.plan, trace.verdict = "joined", Verdict.DUPLICATE
            case Entered():
                place = Place(
                    incoming,
                    trace,
                    conversation,
                    proposal,
                    entered.turn_id,
                    self._upstream.session(incoming.caller.upstream_key),
                    Sending(
                        conversation,
                        entered.turn_id,
                        incoming.turn,
                        incoming.picture,
                        incoming.caller.upstream_key,
                        proposal.message,
                        proposal.meta,
                    ),
                )
                trace.calls = place.session.calls
                await self._speak(place, entered)
        return entered.turn_id

    async def remember(self, incoming: Incoming, turn_id: str) -> None:
        """Note that a turn's client has gone before he was told that it was taken."""
        with contextlib.suppress(errors.StoreUnavailable):  # it is told when it is back
            await self._open_turns.remember(self.conversation_of(incoming), turn_id)

    def _proposal(self, incoming: Incoming, turn_id: str, caller: str, fingerprint: str, request_id: str) -> Proposal:
        turn, text = incoming.turn, incoming.text
        meta = People(incoming.caller.tenant, turn.bot_id, turn.user_id, turn.client_conversation_id, request_id)
        waits = incoming.webhook is None
        message = "" if text is None else reconcile.digest(Message(from_bot=False, text=text))
        return Proposal(
            turn_id=turn_id,
            caller=caller,
            fingerprint=fingerprint,
            webhook=incoming.webhook or "",
            # The delay of an answer that a client waits for is the client's to wait (V1's own way).
            delay_ms=times.milliseconds(turn.window.draw(random.random())),  # noqa: S311 — a delay, not a secret
            min_delay_ms=0 if waits else times.milliseconds(turn.window.minimum),
            settle_ms=0 if turn.request.segment is False else self._settle_ms,
            meta=people.encode(meta),
            message=message,
            note=message if text and reconcile.has_words(text) else "",
            sent_at=int(time.time()),
            keep=incoming.key is not None,
        )

    async def _speak(self, place: Place, entered: Entered) -> None:
        """Hold the place while the upstream takes the message; leave it in a state that the next one can go on from."""
        posting = Posting(place, self._means)
        fields: Mapping[str, str]
        try:
            with Within(self._budget_seconds):
                upstream_id, fields = await posting.run(entered)
        except asyncio.CancelledError:
            await self._abandon(place, settled=False)
            raise
        except (base.OutcomeUnknown, TimeoutError) as error:
            # The message may be upstream: the turn stays, and the client's retry joins it once it is settled.
            await self._abandon(place, settled=False)
            if isinstance(error, base.OutcomeUnknown):
                raise error.outcome from error
            raise errors.UpstreamTimeout("the upstream did not take the message in time") from error
        except Exception:
            await self._abandon(place, settled=True)
            raise
        state = await self._open_turns.record_post(
            place.conversation,
            place.proposal,
            place.turn_id,
            upstream_id,
            fields,
            found=posting.found,
            recovery=self._replies.recovery(place.sending),
        )
        if state == "lost":
            raise errors.UpstreamTimeout("the upstream took too long to take the message; send it again")
        if place.incoming.text is not None:
            with contextlib.suppress(errors.StoreUnavailable):  # what was prepared falls due by itself, a little later
                await self._replies.ask(place.sending, upstream_id, found=posting.found)

    async def _abandon(self, place: Place, *, settled: bool) -> None:
        # A store that is away now cannot take this either: the lease runs out, and the transcript settles the turn.
        with contextlib.suppress(errors.StoreUnavailable):
            await asyncio.shield(
                self._open_turns.abandon(place.conversation, place.proposal, place.turn_id, settled=settled)
            )
