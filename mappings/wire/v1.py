"""JSON shapes of V1, the stateless API (routes under /v2/), as its clients write and read them.

Each class names the source of its facts: the "seed document" (the description of the API that the project started
from, the authority), the "public API description" (the vendor's published material) or "our choice" where neither
says anything.
"""

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

Number = Annotated[float, Field(allow_inf_nan=False)]
Scalar = str | bool | int | Number | None


_LENIENT = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)
"""Of models: types as they are in JSON, unknown fields kept, no values in what is told of faults."""


class CompleteRequest(msgspec.Struct, frozen=True, gc=False):
    """Body of POST /v2/complete but for `messages` (`HistoryItem`).

    Source: seed document; fields marked so are from the public API description. Only `bot_id` is required everywhere;
    `user_id` or `conversation_id` must be there to tell one user from another.
    """

    bot_id: str
    user_id: str | None = None
    conversation_id: str | None = None
    message: str | None = None
    webhook: str | None = None
    min_delay: Number | None = None
    max_delay: Number | None = None
    language: str | None = None
    platform: str | None = None
    timezone: str | None = None  # public API description: an IANA name
    user_kv_pairs: dict[str, Scalar] | None = None
    degrade_grammar: Number | None = None
    enable_protections: bool | None = None
    question_mode: str | None = None
    user_display_name: str | None = None
    bot_display_name: str | None = None
    # From here on: public API description, null in the known sample.
    prompt: str | None = None
    segment: bool | None = None
    fast_mode: bool | None = None
    follow_up: Scalar = None
    is_follow_up: bool | None = None
    start_message: Scalar = None
    no_start_message: bool | None = None
    use_hardcoded_conversation_starters: bool | None = None
    offer_url: str | None = None
    user_freeform: str | None = None
    image_id: str | None = None
    image_url: str | None = None
    user_images: list[str] | None = None
    bot_images: list[str] | None = None
    chat_images_enabled: bool | None = None
    user_can_send_photos: bool | None = None


_FIELDS: dict[str, Any] = {
    field.name: (field.type, ... if field.required else None) for field in msgspec.structs.fields(CompleteRequest)
}

CompleteModel = create_model("CompleteRequest", __config__=_LENIENT, __doc__=CompleteRequest.__doc__, **_FIELDS)
"""The same shape as a model, which tells of all faults of a body and keeps unknown fields, never an error (our choice).

It takes three times as long.
"""


class HistoryItem(msgspec.Struct, frozen=True):
    """One item of `messages`: the segments of one speaker's turn, oldest first.

    Source: seed document; `id` public API description; `content` as a bare string is seen in the wild (our choice).
    """

    bot: bool
    content: list[str] | str
    id: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a request with a webhook. Source: our choice; clients parse it as JSON (seed document)."""

    status: str
    conversation_id: str | None
    bot_id: str
    message_id: str


class Media(msgspec.Struct, frozen=True):
    """A picture beside a reply. Source: public API description."""

    url: str
    type: str


class Moderation(msgspec.Struct, frozen=True):
    """What the safety controls say of a reply. Source: V3's public API description, V1 passed it through."""

    category: str | None
    reasoning: str | None
    severity: str | None


class Completed(msgspec.Struct, frozen=True):
    """The answer to a request without a webhook: the reply itself. Source: public API description.

    `delay` (seconds) is for the client to wait before it shows the reply, `timestamp` in Unix seconds. Our choice:
    several segments are joined by newlines in `response` and given one by one in `completion`; the picture is named
    as in the webhook.
    """

    response: str
    conversation_id: str | None
    bot_id: str
    message_id: str
    delay: float
    tone: str | None
    moderation: Moderation | None
    timestamp: int
    completion: list[str]
    media: Media | None
    media_id: str | None


class Callback(msgspec.Struct, frozen=True):
    """What is posted to the client's webhook, once per reply. Source: public API description."""

    completion: list[str]
    id: str
    media: Media | None
    media_id: str | None


class CreateBot(BaseModel):
    """Body of POST /v2/bot. Source: public API description; unknown fields are kept (our choice)."""

    model_config = _LENIENT

    name: str
    freeform_personality: str | None = None
    kv_pairs: dict[str, Scalar] | None = None


class Created(msgspec.Struct, frozen=True):
    """The answer to /v2/bot and /v2/user_content: the id by which later requests name what was made.

    Source: public API description for /v2/user_content, for /v2/bot our choice.
    """

    id: str


class ContentCreated(msgspec.Struct, frozen=True):
    """The answer to /v2/content. Source: our choice."""

    id: str
    url: str


class Error(msgspec.Struct, frozen=True):
    """Every error answer. Source: our choice, since V1's error body is not public."""

    error: str
    message: str
    request_id: str
