"""Turns that await a reply: opened before the post, one of a conversation at a time, each request only once."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Literal, TypeAlias

import msgspec

from gateway import errors, keys
from gateway.directory import Entry
from gateway.store import Answer, Call, Store, times

MAX_OPEN_TURNS = 32
"""Turns of one conversation that may await their reply; beyond it clients get 429 and other conversations nothing."""

PATIENCE_MS = 3000
"""How long a waiting turn whose process says nothing keeps its place."""

AWAITED_MS = 120_000
"""How long a turn may await its reply before it no longer holds up others of its conversation."""

FIRST_POLL_SECONDS = 0.02
LAST_POLL_SECONDS = 0.25

TurnState: TypeAlias = Literal["posted", "answered", "delivered", "lost"]


class Proposal(msgspec.Struct, frozen=True):
    """A turn to be opened, as the store keeps it.

    `caller` names this request among those that stand for the same turn. `webhook` is empty where the client waits for
    the answer. `message` is the digest of its text, empty where the bot is to speak first; `note` the one that the
    conversation's tail will remember it by. `sent_at` is in Unix seconds. `keep`: the turn is remembered after its
    reply has gone out, since its client may repeat it under its key.
    """

    turn_id: str
    caller: str
    fingerprint: str
    webhook: str
    delay_ms: int
    min_delay_ms: int
    settle_ms: int
    meta: bytes
    message: str
    sent_at: int
    note: str = ""
    keep: bool = False


class Unsettled(msgspec.Struct, frozen=True):
    """A turn whose sender died between opening and recording: the transcript decides whether it was posted."""

    turn_id: str
    message: str
    sent_at: int


class Entered(msgspec.Struct, frozen=True):
    """The caller may speak to the upstream now, for the length of the lease.

    `unanswered` counts the earlier turns whose reply has not reached the client. `known` is None where there is no
    upstream conversation that is known.
    """

    turn_id: str
    delay: timedelta
    unsettled: Sequence[Unsettled]
    unanswered: int
    known: Entry | None


class Recovery(msgspec.Struct, frozen=True):
    """After which silence a reply is looked for upstream, and what the one who looks needs, sealed."""

    after_ms: int
    sealed: str


class Joined(msgspec.Struct, frozen=True):
    """The same request is with the upstream already: nothing is to be posted."""

    turn_id: str
    delay: timedelta


class OpenTurns:
    """The open turns of all conversations. `lease` bounds how long one turn may speak to the upstream."""

    def __init__(self, store: Store, lease: timedelta) -> None:
        self._store = store
        self._lease = lease.total_seconds()
        self._lease_ms = times.milliseconds(lease)
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}

    async def enter(
        self, conversation: keys.ConversationKeys, proposal: Proposal, patience: timedelta
    ) -> Entered | Joined:
        """Open the turn and wait for its place; join the identical request that is still open.

        Raises `TooManyTurns` when the conversation's queue is full, or when no place came free within `patience`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience.total_seconds()
        pause = FIRST_POLL_SECONDS
        awaited = ""
        while True:
            answer = await self._open(conversation, proposal, awaited)
            status: Literal["enter", "joined", "full", "wait"] = answer[0]
            match status:
                case "enter":
                    _, turn_id, delay, dead, unanswered, *known = answer
                    return Entered(
                        turn_id,
                        timedelta(milliseconds=float(delay)),
                        [Unsettled(one[0], one[1], int(one[2])) for one in dead] if dead else [],
                        unanswered,
                        Entry(*known) if known[0] is not None else None,
                    )
                case "joined":
                    return Joined(answer[1], timedelta(milliseconds=float(answer[2])))
                case "full":
                    raise errors.TooManyTurns(
                        f"{MAX_OPEN_TURNS} messages of this conversation await their reply", retry_after_seconds=5
                    )
                case "wait":
                    awaited = answer[1]  # whatever becomes of that one, this request is the same
            if loop.time() > deadline:
                await self._withdraw(conversation, proposal, answer[1])
                raise errors.TooManyTurns(
                    "an earlier message of this conversation is still being posted", retry_after_seconds=2
                )
            await self._released(conversation.digest, pause)
            pause = min(pause * 1.5, LAST_POLL_SECONDS)

    async def name(self, tenant: str, key: str, fingerprint: str, turn_id: str) -> str:
        """Give the id of the turn that a client's key stands for: the one proposed, or an earlier one's.

        Raises `OutOfRange` when the key was given to another request.
        """
        outcome, *named = await self._store.run(
            "claim_idempotency",
            [keys.idempotency(tenant, key)],
            fingerprint,
            turn_id,
            keys.IDEMPOTENCY_TTL_SECONDS,
        )
        if outcome == "other":
            raise errors.OutOfRange("Idempotency-Key: it was sent with another request within the last 24 hours")
        found: str = named[0]
        return found

    async def record_post(
        self,
        conversation: keys.ConversationKeys,
        proposal: Proposal,
        turn_id: str,
        conversation_id: str,
        fields: Mapping[str, str],
        *,
        found: bool = False,
        recovery: Recovery | None = None,
    ) -> TurnState:
        """Record that the upstream has the message, with what is now known of the conversation.

        `found`: it was there already, from an earlier attempt. `recovery`: how its reply is looked for if none comes.
        A store that is away is told when it is back, so that the client's retry finds the turn posted, whether or not
        its reply has gone out by then.
        """
        call = Call(
            "record_post",
            (
                conversation.directory,
                conversation.lock,
                conversation.shard.turn(turn_id),
                conversation.fingerprints,
                conversation.turns,
                conversation.shard.pulls,
                conversation.pull,
            ),
            (
                proposal.caller,
                conversation_id,
                proposal.webhook,
                proposal.meta,
                keys.CONVERSATION_TTL_SECONDS,
                keys.TAIL_CHARACTERS,
                turn_id,
                conversation.shard.prefix,
                "1" if found else "",
                keys.TURN_OVER_TTL_SECONDS,
                conversation.digest,
                recovery.after_ms if recovery else "",
                recovery.sealed if recovery else "",
                keys.TURN_TTL_SECONDS,
                *chain.from_iterable(fields.items()),
            ),
        )
        try:
            state: TurnState = await self._store.run(call.name, call.keys, *call.arguments)
        except errors.StoreUnavailable:
            self._store.later(call, self._lease)
            self._store.later(self._remembering(conversation, turn_id), self._lease)
            raise
        self._release(conversation.digest)
        return state

    async def remember(self, conversation: keys.ConversationKeys, turn_id: str) -> None:
        """Note that a turn was taken whose client does not know of it: his next try joins it, however late."""
        await self._tell(self._remembering(conversation, turn_id))

    async def abandon(
        self, conversation: keys.ConversationKeys, proposal: Proposal, turn_id: str, *, settled: bool
    ) -> str:
        """Give up posting; unless it is `settled` that the message is not upstream, the turn stays for a retry.

        A store that is away is told when it is back, so that the next turn need not wait for the end of the lease.
        """
        state: str = await self._tell(self._abandoning(conversation, proposal, turn_id, settled=settled))
        self._release(conversation.digest)
        return state

    async def _tell(self, call: Call) -> Answer:
        """Run the script that ends a turn's hold of its place; later, if the store is away."""
        try:
            return await self._store.run(call.name, call.keys, *call.arguments)
        except errors.StoreUnavailable:
            self._store.later(call, self._lease)
            raise

    def _remembering(self, conversation: keys.ConversationKeys, turn_id: str) -> Call:
        turn = conversation.shard.turn(turn_id)
        return Call("remember_turn", (turn, conversation.fingerprints), (turn_id, keys.UNACKNOWLEDGED_TTL_SECONDS))

    def _abandoning(
        self, conversation: keys.ConversationKeys, proposal: Proposal, turn_id: str, *, settled: bool
    ) -> Call:
        return Call(
            "abandon_post",
            (
                conversation.turns,
                conversation.lock,
                conversation.fingerprints,
                conversation.shard.turn(turn_id),
                conversation.directory,
            ),
            (proposal.caller, turn_id, "forget" if settled else "leave", proposal.note),
        )

    async def settle(
        self, conversation: keys.ConversationKeys, proposal: Proposal, turn_id: str, *, posted: bool
    ) -> str:
        """Settle a turn whose sender died, by what the transcript says; the caller must hold the place."""
        state: str = await self._store.run(
            "settle_turn",
            [
                conversation.turns,
                conversation.lock,
                conversation.fingerprints,
                conversation.shard.turn(turn_id),
                conversation.directory,
            ],
            proposal.caller,
            turn_id,
            "posted" if posted else "forget",
        )
        return state

    async def _open(self, conversation: keys.ConversationKeys, proposal: Proposal, awaited: str) -> Answer:
        try:
            return await self._store.run(
                "open_turn",
                (conversation.directory, conversation.turns, conversation.lock, conversation.fingerprints),
                conversation.shard.prefix,
                proposal.turn_id,
                proposal.caller,
                proposal.fingerprint,
                proposal.webhook,
                proposal.delay_ms,
                proposal.min_delay_ms,
                proposal.settle_ms,
                proposal.meta,
                proposal.message,
                proposal.sent_at,
                self._lease_ms,
                PATIENCE_MS,
                MAX_OPEN_TURNS,
                keys.TURN_TTL_SECONDS,
                AWAITED_MS,
                proposal.note,
                "1" if proposal.keep else "",
                awaited,
            )
        except errors.StoreUnavailable:
            # It may have been carried out, or yet be, and nobody would know that the place is free.
            self._store.later(
                self._abandoning(conversation, proposal, awaited or proposal.turn_id, settled=not awaited), self._lease
            )
            raise

    async def _withdraw(self, conversation: keys.ConversationKeys, proposal: Proposal, turn_id: str) -> None:
        if turn_id == proposal.turn_id:  # a joined turn is its first caller's to withdraw
            await self.abandon(conversation, proposal, turn_id, settled=True)

    async def _released(self, digest: str, seconds: float) -> None:
        """Wait until another turn of this process leaves the place, at most so long: other processes do not tell."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(digest, []).append(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            waiting = self._waiters.get(digest, [])
            if waiter in waiting:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiters[digest]

    def _release(self, digest: str) -> None:
        for waiter in self._waiters.pop(digest, ()):
            if not waiter.done():
                waiter.set_result(None)
