"""What the client is told of its request's fields."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from v1_requests import read, requests

from mappings import fates, receipt
from mappings.receipt import FieldOutcome, Losses
from mappings.turn import Picture

BASE = {"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://h/p"}

Member = list[str] | int


def parse_dictionary(value: str) -> dict[str, Member]:
    """Read a structured field by the grammar of RFC 9651, as much of it as lists of strings and integers need."""
    members: dict[str, Member] = {}
    rest = value
    while rest:
        if members:
            separator = re.match(r"[ \t]*,[ \t]*(?=.)", rest)
            assert separator, f"no comma: {rest!r}"
            rest = rest[separator.end() :]
        key = re.match(r"([a-z*][a-z0-9_.*-]*)=", rest)
        assert key, f"no key: {rest!r}"
        assert key[1] not in members
        rest = rest[key.end() :]
        if integer := re.match(r"-?[0-9]{1,15}(?![0-9.])", rest):
            members[key[1]], rest = int(integer[0]), rest[integer.end() :]
        else:
            members[key[1]], rest = parse_inner_list(rest)
    return members


def parse_inner_list(rest: str) -> tuple[list[str], str]:
    items = re.match(r'\( *(?:"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\\"])*"(?: +(?=")| *(?=\))))*\)', rest)
    assert items, f"no inner list: {rest!r}"
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', items[0])
    return [re.sub(r"\\(.)", r"\1", string) for string in strings], rest[items.end() :]


def outcomes(**fields: Any) -> tuple[FieldOutcome, ...]:
    return receipt.outcomes(read(BASE | fields))


def test_the_outcomes_come_in_v1s_order_the_unknown_ones_last() -> None:
    found = outcomes(colour="red", fast_mode=True, language="es", messages=[{"bot": True, "content": ["a"]}])
    assert [outcome.name for outcome in found] == [
        "bot_id", "user_id", "message", "messages", "webhook", "language", "fast_mode", "colour",
    ]  # fmt: skip
    assert [outcome.name for outcome in found if not outcome.known] == ["colour"]


def test_an_unknown_field_is_dropped_by_name_unless_it_is_null() -> None:
    (outcome,) = [outcome for outcome in outcomes(colour="", shape=None) if not outcome.known]
    assert (outcome.name, outcome.kind, outcome.target) == ("colour", "dropped", "nowhere")


def test_a_picture_that_the_gateway_knows_is_carried() -> None:
    turn = read(BASE | {"image_id": "p"})
    stored = Picture("https://h/p.jpg", "c")
    kinds = [
        {outcome.name: outcome.kind for outcome in receipt.outcomes(turn, stored=known)}["image_id"]
        for known in (stored, None)
    ]
    assert kinds == ["exact", "dropped"]


def test_requests_of_one_shape_share_what_is_told_of_them() -> None:
    one, other = (outcomes(language=code, colour=code) for code in ("es", "fr"))
    assert one is other
    assert one.header is other.header


@pytest.mark.parametrize(
    "fields", [{"n" * 65: 1}, {f"field_{number}": 1 for number in range(21)}], ids=["a long name", "many names"]
)
def test_what_a_client_may_name_at_will_is_not_kept(fields: dict[str, Any]) -> None:
    assert outcomes(**fields) == outcomes(**fields)
    assert outcomes(**fields) is not outcomes(**fields)


def test_the_names_are_told_by_fate_the_unknown_ones_apart() -> None:
    found = outcomes(fast_mode=True, language="es", platform="Qkkie", colour=1, Ada=2, ключ=3, nothing=None)
    assert found.by_fate == receipt.ByFate(
        exact=("bot_id", "user_id", "message", "platform"),
        emulated=("webhook",),
        approximated=("language",),
        dropped=("fast_mode",),
        unknown=receipt.Unknown(3, ("Ada", "colour")),
    )


def test_the_receipt_names_what_was_lost() -> None:
    found = outcomes(language="es", timezone="Europe/Madrid", fast_mode=True, platform="Qkkie", colour="red")
    value = receipt.encode_receipt(found)
    assert value == 'approximated=("language" "timezone"), dropped=("fast_mode" "colour")'
    assert parse_dictionary(value) == {"approximated": ["language", "timezone"], "dropped": ["fast_mode", "colour"]}


def test_a_history_that_the_upstream_does_not_go_on_with_is_approximated() -> None:
    turn = read(BASE | {"messages": [{"bot": True, "content": ["a"]}], "platform": "Qkkie"})
    found = receipt.outcomes(turn, diverged=True)
    assert receipt.encode_receipt(found) == 'approximated=("messages")'
    assert [outcome.reason for outcome in found if outcome.name == "messages"] == [receipt.DIVERGED]
    assert receipt.encode_receipt(receipt.outcomes(read(BASE | {"messages": []}), diverged=True)) == ""


def test_nothing_lost_is_no_receipt() -> None:
    assert receipt.encode_receipt(outcomes(platform="Qkkie")) == ""
    assert not receipt.losses(outcomes(platform="Qkkie"))
    assert receipt.strict_refusal(outcomes(platform="Qkkie")) is None


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x", "ключ", "a\tb", "x" * 65, "\x7f", "\x00"])
def test_a_name_that_cannot_be_written_in_a_header_is_counted(name: str) -> None:
    found = outcomes(**{name: 1})
    assert receipt.encode_receipt(found) == "unnamed=1"
    assert receipt.losses(found)
    assert str(receipt.strict_refusal(found)).endswith(": 1 more (dropped)")


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "a, dropped=(", "", "x" * 64])
def test_a_name_that_can_be_written_is_escaped(name: str) -> None:
    assert parse_dictionary(receipt.encode_receipt(outcomes(**{name: 1}))) == {"dropped": [name]}


def test_unknown_fields_are_named_up_to_a_bound_and_then_counted() -> None:
    found = outcomes(**{f"unknown_{index}": 1 for index in range(4_000)})
    lost = receipt.losses(found)
    assert len(lost.dropped) == receipt.MAX_UNKNOWN_NAMED
    assert lost.unnamed == 4_000 - receipt.MAX_UNKNOWN_NAMED
    assert len(receipt.encode_receipt(found)) < 1000


def test_the_longest_receipt_fits_into_a_header() -> None:
    known = {row.name: FieldOutcome(row.name, "dropped", "nowhere", "") for row in fates.TABLE}
    unknown = [FieldOutcome(f"{index:02}" + '"' * 62, "dropped", "nowhere", "", known=False) for index in range(30)]
    assert len(receipt.encode_receipt([*known.values(), *unknown])) < 4096


def test_a_strict_request_is_told_what_it_would_lose() -> None:
    found = outcomes(language="es", fast_mode=True, colour="red", ключ=1)
    assert receipt.strict_refusal(found) == (
        "handling=strict: the upstream cannot take these fields as they are: "
        "language (approximated); fast_mode, colour (dropped); 1 more (dropped)"
    )
    assert receipt.strict_refusal(outcomes(fast_mode=True)) == (
        "handling=strict: the upstream cannot take these fields as they are: fast_mode (dropped)"
    )


NEVER_SILENT = {
    "bot_id", "user_id", "conversation_id", "message", "webhook", "min_delay", "max_delay", "enable_protections",
    "segment", "chat_images_enabled", "user_can_send_photos",
}  # fmt: skip


def asks_for_nothing(value: Any) -> bool:
    match value:
        case None | False | []:
            return True
        case str():
            return not any(sign.isprintable() and not sign.isspace() for sign in value)
        case dict():
            return all(item is None or name == "" for name, item in value.items())
        case _:
            return bool(value == 0)


@given(requests(), st.sampled_from(["full", "none"]))
def test_every_field_that_says_something_has_exactly_one_outcome(request: dict[str, Any], mode: fates.Mode) -> None:
    turn = read(request)
    found = receipt.outcomes(turn, mode=mode)
    names = [outcome.name for outcome in found]
    assert len(names) == len(set(names))
    for outcome in found:
        assert not outcome.known or outcome.name in getattr(found.by_fate, outcome.kind)
    assert set(names) <= set(request)
    for name in set(request) - set(names):
        assert name not in NEVER_SILENT or request[name] is None
        assert asks_for_nothing(request[name])
    lost = {
        outcome.name for outcome in receipt.outcomes(turn, mode=mode) if outcome.kind in {"approximated", "dropped"}
    }
    unknown = set(request) - set(fates.ROWS)
    assert lost >= {name for name in unknown if request[name] is not None}


@given(requests(), st.sampled_from(["full", "none"]))
def test_a_receipt_is_always_a_structured_field_that_names_exactly_the_losses(
    request: dict[str, Any], mode: fates.Mode
) -> None:
    found = receipt.outcomes(read(request), mode=mode)
    value = receipt.encode_receipt(found)
    assert value.isascii()
    assert value.isprintable()
    parsed = parse_dictionary(value)
    for kind in ("approximated", "dropped"):
        names = [outcome.name for outcome in found if outcome.kind == kind]
        named = parsed.get(kind, [])
        assert isinstance(named, list)
        assert [name for name in names if name in named] == named
        unnamed = parsed.get("unnamed", 0)
        assert isinstance(unnamed, int)
        assert len(names) - len(named) == (unnamed if kind == "dropped" else 0)
    assert bool(value) == (receipt.strict_refusal(found) is not None)


@pytest.mark.parametrize(
    "prefer",
    [
        "handling=strict",
        "Handling=Strict",
        'handling="strict"',
        "respond-async, handling = strict ; note=1",
        'note="a, handling=lenient", handling=strict',
        "handling=strict, handling=lenient",
        ",, handling=strict",
    ],
)
def test_a_strict_preference_is_seen(prefer: str) -> None:
    assert receipt.is_strict(prefer)


@pytest.mark.parametrize(
    "prefer",
    [
        None,
        "",
        "handling",
        "handling=lenient",
        "handling=lenient, handling=strict",
        "respond-async; handling=strict",
        'note="a, handling=strict, b"',
        'note="a\\", handling=strict, b"',
        "xhandling=strict",
        "handling=strictly",
        "strict",
    ],
)
def test_anything_else_is_no_strict_preference(prefer: str | None) -> None:
    assert not receipt.is_strict(prefer)


@given(st.text())
@example('"' * 100_000)
@example('"\\' * 50_000)
def test_any_preference_header_can_be_read(prefer: str) -> None:
    assert receipt.is_strict(prefer) in {True, False}


def test_a_loss_of_any_kind_counts() -> None:
    assert [bool(lost) for lost in (Losses((), ()), Losses(("a",), ()), Losses((), ("a",)), Losses((), (), 1))] == [
        False,
        True,
        True,
        True,
    ]
