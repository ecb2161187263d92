"""What the relay's tests share: turns that await their reply, segments that come, and the store's clock."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

import msgspec

from gateway import keys, people
from gateway.open_turns import Entered, OpenTurns, Proposal
from gateway.people import People
from gateway.relay.delivery import Answered, Delivery, Outcome, Result
from gateway.relay.queue import Folded, Queue
from gateway.relay.worker import Worker, boot_clock
from gateway.settings import Settings
from gateway.store import Store, times
from mappings.turn import Picture, ReplySegment

UPSTREAM_ID = "c-1"
WEBHOOK = "https://client.example/hook?token=s3cret"
LEASE = timedelta(seconds=25)
EVERY_SHARD = {shard.shard: 1000 for shard in keys.all_shards()}
TENANT = "00112233aabbccdd"
PEOPLE = People(TENANT, "b-1", "u-1", None, "r-1")
META = msgspec.structs.asdict(PEOPLE)


def conversation(number: int) -> keys.ConversationKeys:
    """Give one of many conversations; they are spread over the shards."""
    return keys.ConversationKeys(f"{number:04x}" + "0" * 28)


ONE = conversation(1)


def advance(store: Store, by: timedelta) -> None:
    """Move the store's clock."""
    store.clock_offset_ms += by // timedelta(milliseconds=1)


async def open_turn(
    store: Store,
    of: keys.ConversationKeys = ONE,
    *,
    webhook: str = WEBHOOK,
    delay: timedelta = timedelta(seconds=45),
    min_delay: timedelta = timedelta(seconds=30),
    settle: timedelta = timedelta(seconds=1.5),
    posted: bool = True,
    fingerprint: str | None = None,
    tenant: str = TENANT,
) -> str:
    """Open a turn and post its message; give its id."""
    turns = OpenTurns(store, timedelta(seconds=60))
    proposal = Proposal(
        turn_id=str(uuid.uuid4()),
        caller=uuid.uuid4().hex,
        fingerprint=fingerprint or uuid.uuid4().hex,
        webhook=webhook,
        delay_ms=times.milliseconds(delay),
        min_delay_ms=times.milliseconds(min_delay),
        settle_ms=times.milliseconds(settle),
        meta=people.encode(msgspec.structs.replace(PEOPLE, tenant=tenant)),
        message="d0",
        sent_at=1,
    )
    entered = await turns.enter(of, proposal, timedelta(seconds=1))
    assert isinstance(entered, Entered)
    if posted:
        await turns.record_post(of, proposal, proposal.turn_id, UPSTREAM_ID, {"tail": ""})
    return proposal.turn_id


async def speak(
    queue: Queue,
    text: str,
    of: keys.ConversationKeys = ONE,
    *,
    picture: str | None = None,
    message_id: str | None = None,
    sent_at: float | None = None,
    late: bool = False,
) -> Folded:
    """Let the bot say one segment."""
    segment = ReplySegment(message_id or str(uuid.uuid4()), text, sent_at, Picture(picture) if picture else None)
    return await queue.fold(of, UPSTREAM_ID, segment, late=late)


async def reply(
    store: Store,
    queue: Queue,
    text: str,
    of: keys.ConversationKeys = ONE,
    *,
    webhook: str = WEBHOOK,
    tenant: str = TENANT,
) -> str:
    """Let a reply fall due at once; give its id."""
    nothing = timedelta()
    await open_turn(store, of, webhook=webhook, delay=nothing, min_delay=nothing, settle=nothing, tenant=tenant)
    folded = await speak(queue, text, of)
    assert folded.outcome == "opened"
    assert folded.reply_id
    return folded.reply_id


async def claim(queue: Queue, lease: timedelta = LEASE) -> list[Delivery]:
    """Claim all that is due."""
    claims = await queue.claim(EVERY_SHARD, lease)
    return [delivery for claimed in claims.values() for delivery in claimed.deliveries]


async def claim_one(queue: Queue, lease: timedelta = LEASE) -> Delivery:
    """Claim the one delivery that is due."""
    [delivery] = await claim(queue, lease)
    return delivery


async def alter(store: Store, reply: str, part: str, value: str | None) -> None:
    """Change a part of what the store keeps of a reply, or take it out."""
    included = [resources.files("gateway.scripts").joinpath(f"_{name}.lua").read_text() for name in ("reply",)]
    change = """
local reply = read_reply(KEYS[1])
reply[ARGV[1]] = ARGV[2]
write_reply(KEYS[1], reply)
"""
    await store.redis.eval("".join(included) + change, 1, reply, part, *([] if value is None else [value]))


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt as a receiver saw it."""

    webhook: str
    id: str
    attempt: int
    body: bytes

    @property
    def texts(self) -> list[str]:
        """What the bot said."""
        said: list[str] = json.loads(self.body)["completion"]
        return said


class Receivers:
    """All webhooks of a test: they say 200, unless something else lies ready for their URL.

    A result is given, an exception is raised, an event is waited for before the next one is looked at.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.ready: dict[str, list[Result | Exception | asyncio.Event]] = {}
        self.arrived = asyncio.Condition()

    async def post(self, delivery: Delivery, body: bytes) -> Result:
        """Take one attempt."""
        async with self.arrived:
            self.sent.append(Sent(delivery.webhook, delivery.id, delivery.attempts, body))
            self.arrived.notify_all()
        ready = self.ready.get(delivery.webhook, [])
        while ready:
            match ready.pop(0):
                case asyncio.Event() as event:
                    await event.wait()
                case Exception() as error:
                    raise error
                case result:
                    return result
        return Answered(200)

    async def until(self, attempts: int) -> list[Sent]:
        """Wait until so many attempts have arrived; give them all."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.sent) >= attempts)
        return self.sent

    @property
    def said(self) -> list[str]:
        """All texts of all attempts."""
        return [text for sent in self.sent for text in sent.texts]


@dataclass(frozen=True, slots=True)
class Seen:
    """One attempt as the observer was told of it."""

    delivery: Delivery
    outcome: Outcome
    lateness: timedelta
    duration: timedelta
    status: int | None


class Observations:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._told = asyncio.Event()

    def attempted(
        self, delivery: Delivery, outcome: Outcome, lateness: timedelta, duration: timedelta, status: int | None
    ) -> None:
        """Take note of an attempt."""
        self.seen.append(Seen(delivery, outcome, lateness, duration, status))
        self._told.set()

    async def until(self, attempts: int) -> list[Seen]:
        """Wait until so many attempts have ended; give them all."""
        async with asyncio.timeout(10):
            while len(self.seen) < attempts:
                self._told.clear()
                await self._told.wait()
        return self.seen

    @property
    def outcomes(self) -> list[Outcome]:
        """What came of the attempts."""
        return [seen.outcome for seen in self.seen]


class Clock:
    """The worker's clock: the real one, and whatever a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return boot_clock() + self.ahead


class Relay:
    """A worker with its receivers, its observer and its clock."""

    def __init__(self, store: Store, receivers: Receivers | None = None, **options: Any) -> None:
        self.store = store
        self.queue = Queue(store)
        self.receivers = receivers or Receivers()
        self.observations = Observations()
        self.clock = Clock()
        self.settings = Settings(_env_file=None)
        self.worker = Worker(
            self.queue,
            self.receivers.post,
            self.settings,
            observer=self.observations,
            clock=self.clock,
            draw=lambda: 0.5,
            **options,
        )

    def advance(self, by: timedelta) -> None:
        """Move the store's clock, and let the worker see it."""
        advance(self.store, by)
        self.worker.wake()

    @contextlib.asynccontextmanager
    async def running(self, grace: timedelta = timedelta(seconds=10)) -> AsyncIterator[None]:
        """Run the worker; in the end all its outcomes are in the store."""
        self.worker.start()
        try:
            yield
        finally:
            await self.worker.stop(grace)
