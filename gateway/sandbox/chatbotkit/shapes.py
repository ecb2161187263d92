"""What the server takes: strict shapes of bodies and query strings.

Written out here, beside the lenient ones that a client uses, so that one mistake cannot hide in both. Unknown fields
and wrong types are refused. Where nothing public says how strict the vendor is, the stricter way was chosen.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from mappings.wire import chatbotkit as wire

MAX_TAKE = 100

Id = Annotated[str, Field(min_length=1)]
Meta = dict[str, Any]
Order = Literal["asc", "desc"]


class Strict(BaseModel):
    """A body: nothing unknown, nothing converted, nothing quoted in an error."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class Nothing(Strict):
    """The body of an action that needs no details."""


class Replacement(Strict):
    """What stands for a part of a text."""

    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    text: str


class Entity(Strict):
    """A part of a text that means something, by its offsets."""

    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    type: str | None = None
    text: str | None = None
    replacement: Replacement | None = None


class Said(Strict):
    """A message at the creation of a conversation."""

    type: wire.MessageType
    text: str
    meta: Meta | None = None


class NewMessage(Said):
    """`message/create`."""

    name: str | None = None
    description: str | None = None
    entities: list[Entity] | None = None


class BatchItem(Said):
    """One message of a batch; with an id of the caller's own, if it has one."""

    entities: list[Entity] | None = None
    id: Id | None = None


class BatchCreate(Strict):
    """`message/batch/create`."""

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=wire.MAX_BATCH_ITEMS)]


class UpdateConversation(Strict):
    """`update`: what is named changes, null clears it, `meta` is merged."""

    name: str | None = None
    description: str | None = None
    bot_id: Id | None = None
    contact_id: Id | None = None
    task_id: Id | None = None
    space_id: Id | None = None
    meta: Meta | None = None
    model: str | None = None
    backstory: str | None = None
    dataset_id: Id | None = None
    skillset_id: Id | None = None
    privacy: bool | None = None
    moderation: bool | None = None

    @model_validator(mode="after")
    def _has_a_bot_or_a_configuration(self) -> Self:
        own = (self.model, self.backstory, self.dataset_id, self.skillset_id, self.privacy, self.moderation)
        if self.bot_id is not None and any(value is not None for value in own):
            raise ValueError("botId excludes a configuration of the conversation's own")
        return self


class CreateConversation(UpdateConversation):
    """`conversation/create`."""

    messages: Annotated[list[Said], Field(max_length=wire.MAX_BATCH_ITEMS)] | None = None


class Parameters(Strict):
    """The JSON Schema of a function's arguments."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)

    type: Literal["object"]
    properties: dict[str, Any]
    required: list[str] | None = None


class Function(Strict):
    """A function that the bot may call."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_$][A-Za-z0-9_$]{0,63}$")]
    description: str
    parameters: Parameters
    result: dict[str, Any] | None = None
    call: dict[str, bool] | None = None


class Extensions(Strict):
    """What a bot is told for one call; nothing of it is stored."""

    backstory: str | None = None
    datasets: list[dict[str, Any]] | None = None
    skillsets: list[dict[str, Any]] | None = None
    features: list[dict[str, Any]] | None = None


class Limits(Strict):
    """Bounds of one generation."""

    iterations: Annotated[int, Field(ge=0)] | None = None
    continuations: Annotated[int, Field(ge=0)] | None = None
    calls: Annotated[int, Field(ge=0)] | None = None


class Receive(Strict):
    """`receive`."""

    functions: list[Function] | None = None
    extensions: Extensions | None = None


class Send(Receive):
    """`send`."""

    text: str
    entities: list[Entity] | None = None


class Complete(Receive):
    """`complete`; without a text the bot goes on from where the conversation stands."""

    text: str | None = None
    entities: list[Entity] | None = None
    limits: Limits | None = None


class Initiate(Strict):
    """`initiate`."""

    text: str
    entities: list[Entity] | None = None


class PageQuery(BaseModel):
    """Which page of a list: values are read from text, unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, alias_generator=to_camel)

    cursor: str | None = None
    order: Order = "desc"
    take: Annotated[int, Field(ge=1, le=MAX_TAKE)] = MAX_TAKE


class ConversationQuery(PageQuery):
    """Which conversations; `meta` is filled from `meta[key]=value` and from the SDK's spelling, `meta.key=value`."""

    bot_id: str | None = None
    contact_id: str | None = None
    task_id: str | None = None
    meta: dict[str, str] = {}


_META = re.compile(r"meta(?:\[(?P<bracketed>.+)\]|\.(?P<dotted>.+))", re.DOTALL)


def filters(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    """Gather a query string's parameters for `ConversationQuery`."""
    gathered: dict[str, Any] = {"meta": {}}
    for name, value in parameters:
        found = _META.fullmatch(name)
        if found:
            gathered["meta"][found["bracketed"] or found["dotted"]] = value
        elif name != "meta":
            gathered[name] = value
    return gathered
