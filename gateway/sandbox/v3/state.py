"""What the emulated service holds: one account per key, with its users, bots, pictures and conversations.

All of it is in memory, and grows until it is reset.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.sandbox import calls
from gateway.sandbox.v3 import shapes
from mappings.wire import v3


@dataclass(slots=True, kw_only=True)
class Conversation:
    """A conversation with its transcript, and what its bot has yet to answer."""

    id: str
    account: str
    bot_id: str
    user_id: str
    webhook: str | None = None
    platform: str | None = None
    freeform: str | None = None
    segment: bool | None = None
    messages: list[v3.Message] = field(default_factory=list)
    unanswered: list[v3.Message] = field(default_factory=list)
    delivering: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a webhook is called, so that callbacks leave in the order in which they came up."""

    def add(self, message: v3.Message) -> v3.Message:
        """Append a message to the transcript."""
        self.messages.append(message)
        return message

    @property
    def user_turns(self) -> int:
        """How many messages are the user's."""
        return sum(not message.from_bot for message in self.messages)

    def header(self, searched: v3.Message | None = None) -> v3.ConversationHeader:
        """Return its row of the list."""
        return v3.ConversationHeader(
            id=self.id,
            bot_id=self.bot_id,
            user_id=self.user_id,
            message_count=len(self.messages),
            last_message=self.messages[-1] if self.messages else None,
            searched_message=searched,
        )

    def view(self) -> v3.Conversation:
        """Return what its creation answers."""
        return v3.Conversation(id=self.id, bot_id=self.bot_id, user_id=self.user_id, messages=self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A stored picture: its bytes if it was uploaded, else only the address."""

    id: str
    url: str
    bot_id: str | None = None
    user_id: str | None = None
    media_type: str | None = None
    data: bytes | None = None
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that was made through the API."""

    id: str
    key: str
    name: str | None
    created_at: datetime


@dataclass(slots=True, kw_only=True)
class Account:
    """All data of one key, and of the keys made with it."""

    name: str
    users: dict[str, v3.User] = field(default_factory=dict)
    bots: dict[str, v3.Bot] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    config: v3.Config = field(default_factory=v3.Config)
    api_keys: dict[str, ApiKey] = field(default_factory=dict)
    conversations: dict[str, Conversation] = field(default_factory=dict)
    by_pair: dict[tuple[str, str], Conversation] = field(default_factory=dict)

    def create(self, wanted: shapes.CreateConversation) -> tuple[Conversation, bool]:
        """Return the pair's conversation and whether it is new; one that was there stays as it was."""
        pair = (wanted.bot_id, wanted.user_id)
        if (known := self.by_pair.get(pair)) is not None:
            return known, False
        self.bots.setdefault(wanted.bot_id, v3.Bot(id=wanted.bot_id, name=f"Bot {wanted.bot_id[:8]}"))
        self.users.setdefault(wanted.user_id, v3.User(id=wanted.user_id, attributes=[]))
        conversation = Conversation(
            id=str(uuid.uuid4()),
            account=self.name,
            bot_id=wanted.bot_id,
            user_id=wanted.user_id,
            webhook=wanted.webhook,
            platform=wanted.platform,
            freeform=wanted.freeform,
            segment=wanted.segment,
            messages=[stored(message) for message in wanted.with_messages or []],
        )
        self.conversations[conversation.id] = conversation
        self.by_pair[pair] = conversation
        return conversation, True

    def forget(self, conversation: Conversation) -> None:
        """Delete a conversation."""
        del self.conversations[conversation.id]
        del self.by_pair[conversation.bot_id, conversation.user_id]

    def of(self, *, bot_id: str | None = None, user_id: str | None = None) -> list[Conversation]:
        """Return the conversations of a bot or of a user."""
        return [
            conversation
            for conversation in self.conversations.values()
            if (bot_id is None or conversation.bot_id == bot_id)
            and (user_id is None or conversation.user_id == user_id)
        ]


class Accounts:
    """Which account a key opens."""

    def __init__(self, keys: frozenset[str] | None) -> None:
        self._allowed = keys
        self._by_key: dict[str, Account] = {}
        self._revoked: set[str] = set()

    def all(self) -> list[Account]:
        """Return every account once."""
        return list({account.name: account for account in self._by_key.values()}.values())

    def find(self, key: str) -> Account | None:
        """Return the account that a key opens, a new one for a new key; None if the key is not let in."""
        if key in self._revoked:
            return None
        account = self._by_key.get(key)
        if account is None and (self._allowed is None or key in self._allowed):
            account = self._by_key[key] = Account(name=calls.account_name(key))
        return account

    def issue(self, account: Account, name: str | None) -> ApiKey:
        """Make a further key of an account."""
        made = ApiKey(id=str(uuid.uuid4()), key=f"sk-{uuid.uuid4().hex}", name=name, created_at=datetime.now(UTC))
        account.api_keys[made.id] = made
        self._by_key[made.key] = account
        return made

    def revoke(self, account: Account, key_id: str) -> bool:
        """Take a key away; tell whether there was one."""
        revoked = account.api_keys.pop(key_id, None)
        if revoked is None:
            return False
        del self._by_key[revoked.key]
        self._revoked.add(revoked.key)
        return True

    def conversation(self, conversation_id: str) -> tuple[Account, Conversation] | None:
        """Return a conversation whatever account it is in: for the control routes and the pages."""
        for account in self.all():
            if (found := account.conversations.get(conversation_id)) is not None:
                return account, found
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._by_key.clear()
        self._revoked.clear()


def stored(message: shapes.NewMessage) -> v3.Message:
    """Return a message as it is kept: with an id and a time, given ones unchanged."""
    return v3.Message(
        id=message.id or str(uuid.uuid4()),
        text=message.text,
        from_bot=message.from_bot,
        sent_at=int(time.time()) if message.sent_at is None else message.sent_at,
        attached_media=message.attached_media
        and v3.AttachedMedia(url=message.attached_media.url, content_id=message.attached_media.content_id),
    )
