"""JSON shapes of V3, the stateful API, as its client writes and reads them.

Requests name exactly the fields that the server knows: it refuses a wrong shape with 422. Answers and
webhooks are read leniently: unknown fields are kept, a field that is optional and unreadable counts as
missing, so that a change of an informational field never costs a reply. Ids stay strings, as they came.
Times are Unix seconds.

Each class names the source of its facts: the "seed document" (the description of the API that the project
started from, the authority) or the "public API description" (the vendor's published material).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, WrapValidator
from pydantic.functional_validators import ModelWrapValidatorHandler

T = TypeVar("T")

LANGUAGES = frozenset({"en", "es", "fr", "de", "pt", "it", "ja", "ko", "zh", "ru"})
"""The language codes that `Config.language` takes. Source: public API description."""

SEVERITIES = ("Low", "Medium", "High", "Critical")
"""What `Moderation.severity` may say, mildest first. Source: public API description."""


def _none_if_unreadable(value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


Lenient = Annotated[T | None, WrapValidator(_none_if_unreadable)]
"""An optional field of an answer: missing, null and unreadable are all None."""

Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A JSON number: an integer stays one, and true or "3" is none."""


class Shape(BaseModel):
    """A JSON object: immutable, unknown fields kept, its values never quoted in a validation error."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    def body(self) -> bytes:
        """Return the JSON of the fields that were set, in declared order; a None that was set is sent."""
        return self.model_dump_json(exclude_unset=True).encode()


# Messages


class AttachedMedia(Shape):
    """A picture beside a message. Source: seed document."""

    url: str
    content_id: str | None = None


class Moderation(Shape):
    """Why a message was flagged; only flagged messages have it. Source: public API description."""

    category: str | None = None
    reasoning: str | None = None
    severity: str | None = None  # one of SEVERITIES


class Message(Shape):
    """One atomic text of one speaker. Source: seed document; from `id` on the public API description.

    `sent_at` is in Unix seconds: whole ones when we write it, possibly fractions when we read it. Some
    deployments required it, so every message that is sent carries it. `message_tone` and `moderation` are
    output only.
    """

    text: str
    from_bot: StrictBool
    attached_media: Lenient[AttachedMedia] = None
    id: Lenient[str] = None
    sent_at: Lenient[Number] = None
    message_tone: Lenient[str] = None
    moderation: Lenient[Moderation] = None


class PostMessage(Shape):
    """Body of POST /api/conversations/{id}/messages; answered by 202 and no body. Source: seed document."""

    message: Message


class Text(msgspec.Struct, frozen=True):
    """A user's `Message` of text alone, which nearly every turn writes: it needs no validation of what is ours."""

    text: str
    from_bot: Literal[False] = False
    sent_at: int = 0


class PostText(msgspec.Struct, frozen=True):
    """A `PostMessage` of such a message, in the same bytes for a tenth of the time."""

    message: Text


# Conversations


class CreateConversation(Shape):
    """Body of POST /api/conversations. Source: seed document; from `platform` on the public API description.

    One conversation exists per (user, bot): a second creation answers with the first. `bot_id` is a UUID,
    `user_id` is of any format. `with_messages` starts the history and triggers no reply. `freeform` is text
    added to the bot's prompt; `segment` says whether the bot may answer in several messages.
    """

    bot_id: str
    user_id: str
    create_user_if_not_exists: bool | None = None
    webhook: str | None = None
    with_messages: list[Message] | None = None
    platform: str | None = None
    freeform: str | None = None
    segment: bool | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """A `Message` of the history that a conversation begins with."""

    text: str
    from_bot: bool
    sent_at: int


class BeginConversation(msgspec.Struct, frozen=True):
    """A `CreateConversation` with a history, in the same bytes for a thirtieth of the time: it can be long."""

    bot_id: str
    user_id: str
    create_user_if_not_exists: bool
    webhook: str
    with_messages: Sequence[Said]
    platform: str | msgspec.UnsetType = msgspec.UNSET
    freeform: str | msgspec.UnsetType = msgspec.UNSET
    segment: bool | msgspec.UnsetType = msgspec.UNSET


class PatchConversation(Shape):
    """Body of PATCH /api/conversations/{id}: only the fields to change. Source: public API description."""

    webhook: str | None = None
    platform: str | None = None
    freeform: str | None = None
    segment: bool | None = None


class Success(Shape):
    """Answer of PATCH /api/conversations/{id}. Source: public API description."""

    success: bool


class Conversation(Shape):
    """A conversation as creation answers with it. Source: seed document."""

    id: str
    bot_id: Lenient[str] = None
    user_id: Lenient[str] = None
    messages: list[Message] = []


class ConversationEnvelope(Shape):
    """Answer of POST /api/conversations. Source: seed document."""

    conversation: Conversation


class ConversationHeader(Shape):
    """One row of the list. Source: public API description.

    `searched_message` is the one that the list's text filter matched.
    """

    id: str
    bot_id: Lenient[str] = None
    user_id: Lenient[str] = None
    message_count: Lenient[int] = None
    last_message: Lenient[Message] = None
    searched_message: Lenient[Message] = None


class ConversationList(Shape):
    """Answer of GET /api/conversations. Source: public API description."""

    conversations: list[ConversationHeader]


class ConversationDetail(Shape):
    """Answer of GET /api/conversations/{id}: transcript and settings. Source: public API description."""

    bot_id: Lenient[str] = None
    user_id: Lenient[str] = None
    messages: list[Message]
    webhook: Lenient[str] = None
    platform: Lenient[str] = None
    freeform: Lenient[str] = None
    segment: Lenient[bool] = None
    latest_summary: Lenient[str] = None


class SendMessage(Shape):
    """Body of POST /api/messages. Source: public API description.

    The pair's conversation is found or created from the parameters, then the message is added to it.
    """

    message: Message
    conversation_creation_params: CreateConversation
    create_user_if_not_exists: bool | None = None


class MessageSent(Shape):
    """Answer of POST /api/messages. Source: public API description."""

    conversation: Conversation
    created_conversation: bool


class GenerateResponse(Shape):
    """Body of POST /api/conversations/{id}/generate-response. Source: public API description."""

    batch_size: int = 1


class Candidate(Shape):
    """One possible reply, which is not added to the conversation. Source: public API description."""

    messages: list[Message]


class GeneratedResponses(Shape):
    """Answer of POST /api/conversations/{id}/generate-response. Source: public API description."""

    candidates: list[Candidate]


class Memory(Shape):
    """One thing that is remembered. Source: public API description."""

    text: str


class Memories(Shape):
    """Answer of GET /api/conversations/{id}/memories. Source: public API description."""

    bot_memories: list[Memory] = []
    user_memories: list[Memory] = []


# The webhook


class MessageCreated(Shape):
    """What V3 posts to the conversation's webhook, once per atomic message. Source: public API description.

    Only `conversation_id` and `message` are always there. It is not signed, and user messages may come as
    well (`from_bot` false).
    """

    event: Lenient[str] = None  # "message.created"
    conversation_id: str
    bot_id: Lenient[str] = None
    user_id: Lenient[str] = None
    message: Message
    conversation_messages_count: Lenient[int] = None


# Users, bots, content, account


class Attribute(Shape):
    """A named fact about a user or a bot; its value is always a string. Source: public API description."""

    name: str
    value: str


class User(Shape):
    """A user. Source: public API description."""

    id: str | None = None
    username: str | None = None
    attributes: list[Attribute] | None = None
    freeform: str | None = None


class UserEnvelope(Shape):
    """Answer of POST, GET and PUT of a user. Source: public API description."""

    user: User


class UserList(Shape):
    """One page of users; `limit` is at most 100. Source: public API description."""

    users: list[User]
    has_more: bool = False
    limit: int | None = None
    offset: int | None = None
    total_count: int | None = None


class Bot(Shape):
    """A bot; `id` is output only. Source: public API description."""

    id: str | None = None
    name: str | None = None
    freeform: str | None = None
    attributes: list[Attribute] | None = None


class BotEnvelope(Shape):
    """Answer of POST, GET and PUT of a bot. Source: public API description."""

    bot: Bot


class BotList(Shape):
    """Answer of GET /api/bots. Source: public API description."""

    bots: list[Bot]


class CreateContent(Shape):
    """Body of POST /api/content: a picture of a bot or of a user. Source: public API description.

    `image_url` may be a `data:image/...;base64,` URL. Exactly one of `bot_id` and `user_id` names the owner.
    """

    image_url: str
    bot_id: str | None = None
    user_id: str | None = None
    public: bool | None = None


class Content(Shape):
    """A stored picture. Source: public API description."""

    content_id: str
    url: str


class ContentEnvelope(Shape):
    """Answer of POST /api/content. Source: public API description."""

    content: Content


class ContentList(Shape):
    """Answer of GET /api/content. Source: public API description; the field's name is our reading of it."""

    content: list[Content]


class Config(Shape):
    """Settings of the whole account; delays in seconds. Source: public API description."""

    language: str | None = None  # one of LANGUAGES
    platform: str | None = None
    timezone: str | None = None  # an IANA name
    segment: bool | None = None
    min_delay: Number | None = None
    max_delay: Number | None = None
    typing_speed: Number | None = None
    chat_images_enabled: bool | None = None
    webhook: str | None = None


class ConfigEnvelope(Shape):
    """Answer of GET and PATCH /api/config. Source: public API description."""

    config: Config


class Failure(Shape):
    """Body of every error answer. Source: public API description."""

    message: str


MESSAGE_CREATED: Literal["message.created"] = "message.created"
"""The webhook's `event`. Source: public API description."""
