"""A bot's reply as it is generated: pieces of a stream in, the whole reply or its failure out.

Two public descriptions of the API name the events differently, and both are read: a `result` (`receive_result`) with an
id is the whole reply; one without an id is a piece of it, and `done` ends the pieces. They come as JSON lines or as
server-sent events; an answer that is one JSON object is a reply, too. What is unknown or unreadable is passed over,
`error` and `abort` end it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mappings.wire import chatbotkit as wire

Failure: TypeAlias = Literal["error", "abort", "incomplete", "empty"]
"""The bot failed, the generation was aborted, the stream ended before the reply did, or there is nothing in it."""

_BREAK = re.compile(rb"\r\n|\n|\r(?!\n|$)")
"""The end of a line; a carriage return that ends a piece may be half of one."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole reply. `id` is its message's in the upstream; `reason` is why it ended, `stop` unless it is said."""

    text: str
    id: str | None = None
    reason: str = "stop"
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No reply: what went wrong, and the upstream's own words for it."""

    kind: Failure
    message: str = ""


Outcome: TypeAlias = Heard | Failed


class Listener:
    """Reads one generation. Feed it what arrives until it has an outcome or nothing more comes, then `close` it."""

    def __init__(self, content_type: str) -> None:
        self._media_type = content_type.partition(";")[0].strip().lower()
        self._rest = b""
        self._block: list[bytes] = []
        self._pieces: list[str] = []
        self._tokens: list[str] = []
        self._usage: int | None = None
        self.outcome: Outcome | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; they may end anywhere."""
        self._rest += chunk
        if self._media_type == wire.JSON:
            return
        *lines, self._rest = _BREAK.split(self._rest)
        for line in lines:
            self._take(line)

    def close(self) -> Outcome:
        """Give the outcome; what came so far is all."""
        if self._media_type == wire.JSON:
            self._tell("result", _object(self._rest))
        else:
            self._take(self._rest.rstrip(b"\r"))
            self._take(b"")
        return self.outcome or Failed("incomplete")

    def _take(self, line: bytes) -> None:
        if self._media_type == wire.SSE:
            if line:
                self._block.append(line)
                return
            event = _dispatch(self._block)
            self._block = []
        else:
            event = _event(_object(line))
        if event is not None:
            self._tell(*event)

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if self.outcome is not None:
            return
        match kind:
            case "result" | "receive_result" | "done":
                self._hear(kind, data)
            case "token":
                self._tokens.append(str(data.get("token", "")))
            case "error" | "abort":
                self.outcome = Failed(kind, str(data.get("message", "")))
            case _:  # of a kind that says nothing about the reply, or that came after this was written
                pass

    def _hear(self, kind: str, data: dict[str, Any]) -> None:
        result = wire.Result.model_validate(data)  # whose fields are missing where they are unreadable
        if kind == "result" and result.id is None and self._media_type != wire.JSON:
            self._pieces.append(result.text or "")
            return
        pieces = self._pieces or self._tokens
        text = "".join(pieces) if result.text is None else result.text
        reason = result.end.reason if result.end else "stop"
        if reason in {"error", "abort"}:
            self.outcome = Failed("error" if reason == "error" else "abort")
        elif not text.strip():
            self.outcome = Failed("empty", reason)
        else:
            self.outcome = Heard(text, result.id, reason, result.usage.token if result.usage else None)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _event(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    kind, data = value.get("type"), value.get("data")
    if not isinstance(kind, str):
        return None
    return kind, data if isinstance(data, dict) else {}


def _dispatch(block: list[bytes]) -> tuple[str, dict[str, Any]] | None:
    """Read one server-sent event: named by its field `event`, or by the object in its data."""
    fields = dict(_fields(block))
    value = _object(fields.get(b"data", b""))
    if b"event" not in fields:
        return _event(value)
    inner = value.get("data") if "type" in value else None
    return fields[b"event"].decode(errors="replace"), inner if isinstance(inner, dict) else value


def _fields(block: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    data: list[bytes] = []
    for line in block:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name:
            yield name, value
    if data:
        yield b"data", b"\n".join(data)
