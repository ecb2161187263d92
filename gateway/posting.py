"""Get one message into the pair's conversation, once, and leave the upstream with what the client holds.

Read `Posting.run` from top to bottom. The place in the conversation's line is held for as long: nobody else speaks to
the upstream about this conversation meanwhile.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from gateway import auth, errors, keys
from gateway.directory import Directory, Entry
from gateway.open_turns import Entered, OpenTurns, Proposal, Unsettled
from gateway.relay.queue import Queue
from gateway.replies import Replies, Sending
from gateway.trace import TurnTrace
from gateway.upstreams import base
from mappings import completion, context, fates, receipt, reconcile, v1
from mappings.reconcile import CatchUp, Continue, Create, Decision, Known, Reseed, Verdict
from mappings.turn import Message, Picture, Turn, flatten

REFUSED_CONTEXT = frozenset({400, 404, 405, 409, 413, 415, 422})
"""Statuses by which an upstream says that it does not take what it is to be told: the turn goes on without."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator decides about histories that differ, and about what conversations are told."""

    history: reconcile.Policy = field(default_factory=reconcile.Policy)
    context: fates.Mode = "full"


class Incoming(msgspec.Struct, frozen=True):
    """One authenticated V1 request that can be served.

    `webhook` is None where the client waits for the answer; `text` is None where the bot is to speak first. `picture`
    goes with the text. `fingerprint` names the request's exact bytes; `key` is the client's own name for it. `strict`:
    the client would rather be refused than lose anything.
    """

    turn: Turn
    webhook: str | None
    text: str | None
    picture: Picture | None
    caller: auth.Caller
    fingerprint: str
    key: str | None = None
    strict: bool = False


class Place(msgspec.Struct, frozen=True):
    """A turn's place at the head of its conversation's line, with what it needs there."""

    incoming: Incoming
    trace: TurnTrace
    conversation: keys.ConversationKeys
    proposal: Proposal
    turn_id: str
    session: base.Session
    sending: Sending


class Means(msgspec.Struct, frozen=True):
    """What all turns get their messages upstream with.

    `patience`: how long after the place was given up nobody takes for dead whoever had it. `keeps_what_it_speaks`: as
    the upstream does.
    """

    open_turns: OpenTurns
    directory: Directory
    queue: Queue
    replies: Replies
    rules: Rules
    patience: timedelta
    keeps_what_it_speaks: bool


class _Conversation(msgspec.Struct):
    """The upstream's conversation as it is known; `turn` names the user by whom the upstream has it."""

    id: str
    turn: Turn
    known: Known
    told: dict[str, str] = msgspec.field(default_factory=dict)
    """Digests of what the upstream was told: `context` of the conversation, `facts` of the user."""
    unanswered: int = 0
    is_found: bool = False
    """Found or created by this turn: no earlier one can have posted to it from here."""
    is_created: bool = False
    held: int = 0
    """How many messages it had when it was found or created."""


class Posting:
    """One turn at its place."""

    def __init__(self, place: Place, means: Means) -> None:
        self._place = place
        self._means = means
        self._session = place.session
        self._trace = place.trace
        self.found = False
        """Whether the message was upstream already, from an earlier attempt."""
        self._context = context.carry(place.incoming.turn.request, mode=means.rules.context)

    async def run(self, entered: Entered) -> tuple[str, Mapping[str, str]]:
        """Carry the turn upstream; give the conversation's id and what the directory is to remember of it."""
        if entered.known is None:
            conversation = await self._find_or_create(self._place.incoming.turn)
        else:
            conversation = self._read(entered.known, entered.unanswered)
            self._trace.plan = "reused"
        try:
            return await self._speak(conversation, entered.unsettled)
        except base.ConversationGone:
            await self._means.directory.forget(self._place.conversation, conversation.id)
        again = await self._find_or_create(self._place.incoming.turn)
        self._trace.plan = "recreated"
        try:
            return await self._speak(again, ())
        except base.ConversationGone as error:
            raise errors.UpstreamUnavailable("the upstream loses the conversation that it has just created") from error

    def _read(self, stored: Entry, unanswered: int) -> _Conversation:
        turn, told = self._place.incoming.turn, {}
        if stored.context is not None:
            told["context"] = stored.context
        if stored.facts is not None:
            told["facts"] = stored.facts
        return _Conversation(
            stored.id,
            turn if stored.user is None else msgspec.structs.replace(turn, user_id=stored.user),
            Known.read(stored.tail or "", stored.count),
            told,
            unanswered,
        )

    async def _speak(
        self, conversation: _Conversation, unsettled: Sequence[Unsettled]
    ) -> tuple[str, Mapping[str, str]]:
        self._trace.upstream_id = conversation.id
        if not (unsettled and await self._settle_dead(conversation, unsettled)):
            conversation = await self._bring_into_step(conversation)
            await self._tell(conversation)
            if self._place.incoming.text is None:
                await self._speak_first(conversation)
            else:
                await self._post_once(conversation)
        return conversation.id, conversation.told

    # The conversation

    async def _find_or_create(self, turn: Turn) -> _Conversation:
        found = await self._session.find(turn.bot_id, turn.user_id)
        if found is not None:
            with contextlib.suppress(base.ConversationGone):
                return await self._adopt(found, turn)
        if self._place.incoming.text is None and not turn.history and v1.opening(turn.request) != "start":
            raise errors.OutOfRange(
                "message: required, since there is no conversation yet that the bot could go on with"
            )
        callback_url, now = self._means.replies.callback_url(self._place.conversation), datetime.now(UTC)
        try:
            created = await self._session.create(turn, callback_url, now, self._context)
        except base.OutcomeUnknown:
            # Look before doing it again: it may be there, with our callback and the history.
            created = await self._session.find(turn.bot_id, turn.user_id) or await self._session.create(
                turn, callback_url, now, self._context
            )
        self._trace.plan = "created"
        self._trace.verdict = Verdict.SEED
        known = Known.of(flatten(turn.history))
        digest = self._context.conversation.digest
        conversation = _Conversation(
            created,
            turn,
            known,
            {"context": digest} if digest else {},
            is_found=True,
            is_created=True,
            held=turn.history_segments,
        )
        await self._record(conversation)
        return conversation

    async def _adopt(self, found: str, turn: Turn) -> _Conversation:
        await self._session.adopt(found, self._means.replies.callback_url(self._place.conversation))
        transcript = await self._session.transcript(found)
        self._trace.plan = "adopted"
        # How many of the user's messages still wait for an answer is not known: no lag counts as a fork.
        conversation = _Conversation(
            found,
            turn,
            Known.of(transcript),
            unanswered=reconcile.TAIL_MESSAGES,
            is_found=True,
            held=len(transcript),
        )
        await self._record(conversation)
        return conversation

    async def _record(self, conversation: _Conversation) -> None:
        place, known = self._place, conversation.known
        held = str(conversation.held)
        fields = {"tail": known.tail, "count": str(known.count), "heard": held, "since": held, **conversation.told}
        if conversation.turn.user_id != place.incoming.turn.user_id:
            fields["user"] = conversation.turn.user_id
        if place.incoming.webhook is not None:  # where callbacks go that have waited for their conversation
            fields |= {"webhook": place.incoming.webhook, "meta": place.proposal.meta.decode()}
        orphans = await self._means.directory.record(place.conversation, place.proposal.caller, conversation.id, fields)
        for orphan in orphans:  # replies to earlier turns, from before the directory was lost
            await self._means.queue.fold(
                place.conversation, conversation.id, completion.decode_segment(orphan.segment), late=True, noted=False
            )

    # What was left behind

    async def _settle_dead(self, conversation: _Conversation, unsettled: Sequence[Unsettled]) -> bool:
        """Settle turns whose sender died while posting; tell whether this one's message is already upstream."""
        place, ours = self._place, False
        if conversation.is_found:
            for dead in unsettled:
                if dead.turn_id != place.turn_id:
                    await self._means.open_turns.settle(place.conversation, place.proposal, dead.turn_id, posted=False)
            return False
        try:
            transcript = await self._session.transcript(conversation.id)
        except errors.GatewayError as error:
            raise base.OutcomeUnknown(error) from error  # still unknown: the turns stay as they are
        before = conversation.known
        for dead in unsettled:
            posted = bool(dead.message) and reconcile.holds(transcript, before.tail, dead.message)
            if dead.turn_id == place.turn_id:
                ours = posted
            else:
                await self._means.open_turns.settle(place.conversation, place.proposal, dead.turn_id, posted=posted)
        conversation.known = Known.of(transcript)
        await self._means.directory.record_read(
            place.conversation,
            place.proposal.caller,
            place.turn_id,
            conversation.known,
            before=before.tail,
            holds_turn=ours,
        )
        self.found = ours
        if ours:
            self._trace.verdict = Verdict.DUPLICATE
        return ours

    # The history

    async def _bring_into_step(self, conversation: _Conversation) -> _Conversation:
        """Compare what the client holds with what the upstream is known to hold, and do something about it."""
        if conversation.is_created:
            return conversation
        decision = reconcile.decide(
            self._place.incoming.turn.history,
            conversation.known,
            unanswered=conversation.unanswered,
            policy=self._means.rules.history,
            segments=self._place.incoming.turn.history_segments,
        )
        self._trace.verdict = decision.verdict
        if decision.restart and self._place.incoming.strict:
            raise errors.ClientError(f"handling=strict: messages: {receipt.DIVERGED}")
        self._trace.decision = decision
        match decision.plan:
            case Continue() | Create():
                if decision.restart:
                    await self._note((), decision)
            case CatchUp(add):
                await self._announce(add)
                try:
                    await self._session.add(conversation.id, add, datetime.now(UTC))
                except errors.GatewayError as error:
                    if len(add) == 1:
                        raise
                    raise base.OutcomeUnknown(error) from error  # some may be there: the next turn reads which
                await self._note(add, decision)
            case Reseed(history):
                name = reconcile.history_digest(history, leaving=conversation.id)
                derived = reconcile.derived_user_id(self._place.incoming.turn.user_id, name)
                turn = msgspec.structs.replace(self._place.incoming.turn, user_id=derived)
                conversation = await self._find_or_create(turn)
                self._trace.verdict, self._trace.plan = decision.verdict, "reseeded"
                self._trace.upstream_id = conversation.id
        return conversation

    async def _announce(self, messages: Sequence[Message]) -> None:
        place = self._place
        await self._means.directory.record_ours(place.conversation, place.proposal.caller, place.turn_id, messages)

    async def _note(self, added: Sequence[Message], decision: Decision) -> None:
        if added or decision.restart:
            await self._means.directory.record_added(
                self._place.conversation,
                self._place.proposal.caller,
                self._place.turn_id,
                added,
                restart=decision.restart,
            )

    # What the upstream is to know beside the messages

    async def _tell(self, conversation: _Conversation) -> None:
        """Tell the upstream what has changed of the conversation's context and of the user's facts."""
        carried, told, session = self._context, conversation.told, self._session
        named, facts = carried.conversation.digest, carried.user.digest
        try:
            if named != told.get("context", ""):
                await session.describe(conversation.id, carried)
                told["context"] = named
            if facts != told.get("facts", ""):
                await session.describe_user(conversation.id, conversation.turn.user_id, carried)
                told["facts"] = facts
        except errors.UpstreamRejected as error:
            if error.status not in REFUSED_CONTEXT:
                raise
            self._trace.context_refused = True
            log.warning("context.refused", status=error.status, conversation_id=conversation.id)

    # The message

    async def _post_once(self, conversation: _Conversation) -> None:
        """Post the message; when its outcome is unknown, look before doing it again."""
        incoming, session = self._place.incoming, self._session
        text = incoming.text or ""
        await self._means.replies.prepare(self._place.sending, conversation.id, patience=self._means.patience)
        try:
            await session.post(conversation.id, text, datetime.now(UTC), incoming.picture)
        except base.OutcomeUnknown as unknown:
            try:
                transcript = await session.transcript(conversation.id)
            except errors.GatewayError:
                raise unknown from None  # nobody can tell: the client's retry settles it
            known = conversation.known.tail + reconcile.tail(self._added())
            if not reconcile.holds(transcript, known, self._place.proposal.message):
                await session.post(conversation.id, text, datetime.now(UTC), incoming.picture)

    def _added(self) -> Sequence[Message]:
        plan = self._trace.decision.plan if self._trace.decision else None
        return plan.add if isinstance(plan, CatchUp) else ()

    async def _speak_first(self, conversation: _Conversation) -> None:
        """Have the bot say something of itself, and deliver it like any reply.

        The reply is stored before the upstream's conversation gets it: a crash in between leaves a client who holds
        more than the upstream, which the next turn mends.
        """
        place = self._place
        segments = await self._session.speak(conversation.id, conversation.turn)
        if not segments:
            raise errors.OutOfRange("message: required, since the bot has nothing to say of itself now")
        for segment in segments:
            await self._means.queue.fold(
                place.conversation,
                conversation.id,
                segment,
                noted=self._means.keeps_what_it_speaks,
                answers=place.turn_id,
            )
        if self._means.keeps_what_it_speaks:
            return
        messages = [Message(from_bot=True, text=segment.text, id=segment.message_id) for segment in segments]
        await self._announce(messages)
        try:
            await self._session.add(conversation.id, messages, datetime.now(UTC))
        except (errors.GatewayError, base.OutcomeUnknown, base.ConversationGone):
            log.warning("opening.not_added", conversation_id=conversation.id)  # the client holds it: it is mended so
            return
        await self._means.directory.record_added(
            place.conversation,
            place.proposal.caller,
            place.turn_id,
            messages,
            restart=False,
        )
