import json
from enum import StrEnum
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import redaction

SECRET = "s3cr3t-value"


class Kind(StrEnum):
    ONE = "one"


class Part(msgspec.Struct):
    text: str


class Plain(msgspec.Struct):
    text: str
    maybe: str | None = None
    amounts: list[float] = []
    parts: tuple[Part, ...] = ()
    kind: Kind = Kind.ONE
    other: Literal["a", "b"] = "a"
    done: bool = False


class Telling(msgspec.Struct):
    api_key: str


class TellingInside(msgspec.Struct):
    parts: list[Telling] | None


class NamedAtWill(msgspec.Struct):
    pairs: dict[str, str]


class Anything(msgspec.Struct):
    value: Any


def redacted(text: str) -> str:
    line = json.dumps({"event": text}, ensure_ascii=False).encode()
    shown: str = json.loads(redaction.hide(line))["event"]
    assert redaction.hide_in_texts(line) == redaction.hide(line)
    return shown


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
        assert json.loads(redaction.hide(line))["after"] == 1


def test_a_long_line_is_read_in_linear_time() -> None:
    """A pattern that goes back over what it has read would take hours for one of these."""
    for part in (b"://", b"a", b"/a-", b"bearer", b"authorization:", b'\\"', b"://a@", b'"key', b"authorization'\\\\"):
        assert redaction.hide(part * (400_000 // len(part)))


@pytest.mark.parametrize(
    ("kind", "telling"),
    [(Plain, False), (Telling, True), (TellingInside, True), (NamedAtWill, True), (Anything, True)],
)
def test_structs_are_told_whose_fields_names_call_for_hiding(kind: type[msgspec.Struct], telling: bool) -> None:
    assert redaction.has_telling_names(kind) == telling


@given(st.text(), st.text())
@example('","api_key":"', "")
@example('token":"s3cr3t-value', '"')
@example("x", "\\")
def test_no_text_in_a_struct_without_telling_names_looks_like_one(one: str, other: str) -> None:
    try:
        line = msgspec.json.encode(Plain(one, other, [1.5], (Part(other),)))
    except UnicodeEncodeError:  # a lone surrogate: such a line is written another way
        return
    assert redaction.hide_in_texts(line) == redaction.hide(line)
