"""Bots and pictures: V1's requests to make them as V3's, and V3's answers as V1's."""

import base64
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mappings import context, fates
from mappings.errors import MalformedAnswer
from mappings.receipt import FieldOutcome
from mappings.wire import v1, v3

Shape = TypeVar("Shape", bound=BaseModel)

PICTURE_TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp")
"""What is taken: pictures that every browser and model reads, and that hold no scripts, as SVG can."""


def picture_type(data: bytes) -> str | None:
    """Tell a picture's type by how it begins, whatever its sender calls it; None for what is not taken."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def data_url(media_type: str, data: bytes) -> str:
    """Give a picture as a URL that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def encode_bot(bot: v1.CreateBot) -> bytes:
    """Create a bot: its personality is V3's freeform; a fact of null or without a name says nothing."""
    facts = [(name, value) for name, value in (bot.kv_pairs or {}).items() if name and value is not None]
    attributes = [v3.Attribute(name=name, value=context.as_text(value)) for name, value in facts]
    said = {} if bot.freeform_personality is None else {"freeform": bot.freeform_personality}
    return v3.Bot(name=bot.name, **said, **({"attributes": attributes} if attributes else {})).body()


def outcomes(bot: v1.CreateBot) -> tuple[FieldOutcome, ...]:
    """Give what becomes of the fields of a bot that V1 does not have; all others arrive whole."""
    fate = fates.UNKNOWN
    return tuple(
        FieldOutcome(name, fate.kind, fate.target, fate.reason, known=False)
        for name, value in (bot.model_extra or {}).items()
        if value is not None
    )


def encode_bot_picture(bot_id: str, media_type: str, data: bytes) -> bytes:
    """Put a picture into a bot's vault."""
    return v3.CreateContent(image_url=data_url(media_type, data), bot_id=bot_id).body()


def decode_bot(body: bytes) -> v1.Created:
    """Read the id of a created bot."""
    bot = _decode(v3.BotEnvelope, body).bot
    if bot.id is None:
        raise MalformedAnswer("not a BotEnvelope: bot.id: missing")
    return v1.Created(bot.id)


def decode_content(body: bytes) -> v1.ContentCreated:
    """Read the name and address of a stored picture."""
    content = _decode(v3.ContentEnvelope, body).content
    return v1.ContentCreated(content.content_id, content.url)


def _decode(shape: type[Shape], body: bytes) -> Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedAnswer(f"not a {shape.__name__}: {where}: {first['msg']}") from None
