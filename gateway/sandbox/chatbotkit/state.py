"""What the emulated service holds: one account per key, with its conversations. All of it is in memory."""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pydantic_core

from gateway.sandbox import calls
from gateway.sandbox.chatbotkit import shapes


def new_id() -> str:
    """Make an id of the vendor's look: opaque, lower case, beginning with a letter."""
    return f"c{uuid.uuid4().hex[:24]}"


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True, kw_only=True)
class Message:
    """One message, under its number in its conversation."""

    n: int
    id: str
    type: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    created_at: int = field(default_factory=_now)

    def show(self) -> dict[str, Any]:
        """Return it as `message/list` does."""
        return {
            "id": self.id,
            "type": self.type,
            "text": self.text,
            "meta": self.meta,
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
        }


@dataclass(slots=True, kw_only=True)
class Conversation:
    """A conversation with its messages. `fields` are the vendor's, by their names on the wire, but for `meta`."""

    n: int
    id: str
    account: str
    fields: dict[str, Any]
    meta: dict[str, Any]
    messages: list[Message] = field(default_factory=list)
    created_at: int = field(default_factory=_now)
    updated_at: int = field(default_factory=_now)

    def add(
        self, type_: str, text: str, meta: Mapping[str, Any] | None = None, message_id: str | None = None
    ) -> Message:
        """Append a message."""
        message = Message(
            n=len(self.messages) + 1, id=message_id or new_id(), type=type_, text=text, meta=dict(meta or {})
        )
        self.messages.append(message)
        return message

    def update(self, change: shapes.UpdateConversation) -> None:
        """Change what is named; null clears, `meta` is merged."""
        named = change.model_dump(by_alias=True, include=change.model_fields_set - {"meta", "messages"})
        self.fields = {name: value for name, value in (self.fields | named).items() if value is not None}
        self.meta |= change.meta or {}
        self.updated_at = _now()

    def since_last(self, *types: str) -> Sequence[Message]:
        """Return the messages after the last one of the types."""
        behind = next((message.n for message in reversed(self.messages) if message.type in types), 0)
        return self.messages[behind:]

    def show(self) -> dict[str, Any]:
        """Return it as `fetch` does."""
        dates = {"createdAt": self.created_at, "updatedAt": self.updated_at}
        return {"id": self.id, **self.fields, "meta": self.meta, **dates}


@dataclass(slots=True, kw_only=True)
class Account:
    """All data of one key."""

    name: str
    conversations: dict[str, Conversation] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """The number of every conversation that ever was, so that a cursor outlives what it points at."""

    def create(self, wanted: shapes.CreateConversation) -> Conversation:
        """Create a conversation, with its messages if there are some."""
        conversation = Conversation(n=len(self.numbers) + 1, id=new_id(), account=self.name, fields={}, meta={})
        conversation.update(wanted)
        for message in wanted.messages or []:
            conversation.add(message.type, message.text, message.meta)
        self.conversations[conversation.id] = conversation
        self.numbers[conversation.id] = conversation.n
        return conversation


class Accounts:
    """Which account a key opens."""

    def __init__(self, keys: frozenset[str] | None) -> None:
        self._allowed = keys
        self._by_key: dict[str, Account] = {}

    def all(self) -> list[Account]:
        """Return every account."""
        return list(self._by_key.values())

    def find(self, key: str) -> Account | None:
        """Return the account that a key opens, a new one for a new key; None if the key is not let in."""
        account = self._by_key.get(key)
        if account is None and (self._allowed is None or key in self._allowed):
            account = self._by_key[key] = Account(name=calls.account_name(key))
        return account

    def conversation(self, conversation_id: str) -> tuple[Account, Conversation] | None:
        """Return a conversation whatever account it is in: for the control routes."""
        for account in self.all():
            if (found := account.conversations.get(conversation_id)) is not None:
                return account, found
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._by_key.clear()


def passes(conversation: Conversation, query: shapes.ConversationQuery) -> bool:
    """Tell whether a conversation passes every filter; values of `meta` are compared as text."""
    wanted = {"botId": query.bot_id, "contactId": query.contact_id, "taskId": query.task_id}
    return all(value in {None, conversation.fields.get(name)} for name, value in wanted.items()) and all(
        name in conversation.meta and _as_text(conversation.meta[name]) == value for name, value in query.meta.items()
    )


class Numbered(Protocol):
    """What a list shows: in the order of its number."""

    n: int


N = TypeVar("N", bound=Numbered)


def page(items: Iterable[N], query: shapes.PageQuery, after: int | None) -> list[N]:
    """Return the page behind number `after`, None for the first one, in the order that is asked for."""
    descending = query.order == "desc"
    ordered = sorted(items, key=lambda item: item.n, reverse=descending)
    behind = [item for item in ordered if after is None or (item.n < after if descending else item.n > after)]
    return behind[: query.take]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else pydantic_core.to_json(value).decode()
