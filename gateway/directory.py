"""Which upstream conversation belongs to a (tenant, bot, user), and what is known of it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gateway import errors, keys
from gateway.store import Store
from mappings import reconcile
from mappings.turn import Message


@dataclass(frozen=True, slots=True)
class Orphan:
    """A callback that came while its conversation was unknown: the segment as the store keeps it."""

    message_id: str
    segment: str


class Entry(msgspec.Struct, frozen=True):
    """What is known of an upstream conversation, as the store keeps it.

    `user` is the upstream's name of the user where it is not the client's; `tail` and `count` are what is known of
    the transcript; `context` and `facts` are digests of what the upstream was told beside it.
    """

    id: str
    user: str | None = None
    tail: str | None = None
    count: str | None = None
    context: str | None = None
    facts: str | None = None


class LeaseLost(errors.GatewayError):
    """This turn's place has passed to another while it spoke to the upstream; the client's retry settles it."""

    status = 504
    code = "gateway_timeout"


class Directory:
    """The directory in the store; entries outlive their last turn by `keys.CONVERSATION_TTL_SECONDS`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(
        self, conversation: keys.ConversationKeys, caller: str, upstream_id: str, fields: Mapping[str, str]
    ) -> list[Orphan]:
        """Record the conversation's id with what is known of it, and give the callbacks that waited for it.

        Before the first message is posted: a crash between creating and recording leaves the conversation to be found
        upstream by the next turn. Raises `LeaseLost` when another turn has taken the place.
        """
        answer = await self._store.run(
            "record_conversation",
            [conversation.directory, conversation.lock, conversation.orphans, conversation.turns],
            caller,
            upstream_id,
            keys.CONVERSATION_TTL_SECONDS,
            conversation.shard.prefix,
            *(part for field in fields.items() for part in field),
        )
        if answer[0] == "stale":
            raise LeaseLost("the conversation was taken over by another request")
        return [Orphan(message_id, segment) for message_id, segment in answer[1:]]

    async def record_added(
        self, conversation: keys.ConversationKeys, caller: str, turn_id: str, added: Sequence[Message], *, restart: bool
    ) -> None:
        """Remember messages that were added for the turn; `restart`: the user's side before them is another now."""
        tail = reconcile.tail(added)
        mode, count = "restart" if restart else "add", len(tail) // reconcile.DIGEST_CHARACTERS
        await self._record_messages(conversation, caller, turn_id, mode, tail, count, "", uuid.uuid4().hex, len(added))

    async def record_ours(
        self, conversation: keys.ConversationKeys, caller: str, turn_id: str, added: Sequence[Message]
    ) -> None:
        """Remember messages of the bot's before they are added: they are none that the client has missed.

        Whoever looks for those finds them under ids of the upstream's making.
        """
        digests = "".join(reconcile.digest(message) for message in added if message.from_bot)
        await self._record_messages(conversation, caller, turn_id, "ours", digests)

    async def record_read(
        self,
        conversation: keys.ConversationKeys,
        caller: str,
        turn_id: str,
        known: reconcile.Known,
        *,
        before: str,
        holds_turn: bool,
    ) -> None:
        """Remember the transcript that was read, where nothing came since its tail was `before`.

        `holds_turn`: the turn's own message is in it.
        """
        await self._record_messages(
            conversation, caller, turn_id, "replace", known.tail, known.count or 0, before, "1" if holds_turn else ""
        )

    async def _record_messages(
        self,
        conversation: keys.ConversationKeys,
        caller: str,
        turn_id: str,
        mode: str,
        *arguments: str | int,
    ) -> None:
        held = await self._store.run(
            "record_messages",
            [conversation.directory, conversation.lock, conversation.shard.turn(turn_id)],
            caller,
            keys.TAIL_CHARACTERS,
            mode,
            *arguments,
        )
        if not held:
            raise LeaseLost("the conversation was taken over by another request")

    async def forget(self, conversation: keys.ConversationKeys, upstream_id: str) -> None:
        """Forget a conversation that is gone upstream, unless another one was recorded meanwhile."""
        await self._store.run("forget_conversation", [conversation.directory], upstream_id)

    async def show(self, conversation: keys.ConversationKeys) -> Mapping[str, str]:
        """Give what is known of the conversation; empty when nothing is."""
        parts = await self._store.run("read_conversation", [conversation.directory])
        return dict(zip(parts[::2], parts[1::2], strict=True))

    async def erase(self, conversation: keys.ConversationKeys) -> bool:
        """Forget all that the directory knows of it; tell whether there was anything. Replies on their way stay."""
        removed: int = await self._store.command("delete", conversation.directory)
        return removed > 0
