"""V3, the stateful API: what a turn asks of it, and what its answers and callbacks say."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from mappings.context import Context
from mappings.errors import MalformedAnswer
from mappings.turn import Message, Moderation, Picture, Received, ReplySegment, Turn, flatten
from mappings.wire import v3 as wire

Shape = TypeVar("Shape", bound=BaseModel)


def encode_create(turn: Turn, *, webhook: str, now: datetime, context: Context | None = None) -> bytes:
    """Create the turn's conversation with the history that the client holds; nothing in it triggers a reply.

    Of the context go along what the conversation has fields for: platform, freeform and segment, where they say
    anything. The user's facts are a call of their own (`encode_user`).

    V1's history has no times: the messages are dated one second apart, ending before `now`, so that an upstream that
    sorts by `sent_at` keeps their order.
    """
    begin = int(now.timestamp()) - turn.history_segments
    conversation = wire.BeginConversation(
        bot_id=turn.bot_id,
        user_id=turn.user_id,
        create_user_if_not_exists=True,
        webhook=webhook,
        with_messages=[
            wire.Said(message.text, message.from_bot, sent_at)
            for sent_at, message in enumerate(flatten(turn.history), begin)
        ],
        **(_conversation_settings(context) if context else {}),
    )
    return msgspec.json.encode(conversation)


def encode_message(text: str, *, now: datetime, picture: Picture | None = None) -> bytes:
    """Add the user's new message, which makes the bot answer."""
    if picture is None:  # nearly always
        return msgspec.json.encode(wire.PostText(wire.Text(text, sent_at=int(now.timestamp()))))
    media = _attached_media(picture)
    message = wire.Message(text=text, from_bot=False, sent_at=int(now.timestamp()), **_said(attached_media=media))
    return wire.PostMessage(message=message).body()


def encode_bot_message(message: Message, *, now: datetime) -> bytes:
    """Add a message of the bot's, which makes nobody answer."""
    return wire.PostMessage(
        message=wire.Message(text=message.text, from_bot=True, sent_at=int(now.timestamp()), **_said(id=message.id))
    ).body()


def encode_generate() -> bytes:
    """Ask for one candidate of what the bot would say now; it is not added to the conversation."""
    return wire.GenerateResponse(batch_size=1).body()


def encode_context(context: Context) -> bytes:
    """Tell an existing conversation what it is to know.

    The freeform is replaced whole, an empty one clears it. Platform and segment are named only where they say
    anything: nothing says how V3 takes a null there, so they hold until another value is given.
    """
    return wire.PatchConversation(
        **(_conversation_settings(context) | {"freeform": context.conversation.freeform})
    ).body()


def encode_user(user_id: str, context: Context) -> bytes:
    """Give what is known of the user, to create it (POST) or to replace it (PUT): attributes and freeform whole."""
    facts = context.user
    return wire.User(
        id=user_id,
        **_said(username=facts.username),
        attributes=[wire.Attribute(name=name, value=value) for name, value in facts.attributes],
        freeform=facts.freeform or "",
    ).body()


def encode_webhook(webhook: str) -> bytes:
    """Point an existing conversation's webhook here."""
    return wire.PatchConversation(webhook=webhook).body()


def decode_created(body: bytes) -> str:
    """Read the id of a created conversation."""
    return _decode(wire.ConversationEnvelope, body).conversation.id


def decode_found(body: bytes, *, bot_id: str, user_id: str) -> str | None:
    """Read the id of the pair's conversation from a list; a filter that the upstream ignored is applied here."""
    for header in _decode(wire.ConversationList, body).conversations:
        if header.bot_id in {None, bot_id} and header.user_id in {None, user_id}:
            return header.id
    return None


def decode_list(body: bytes) -> Sequence[tuple[str, str, str]]:
    """Read id, bot and user of every conversation in a list; one whose pair is not said is passed over."""
    headers = _decode(wire.ConversationList, body).conversations
    return [(one.id, one.bot_id, one.user_id) for one in headers if one.bot_id and one.user_id]


def decode_transcript(body: bytes) -> Sequence[Message]:
    """Read what the upstream holds of a conversation, oldest first."""
    detail = _decode(wire.ConversationDetail, body)
    return [
        Message(message.from_bot, message.text, message.id, _picture(message), message.sent_at)
        for message in detail.messages
    ]


def decode_generated(body: bytes, *, ids: Callable[[], str]) -> list[ReplySegment]:
    """Read the first candidate of what the bot would say, empty when there is none; unnamed messages get ids."""
    candidates = _decode(wire.GeneratedResponses, body).candidates
    return [_segment(message, message.id or ids()) for message in candidates[0].messages] if candidates else []


def decode_callback(body: bytes, *, fallback_id: str) -> Received:
    """Read one callback; only `conversation_id` and `message` are always there.

    A message without an id is named by what else tells it from its neighbours, so that a repeated callback is known
    again; where nothing does, `fallback_id` names it: rather a segment twice than a segment lost.
    """
    callback = _decode(wire.MessageCreated, body)
    message, position = callback.message, callback.conversation_messages_count
    if message.from_bot is False:
        return Received(callback.conversation_id, None)
    message_id = message.id or _derived_id(message.text, message.sent_at, position) or fallback_id
    return Received(callback.conversation_id, _segment(message, message_id, position))


def callback_ids(message: Message, position: int) -> frozenset[str]:
    """Give the ids under which the callback of a message in a transcript is known, whatever it said of itself."""
    derived = (
        _derived_id(message.text, sent_at, count) for sent_at in (message.sent_at, None) for count in (position, None)
    )
    return frozenset(name for name in (message.id, *derived) if name)


def _segment(message: wire.Message, message_id: str, position: int | None = None) -> ReplySegment:
    flag = message.moderation
    return ReplySegment(
        message_id=message_id,
        text=message.text,
        sent_at=message.sent_at,
        picture=_picture(message),
        tone=message.message_tone,
        moderation=Moderation(flag.category, flag.reasoning, flag.severity) if flag else None,
        position=position,
    )


def _picture(message: wire.Message) -> Picture | None:
    media = message.attached_media
    return Picture(media.url, media.content_id) if media else None


def _conversation_settings(context: Context) -> dict[str, Any]:
    facts = context.conversation
    return _said(platform=facts.platform, freeform=facts.freeform or None, segment=facts.segment)


def _attached_media(picture: Picture) -> wire.AttachedMedia:
    return wire.AttachedMedia(url=picture.url, **_said(content_id=picture.content_id))


def _said(**values: object) -> dict[str, Any]:
    """Keep what has a value: a body names nothing else, since the server is strict about shapes."""
    return {name: value for name, value in values.items() if value is not None}


def _derived_id(text: str, sent_at: float | None, count: int | None) -> str | None:
    place = (count, sent_at)
    if place == (None, None):
        return None
    return hashlib.blake2b(repr((place, text)).encode(), digest_size=16).hexdigest()


def _decode(shape: type[Shape], body: bytes) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedAnswer(f"not a {shape.__name__}: {where}: {first['msg']}") from None
