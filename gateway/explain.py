"""`gateway explain`: what would become of a V1 request, field by field and call by call, without calling anybody."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlencode

import msgspec

from gateway import errors
from mappings import context, fates, receipt, v1, v3
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Message, Turn

STDIN = "-"
CALLBACK_URL = "https://gateway.invalid/callbacks/v3/TOKEN"
"""Stands for the callback URL that the running gateway would sign."""

MAX_VALUE_CHARACTERS = 60
MAX_ITEMS_SHOWN = 3

CONVERSATION = "/api/conversations/{id}"
SPOKEN = "(what the bot says)"

KNOWN_CONVERSATION = (
    "Where the gateway knows the conversation already, only the last of these are sent: PATCH and PUT when what they "
    "say has changed since the last time, and what is always sent."
)
AHEAD = (
    "Where the history ends with messages that the upstream lacks, the bot's of them are added before anything new, "
    "one call for each."
)
NO_MESSAGE = (
    "The request has no message: the bot is asked what it would say, and that is delivered and added to the "
    "conversation."
)
NOTHING_TO_FOLLOW = "Where V3 has no conversation of the pair's, there is nothing to follow: the answer is 422."

Verdict: TypeAlias = fates.Kind | Literal["nothing asked"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the request: its value, shortened, and what would become of it."""

    name: str
    value: str
    fate: Verdict
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """One call that would be made, and when it would be; the body as JSON has it, empty where there is none."""

    method: str
    path: str
    when: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole of it. `receipt` is the value of the response header `receipt.HEADER`, empty when nothing is lost."""

    mode: fates.Mode
    fields: tuple[Field, ...]
    calls: tuple[UpstreamCall, ...]
    notes: tuple[str, ...]
    losses: receipt.Losses
    receipt: str


def run(file: str, *, as_json: bool, mode: fates.Mode) -> str:
    """Explain the request in the file, or on standard input for `-`, as text or as one JSON object.

    Raises `ClientError` with the answer that the gateway would give when it is not a request, and when the file
    cannot be read.
    """
    try:
        body = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise errors.ClientError(f"{file}: cannot be read: {error.strerror}") from error
    explanation = explain(body, mode=mode, now=datetime.now(UTC))
    return render_json(explanation) if as_json else render_text(explanation)


def explain(body: bytes, *, mode: fates.Mode, now: datetime) -> Explanation:
    """Say what the gateway would do with the body of a POST /v2/complete at that time; calls nobody."""
    try:
        turn = v1.decode_request(body)
    except MalformedRequest as error:
        raise _refusal(errors.ClientError, str(error)) from error
    except ValueOutOfRange as error:
        raise _refusal(errors.OutOfRange, str(error)) from error
    if _text_of(turn) is None and v1.opening(turn.request) is None:
        raise _refusal(errors.OutOfRange, v1.MESSAGE_REQUIRED)
    found = receipt.outcomes(turn, mode=mode)
    return Explanation(
        mode=mode,
        fields=tuple(_fields(body, turn, found)),
        calls=tuple(_calls(turn, mode, now)),
        notes=tuple(_notes(turn)),
        losses=receipt.losses(found),
        receipt=receipt.encode_receipt(found),
    )


def render_json(explanation: Explanation) -> str:
    """Write the explanation as one JSON object."""
    return json.dumps(asdict(explanation), indent=2)


def render_text(explanation: Explanation) -> str:
    """Write the explanation for a terminal; what a terminal might obey comes out escaped."""
    return _printable("\n".join(_text(explanation)))


def _refusal(error: type[errors.ClientError], reason: str) -> errors.ClientError:
    answer = v1.encode_error(error.code, reason, "explain").decode()
    return error(f"the gateway would answer {error.status}: {answer}")


def _fields(body: bytes, turn: Turn, found: tuple[receipt.FieldOutcome, ...]) -> Iterator[Field]:
    """Give the fields in V1's order, the unknown ones last, then those whose value asks for nothing."""
    values = msgspec.json.decode(body, type=dict[str, Any])
    for outcome in found:
        value = _shown(outcome.name, values.pop(outcome.name), turn)
        yield Field(outcome.name, value, outcome.kind, outcome.target, outcome.reason)
    for name, raw in values.items():
        yield Field(name, _shown(name, raw, turn), "nothing asked", "nowhere", "This value asks for nothing.")


def _shown(name: str, value: Any, turn: Turn) -> str:
    if name == "messages" and value is not None:
        return f"{turn.history_segments} texts in {len(turn.history)} items"
    if name == "webhook" and value is not None:
        value = value.partition("?")[0] + ("?…" if "?" in value else "")  # its query is the client's secret
    text = _json(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


def _notes(turn: Turn) -> Iterator[str]:
    yield KNOWN_CONVERSATION
    if turn.history:
        yield AHEAD
    if _text_of(turn) is None:
        yield NO_MESSAGE
        if not turn.history and v1.opening(turn.request) != "start":
            yield NOTHING_TO_FOLLOW


def _text_of(turn: Turn) -> str | None:
    """Give the new message's text; a picture without one is a message, too. None where the bot is to speak first."""
    if turn.message is None and (context.picture(turn.request) or turn.request.image_id):
        return ""
    return turn.message


def _calls(turn: Turn, mode: fates.Mode, now: datetime) -> Iterator[UpstreamCall]:
    """Give the calls in the order in which `posting.Posting` makes them."""
    carried, text = context.carry(turn.request, mode=mode), _text_of(turn)
    names = urlencode({"bot_id": turn.bot_id, "user_id": turn.user_id})
    yield UpstreamCall("GET", f"/api/conversations?{names}", "where the gateway does not know the conversation", {})
    if text is not None or turn.history or v1.opening(turn.request) == "start":
        yield UpstreamCall(
            "POST",
            "/api/conversations",
            "where V3 has none of the pair's",
            json.loads(v3.encode_create(turn, webhook=CALLBACK_URL, now=now, context=carried)),
        )
    adopts = "where V3 has one that the gateway does not know"
    yield UpstreamCall("PATCH", CONVERSATION, adopts, json.loads(v3.encode_webhook(CALLBACK_URL)))
    yield UpstreamCall("GET", CONVERSATION, adopts, {})
    if carried.conversation_digest:
        yield UpstreamCall(
            "PATCH",
            CONVERSATION,
            "where V3 had the conversation already, and has not been told this",
            json.loads(v3.encode_context(carried)),
        )
    if carried.user_digest:
        yield UpstreamCall(
            "PUT",
            f"/api/users/{quote(turn.user_id, safe='')}",
            "where V3 has not been told this; POST /api/users with the same body where it does not know the user yet",
            json.loads(v3.encode_user(turn.user_id, carried)),
        )
    if text is not None:
        message = v3.encode_message(text, now=now, picture=context.picture(turn.request))
        yield UpstreamCall("POST", f"{CONVERSATION}/messages", "always", json.loads(message))
    else:
        spoken = v3.encode_bot_message(Message(from_bot=True, text=SPOKEN), now=now)
        yield UpstreamCall("POST", f"{CONVERSATION}/generate-response", "always", json.loads(v3.encode_generate()))
        yield UpstreamCall("POST", f"{CONVERSATION}/messages", "for each text of its answer", json.loads(spoken))


def _text(explanation: Explanation) -> Iterator[str]:
    yield f"FIELDS (context mode {explanation.mode})"
    told = [field for field in explanation.fields if field.fate != "nothing asked"]
    widths = [max(len(getattr(field, name)) for field in told) for name in ("name", "fate", "target")]
    for field in told:
        yield f"  {field.name:<{widths[0]}}  {field.fate:<{widths[1]}}  {field.target:<{widths[2]}}  {field.value}"
        if field.fate in {"approximated", "dropped"}:
            yield f"  {'':<{widths[0]}}  {field.reason}"
    silent = [field.name for field in explanation.fields if field.fate == "nothing asked"]
    if silent:
        yield f"  Ask for nothing: {', '.join(silent)}"
    yield ""
    yield "CALLS TO THE UPSTREAM"
    for call in explanation.calls:
        yield f"  {call.method} {call.path}  ({call.when})"
        yield from (f"    {line}" for line in _body_lines(call.body))
    yield from (f"  {note}" for note in explanation.notes)
    yield ""
    yield "LOST"
    yield f"  {receipt.HEADER}: {explanation.receipt}" if explanation.losses else "  nothing"


def _body_lines(body: Mapping[str, Any]) -> Iterator[str]:
    """Give one line a value; of a long list the first items, of a text each of its lines."""
    for name, value in body.items():
        match value:
            case [_, *_]:
                yield from (f"{name}[{index}]: {_json(item)}" for index, item in enumerate(value[:MAX_ITEMS_SHOWN]))
                if len(value) > MAX_ITEMS_SHOWN:
                    yield f"{name}: {len(value) - MAX_ITEMS_SHOWN} more"
            case str() if "\n" in value:
                yield from (f"{name}: {_json(line)}" for line in value.split("\n"))
            case _:
                yield f"{name}: {_json(value)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)
