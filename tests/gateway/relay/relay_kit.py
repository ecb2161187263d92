"""What the relay's tests share: turns that await their reply, segments that come, and the store's clock."""

import uuid
from datetime import timedelta

import msgspec

from gateway import keys
from gateway.open_turns import Entered, OpenTurns, Proposal
from gateway.relay.delivery import Delivery
from gateway.relay.queue import Folded, Queue
from gateway.store import Store
from mappings.turn import Picture, ReplySegment

UPSTREAM_ID = "c-1"
WEBHOOK = "https://client.example/hook?token=s3cret"
LEASE = timedelta(seconds=25)
EVERY_SHARD = {shard.shard: 1000 for shard in keys.all_shards()}
META = {"tenant": "00112233aabbccdd", "bot_id": "b-1", "user_id": "u-1", "conversation_id": None, "new": 1}


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
) -> str:
    """Open a turn and post its message; give its id."""
    turns = OpenTurns(store, timedelta(seconds=60))
    proposal = Proposal(
        turn_id=str(uuid.uuid4()),
        caller=uuid.uuid4().hex,
        fingerprint=fingerprint or uuid.uuid4().hex,
        webhook=webhook,
        delay=delay,
        min_delay=min_delay,
        settle=settle,
        meta=msgspec.json.encode(META),
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
    store: Store, queue: Queue, text: str, of: keys.ConversationKeys = ONE, *, webhook: str = WEBHOOK
) -> str:
    """Let a reply fall due at once; give its id."""
    nothing = timedelta()
    await open_turn(store, of, webhook=webhook, delay=nothing, min_delay=nothing, settle=nothing)
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
