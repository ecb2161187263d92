"""JSON shapes of ChatBotKit's conversation API, as its client writes and reads them.

Every write is a POST, also updates and deletions. Answers and stream events are read leniently: unknown fields are
kept, unknown kinds of events are the reader's to skip, an optional field that is unreadable counts as missing. Ids stay
strings, as they came. Times are Unix milliseconds.

Each class names the source of its facts: the "seed document" (the description of the API that the project started
from, the authority) or the "public API description" (the vendor's published OpenAPI description).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic.alias_generators import to_camel
from pydantic.functional_validators import ModelWrapValidatorHandler

T = TypeVar("T")

JSON = "application/json"
JSONL = "application/jsonl"
SSE = "text/event-stream"
CSV = "text/csv"

MAX_BATCH_ITEMS = 100
"""How many messages one batch, or the creation of a conversation, takes. Source: seed document."""

LONGEST_GENERATION_SECONDS = 800
"""How long an answer of `complete` or `receive` may take. Source: seed document."""

MessageType: TypeAlias = Literal[
    "user",
    "bot",
    "context",
    "system",
    "instruction",
    "backstory",
    "activity",
    "reasoning",
    "checkpoint",
    "tool_request",
    "tool_response",
]
"""Source: seed document; `reasoning`, `instruction` and `checkpoint` also the public API description."""

EndReason: TypeAlias = Literal["stop", "length", "activity", "abort", "error", "iteration"]
"""Why a generation ended. Source: seed document."""


def _none_if_unreadable(value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


Lenient = Annotated[T | None, WrapValidator(_none_if_unreadable)]
"""An optional field of an answer: missing, null and unreadable are all None."""


class Shape(BaseModel):
    """A JSON object: immutable, unknown fields kept, its values never quoted in a validation error."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
        alias_generator=to_camel,  # fields are in camel case on the wire: botId, createdAt
        populate_by_name=True,
        serialize_by_alias=True,
    )

    def body(self) -> bytes:
        """Return the JSON of the fields that were set, in declared order; a None that was set is sent."""
        return self.model_dump_json(exclude_unset=True).encode()


# Requests


class NewMessage(Shape):
    """A message to be added, without a reply. Source: seed document."""

    type: MessageType
    text: str
    meta: Mapping[str, Any] | None = None


class CreateConversation(Shape):
    """`conversation/create`, and without `messages` the body of `conversation/{id}/update`. Source: seed document."""

    name: str | None = None
    bot_id: str | None = None
    meta: Mapping[str, Any] | None = None
    messages: Sequence[NewMessage] | None = None


class Extensions(Shape):
    """What a bot is told for one call only; nothing of it is stored. Source: seed document."""

    backstory: str | None = None


class Limits(Shape):
    """Bounds of one generation. Source: seed document."""

    iterations: int | None = None
    continuations: int | None = None
    calls: int | None = None


class Complete(Shape):
    """`send`, `receive` and `complete`: what is said, if anything, and what the bot is told. Source: seed document."""

    text: str | None = None
    extensions: Extensions | None = None
    limits: Limits | None = None


class Initiate(Shape):
    """`initiate`: a text that the bot answers without a user having spoken. Source: seed document."""

    text: str


class BatchCreate(Shape):
    """`message/batch/create`: all are added, in their order, or none. Source: seed document."""

    items: Sequence[NewMessage]


# Answers


class Named(Shape):
    """The id of what was created, changed or deleted. Source: seed document."""

    id: str


class Created(Named):
    """The answer to `conversation/create`. Source: public API description."""

    messages: Lenient[Sequence[NewMessage]] = None


class Message(Named):
    """One message of a conversation, as `message/list` shows it. Source: public API description.

    `type` is not one of `MessageType` where the vendor has added to them.
    """

    type: str
    text: str
    meta: Lenient[Mapping[str, Any]] = None
    created_at: Lenient[int] = None
    updated_at: Lenient[int] = None


class MessagePage(Shape):
    """One page of `message/list`. Source: public API description."""

    items: Sequence[Message]
    cursor: Lenient[str] = None


class Conversation(Named):
    """A conversation without its messages, as `fetch`, `list` and `export` show it. Source: public API description."""

    name: Lenient[str] = None
    description: Lenient[str] = None
    meta: Lenient[Mapping[str, Any]] = None
    bot_id: Lenient[str] = None
    created_at: Lenient[int] = None
    updated_at: Lenient[int] = None


class ConversationPage(Shape):
    """One page of `conversation/list` or `conversation/export`. Source: seed document."""

    items: Sequence[Conversation]
    cursor: Lenient[str] = None


class Usage(Shape):
    """What a generation used. Source: seed document."""

    token: int


class End(Shape):
    """Why a generation ended; an `EndReason`, or what the vendor has added to them. Source: seed document."""

    reason: str


class Result(Shape):
    """The bot's reply, or a piece of it: the whole one has an id. Source: seed document.

    `end` is documented for `complete` alone.
    """

    id: Lenient[str] = None
    text: Lenient[str] = None
    usage: Lenient[Usage] = None
    end: Lenient[End] = None


class Failure(Shape):
    """An error body, and the data of an `error` event. Source: seed document."""

    message: Lenient[str] = None
    code: Lenient[str] = None


class Event(Shape):
    """One line of a stream: a kind and its data. Source: seed document and public API description, which differ.

    `result` in the one is `send_result` and `receive_result` in the other; streams of `receive` end in `done`.
    """

    type: str
    data: Lenient[Mapping[str, Any]] = None
