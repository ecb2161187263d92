"""`gateway explain`: what would become of a V1 request, field by field and call by call, without calling anybody."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from gateway import errors
from gateway.explain import chatbotkit, v3
from gateway.explain.calls import Call, Face, text_of
from mappings import context, fates, receipt, v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Turn

STDIN = "-"
MAX_VALUE_CHARACTERS = 60
MAX_ITEMS_SHOWN = 3

FACES: Mapping[fates.Upstream, Face] = {"v3": v3.V3(), "chatbotkit": chatbotkit.ChatBotKit()}

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
class Explanation:
    """The whole of it. `receipt` is the value of the response header `receipt.HEADER`, empty when nothing is lost."""

    upstream: fates.Upstream
    mode: fates.Mode
    fields: tuple[Field, ...]
    calls: tuple[Call, ...]
    notes: tuple[str, ...]
    losses: receipt.Losses
    receipt: str


def run(file: str, *, as_json: bool, mode: fates.Mode, upstream: fates.Upstream = "v3") -> str:
    """Explain the request in the file, or on standard input for `-`, as text or as one JSON object.

    Raises `ClientError` with the answer that the gateway would give when it is not a request, and when the file
    cannot be read.
    """
    try:
        body = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise errors.ClientError(f"{file}: cannot be read: {error.strerror}") from error
    explanation = explain(body, mode=mode, now=datetime.now(UTC), upstream=upstream)
    return render_json(explanation) if as_json else render_text(explanation)


def explain(body: bytes, *, mode: fates.Mode, now: datetime, upstream: fates.Upstream = "v3") -> Explanation:
    """Say what the gateway would do with the body of a POST /v2/complete at that time; calls nobody."""
    try:
        turn = v1.decode_request(body)
    except MalformedRequest as error:
        raise _refusal(errors.ClientError, str(error)) from error
    except ValueOutOfRange as error:
        raise _refusal(errors.OutOfRange, str(error)) from error
    if text_of(turn) is None and v1.opening(turn.request) is None:
        raise _refusal(errors.OutOfRange, v1.MESSAGE_REQUIRED)
    found = receipt.outcomes(turn, mode=mode, upstream=upstream)
    face = FACES[upstream]
    return Explanation(
        upstream=upstream,
        mode=mode,
        fields=tuple(_fields(body, turn, found)),
        calls=tuple(face.calls(turn, context.carry(turn.request, mode=mode), now)),
        notes=tuple(face.notes(turn)),
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


def _text(explanation: Explanation) -> Iterator[str]:
    yield f"FIELDS (upstream {explanation.upstream}, context mode {explanation.mode})"
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
