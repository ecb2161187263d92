"""The beginnings of long histories, decoded once: what is read is the same, and what is wrong is told the same."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings import prefixes, reconcile, v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.prefixes import History, Prefixes
from mappings.turn import Turn, Utterance, flatten
from mappings.wire.v1 import CompleteRequest

SAYINGS = [
    "How was the day at the lake?",
    'He said "messages": [{"bot": true}, {"bot": false}], and left.',
    "function f() { return {}; }, { and so on }",
    "¿Y la cena? 🍞\n\n",
    "}, {",
    "\\",
]


def digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def item(number: int) -> dict[str, Any]:
    return {"bot": number % 2 == 1, "content": [f"{SAYINGS[number % len(SAYINGS)]} ({number})"] * (1 + number % 3)}


def request(items: list[Any], **changes: Any) -> dict[str, Any]:
    return {"bot_id": "b", "user_id": "u", "message": "hi", "messages": items, "min_delay": 3} | changes


def encoded(items: list[Any], **changes: Any) -> bytes:
    return json.dumps(request(items, **changes)).encode()


HISTORY = [item(number) for number in range(400)]


def outcome(reader: Any, body: bytes) -> Any:
    """What a reader makes of a body, in a form that can be compared."""
    try:
        turn: Turn = reader.decode_request(body)
    except (MalformedRequest, ValueOutOfRange) as error:
        return type(error), str(error)
    values = {name: getattr(turn, name) for name in Turn.__struct_fields__}
    envelope = {name: getattr(turn.request, name) for name in CompleteRequest.__struct_fields__}
    newest_first = tuple(reversed(turn.history))
    assert newest_first == tuple(turn.history)[::-1]
    assert len(turn.history) == len(newest_first)
    return values | {"history": tuple(turn.history), "request": envelope}


def meet(known: Prefixes, body: bytes) -> None:
    """Let a memory meet a body as often as it takes to remember it: one that does not come back is not worth it."""
    for _ in range(2):
        known.decode_request(body)


@pytest.fixture
def known() -> Prefixes:
    """A memory that has met the history."""
    known = Prefixes(digest)
    meet(known, encoded(HISTORY))
    return known


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were decoded, piece by piece."""
    sizes: list[int] = []
    decode, decode_items = v1.decode_request, prefixes.decode_items

    def decode_counted(body: bytes) -> Turn:
        sizes.append(len(body))
        return decode(body)

    def decode_items_counted(body: bytes, begin: int, end: int, *, after: bool) -> tuple[Utterance, ...]:
        sizes.append(end - begin)
        return decode_items(body, begin, end, after=after)

    monkeypatch.setattr(v1, "decode_request", decode_counted)
    monkeypatch.setattr(prefixes, "decode_items", decode_items_counted)
    return sizes


def test_what_was_met_before_is_not_decoded_again(known: Prefixes, sizes: list[int]) -> None:
    body = encoded([*HISTORY, item(400), item(401)])
    turn = known.decode_request(body)
    assert isinstance(turn.history, History)
    assert len(turn.history) == 402
    assert sum(sizes) < 0.15 * len(body)


def test_a_conversation_is_decoded_once_however_long_it_grows(sizes: list[int]) -> None:
    known, whole = Prefixes(digest), 0
    for length in range(300, 600, 2):
        body = encoded([item(number) for number in range(length)])
        known.decode_request(body)
        whole += len(body)
    assert sum(sizes) < 0.2 * whole


@pytest.mark.parametrize("unseen", [5, 10, 20, 30])
def test_a_process_that_saw_not_every_turn_still_knows_the_beginning(
    known: Prefixes, sizes: list[int], unseen: int
) -> None:
    body = encoded([*HISTORY, *(item(400 + number) for number in range(unseen))])
    known.decode_request(body)
    assert sum(sizes) < 0.25 * len(body)


def test_a_turn_in_step_is_judged_by_what_was_decoded(known: Prefixes, monkeypatch: pytest.MonkeyPatch) -> None:
    body = encoded(HISTORY)
    turn = known.decode_request(body)
    transcript = reconcile.Known.of(flatten(v1.decode_request(body).history))
    monkeypatch.setattr(History, "_whole", None)
    decision = reconcile.decide(turn.history, transcript, segments=turn.history_segments)
    assert decision.verdict is reconcile.Verdict.IN_SYNC


def test_a_turn_that_is_not_in_step_is_judged_by_all_that_it_needs(known: Prefixes) -> None:
    body = encoded(HISTORY)
    turn = known.decode_request(body)
    transcript = reconcile.Known.of(flatten(v1.decode_request(body).history[:-30]))
    decision = reconcile.decide(turn.history, transcript, segments=turn.history_segments)
    assert decision == reconcile.decide(tuple(turn.history), transcript, segments=turn.history_segments)
    assert decision.verdict is reconcile.Verdict.AHEAD


def test_what_is_asked_for_besides_is_decoded_then(known: Prefixes) -> None:
    body = encoded([*HISTORY, item(400)])
    history, plain = known.decode_request(body).history, v1.decode_request(body).history
    assert isinstance(history, History)
    assert history[0] == plain[0]
    assert history[3:5] == plain[3:5]
    assert tuple(history) == plain


def test_a_window_that_moves_on_is_read_as_a_whole_at_once(sizes: list[int]) -> None:
    known = Prefixes(digest)
    bodies = [encoded(HISTORY[number:]) for number in range(5)]
    for body in bodies:
        known.decode_request(body)
    assert sizes == [len(body) for body in bodies]


def test_only_so_many_beginnings_are_remembered() -> None:
    known = Prefixes(digest, most=1)
    one, other = encoded(HISTORY), encoded(HISTORY[1:])
    meet(known, one)
    meet(known, other)
    assert isinstance(known.decode_request(other).history, History)
    assert not isinstance(known.decode_request(one).history, History)


WRONG = [
    pytest.param(lambda body: body.replace(b'"content": ["How', b'"content": [7, "How', 1), id="within the beginning"),
    pytest.param(lambda body: body.replace(b"(3)", b"(\xff)", 1), id="not UTF-8, within the beginning"),
    pytest.param(lambda body: body.replace(b"(399)", b"(\xff)", 1), id="not UTF-8, behind it"),
    pytest.param(lambda body: body.replace(b"(399)", b'(399)", 7, "', 1), id="an item behind it"),
    pytest.param(lambda body: body[:-40], id="cut off"),
    pytest.param(lambda body: body.replace(b'"min_delay": 3', b'"min_delay": -3'), id="a field"),
    pytest.param(lambda body: body.replace(b'"messages": [', b'"messages": [,', 1), id="a comma too many"),
    pytest.param(lambda body: body.replace(b'"messages": [', b'"messages": [[', 1), id="a bracket too many"),
    pytest.param(lambda body: b"[" + body + b"]", id="another array"),
]


@pytest.mark.parametrize("spoil", WRONG)
def test_what_is_wrong_is_told_as_of_a_body_read_as_a_whole(known: Prefixes, spoil: Any) -> None:
    body = spoil(encoded(HISTORY))
    expected = outcome(v1, body)
    assert isinstance(expected, tuple)
    assert outcome(known, body) == expected


ODD = {
    "bare strings at the end": encoded([*HISTORY, {"bot": False, "content": "bare"}]),
    "bare strings throughout": encoded([{"bot": False, "content": f"bare {number}" * 5} for number in range(300)]),
    "unknown fields": encoded(HISTORY, colour="red", more={"messages": [1]}),
    "unknown fields in items": encoded([item | {"colour": [{}, {"a": 1}]} for item in HISTORY]),
    "the field within another one": encoded(HISTORY, user_kv_pairs=None, a={"messages": HISTORY}),
    "the field within one before it": json.dumps({"a": {"messages": HISTORY}} | request(HISTORY)).encode(),
    "the field within one, and nowhere else": json.dumps(
        {"a": {"messages": HISTORY}, "bot_id": "b", "user_id": "u"}
    ).encode(),
    "the field twice": encoded(HISTORY)[:-1] + b', "messages": [{"bot": true, "content": ["last"]}]}',
    "the field twice, longer": encoded(HISTORY[:3])[:-1] + b', "messages": ' + json.dumps(HISTORY).encode() + b"}",
    "null behind it": encoded(HISTORY)[:-1] + b', "messages": null}',
    "spread over lines": json.dumps(request(HISTORY), indent=4).encode(),
    "without blanks": json.dumps(request(HISTORY), separators=(",", ":")).encode(),
    "with a byte order mark": b"\xef\xbb\xbf" + encoded(HISTORY),
    "one message long": encoded([{"bot": False, "content": ["long " * 5000]}]),
    "long messages": encoded([{"bot": False, "content": [f"{number} " * 3000]} for number in range(20)]),
    "no content": encoded([{"bot": False, "content": []}] * 600),
    "ids": encoded([item | {"id": f"m{number}"} for number, item in enumerate(HISTORY)]),
    "a field of an item named like it": encoded([item | {"messages": [{"bot": True}]} for item in HISTORY]),
    "long fields behind it": encoded(HISTORY[:3], user_freeform="}, {" * 10_000),
    "objects behind it": encoded(HISTORY[:3], facts=[{"bot": True, "content": []}] * 1000),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_bodies_are_read_as_they_are_as_a_whole(name: str) -> None:
    known = Prefixes(digest)
    meet(known, encoded(HISTORY))
    expected = outcome(v1, ODD[name])
    assert [outcome(known, ODD[name]) for _ in range(3)] == [expected] * 3


def test_no_history_is_longer_than_may_be(monkeypatch: pytest.MonkeyPatch, known: Prefixes) -> None:
    monkeypatch.setattr(v1, "MAX_HISTORY_ITEMS", 399)
    with pytest.raises(ValueOutOfRange, match="at most 399"):
        known.decode_request(encoded(HISTORY))


TEXTS = st.sampled_from(SAYINGS) | st.text(max_size=40)
ITEMS = st.lists(
    st.fixed_dictionaries({"bot": st.booleans(), "content": st.lists(TEXTS, max_size=3)}, optional={"id": TEXTS}),
    min_size=1,
    max_size=12,
)
LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@settings(max_examples=100)
@given(pieces=st.lists(ITEMS, min_size=1, max_size=8), layout=LAYOUTS, message=TEXTS, data=st.data())
def test_any_conversation_is_read_as_a_whole_turn_by_turn(
    pieces: list[list[Any]], layout: dict[str, Any], message: str, data: st.DataObject
) -> None:
    known, history = Prefixes(digest), data.draw(st.sampled_from([[], HISTORY[:150]]))
    for piece in pieces:
        history = [*history, *piece * 6]
        body = json.dumps(request(history, message=message), **layout).encode(errors="surrogatepass")
        assert outcome(known, body) == outcome(v1, body)


PIECES = [b"", b"}", b"]", b'"', b",", b"\xff"]


@settings(max_examples=200)
@given(data=st.data())
def test_a_body_with_any_byte_changed_is_read_or_refused_as_a_whole(data: st.DataObject) -> None:
    known, body = Prefixes(digest), bytearray(encoded(HISTORY[:120]))
    meet(known, bytes(body))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=2)):
        body[at : at + data.draw(st.integers(0, 1))] = data.draw(st.sampled_from(PIECES))
    assert outcome(known, bytes(body)) == outcome(v1, bytes(body))
