"""Each row of the table against what really goes out for a request that has the field."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from v1_requests import FIELDS, REQUIRED, read

from mappings import context, fates, receipt, v1, v3
from mappings.wire import v1 as wire

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BASE: dict[str, Any] = {"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://client.example.com/hook"}
PICTURE = "https://pictures.example.com/a.jpg"
TOLD = "conversation.freeform"
OPENING = "gateway.opening"


@dataclass(frozen=True)
class Case:
    """A value of a field, its expected fate, and every place where it makes a difference."""

    fate: fates.Kind
    value: Any
    seen: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)


CASES = {
    "bot_id": Case("exact", "b2", {"conversation.bot_id": "b2"}),
    "user_id": Case("exact", "u2", {"conversation.user_id": "u2", "user.id": "u2"}),
    "conversation_id": Case("emulated", "chat-1", {"gateway.conversation_id": "chat-1"}),
    "message": Case("exact", " ¿Qué?\n\u200b", {"message.text": " ¿Qué?\n\u200b"}),
    "messages": Case(
        "exact",
        [{"bot": True, "content": ["a", "b"], "id": "x"}, {"bot": False, "content": "c"}],
        {
            "conversation.with_messages": [
                {"text": "a", "from_bot": True, "sent_at": int(NOW.timestamp()) - 3},
                {"text": "b", "from_bot": True, "sent_at": int(NOW.timestamp()) - 2},
                {"text": "c", "from_bot": False, "sent_at": int(NOW.timestamp()) - 1},
            ]
        },
    ),
    "webhook": Case("emulated", "https://h/p?t=%2B", {"gateway.webhook": "https://h/p?t=%2B"}),
    "min_delay": Case("emulated", 30, {"gateway.minimum": 30.0}, {"max_delay": 60}),
    "max_delay": Case("emulated", 60, {"gateway.maximum": 60.0}),
    "language": Case("approximated", "es", {TOLD: "Write in Spanish (es)."}),
    "platform": Case("exact", "Qkkie", {"conversation.platform": "Qkkie"}),
    "timezone": Case("approximated", "Europe/Madrid", {TOLD: 'The time zone of this chat is "Europe/Madrid".'}),
    "user_kv_pairs": Case(
        "exact",
        {"age": 30, "height": 1.0, "pet": None, "sings": True, "town": "Cádiz"},
        {
            "user.attributes": [
                {"name": "age", "value": "30"},
                {"name": "height", "value": "1.0"},
                {"name": "sings", "value": "true"},
                {"name": "town", "value": "Cádiz"},
            ]
        },
    ),
    "degrade_grammar": Case(
        "approximated", 0.5, {TOLD: "Let your grammar be imperfect, to the degree 0.5 (0: not at all)."}
    ),
    "enable_protections": Case("dropped", True),
    "question_mode": Case("approximated", "enabled", {TOLD: 'The question mode of this chat is "enabled".'}),
    "user_display_name": Case("exact", "Max", {"user.username": "Max"}),
    "bot_display_name": Case("approximated", "Angela", {TOLD: 'Your name in this chat is "Angela".'}),
    "prompt": Case(
        "approximated", 'Be "kind".\nBe brief.', {TOLD: 'The prompt for this chat is "Be \\"kind\\".\nBe brief.".'}
    ),
    "segment": Case("exact", False, {"conversation.segment": False}),
    "fast_mode": Case("dropped", True),
    "follow_up": Case("approximated", "later", {OPENING: "follow_up"}, {"message": None}),
    "is_follow_up": Case("emulated", True, {OPENING: "follow_up"}, {"message": None}),
    "start_message": Case("approximated", "Hey!", {TOLD: 'The opening message of this chat is "Hey!".'}),
    "no_start_message": Case("emulated", True, {OPENING: None}, {"message": None, "start_message": "Hey!"}),
    "use_hardcoded_conversation_starters": Case("dropped", True),
    "offer_url": Case(
        "approximated",
        "https://o.example.com/1",
        {TOLD: 'The link of the offer in this chat is "https://o.example.com/1".'},
    ),
    "user_freeform": Case("exact", "Likes\ttea.\n", {"user.freeform": "Likes\ttea.\n"}),
    "image_id": Case(
        "exact", "pic-1", {"message.attached_media": {"url": PICTURE, "content_id": "pic-1"}}, {"image_url": PICTURE}
    ),
    "image_url": Case("exact", PICTURE, {"message.attached_media": {"url": PICTURE}}),
    "user_images": Case("dropped", ["pic-1"]),
    "bot_images": Case("dropped", ["pic-2"]),
    "chat_images_enabled": Case("approximated", False, {TOLD: "Pictures are not enabled in this chat."}),
    "user_can_send_photos": Case("approximated", True, {TOLD: "The user can send photos."}),
}

NEUTRAL = [
    ("messages", []),
    ("language", " "),
    ("platform", ""),
    ("timezone", ""),
    ("user_kv_pairs", {}),
    ("user_kv_pairs", {"pet": None, "": "nameless"}),
    ("degrade_grammar", 0),
    ("question_mode", "\n"),
    ("user_display_name", "\u202e"),
    ("bot_display_name", ""),
    ("prompt", ""),
    ("fast_mode", False),
    ("follow_up", False),
    ("follow_up", ""),
    ("is_follow_up", False),
    ("start_message", False),
    ("start_message", ""),
    ("no_start_message", False),
    ("use_hardcoded_conversation_starters", False),
    ("offer_url", ""),
    ("user_freeform", ""),
    ("image_id", ""),
    ("image_url", ""),
    ("user_images", []),
    ("bot_images", []),
]


def carried(request: dict[str, Any], *, mode: fates.Mode = "full") -> dict[str, Any]:
    """Give every field of every body that goes upstream, and what the gateway itself keeps."""
    turn = read(request)
    told = context.carry(turn.request, mode=mode)
    bodies = {
        "conversation": v3.encode_create(turn, webhook="https://gateway.example.com/cb", now=NOW, context=told),
        "user": v3.encode_user(turn.user_id, told),
    }
    seen = {f"{name}.{key}": value for name, body in bodies.items() for key, value in json.loads(body).items()}
    message = v3.encode_message(turn.message or "", now=NOW, picture=context.picture(turn.request))
    seen |= {f"message.{key}": value for key, value in json.loads(message)["message"].items()}
    seen |= {
        "gateway.conversation_id": json.loads(v1.encode_accepted(turn, "m"))["conversation_id"],
        OPENING: v1.opening(turn.request) if turn.message is None else None,
        "gateway.webhook": turn.webhook,
        "gateway.minimum": turn.window.minimum.total_seconds(),
        "gateway.maximum": turn.window.maximum.total_seconds(),
    }
    return seen


def difference(request: dict[str, Any], changes: dict[str, Any], *, mode: fates.Mode = "full") -> dict[str, Any]:
    before, after = carried(request, mode=mode), carried(request | changes, mode=mode)
    return {key: after.get(key) for key in before | after if before.get(key) != after.get(key)}


def outcome_of(name: str, request: dict[str, Any], *, mode: fates.Mode = "full") -> list[receipt.FieldOutcome]:
    return [outcome for outcome in receipt.outcomes(read(request), mode=mode) if outcome.name == name]


def test_the_table_has_exactly_the_fields_of_the_wire_model() -> None:
    model = list(wire.CompleteRequest.__struct_fields__)
    model.insert(model.index("message") + 1, "messages")
    assert [row.name for row in fates.TABLE] == model


def test_every_row_has_a_case_and_can_be_generated() -> None:
    assert set(CASES) == set(fates.ROWS) == set(FIELDS) | set(REQUIRED)


@pytest.mark.parametrize("name", fates.ROWS)
def test_a_fields_value_ends_up_where_its_row_says_and_nowhere_else(name: str) -> None:
    case = CASES[name]
    request = BASE | case.beside
    assert difference(request, {name: case.value}) == case.seen

    (outcome,) = outcome_of(name, request | {name: case.value})
    assert outcome.kind == case.fate
    match outcome.kind:
        case "exact" | "approximated":
            assert outcome.target in case.seen or (outcome.target == "the gateway itself" and OPENING in case.seen)
        case "emulated":
            assert outcome.target == "the gateway itself"
            assert all(place.startswith("gateway.") for place in case.seen)
        case "dropped":
            assert outcome.target == "nowhere"
            assert case.seen == {}


@pytest.mark.parametrize("name", fates.ROWS)
def test_without_context_a_field_is_dropped_and_said_to_be_unless_the_seeds_fields_take_it(name: str) -> None:
    case = CASES[name]
    request = BASE | case.beside
    beyond_the_seed = any(key in fates.CONTEXT_TARGETS for key in case.seen)
    assert difference(request, {name: case.value}, mode="none") == ({} if beyond_the_seed else case.seen)
    (outcome,) = outcome_of(name, request | {name: case.value}, mode="none")
    assert outcome.kind == ("dropped" if beyond_the_seed else case.fate)


@pytest.mark.parametrize(("name", "value"), NEUTRAL)
def test_a_value_that_asks_for_nothing_changes_nothing_and_loses_nothing(name: str, value: Any) -> None:
    assert difference(BASE, {name: value}) == {}
    assert outcome_of(name, BASE | {name: value}) == []


@pytest.mark.parametrize("name", [name for name in fates.ROWS if name not in BASE])
def test_null_never_says_anything(name: str) -> None:
    assert difference(BASE, {name: None}) == {}
    assert outcome_of(name, BASE | {name: None}) == []


@pytest.mark.parametrize("name", ["enable_protections", "segment", "chat_images_enabled", "user_can_send_photos"])
def test_false_is_said_where_it_is_no_default(name: str) -> None:
    assert len(outcome_of(name, BASE | {name: False})) == 1


def test_a_picture_without_a_known_address_is_dropped() -> None:
    request = BASE | {"image_id": "pic-1"}
    assert difference(BASE, {"image_id": "pic-1"}) == {}
    (outcome,) = outcome_of("image_id", request)
    assert (outcome.kind, outcome.target) == ("dropped", "nowhere")


@pytest.mark.parametrize("upstream", ["v3", "chatbotkit"])
@pytest.mark.parametrize(("name", "value"), [("is_follow_up", True), ("follow_up", "later"), ("follow_up", True)])
@pytest.mark.parametrize("message", [{"message": "hi"}, {"message": None, "image_url": PICTURE}])
def test_beside_a_message_or_a_picture_the_bot_is_not_asked_to_speak_first(
    upstream: fates.Upstream, name: str, value: Any, message: dict[str, Any]
) -> None:
    turn = read(BASE | message | {name: value})
    found = {outcome.name: outcome for outcome in receipt.outcomes(turn, upstream=upstream)}
    assert (found[name].kind, found[name].target) == ("dropped", "nowhere")


def test_a_start_message_opens_a_chat_and_its_words_are_told() -> None:
    assert difference(BASE | {"message": None}, {"start_message": True}) == {
        OPENING: "start",
        TOLD: "You open this chat.",
    }


def test_a_false_message_flag_in_words_says_the_opposite_of_a_true_one() -> None:
    assert difference(BASE, {"chat_images_enabled": True}) == {TOLD: "Pictures are enabled in this chat."}
    assert difference(BASE, {"user_can_send_photos": False}) == {TOLD: "The user cannot send photos."}
    assert difference(BASE, {"start_message": True}) == {TOLD: "You open this chat."}


def test_every_reason_is_one_sentence() -> None:
    reasons = [fate.reason for row in fates.TABLE for fate in row.fates.values()]
    assert all(reason[0].isupper() and reason.endswith(".") and ". " not in reason for reason in reasons)
