"""V1 requests as turns."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from v1_requests import FIELDS, REQUIRED, requests

from mappings import v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Message, Utterance, flatten

SEED = json.loads((Path(__file__).parents[1] / "golden/seed/v1_request.json").read_text())


def request(**changes: Any) -> bytes:
    return json.dumps({"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://h/p"} | changes).encode()


def test_the_production_request_is_read_whole() -> None:
    turn = v1.decode_request(json.dumps(SEED).encode())
    assert (turn.bot_id, turn.user_id) == (SEED["bot_id"], SEED["user_id"])
    assert turn.client_conversation_id == SEED["conversation_id"]
    assert turn.message == "Hola"
    assert turn.webhook == SEED["webhook"]
    assert (turn.window.minimum, turn.window.maximum) == (timedelta(seconds=30), timedelta(seconds=60))
    assert turn.history_segments == 3
    assert turn.request.degrade_grammar == 1.0


def test_each_segment_is_one_message_in_order() -> None:
    history = [{"bot": True, "content": ["a", "b"]}, {"bot": False, "content": "c"}, {"bot": True, "content": []}]
    turn = v1.decode_request(request(messages=history))
    assert turn.history == (Utterance(True, ("a", "b")), Utterance(False, ("c",)), Utterance(True, ()))
    assert list(flatten(turn.history)) == [Message(True, "a"), Message(True, "b"), Message(False, "c")]


def test_a_request_without_user_is_told_apart_by_its_conversation() -> None:
    assert v1.decode_request(request(user_id=None, conversation_id="chat-1")).user_id == "chat-1"


@pytest.mark.parametrize("history", [None, []])
def test_a_request_without_history_has_none(history: Any) -> None:
    assert v1.decode_request(request(messages=history)).history == ()


def test_unknown_fields_are_kept() -> None:
    assert v1.decode_request(request(colour="red")).unknown == {"colour": "red"}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, (0, 0)), (3, None, (3, 3)), (None, 5, (0, 5)), (0, 0, (0, 0)), (1.5, 2, (1.5, 2))],
)
def test_a_window_with_one_side_missing_is_read_sensibly(low: Any, high: Any, expected: tuple[float, float]) -> None:
    window = v1.decode_request(request(min_delay=low, max_delay=high)).window
    assert (window.minimum.total_seconds(), window.maximum.total_seconds()) == expected
    assert window.draw(0.5) == timedelta(seconds=sum(expected) / 2)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b'{"bot_id": NaN}', "not JSON"),
        (b'{"bot_id": "\\ud800"}', "not JSON"),
        (b'{"bot_id": "\xff"}', "not UTF-8"),
        (b'{"bot_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"bot_id": "b", "user_id": "u", "messages": [{"bot": true, "content": "\\udc00"}]}', "not JSON"),
        (b"[]", "one JSON object"),
        (request(bot_id=None), "bot_id"),
        (b'{"user_id": "u", "message": "hi"}', "bot_id"),
        (request(user_id=None), "user_id"),
        (request(bot_id=5), "bot_id"),
        (request(message=["hi"]), "message"),
        (request(min_delay="30"), "min_delay"),
        (request(min_delay=True), "min_delay"),
        (request(enable_protections="yes"), "enable_protections"),
        (request(user_kv_pairs={"a": [1]}), "user_kv_pairs.a"),
        (request(messages={}), "messages"),
        (request(messages=[{"content": ["a"]}]), "messages[0]"),
        (request(messages=[{"bot": True, "content": ["a", 1]}]), "messages[0].content[1]"),
        (request(messages=[{"bot": "yes", "content": ["a"]}]), "messages[0].bot"),
    ],
)
def test_a_wrong_shape_is_malformed_and_says_where(body: bytes, where: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        v1.decode_request(body)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"min_delay": -1}, "min_delay"),
        ({"max_delay": 7 * 24 * 3600 + 1}, "max_delay"),
        ({"min_delay": 2, "max_delay": 1}, "min_delay"),
        ({"bot_id": ""}, "bot_id"),
        ({"user_id": "u" * 513}, "user_id"),
    ],
)
def test_a_value_that_cannot_be_served_is_out_of_range(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueOutOfRange, match=where):
        v1.decode_request(request(**changes))


def test_the_acknowledgement_is_v1s() -> None:
    turn = v1.decode_request(json.dumps(SEED).encode())
    assert json.loads(v1.encode_accepted(turn, "m-1")) == {
        "status": "accepted",
        "conversation_id": SEED["conversation_id"],
        "bot_id": SEED["bot_id"],
        "message_id": "m-1",
    }


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    turn = v1.decode_request(
        b'{"bot_id": "a", "bot_id": "b", "user_id": "u", "messages": 1,'
        b' "messages": [{"bot": true, "content": "x", "content": "y"}]}'
    )
    assert turn.bot_id == "b"
    assert [message.text for message in flatten(turn.history)] == ["y"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000])
def test_a_number_that_no_machine_holds_is_named(number: str) -> None:
    with pytest.raises(MalformedRequest, match=r"^new_field: .* out of range"):
        v1.decode_request(f'{{"bot_id": "b", "user_id": "u", "new_field": [{number}]}}'.encode())


def test_a_mark_of_byte_order_before_the_body_is_passed_over() -> None:
    assert v1.decode_request(b'\xef\xbb\xbf{"bot_id": "b", "user_id": "u"}').bot_id == "b"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({str(number): 1 for number in range(5000)}, "5000 fields"),
        ({"user_kv_pairs": {str(number): [] for number in range(1001)}}, "user_kv_pairs"),
        ({"user_images": [1] * 1001}, "user_images"),
        ({"message": ["x"] * 1001}, "message"),
    ],
)
def test_what_holds_too_much_is_refused_before_it_is_looked_at(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueOutOfRange, match=where):
        v1.decode_request(request(**changes))


def test_what_may_be_held_is_held() -> None:
    facts = {str(number): number for number in range(1000)}
    assert v1.decode_request(request(user_kv_pairs=facts, new_field=[1] * 2000)).request.user_kv_pairs == facts


def test_a_thousand_faults_make_no_long_story() -> None:
    with pytest.raises(MalformedRequest, match=r"; and \d{4} more$") as caught:
        v1.decode_request(request(user_kv_pairs={f"{number}{'x' * 5000}": [] for number in range(1000)}))
    assert len(str(caught.value)) < 3000


NAMES = st.sampled_from(sorted(FIELDS | REQUIRED))
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.integers(-(10**320), 10**320) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | NAMES, inner, max_size=3),
)


@given(requests(), st.dictionaries(NAMES, VALUES, max_size=2))
@example({"bot_id": "b", "user_id": "u"}, {"messages": [{"bot": True, "content": "a bare text"}]})
@example({"bot_id": "b", "user_id": "u"}, {"messages": [{"bot": True, "content": ["x"], "new": {}, "id": "m"}]})
@example({"bot_id": "b", "user_id": "u"}, {"user_images": ["i"] * 1001})
@example({"bot_id": "b", "user_id": "u"}, {"min_delay": 10**300, "messages": {}})
def test_a_request_is_read_the_same_at_once_and_field_by_field(known: dict[str, Any], new: dict[str, Any]) -> None:
    def outcome(**unknown: Any) -> str:
        try:
            turn = v1.decode_request(json.dumps(known | new | unknown).encode())
        except (MalformedRequest, ValueOutOfRange) as error:
            return repr(error)
        unknown = {name: value for name, value in turn.unknown.items() if name != "unheard-of"}
        return repr(replace(turn, unknown=unknown)).replace("messages=None", "messages=()")

    assert outcome() == outcome(**{"unheard-of": None})
