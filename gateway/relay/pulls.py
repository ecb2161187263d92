"""Replies that must be fetched, for upstreams that call nobody back: who is to be asked, when, and by whom.

A **pull** belongs to a conversation. It is prepared before the user's message is sent, asked for once the upstream has
taken it, and claimed with a lease that is renewed for as long as the bot generates, which can take many minutes. So:

- A process that dies leaves its claim to be taken over. The one who takes over reads what the upstream holds before it
  lets the bot speak again: asking twice posts nothing twice, and a reply that was generated already is taken as it is.
- Before the message is known to be upstream the pull waits for as long as its sender may take. It is claimed then only
  if that sender died, and comes to nothing if the message never got there.
- A message that is sent while the bot generates does not begin a second pull beside the first; the first one's end sees
  that more was asked for, and the conversation is pulled again.

What a puller needs of the client is kept with the pull, sealed, and is gone with it: the upstream's key, and what the
bot is to be told for this one call.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
import structlog

from gateway import keys, people
from gateway.sealed import Sealer
from gateway.store import Call, NoAnswer, Store, times

Ending: TypeAlias = Literal["done", "retry", "release"]
Ended: TypeAlias = Literal["done", "again", "stale"]

Outcome: TypeAlias = Literal["heard", "found", "nothing", "retry", "given_up", "handed_back", "lost"]
"""heard: the bot spoke; found: it had spoken already; nothing: there is nothing to reply to; lost: now another's."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Brief:
    """What the one who pulls needs: the upstream's key, and what the bot is to be told for this call only."""

    key: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """The reply to a turn's message: `message` is the message's digest, `meta` names its people for the log."""

    turn_id: str
    upstream_id: str
    message: str
    meta: bytes
    brief: Brief


@dataclass(frozen=True, slots=True)
class Pull:
    """One claimed pull. `asked` is the turn that asked for it, empty while none surely has.

    `posted` messages of the user await a reply. `claims` counts those since it was asked for, with this one,
    `takeovers` the ones in a row before it that nobody ended, `failures` those that failed. `brief` is None when it
    cannot be unsealed any more. `fence` names this claim. `is_gap`: no reply is to be pulled, but what
    no callback has brought is to be looked for (see `gaps`).
    """

    conversation: keys.ConversationKeys
    upstream_id: str
    message: str
    asked: str
    posted: int
    claims: int
    takeovers: int
    failures: int
    fence: int
    meta: Mapping[str, object]
    brief: Brief | None
    is_gap: bool = False

    @property
    def name(self) -> str:
        """By what the queue knows it."""
        return f"{self.conversation.digest}:gap" if self.is_gap else self.conversation.digest


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim on all shards brought, by the store's clock. `next_due`: None when nothing waits."""

    now: datetime
    next_due: datetime | None
    pulls: Sequence[Pull]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one claim. `reason` is why the generation ended, `cause` what went wrong."""

    outcome: Outcome
    reason: str | None = None
    cause: str | None = None
    status: int | None = None
    tokens: int | None = None
    messages: int = 0


class AskedMeanwhile(Exception):
    """More was asked for since the claim, which has not been tried yet."""


class Pulls:
    """The pulls in the store; everything here may be sent again.

    `on_due` is told of every moment that this process sets, by the store's clock.
    """

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self.store = store
        self.on_due: Callable[[datetime], None] = _nobody
        self._sealer = sealer

    def seal(self, conversation: keys.ConversationKeys, brief: Brief) -> str:
        """Seal what the one who pulls needs, for the store."""
        return self._sealer.seal(msgspec.json.encode(brief).decode(), conversation.pull)

    async def prepare(self, conversation: keys.ConversationKeys, expected: Expected, *, patience: timedelta) -> None:
        """Note that a message is about to be sent, whose sender has so long to say that it was."""
        await self._expect("prepare", conversation, expected, patience)

    async def ask(self, conversation: keys.ConversationKeys, expected: Expected, *, found: bool = False) -> None:
        """Have the reply pulled: the upstream has taken the message, or was found to hold it from an earlier attempt.

        Of a message that was found the bot may have spoken already: whoever pulls looks first.
        """
        self.on_due(await self._expect("look" if found else "ask", conversation, expected, timedelta()))

    async def claim(self, limit: int, lease: timedelta) -> Claims | None:
        """Claim of each shard at most so many due pulls, in one round trip; None when no shard answered."""
        shards = keys.all_shards()
        answers = await self.store.run_all(
            Call("claim_pulls", (one.pulls, one.fence), (one.prefix, times.milliseconds(lease), limit))
            for one in shards
        )
        taken = [answer for answer in answers if not isinstance(answer, NoAnswer)]
        if not taken:
            return None
        return Claims(
            now=times.moment(max(answer[0] for answer in taken)),
            next_due=min((times.moment(answer[1]) for answer in taken if answer[1] != ""), default=None),
            pulls=[pull for answer in taken for pull in self._read_all(answer[2:])],
        )

    async def renew(self, pull: Pull, lease: timedelta) -> str | None:
        """Hold the claim for longer; give the turn that is asked for by now, None when the claim is another's."""
        is_ours, asked = await self.store.run(
            "renew_pull", _keys(pull), pull.name, pull.fence, times.milliseconds(lease)
        )
        return asked if is_ours else None

    async def end(self, pull: Pull, ending: Ending, *, asked: str = "", pause: timedelta = timedelta()) -> Ended:
        """End the claim: `done` when the reply to turn `asked` is there, `retry` after a pause, `release` unused."""
        ended: Ended = await self.store.run(
            "end_pull", _keys(pull), pull.name, pull.fence, ending, asked, times.milliseconds(pause)
        )
        return ended

    async def is_long(self, pull: Pull, messages: int) -> bool:
        """Tell, once, that the conversation has as many messages more than when this was last told of it."""
        told: int = await self.store.run("note_length", [pull.conversation.directory], messages)
        return told == 1

    async def give_up(self, pull: Pull, reason: str, cause: str, status: int | None) -> str | None:
        """Make a dead letter of what awaits the reply; give its id, None when nothing does.

        Raises `AskedMeanwhile` when the user has spoken since the claim: the pull goes on.
        """
        conversation, shard = pull.conversation, pull.conversation.shard
        letter: str = await self.store.run(
            "give_up_pull",
            [shard.pulls, conversation.pull, conversation.turns, shard.dead, conversation.fingerprints],
            shard.prefix,
            conversation.digest,
            pull.fence,
            reason,
            cause,
            "" if status is None else status,
            keys.DEAD_LETTER_TTL_SECONDS,
            pull.asked,
            str(uuid.uuid4()),
        )
        if letter == "again":
            raise AskedMeanwhile
        return letter if letter not in {"", "stale"} else None

    async def _expect(
        self, what: str, conversation: keys.ConversationKeys, expected: Expected, patience: timedelta
    ) -> datetime:
        sealed = self.seal(conversation, expected.brief)
        due: str = await self.store.run(
            "expect_reply",
            [conversation.shard.pulls, conversation.pull],
            conversation.digest,
            what,
            expected.turn_id,
            expected.upstream_id,
            sealed,
            expected.meta,
            expected.message,
            times.milliseconds(patience),
            keys.TURN_TTL_SECONDS,
        )
        return times.moment(due)

    def _read_all(self, claims: Sequence[Sequence[str]]) -> Iterator[Pull]:
        for claim in claims:
            try:
                yield self._read(claim)
            except (KeyError, ValueError) as error:  # its lease runs out: a newer version may know better
                log.error("pull.unreadable", error=type(error).__name__)  # noqa: TRY400 — it would quote

    def _read(self, claim: Sequence[str]) -> Pull:
        flat = iter(claim[2:])
        fields = dict(zip(flat, flat, strict=True))
        digest, _, kind = claim[0].partition(":")
        bytes.fromhex(digest)  # what its keys are derived from
        conversation = keys.ConversationKeys(digest)
        opened = self._sealer.open(fields["sealed"], conversation.pull)
        return Pull(
            conversation=conversation,
            upstream_id=fields["upstream"],
            message=fields.get("message", ""),
            asked=fields.get("asked", ""),
            posted=int(claim[1]),
            claims=int(fields["claims"]),
            takeovers=int(fields.get("takeovers", 0)),
            failures=int(fields.get("failures", 0)),
            fence=int(fields["fence"]),
            meta=people.read(fields["meta"]),
            brief=None if opened is None else msgspec.json.decode(opened, type=Brief),
            is_gap=kind == "gap",
        )


def _nobody(_due: datetime) -> None:
    """Nobody listens."""


def _keys(pull: Pull) -> list[str]:
    return [pull.conversation.shard.pulls, pull.conversation.gap if pull.is_gap else pull.conversation.pull]
