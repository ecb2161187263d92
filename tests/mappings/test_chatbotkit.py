"""ChatBotKit's bodies, and what each V1 field comes to in them."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from v1_requests import read

from mappings import chatbotkit, context, fates, receipt, v1
from mappings.errors import MalformedAnswer
from mappings.turn import Message, Picture

BASE: dict[str, Any] = {"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://client.example.com/hook"}
PICTURE = "https://pictures.example.com/a.jpg"
BOTS = {"b": "cbk-1", "b2": "cbk-2"}
TOLD = "extensions.backstory"
META = "conversation.meta"
OPENING = "gateway.opening"
FOLLOWS = {OPENING: "follow_up", "initiate.text": chatbotkit.FOLLOW_UP}


@dataclass(frozen=True)
class Case:
    """A value of a field, its expected fate, and every place where it makes a difference."""

    fate: fates.Kind
    value: Any
    seen: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)


def told(sentence: str) -> dict[str, Any]:
    return {TOLD: sentence, "initiate.text": f"{chatbotkit.OPENING}\n{sentence}"}


CASES = {
    "bot_id": Case("exact", "b2", {"conversation.botId": "cbk-2", f"{META}.v1_bot_id": "b2"}),
    "user_id": Case("exact", "u2", {f"{META}.v1_user_id": "u2"}),
    "conversation_id": Case(
        "exact", "chat-1", {f"{META}.v1_conversation_id": "chat-1", "gateway.conversation_id": "chat-1"}
    ),
    "message": Case("exact", " ¿Qué?\n\u200b", {"message.text": " ¿Qué?\n\u200b"}),
    "messages": Case(
        "exact",
        [{"bot": True, "content": ["a", "b"], "id": "x"}, {"bot": False, "content": "c"}],
        {
            "conversation.messages": [
                {"type": "bot", "text": "a"},
                {"type": "bot", "text": "b"},
                {"type": "user", "text": "c"},
            ],
            "initiate.text": chatbotkit.FOLLOW_UP,
        },
    ),
    "webhook": Case("emulated", "https://h/p?t=%2B", {"gateway.webhook": "https://h/p?t=%2B"}),
    "min_delay": Case("emulated", 30, {"gateway.minimum": 30.0}, {"max_delay": 60}),
    "max_delay": Case("emulated", 60, {"gateway.maximum": 60.0}),
    "language": Case("approximated", "es", told("Write in Spanish (es).")),
    "platform": Case("approximated", "Qkkie", told('The site of this chat is "Qkkie".')),
    "timezone": Case("approximated", "Europe/Madrid", told('The time zone of this chat is "Europe/Madrid".')),
    "user_kv_pairs": Case(
        "approximated",
        {"age": 30, "pet": None},
        told('A fact about the user: "age" is "30".') | {f"{META}.v1_user_kv_pairs": {"age": "30"}},
    ),
    "degrade_grammar": Case(
        "approximated", 0.5, told("Let your grammar be imperfect, to the degree 0.5 (0: not at all).")
    ),
    "enable_protections": Case("dropped", True),
    "question_mode": Case("approximated", "enabled", told('The question mode of this chat is "enabled".')),
    "user_display_name": Case(
        "approximated", "Max", told('The user\'s name is "Max".') | {f"{META}.v1_user_display_name": "Max"}
    ),
    "bot_display_name": Case("approximated", "Angela", told('Your name in this chat is "Angela".')),
    "prompt": Case("approximated", "Be kind.\nBe brief.", told('The prompt for this chat is "Be kind.\nBe brief.".')),
    "segment": Case("dropped", False),
    "fast_mode": Case("dropped", True),
    "follow_up": Case("approximated", "later", FOLLOWS, {"message": None}),
    "is_follow_up": Case("approximated", True, FOLLOWS, {"message": None}),
    "start_message": Case("approximated", "Hey!", told('The opening message of this chat is "Hey!".')),
    "no_start_message": Case("emulated", True, {OPENING: None}, {"message": None, "start_message": "Hey!"}),
    "use_hardcoded_conversation_starters": Case("dropped", True),
    "offer_url": Case(
        "approximated", "https://o.test/1", told('The link of the offer in this chat is "https://o.test/1".')
    ),
    "user_freeform": Case(
        "approximated",
        "Likes\ttea.\n",
        told('What is known of the user is "Likes tea.".') | {f"{META}.v1_user_freeform": "Likes\ttea.\n"},
    ),
    "image_id": Case(
        "approximated",
        "pic-1",
        told(f'The user sent a picture with the new message: "{PICTURE}", known as "pic-1".'),
        {"image_url": PICTURE},
    ),
    "image_url": Case("approximated", PICTURE, told(f'The user sent a picture with the new message: "{PICTURE}".')),
    "user_images": Case("dropped", ["pic-1"]),
    "bot_images": Case("dropped", ["pic-2"]),
    "chat_images_enabled": Case("approximated", False, told("Pictures are not enabled in this chat.")),
    "user_can_send_photos": Case("approximated", True, told("The user can send photos.")),
}


def carried(request: dict[str, Any]) -> dict[str, Any]:
    """Give every field of every body that goes upstream, and what the gateway itself keeps."""
    turn = read(request)
    known = context.carry(turn.request)
    story = chatbotkit.backstory(known, picture=context.picture(turn.request))
    created = json.loads(chatbotkit.encode_create(turn, bot_id=BOTS[turn.bot_id], context=known))
    meta = created.pop("meta")
    completed = json.loads(chatbotkit.encode_complete(turn.message, story))
    received = json.loads(chatbotkit.encode_receive(story))
    assert received.get("extensions") == completed.get("extensions")
    assert json.loads(chatbotkit.encode_send(turn.message or "")) == {"text": completed.get("text", "")}
    return {
        **{f"conversation.{name}": value for name, value in created.items()},
        **{f"{META}.{name}": value for name, value in meta.items()},
        "message.text": completed.get("text"),
        TOLD: received.get("extensions", {}).get("backstory"),
        "initiate.text": json.loads(chatbotkit.encode_initiate(turn, story))["text"],
        "gateway.conversation_id": json.loads(v1.encode_accepted(turn, "m"))["conversation_id"],
        OPENING: v1.opening(turn.request) if turn.message is None else None,
        "gateway.webhook": turn.webhook,
        "gateway.minimum": turn.window.minimum.total_seconds(),
        "gateway.maximum": turn.window.maximum.total_seconds(),
    }


def test_every_row_has_a_case() -> None:
    assert set(CASES) == set(fates.ROWS)


@pytest.mark.parametrize("name", fates.ROWS)
def test_a_fields_value_ends_up_where_its_row_says_and_nowhere_else(name: str) -> None:
    case = CASES[name]
    before, after = carried(BASE | case.beside), carried(BASE | case.beside | {name: case.value})
    assert {key: after.get(key) for key in before | after if before.get(key) != after.get(key)} == case.seen

    found = receipt.outcomes(read(BASE | case.beside | {name: case.value}), upstream="chatbotkit")
    (outcome,) = (outcome for outcome in found if outcome.name == name)
    assert outcome.kind == case.fate
    match outcome.kind:
        case "exact" | "approximated":
            assert any(place.startswith(outcome.target) for place in case.seen)
        case "emulated":
            assert outcome.target == "the gateway itself"
            assert all(place.startswith("gateway.") for place in case.seen)
        case "dropped":
            assert case.seen == {}


def test_a_request_without_wishes_tells_the_bot_nothing() -> None:
    assert chatbotkit.encode_receive(chatbotkit.backstory(context.carry(read(BASE).request))) == b"{}"


def test_everything_that_is_told_comes_in_one_order() -> None:
    request = BASE | {name: case.value for name, case in CASES.items() if TOLD in case.seen} | {"image_url": PICTURE}
    lines = chatbotkit.backstory(context.carry(read(request).request), picture=Picture(PICTURE)).split("\n")
    assert lines[0] == 'The site of this chat is "Qkkie".'
    assert lines[-1] == f'The user sent a picture with the new message: "{PICTURE}".'


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, []), (100, []), (101, [100, 1]), (350, [100, 100, 100, 50])]
)
def test_a_long_history_follows_in_batches(count: int, batches: list[int]) -> None:
    turn = read(BASE | {"messages": [{"bot": bool(n % 2), "content": str(n)} for n in range(count)]})
    created = json.loads(chatbotkit.encode_create(turn, bot_id="cbk-1"))
    followed = [json.loads(body)["items"] for body in chatbotkit.encode_history(turn)]
    assert [len(items) for items in followed] == batches
    assert created["meta"].get("v1_history") == ("unfinished" if batches else None)
    said = created.get("messages", []) + [item for items in followed for item in items]
    assert [(one["type"], one["text"]) for one in said] == [("bot" if n % 2 else "user", str(n)) for n in range(count)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_are_sent_code_point_for_code_point(text: str) -> None:
    assert json.loads(chatbotkit.encode_send(text)) == {"text": text}
    [batch] = chatbotkit.encode_batches([Message(from_bot=True, text=text)])
    assert json.loads(batch) == {"items": [{"type": "bot", "text": text}]}


def test_a_change_of_the_users_facts_clears_what_is_no_longer_said() -> None:
    known = context.carry(read(BASE | {"user_display_name": "Max"}).request)
    assert json.loads(chatbotkit.encode_update(known)) == {
        "meta": {"v1_user_display_name": "Max", "v1_user_kv_pairs": None, "v1_user_freeform": None}
    }


def test_a_pair_is_looked_for_by_its_ids_and_only_its_own_conversation_is_found() -> None:
    query = dict(parse_qsl(chatbotkit.encode_find("b&1", "u=2")))
    assert (query["meta[v1_bot_id]"], query["meta[v1_user_id]"], query["order"]) == ("b&1", "u=2", "asc")
    items = [
        {"id": "c-0", "meta": {"v1_bot_id": "b", "v1_user_id": "u", "v1_history": "unfinished"}},
        {"id": "c-1"},
        {"id": "c-2", "meta": {"v1_bot_id": "b", "v1_user_id": "other"}},
        {"id": "c-3", "meta": {"v1_bot_id": "b", "v1_user_id": "u"}},
    ]
    page = json.dumps({"items": items, "cursor": "c-3"}).encode()
    assert chatbotkit.decode_found(page, bot_id="b", user_id="u") == chatbotkit.Found("c-3", ("c-0",))
    assert chatbotkit.decode_found(page, bot_id="b", user_id="nobody") == chatbotkit.Found(None)


def test_of_a_page_only_what_was_said_is_read_and_its_cursor() -> None:
    items = [
        {"id": "m-1", "type": "user", "text": "hi"},
        {"id": "m-2", "type": "checkpoint", "text": "so far"},
        {"id": "m-3", "type": "something new", "text": "?"},
        {"id": "m-4", "type": "bot", "text": "hello", "createdAt": "yesterday"},
    ]
    said, cursor = chatbotkit.decode_messages(json.dumps({"items": items, "cursor": "m-4"}).encode())
    assert said == [Message(False, "hi", "m-1"), Message(True, "hello", "m-4")]
    assert cursor == "m-4"
    assert chatbotkit.decode_messages(b'{"items": [], "cursor": "again"}') == ([], None)
    assert dict(parse_qsl(chatbotkit.encode_page("m-4"))) == {"order": "asc", "take": "100", "cursor": "m-4"}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": 7}', b"<html>", b'{"id": "a"'])
def test_an_answer_that_is_none_is_told(body: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="not a Named"):
        chatbotkit.decode_created(body)


def test_the_id_of_what_was_created_is_read() -> None:
    assert chatbotkit.decode_created(b'{"id": "c-1", "messages": 7}') == "c-1"


def test_of_an_export_only_v1s_conversations_are_read_and_every_line_can_be_gone_on_from() -> None:
    meta = {"v1_bot_id": "b", "v1_user_id": "u"}
    lines = [
        {"type": "item", "data": {"id": "c-1", "meta": meta}},
        {"type": "item", "data": {"id": "c-2", "meta": meta | {"v1_history": "unfinished"}}},
        {"type": "something", "data": {"name": "new"}},
        {"type": "item", "data": {"id": "c-3", "meta": {"v1_bot_id": 7, "v1_user_id": "u"}}},
        {"type": "item", "data": {"id": "c-4"}},
    ]
    body = b"\n".join([json.dumps(line).encode() for line in lines] + [b"{", b""])
    assert chatbotkit.decode_export(body) == chatbotkit.Page(
        (chatbotkit.Exported("c-1", "b", "u"), chatbotkit.Exported("c-2", "b", "u", is_unfinished=True)), "c-4"
    )
    assert chatbotkit.decode_export(b"") == chatbotkit.Page((), None)


def test_the_end_of_a_long_history_is_noted() -> None:
    assert json.loads(chatbotkit.encode_whole()) == {"meta": {"v1_history": "whole"}}
