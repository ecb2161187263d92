import io
import json
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest
import structlog

from gateway import logs

Lines = Callable[[], list[dict[str, Any]]]

SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was for the tests that come after."""
    root, level = logging.getLogger(), logging.getLogger().level
    yield
    logs.configure()
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    for handler in [one for one in root.handlers if isinstance(one, logs._Bridge)]:
        root.removeHandler(handler)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capsysbinary: pytest.CaptureFixture[bytes]) -> Lines:
    """Give the lines that were written since, each read as JSON."""
    logs.configure("INFO", "json")
    return lambda: [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]


def only(lines: Lines) -> dict[str, Any]:
    [line] = lines()
    return line


def test_a_line_is_one_json_object_with_time_level_and_event_first(lines: Lines) -> None:
    structlog.get_logger().info("turn.accepted", plan="created", count=3)
    line = only(lines)
    assert list(line) == ["time", "level", "event", "plan", "count"]
    assert (line["level"], line["event"], line["plan"], line["count"]) == ("info", "turn.accepted", "created", 3)
    assert time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S")
    assert line["time"].endswith("Z")


def test_a_logger_in_use_follows_a_new_level(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    log = structlog.get_logger()
    for level in ("INFO", "DEBUG", "ERROR"):
        logs.configure(level)
        log.debug("told", at=level)
        log.warning("told", at=level)
    told = [(line["level"], line["at"]) for line in map(json.loads, capsysbinary.readouterr().out.splitlines())]
    assert told == [("warning", "INFO"), ("debug", "DEBUG"), ("warning", "DEBUG")]


class Told(logs.Line, kw_only=True):
    text: str
    number: float


class ToldSecret(logs.Line, kw_only=True):
    api_key: str


def told(text: str, level: str = "info") -> Told:
    return Told(logs.now(), level, "told", text=text, number=1.0)


def test_a_line_that_is_whole_is_written_as_if_it_were_logged(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure()
    logs.tell(told("at https://host/path?token=s3cr3t-value"))
    structlog.get_logger().info("told", text="at https://host/path?token=s3cr3t-value", number=1.0)
    one, other = (re.sub(rb'"time":"[^"]*"', b"", line) for line in capsysbinary.readouterr().out.splitlines())
    assert one == other
    assert SECRET.encode() not in one


def test_a_whole_line_below_the_level_is_not_written(lines: Lines) -> None:
    logs.configure("WARNING")
    logs.tell(told("too quiet"))
    logs.tell(told("heard", "warning"))
    assert only(lines)["text"] == "heard"


def test_a_field_of_a_whole_line_is_hidden_for_its_name(lines: Lines) -> None:
    logs.tell(ToldSecret(logs.now(), "info", "told", api_key=SECRET))
    assert only(lines)["api_key"] == "***"


def test_a_whole_line_that_json_cannot_hold_is_shown_as_python_shows_it(lines: Lines) -> None:
    logs.tell(told("\ud800"))
    assert only(lines)["text"] == "\\ud800"


def test_a_whole_line_has_a_shape_for_people_too(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("INFO", "console")
    logs.tell(told("hello"))
    text = capsysbinary.readouterr().out.decode()
    assert "told" in text
    assert "text=hello" in text


def test_what_is_bound_to_the_request_is_on_its_lines(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("inside")
        logging.getLogger("redis").warning("inside a library")
    structlog.get_logger().info("outside")
    assert [line.get("request_id") for line in lines()] == ["r-1", "r-1", None]


def test_lines_below_the_level_are_not_written(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("WARNING")
    structlog.get_logger().info("too quiet")
    logging.getLogger("redis").info("too quiet")
    structlog.get_logger().warning("heard")
    assert [json.loads(line)["event"] for line in capsysbinary.readouterr().out.splitlines()] == ["heard"]


@pytest.mark.parametrize("name", ["uvicorn.error", "aiohttp.client", "redis.asyncio", "asyncio"])
def test_the_libraries_write_through_the_same_pipeline(lines: Lines, name: str) -> None:
    logging.getLogger(name).warning("a %s of %d", "line", 2)
    line = only(lines)
    assert (line["level"], line["event"], line["logger"]) == ("warning", "a line of 2", name)


def test_libraries_that_log_the_url_of_each_request_are_quiet_at_any_level(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    logs.configure("DEBUG")
    for name in ("httpx", "httpcore", "httpcore.http11", "uvicorn.access"):
        logging.getLogger(name).info("HTTP Request: POST https://host/private/path")
    logging.getLogger("some.library").debug("no library is heard below INFO")
    assert capsysbinary.readouterr().out == b""


def test_a_library_s_broken_line_is_told_all_the_same(lines: Lines) -> None:
    record = logging.makeLogRecord({"levelno": logging.WARNING, "msg": "%d of %d", "args": ("one",)})
    logs._Bridge().handle(record)
    assert only(lines)["event"] == "%d of %d"


def test_levels_between_and_above_the_known_ones_are_told(lines: Lines) -> None:
    logging.getLogger("redis").log(35, "between")
    logging.getLogger("redis").log(99, "above")
    assert [line["level"] for line in lines()] == ["warning", "critical"]


def test_warnings_are_lines_too(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        logs.configure()
        warnings.warn("something is old", DeprecationWarning, stacklevel=1)
    line = only(lines)
    assert "something is old" in line["event"]
    assert line["logger"] == "py.warnings"


def test_configuring_twice_writes_each_line_once(lines: Lines) -> None:
    logs.configure()
    logging.getLogger("redis").warning("once")
    assert [line["event"] for line in lines()] == ["once"]


def test_a_captured_log_sees_loggers_that_were_used_before(lines: Lines) -> None:
    """Tests of other modules capture events this way."""
    log = structlog.get_logger()
    log.info("before")
    with structlog.testing.capture_logs() as captured:
        log.info("during", count=1)
    log.info("after")
    assert captured == [{"event": "during", "count": 1, "log_level": "info"}]
    assert [line["event"] for line in lines()] == ["before", "after"]


def fail() -> None:
    local_text = f"{SECRET} in a variable"
    raise ValueError(f"failed with {len(local_text)} characters")


def test_an_exception_is_one_field_with_its_frames_and_without_variables(lines: Lines) -> None:
    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("could not go on") from error
    except RuntimeError:
        structlog.get_logger().exception("request.failed")
    line = only(lines)
    told = line["exception"]
    assert line["level"] == "error"
    assert (told["type"], told["message"]) == ("RuntimeError", "could not go on")
    assert told["cause"]["type"] == "ValueError"
    assert told["cause"]["frames"][-1].endswith(" fail")
    assert SECRET not in json.dumps(line)
    assert "exc_info" not in line


@pytest.mark.parametrize(
    "given", [ValueError("x"), (ValueError, ValueError("x"), None)], ids=["an exception", "a triple"]
)
def test_an_exception_may_be_given_in_either_form(lines: Lines, given: Any) -> None:
    structlog.get_logger().error("failed", exc_info=given)
    assert only(lines)["exception"] == {"type": "ValueError", "message": "x", "frames": []}


def test_exc_info_outside_of_a_handler_adds_nothing(lines: Lines) -> None:
    structlog.get_logger().error("failed", exc_info=True)
    assert "exception" not in only(lines)


def test_all_of_a_group_are_told() -> None:
    group = ExceptionGroup("two failed", [ValueError("one"), OSError("other")])
    assert [one["message"] for one in logs.describe(group)["exceptions"]] == ["one", "other"]


def test_what_an_exception_hides_on_purpose_stays_hidden() -> None:
    def hide() -> None:
        try:
            fail()
        except ValueError:
            raise RuntimeError("told") from None

    with pytest.raises(RuntimeError) as caught:
        hide()
    assert "cause" not in logs.describe(caught.value)


def test_a_long_chain_and_a_long_message_are_bounded() -> None:
    first = error = ValueError("m" * 10_000)
    for _ in range(100):
        error.__cause__ = error = ValueError("more")
    told, length = logs.describe(first), 1
    assert len(told["message"]) == logs.MAX_EXCEPTION_MESSAGE
    while "cause" in told:
        told, length = told["cause"], length + 1
    assert length == logs.MAX_EXCEPTIONS


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert logs.describe(one)["cause"]["cause"]["message"] == "one"


def test_a_validation_error_is_told_without_the_values() -> None:
    class Shape(pydantic.BaseModel):
        age: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Shape(age=SECRET)
    assert SECRET in str(caught.value)
    assert logs.describe(caught.value)["message"].startswith("age: Input should be a valid integer")
    assert SECRET not in logs.describe(caught.value)["message"]


def test_an_exception_that_cannot_be_told_is_told_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert logs.describe(Mute())["message"] == ""
    assert logs.describe(Mute())["type"].endswith("Mute")


@pytest.mark.parametrize(
    "name", ["api_key", "upstream_key", "secret", "password", "callback_token", "Cookie", "authorization"]
)
def test_a_field_with_a_telling_name_is_hidden(lines: Lines, name: str) -> None:
    structlog.get_logger().info("told", **{name: f'{SECRET}"', "nested": {name: SECRET}, "kept": "yes"})
    line = only(lines)
    assert line[name] == line["nested"][name] == "***"
    assert line["kept"] == "yes"


def test_a_secret_in_an_exception_s_text_is_hidden(lines: Lines) -> None:
    structlog.get_logger().error("failed", exc_info=OSError(f"no route to https://u:{SECRET}@host/p?{SECRET}"))
    assert only(lines)["exception"]["message"] == "no route to https://***@host/p?***"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800", "\\ud800"),
        ({"deep": ["\udc00", None, 1.5]}, {"deep": ["\\udc00", None, 1.5]}),
        ({("a", "\ud800"): [1, 10**30]}, {"('a', '\\ud800')": [1, 10**30]}),
    ],
)
def test_what_json_cannot_hold_is_shown_as_python_shows_it(lines: Lines, value: object, shown: object) -> None:
    structlog.get_logger().info("odd", value=value)
    assert only(lines)["value"] == shown


def test_an_object_is_shown_by_its_repr(lines: Lines) -> None:
    structlog.get_logger().info("odd", value=pydantic.SecretStr(SECRET), kind=ValueError("x"))
    line = only(lines)
    assert (line["value"], line["kind"]) == ("SecretStr('**********')", "ValueError('x')")


def test_an_endless_value_is_cut(lines: Lines) -> None:
    endless: list[Any] = []
    endless.append(endless)
    structlog.get_logger().info("odd", value=endless)
    assert "..." in json.dumps(only(lines)["value"])


def test_a_value_that_cannot_be_shown_is_named_by_its_type(lines: Lines) -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    structlog.get_logger().info("odd", value=Mute())
    assert only(lines)["value"] == "<Mute>"


def test_a_reader_that_is_gone_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        @property
        def buffer(self) -> "Gone":
            return self

        def write(self, _line: bytes) -> int:
            raise BrokenPipeError

    logs.configure()
    monkeypatch.setattr(sys, "stdout", Gone())
    structlog.get_logger().info("nobody reads this")


def test_lines_may_go_to_a_stream_instead(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    log, stream = structlog.get_logger(), io.StringIO()
    logs.configure()
    log.info("to stdout")
    logs.configure(stream=stream)
    log.info("to the stream", text="é")
    assert [json.loads(line)["text"] for line in stream.getvalue().splitlines()] == ["é"]
    assert [json.loads(line)["event"] for line in capsysbinary.readouterr().out.splitlines()] == ["to stdout"]


def test_the_console_shape_is_for_people(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("DEBUG", "console")
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("request.failed", url=f"https://host/p?{SECRET}", plan="created")
    text = capsysbinary.readouterr().out.decode()
    assert "request.failed" in text
    assert "plan=created" in text
    assert "ValueError: failed with" in text
    assert text.splitlines()[-1].endswith(" fail")
    assert SECRET not in text
    assert "\x1b[" not in text
