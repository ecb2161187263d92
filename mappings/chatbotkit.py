"""ChatBotKit's conversation API: what a turn asks of it, and what its answers say.

It knows bots and conversations, but no users: a conversation's `meta` says whose it is, under V1's names. What a V1
request tells of itself goes into the backstory of the one call that lets the bot speak, and nothing of it is stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from mappings import fates, quoting
from mappings.context import MAX_URL_CHARACTERS, Context
from mappings.errors import MalformedAnswer
from mappings.turn import Message, Picture, Turn, flatten
from mappings.wire import chatbotkit as wire

Shape = TypeVar("Shape", bound=BaseModel)

META_BOT = "v1_bot_id"
META_USER = "v1_user_id"
META_CHAT = "v1_conversation_id"
META_HISTORY = "v1_history"
"""`unfinished` until all of a long history is there, then `whole`; missing where it went along at once."""

NOTHING = b"{}"
"""The body of an action that needs no details."""


FOLLOW_UP = "The user has not written for a while. Write to them again, of your own accord."
OPENING = "This chat begins now. Write the first message to the user, of your own accord."


@dataclass(frozen=True, slots=True)
class Exported:
    """A conversation that says of itself which of V1's pairs it belongs to."""

    id: str
    bot_id: str
    user_id: str
    is_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """V1's conversations of one page, and the cursor of the next page; None when it was the last."""

    conversations: tuple[Exported, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The pair's conversation, if there is one, and those whose creation was broken off before they were whole."""

    id: str | None
    unfinished: tuple[str, ...] = ()


def encode_create(turn: Turn, *, bot_id: str, context: Context | None = None) -> bytes:
    """Create the turn's conversation with the history that the client holds; nothing in it triggers a reply.

    `bot_id` is the bot's id in ChatBotKit. A history of more messages than one call takes is left out: it follows in
    batches (`encode_history`).
    """
    history = list(flatten(turn.history))
    fits = len(history) <= wire.MAX_BATCH_ITEMS
    ids = {META_BOT: turn.bot_id, META_USER: turn.user_id} | ({} if fits else {META_HISTORY: "unfinished"})
    if turn.client_conversation_id is not None:
        ids[META_CHAT] = turn.client_conversation_id
    return wire.CreateConversation(
        bot_id=bot_id,
        meta=ids | _known(encode_facts(context) if context else {}),
        **({"messages": [_message(message) for message in history]} if history and fits else {}),
    ).body()


def encode_history(turn: Turn) -> Iterator[bytes]:
    """Give the batches that follow a conversation's creation; none when the history went along with it."""
    history = list(flatten(turn.history))
    return encode_batches(history) if len(history) > wire.MAX_BATCH_ITEMS else iter(())


def encode_whole() -> bytes:
    """Note that all of the history is there: from now on the conversation can be found."""
    return wire.CreateConversation(meta={META_HISTORY: "whole"}).body()


def encode_batches(messages: Sequence[Message]) -> Iterator[bytes]:
    """Give the calls that add messages in their order, at most a hundred in each; none triggers a reply."""
    for begin in range(0, len(messages), wire.MAX_BATCH_ITEMS):
        batch = messages[begin : begin + wire.MAX_BATCH_ITEMS]
        yield wire.BatchCreate(items=[_message(message) for message in batch]).body()


def encode_send(text: str) -> bytes:
    """Add the user's new message; the bot does not answer yet."""
    return wire.Complete(text=text).body()


def encode_receive(backstory: str) -> bytes:
    """Let the bot speak, from where the conversation stands."""
    return wire.Complete(**_told(backstory)).body()


def encode_complete(text: str | None, backstory: str) -> bytes:
    """Add the user's message, if there is one, and let the bot answer, all in one call."""
    return wire.Complete(**({} if text is None else {"text": text}), **_told(backstory)).body()


def encode_initiate(turn: Turn, backstory: str) -> bytes:
    """Let the bot speak first. The call has no place for a backstory, so that it is part of the context's text."""
    asked = turn.request
    goes_on = turn.history or asked.is_follow_up or fates.says_something("follow_up", asked.follow_up)
    opening = FOLLOW_UP if goes_on else OPENING
    return wire.Initiate(text="\n".join(filter(None, (opening, backstory)))).body()


def encode_facts(context: Context) -> Mapping[str, Any]:
    """Give what `meta` holds of the user's facts, under V1's names; null where nothing is said (any more)."""
    user = context.user
    return {
        "v1_user_display_name": user.username,
        "v1_user_kv_pairs": dict(user.attributes) or None,
        "v1_user_freeform": user.freeform,
    }


def encode_update(context: Context) -> bytes:
    """Tell an existing conversation the user's facts anew; whatever else its `meta` holds stays."""
    return wire.CreateConversation(meta=encode_facts(context)).body()


def encode_find(bot_id: str, user_id: str) -> str:
    """Give the query that finds the pair's conversation, the oldest first, by V1's ids."""
    wanted = {f"meta[{META_BOT}]": bot_id, f"meta[{META_USER}]": user_id}
    return urlencode({"order": "asc", "take": wire.MAX_BATCH_ITEMS} | wanted)


def encode_page(cursor: str | None, *, order: str = "asc", take: int = wire.MAX_BATCH_ITEMS) -> str:
    """Give the query of one page of a list; None begins at its beginning."""
    return urlencode({"order": order, "take": take} | ({"cursor": cursor} if cursor else {}))


def backstory(context: Context, *, picture: Picture | None = None) -> str:
    """Tell the bot in words what the request says of the site, of the user and of itself; one sentence a line.

    The user's messages hold no pictures here, so that the bot is told the address of the newest one.
    """
    return "\n".join([*_about(context), *([_seen(picture)] if picture else [])])


def decode_created(body: bytes) -> str:
    """Read the id of what was created."""
    return _decode(wire.Named, body).id


def decode_found(body: bytes, *, bot_id: str, user_id: str) -> Found:
    """Read the pair's conversations from a list; a filter that the upstream ignored is applied here."""
    theirs = [
        conversation
        for conversation in _decode(wire.ConversationPage, body).items
        if conversation.meta
        and (conversation.meta.get(META_BOT), conversation.meta.get(META_USER)) == (bot_id, user_id)
    ]
    unfinished = tuple(one.id for one in theirs if one.meta and one.meta.get(META_HISTORY) == "unfinished")
    return Found(next((one.id for one in theirs if one.id not in unfinished), None), unfinished)


def decode_messages(body: bytes) -> tuple[Sequence[Message], str | None]:
    """Read a page of messages, in the order of the list, and the cursor of the next page; None when it is the last.

    Only what the user and the bot said is told; a page that holds none of it is followed by others nevertheless.
    """
    page = _decode(wire.MessagePage, body)
    said = [Message(one.type == "bot", one.text, one.id) for one in page.items if one.type in {"user", "bot"}]
    return said, page.cursor if page.items else None


def decode_export(body: bytes) -> Page:
    """Read one page of an export as JSON lines; lines of other kinds are passed over.

    Each line's conversation can be gone on from: the last one's id is the cursor. An empty page is the last.
    """
    exported: list[Exported] = []
    last: str | None = None
    for line in body.splitlines():
        try:
            event = wire.Event.model_validate_json(line)
            one = wire.Conversation.model_validate(event.data)
        except ValidationError:
            continue
        last = one.id
        bot_id, user_id = ((one.meta or {}).get(name) for name in (META_BOT, META_USER))
        if isinstance(bot_id, str) and isinstance(user_id, str):
            unfinished = (one.meta or {}).get(META_HISTORY) == "unfinished"
            exported.append(Exported(one.id, bot_id, user_id, is_unfinished=unfinished))
    return Page(tuple(exported), last)


def _about(context: Context) -> Iterator[str]:
    conversation, user = context.conversation, context.user
    if conversation.platform:
        yield f"The site of this chat is {quoting.quote(conversation.platform)}."
    if user.username:
        yield f"The user's name is {quoting.quote(user.username)}."
    for name, value in user.attributes:
        yield f"A fact about the user: {quoting.quote(name)} is {quoting.quote(value)}."
    if user.freeform:
        yield f"What is known of the user is {quoting.quote_lines(user.freeform)}."
    if conversation.freeform:
        yield conversation.freeform


def _seen(picture: Picture) -> str:
    known_as = f", known as {quoting.quote(picture.content_id)}" if picture.content_id else ""
    address = quoting.quote(picture.url, limit=MAX_URL_CHARACTERS)
    return f"The user sent a picture with the new message: {address}{known_as}."


def _message(message: Message) -> wire.NewMessage:
    return wire.NewMessage(type="bot" if message.from_bot else "user", text=message.text)


def _told(backstory: str) -> dict[str, Any]:
    return {"extensions": wire.Extensions(backstory=backstory)} if backstory else {}


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _decode(shape: type[Shape], body: bytes) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedAnswer(f"not a {shape.__name__}: {where}: {first['msg']}") from None
