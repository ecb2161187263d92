import io
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

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


def redacted(text: str) -> str:
    rendered = logs._redact(None, "info", json.dumps({"event": text}, ensure_ascii=False).encode())
    shown: str = json.loads(rendered)["event"]
    return shown


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
    ("text", "shown"),
    [
        ("at https://host/path?token=s3cr3t-value", "at https://host/path?***"),
        ("at https://host?s3cr3t-value", "at https://host?***"),
        ("at https://host/p#s3cr3t-value then", "at https://host/p?*** then"),
        ("redis://:s3cr3t-value@store:6379/0", "redis://***@store:6379/0"),
        ("rediss://user:s3cr3t-value@store", "rediss://***@store"),
        ("https://a@s3cr3t-value@host/p", "https://***@host/p"),
        ("https://host/@somebody", "https://host/@somebody"),
        ('to "https://host/p?a=\\"s3cr3t-value" now', 'to "https://host/p?*** now'),
        ("https://host/p?a='s3cr3t-value'", "https://host/p?***"),
        ("https://one/a?s3cr3t-value https://two/b?s3cr3t-value", "https://one/a?*** https://two/b?***"),
        ("first https://one/a?s3cr3t-value\nsecond", "first https://one/a?***\nsecond"),
        ("https://host/ü?ü=s3cr3t-value", "https://host/ü?***"),
        ("Authorization: Bearer s3cr3t-value", "Authorization: ***"),
        ("Authorization: s3cr3t-value", "Authorization: ***"),
        ("{'authorization': 's3cr3t-value'}", "{'authorization': '***"),
        ("(b'Authorization', b'Bearer s3cr3t-value')", "(b'Authorization', b'***"),
        ("sent BEARER s3cr3t-value off", "sent BEARER *** off"),
        ("Basic czNjcjN0LXZhbHVl", "Basic ***"),
        ("POST /callbacks/v3/ABEiM0RVZneImaq7zN3u_7lmRocaX8U8-TgB3k6X_QA", "POST /callbacks/v3/***"),
        ("a bearer", "a bearer"),
        (
            "/api/conversations/88d86507-8d6c-4fad-b6f6-15d4fd377c83",
            "/api/conversations/88d86507-8d6c-4fad-b6f6-15d4fd377c83",
        ),
    ],
)
def test_what_must_not_leave_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert SECRET not in redacted(text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=12))
def test_no_query_string_leaves(query: str) -> None:
    assert redacted(f"called https://host/path?{query}") == "called https://host/path?***"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_no_bearer_key_leaves(key: str) -> None:
    assert redacted(f"sent Bearer {key}") == "sent Bearer ***"


@given(st.text())
def test_a_redacted_line_is_still_json(text: str) -> None:
    for shape in (text, f"https://{text}", f"Bearer {text}", f"authorization: {text}", json.dumps({"token": text})):
        line = json.dumps({"event": shape, "api_key": text, "after": 1}, ensure_ascii=False).encode("utf-8", "replace")
        assert json.loads(logs._redact(None, "info", line))["after"] == 1


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


def test_a_long_line_is_read_in_linear_time() -> None:
    """A pattern that goes back over what it has read would take hours for one of these."""
    for part in (b"://", b"a", b"/a-", b"bearer", b"authorization:", b'\\"', b"://a@", b'"key', b"authorization'\\\\"):
        assert logs._redact(None, "info", part * (400_000 // len(part)))


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
