"""What the server takes: strict shapes of bodies and query strings.

Written out here, beside the lenient ones that a client uses, so that one mistake cannot hide in both.
Unknown fields, wrong types ("3" for 3, 1 for true) and output-only fields are refused. `Limits` is the
validation context.
"""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator


@dataclass(frozen=True, slots=True)
class Limits:
    """How strict a deployment is where deployments differ."""

    any_bot_id: bool = False
    require_sent_at: bool = False


def _limits(info: ValidationInfo) -> Limits:
    return info.context if isinstance(info.context, Limits) else Limits()


def _uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _bot_id(value: str, info: ValidationInfo) -> str:
    return value if _limits(info).any_bot_id else _uuid(value)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_readable = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("must be a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_readable:
        raise ValueError("must be an http or https URL")
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("must not contain spaces or control characters")
    return value


_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)


def decode_data_url(value: str) -> tuple[str, bytes] | None:
    """Return media type and bytes of a `data:image/...;base64,` URL, or None for another URL.

    Raises ValueError if it begins like one and is none.
    """
    if not value.startswith("data:"):
        return None
    match = _DATA_URL.fullmatch(value)
    if match is None:
        raise ValueError("a data URL must hold a base64 image")
    try:
        return match[1], base64.b64decode(match[2], validate=True)
    except ValueError:
        raise ValueError("a data URL must hold valid base64") from None


def _image_url(value: str) -> str:
    return value if decode_data_url(value) else _http_url(value)


BotId = Annotated[str, Field(min_length=1), AfterValidator(_bot_id)]
UserId = Annotated[str, Field(min_length=1)]
Uuid = Annotated[str, AfterValidator(_uuid)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Seconds = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A body: nothing unknown, nothing converted, nothing quoted in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Media(Strict):
    """A picture beside a message."""

    url: HttpUrl
    content_id: str | None = None


class NewMessage(Strict):
    """A message to add."""

    text: str
    from_bot: bool
    attached_media: Media | None = None
    id: Uuid | None = None
    sent_at: Seconds | None = None

    @model_validator(mode="after")
    def _has_its_time(self, info: ValidationInfo) -> Self:
        if self.sent_at is None and _limits(info).require_sent_at:
            raise ValueError("sent_at is required")
        return self


class PostMessage(Strict):
    """POST /api/conversations/{id}/messages."""

    message: NewMessage


class CreateConversation(Strict):
    """POST /api/conversations."""

    bot_id: BotId
    user_id: UserId
    create_user_if_not_exists: bool | None = None
    webhook: HttpUrl | None = None
    with_messages: list[NewMessage] | None = None
    platform: str | None = None
    freeform: str | None = None
    segment: bool | None = None


class SendMessage(Strict):
    """POST /api/messages."""

    message: NewMessage
    conversation_creation_params: CreateConversation
    create_user_if_not_exists: bool | None = None


class PatchConversation(Strict):
    """PATCH /api/conversations/{id}."""

    webhook: HttpUrl | None = None
    platform: str | None = None
    freeform: str | None = None
    segment: bool | None = None


class GenerateResponse(Strict):
    """POST /api/conversations/{id}/generate-response."""

    batch_size: Annotated[int, Field(ge=1, le=10)] = 1


class Attribute(Strict):
    """A named fact; its value is a string."""

    name: Annotated[str, Field(min_length=1)]
    value: str


class NewUser(Strict):
    """POST /api/users and PUT /api/users/{user_id}."""

    id: UserId | None = None
    username: str | None = None
    attributes: list[Attribute] | None = None
    freeform: str | None = None


class NewBot(Strict):
    """POST /api/bots and PUT /api/bots/{bot_id}."""

    name: Annotated[str, Field(min_length=1)]
    freeform: str | None = None
    attributes: list[Attribute] | None = None


class NewContent(Strict):
    """POST /api/content."""

    image_url: Annotated[str, AfterValidator(_image_url)]
    bot_id: BotId | None = None
    user_id: UserId | None = None
    public: bool | None = None

    @model_validator(mode="after")
    def _has_one_owner(self) -> Self:
        if (self.bot_id is None) == (self.user_id is None):
            raise ValueError("exactly one of bot_id and user_id must be given")
        return self


class PatchConfig(Strict):
    """PATCH /api/config."""

    language: Literal["en", "es", "fr", "de", "pt", "it", "ja", "ko", "zh", "ru"] | None = None
    platform: str | None = None
    timezone: str | None = None
    segment: bool | None = None
    min_delay: Seconds | None = None
    max_delay: Seconds | None = None
    typing_speed: Seconds | None = None
    chat_images_enabled: bool | None = None
    webhook: HttpUrl | None = None


class NewApiKey(Strict):
    """POST /api/api-keys."""

    name: str | None = None


class Query(BaseModel):
    """A query string: values are read from text, unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Moment = Annotated[datetime, AfterValidator(_utc)]
"""Unix seconds or an ISO 8601 date and time, UTC unless it says otherwise."""


class ConversationQuery(Query):
    """GET /api/conversations."""

    bot_id: BotId | None = None
    user_id: str | None = None
    conversation_id: str | None = None
    min_messages: Annotated[int, Field(ge=0)] | None = None
    max_messages: Annotated[int, Field(ge=0)] | None = None
    message_content: str | None = None
    min_last_message_date: Moment | None = None
    max_last_message_date: Moment | None = None


class UserQuery(Query):
    """GET /api/users."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Field(ge=0)] = 0
    search_id: str | None = None
    search_username: str | None = None
    sort_by: Literal["id", "username"] | None = None
    sort_desc: bool = False


class ContentQuery(Query):
    """GET /api/content."""

    bot_id: BotId | None = None
    user_id: str | None = None
