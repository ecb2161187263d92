"""V1, the stateless API: its requests as turns, and what its clients get back."""

import codecs
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from mappings import fates
from mappings.completion import PICTURE_TYPE
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Completion, DelayWindow, Turn, Utterance
from mappings.wire import v1 as wire

MAX_DELAY = timedelta(days=7)
_MAX_DELAY_SECONDS = MAX_DELAY.total_seconds()
MAX_ID_CHARACTERS = 512
MAX_HISTORY_ITEMS = 100_000
MAX_FIELDS = 5000
MAX_ITEMS = 1000
"""Facts or pictures in one field. Half a million wrong ones took half a minute to be told about, one by one."""

MESSAGE_REQUIRED = "message: required, unless is_follow_up, follow_up or start_message is set"
"""The answer to a request that neither says anything nor asks the bot to (see `opening`)."""

MAX_FAULTS_TOLD = 5
MAX_FAULT_CHARACTERS = 200

_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder()
_history = msgspec.json.Decoder(tuple[Utterance, ...] | None)
_loose_history = msgspec.json.Decoder(list[wire.HistoryItem] | None)
_NULL = msgspec.Raw(b"null")

Shape = TypeVar("Shape", bound=BaseModel)


class _Body(wire.CompleteRequest, frozen=True, gc=False, forbid_unknown_fields=True):
    """A body of which nothing needs to be said: all it has is V1's, and of V1's types."""

    messages: tuple[Utterance, ...] | None = None


_usual = msgspec.json.Decoder(_Body)
_WITH_ITEMS = ("user_kv_pairs", "user_images", "bot_images")


def decode_request(body: bytes) -> Turn:
    """Read the body of POST /v2/complete.

    Raises `MalformedRequest` when it is not JSON or not of V1's shape, `ValueOutOfRange` when a value cannot be served.
    """
    unknown: Mapping[str, Any] = {}
    try:
        request = _usual.decode(body)  # at once: 20 µs with 100 messages, field by field it takes 40
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request, unknown = _read_closely(body)
    else:
        _bound_items([(name, getattr(request, name)) for name in _WITH_ITEMS])
    user_id = _user_of(request)
    history = request.messages or ()
    if len(history) > MAX_HISTORY_ITEMS:
        raise ValueOutOfRange(f"messages: at most {MAX_HISTORY_ITEMS} items are taken")
    return Turn(
        request.bot_id,
        user_id,
        request.conversation_id,
        request.message,
        history,
        _decode_window(request),
        request.webhook,
        request,
        sum([len(utterance.segments) for utterance in history]),  # half the time of a generator
        unknown,
    )


def opening(request: wire.CompleteRequest) -> Literal["start", "follow_up"] | None:
    """Tell how a request without a message asks the bot to speak first: by beginning, or by going on; None: not.

    `no_start_message` takes the first back.

    Source: public API description (`message` null together with `is_follow_up` or `start_message`).
    """
    if fates.says_something("start_message", request.start_message) and not request.no_start_message:
        return "start"
    if request.is_follow_up or fates.says_something("follow_up", request.follow_up):
        return "follow_up"
    return None


def decode_bot(body: bytes) -> wire.CreateBot:
    """Read the body of POST /v2/bot; raises as `decode_request` does."""
    envelope, _ = _decode_object(body)
    bot = _decode_shape(wire.CreateBot, envelope)
    if not bot.name or len(bot.name) > MAX_ID_CHARACTERS:
        raise ValueOutOfRange(f"name: must have 1 to {MAX_ID_CHARACTERS} characters")
    return bot


def encode_accepted(turn: Turn, message_id: str) -> bytes:
    """Answer a request whose reply will come to its webhook."""
    return msgspec.json.encode(wire.Accepted("accepted", turn.client_conversation_id, turn.bot_id, message_id))


def encode_completion(turn: Turn, completion: Completion, *, delay: timedelta, now: datetime) -> bytes:
    """Answer a request without a webhook: the reply itself, with the delay that its client applies."""
    picture, flag = completion.picture, completion.moderation
    seconds = round(delay.total_seconds(), 3)
    return msgspec.json.encode(
        wire.Completed(
            response="\n".join(completion.texts),
            conversation_id=turn.client_conversation_id,
            bot_id=turn.bot_id,
            message_id=completion.id,
            delay=int(seconds) if seconds.is_integer() else seconds,
            tone=completion.tone,
            moderation=wire.Moderation(flag.category, flag.reasoning, flag.severity) if flag else None,
            timestamp=int(now.timestamp() if completion.sent_at is None else completion.sent_at),
            completion=list(completion.texts),
            media=wire.Media(picture.url, PICTURE_TYPE) if picture else None,
            media_id=picture.content_id if picture else None,
        )
    )


def encode_error(code: str, message: str, request_id: str) -> bytes:
    """Answer a request that is not served."""
    return msgspec.json.encode(wire.Error(code, message, request_id))


def encode_created(created: wire.Created | wire.ContentCreated) -> bytes:
    """Answer a request that made something."""
    return msgspec.json.encode(created)


def _decode_object(body: bytes, *, apart: str = "") -> tuple[dict[str, Any], msgspec.Raw]:
    """Read a body as one JSON object, the value of one name left as it came; of a repeated name the last counts."""
    values: dict[str, Any] = {}
    where = "the body must be one JSON object"
    try:
        raw = _envelope.decode(body.removeprefix(codecs.BOM_UTF8))  # may be ignored: RFC 8259, section 8.1
        if len(raw) > MAX_FIELDS:
            raise ValueOutOfRange(f"at most {MAX_FIELDS} fields are taken")
        left = raw.pop(apart, _NULL)
        for where, value in raw.items():
            values[where] = _anything.decode(value)
    except msgspec.ValidationError as error:  # of a value: a number that is none of ours
        raise MalformedRequest(f"{where[:MAX_ID_CHARACTERS]}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {_reason(error)}") from None
    return values, left


def _read_closely(body: bytes) -> tuple[_Body, Mapping[str, Any]]:
    """Read a body field by field, and the unknown ones: what is unusual is taken, and what is wrong is told."""
    envelope, history = _decode_object(body, apart="messages")
    model = _decode_shape(wire.CompleteModel, envelope)
    values = {name: getattr(model, name) for name in wire.CompleteRequest.__struct_fields__}
    _user_of(wire.CompleteRequest(**values))  # is told of before the history
    return _Body(**values, messages=_decode_history(history)), model.model_extra or {}


def _user_of(request: wire.CompleteRequest) -> str:
    """Give what tells a bot's users apart."""
    user_id = request.conversation_id if request.user_id is None else request.user_id
    if user_id is None:
        raise MalformedRequest("user_id: required (or conversation_id, which then stands in for it)")
    if not 0 < len(request.bot_id) <= MAX_ID_CHARACTERS:
        raise ValueOutOfRange(f"bot_id: must have 1 to {MAX_ID_CHARACTERS} characters")
    if not 0 < len(user_id) <= MAX_ID_CHARACTERS:
        raise ValueOutOfRange(f"user_id: must have 1 to {MAX_ID_CHARACTERS} characters")
    return user_id


def _bound_items(fields: Iterable[tuple[str, Any]]) -> None:
    for name, value in fields:
        if isinstance(value, dict | list) and len(value) > MAX_ITEMS:
            raise ValueOutOfRange(f"{name}: at most {MAX_ITEMS} items are taken")


def _decode_shape(shape: type[Shape], envelope: dict[str, Any]) -> Shape:
    _bound_items((name, envelope[name]) for name in shape.model_fields if name in envelope)
    try:
        return shape.model_validate(envelope)
    except ValidationError as error:
        faults = [_explain(item) for item in error.errors(include_url=False, include_context=False)]
        more = [f"and {len(faults) - MAX_FAULTS_TOLD} more"] if len(faults) > MAX_FAULTS_TOLD else []
        raise MalformedRequest("; ".join(faults[:MAX_FAULTS_TOLD] + more)) from None


def _decode_history(raw: msgspec.Raw) -> tuple[Utterance, ...]:
    try:
        return _read_history(raw)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"messages: {str(error).replace('`$', '`messages')}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"messages: not JSON: {_reason(error)}") from None


def _read_history(raw: msgspec.Raw) -> tuple[Utterance, ...]:
    try:
        return _history.decode(raw) or ()
    except msgspec.ValidationError:  # some client's bare strings, or a shape that is none: this one can tell
        items = _loose_history.decode(raw) or []
    return tuple(
        Utterance(item.bot, (item.content,) if isinstance(item.content, str) else tuple(item.content), item.id)
        for item in items
    )


def _decode_window(request: wire.CompleteRequest) -> DelayWindow:
    low, high = request.min_delay, request.max_delay
    if low is not None and not 0 <= low <= _MAX_DELAY_SECONDS:
        raise _outside("min_delay", low)
    if high is not None and not 0 <= high <= _MAX_DELAY_SECONDS:
        raise _outside("max_delay", high)
    if low is not None and high is not None and low > high:
        raise ValueOutOfRange(f"min_delay: {low:g} is greater than max_delay {high:g}")
    minimum = timedelta(seconds=low or 0)
    return DelayWindow(minimum, minimum if high is None else timedelta(seconds=high))


def _outside(name: str, seconds: float) -> ValueOutOfRange:
    return ValueOutOfRange(f"{name}: {seconds:g} is outside 0 to {_MAX_DELAY_SECONDS:g} seconds")


def _explain(item: object) -> str:
    detail = dict(item)  # type: ignore[call-overload]  # pydantic's ErrorDetails is a mapping
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where[:MAX_FAULT_CHARACTERS]}: {detail['msg'][:MAX_FAULT_CHARACTERS]}"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "a text is not UTF-8"
    return str(error)
