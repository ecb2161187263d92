"""Every log line of the process: one JSON object a line on stdout, from our own events and from the libraries'.

A line is assembled (`time`, `level`, `event`, what is bound to the request, the event's own fields), rendered, and read
once more for what must never leave (`redaction`); the first rule stays that nothing secret is logged at all.

Events that every turn has go past structlog (`tell`), as structs: a turn's line so costs 9 µs instead of 32.
"""

import functools
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
import pydantic
import structlog

from gateway import redaction

Format: TypeAlias = Literal["json", "console"]
Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
Event: TypeAlias = MutableMapping[str, Any]

MAX_EXCEPTION_MESSAGE: Final = 500
MAX_FRAMES: Final = 25
MAX_EXCEPTIONS: Final = 8
"""Of a chain of causes or of a group: how many are told."""

MAX_PLAIN_DEPTH: Final = 6

_QUIET: Final = ("httpx", "httpcore", "uvicorn.access")
"""Libraries that log a line for each request, with its URL: heard from WARNING on, at any level."""

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_processors: Final[list[Any]] = []
"""Changed in place, since loggers that were used already keep the list."""


class Stream(Protocol):
    """Where lines go to instead of stdout."""

    def write(self, text: str, /) -> object:
        """Take one whole line."""

    def flush(self) -> None:
        """Hold nothing back."""


class Line(msgspec.Struct, gc=False):
    """The head of every line; a kind of line that is written with `tell` adds its fields."""

    time: str
    level: Level
    event: str


def configure(level: str = "INFO", shape: Format = "json", *, stream: Stream | None = None) -> None:
    """Send this process's log lines to stdout or `stream`, from `level` on; the libraries' from INFO on at least."""
    _output.stream, _output.threshold = stream, (threshold := _LEVELS[level.lower()])
    _output.render = _render_json if shape == "json" else _console()
    _processors[:] = [_drop_below, _assemble, _output.render, _redact]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(0),  # loggers in use would keep their level
        logger_factory=lambda *_names: _output,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.setLevel(max(logging.INFO, threshold))
    for handler in root.handlers[:]:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # its own handlers would write lines of another shape
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def tell(line: Line) -> None:
    """Write a line that is whole already: dropped, rendered and read for secrets like any other.

    What is bound to the request is not added: such a line names its request itself.
    """
    if _LEVELS[line.level] < _output.threshold:
        return
    rendered = _output.render(None, line.level, line)
    hide = redaction.hide if redaction.has_telling_names(type(line)) else redaction.hide_in_texts
    _output.write(hide(rendered))


def now() -> str:
    """Give the time as lines have it: UTC, to the millisecond."""
    second, millisecond = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@functools.lru_cache(2)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def describe(error: BaseException, *, depth: int = MAX_EXCEPTIONS) -> dict[str, Any]:
    """Tell an exception: type, message, frames (`module:line function`, innermost last) and what caused it.

    No local variables, no source lines, and of validation errors no values: each may hold what a client wrote.
    """
    told: dict[str, Any] = {
        "type": _type_name(error),
        "message": _message(error)[:MAX_EXCEPTION_MESSAGE],
        "frames": _frames(error.__traceback__),
    }
    if depth <= 1:
        return told
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        told["cause"] = describe(cause, depth=depth - 1)
    if isinstance(error, BaseExceptionGroup):
        told["exceptions"] = [describe(one, depth=depth // 2) for one in error.exceptions[:MAX_EXCEPTIONS]]
    return told


class _Output:
    """Writes each line whole, in one call; when the reader is gone or the disk is full, only lines are lost.

    There is one, which loggers in use keep, so that what is configured anew holds for them.
    """

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.threshold = 0
        self.render: Callable[[object, str, Any], bytes] = _render_json

    def write(self, line: bytes) -> None:
        try:
            if self.stream is not None:
                self.stream.write(line.decode())
                self.stream.flush()
            else:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = write


class _Bridge(logging.Handler):
    """Takes the libraries' records into the same pipeline, with the logger's name as `logger`."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 — whatever a library's arguments do must not end what it tells of
            text = str(record.msg)
        _log.log(min(record.levelno // 10 * 10, logging.CRITICAL), text, logger=record.name, exc_info=record.exc_info)


def _drop_below(_logger: object, level: str, event: Event) -> Event:
    if _LEVELS[level] < _output.threshold:
        raise structlog.DropEvent
    return event


def _assemble(_logger: object, level: str, event: Event) -> Event:
    line: Event = {
        "time": now(),
        "level": level,
        "event": event.pop("event", ""),
        **structlog.contextvars.get_contextvars(),
        **event,
    }
    error = _exception_of(line.pop("exc_info", None))
    if error is not None:
        line["exception"] = describe(error)
    return line


def _render_json(_logger: object, _level: str, line: Event | Line) -> bytes:
    try:
        return _encode(line) + b"\n"
    except Exception:  # noqa: BLE001 — lone surrogates, cycles, keys that are no text: shown as Python shows them
        return _encode(_plain(_event(line), MAX_PLAIN_DEPTH)) + b"\n"


def _event(line: Event | Line) -> Event:
    if not isinstance(line, Line):
        return line
    event: Event = msgspec.to_builtins(line, enc_hook=repr)
    return event


def _console() -> Callable[[object, str, Event], bytes]:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )

    def render_text(logger: object, level: str, line: Event | Line) -> bytes:
        line = _event(line)
        told = line.pop("exception", None)
        if told is not None:
            line["exception"] = "\n".join(_lines(told))
        return render(logger, level, line).encode("utf-8", "backslashreplace") + b"\n"

    return render_text


def _redact(_logger: object, _level: str, line: bytes) -> bytes:
    return redaction.hide(line)


def _exception_of(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exception()
        case _:
            return None


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    if isinstance(error, pydantic.ValidationError):
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in details)
    try:
        return str(error)
    except Exception:  # noqa: BLE001 — an exception that cannot be told is told by its type
        return ""


def _frames(trace: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return frames[-MAX_FRAMES:]


def _lines(told: dict[str, Any]) -> list[str]:
    inner = [line for part in (*told.get("exceptions", ()), told.get("cause")) if part for line in _lines(part)]
    return [
        f"{told['type']}: {told['message']}",
        *(f"  {frame}" for frame in told["frames"]),
        *(f"  {line}" for line in inner),
    ]


def _plain(value: object, depth: int) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case bool() | float() | None:
            return value
        case dict() if depth:
            return {str(_plain(str(name), 0)): _plain(item, depth - 1) for name, item in value.items()}
        case list() | tuple() if depth:
            return [_plain(item, depth - 1) for item in value]
    try:
        return ascii(value)
    except Exception:  # noqa: BLE001 — see _render_json
        return f"<{type(value).__name__}>"


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode
_log: Final = structlog.get_logger()
_output: Final = _Output()
