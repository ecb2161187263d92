"""What V3 is told of a conversation and of its user, and whether a strict server takes it."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from v1_requests import read, requests

from gateway.sandbox.v3 import shapes
from mappings import context, v3
from mappings.context import Context, ConversationFacts, UserFacts
from mappings.turn import Picture

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EVERYTHING = Context(
    ConversationFacts(platform="Qkkie", freeform="Write in Spanish (es).", segment=False),
    UserFacts("Max", (("age", "30"), ("town", "Cádiz")), "Likes tea."),
)


def test_a_new_conversation_is_told_its_context() -> None:
    turn = read({"bot_id": "b", "user_id": "u"})
    body = json.loads(v3.encode_create(turn, webhook="https://h/cb", now=NOW, context=EVERYTHING))
    assert (body["platform"], body["freeform"], body["segment"]) == ("Qkkie", "Write in Spanish (es).", False)


def test_a_new_conversation_without_context_names_the_seeds_fields_alone() -> None:
    turn = read({"bot_id": "b", "user_id": "u"})
    for told in (None, Context()):
        body = json.loads(v3.encode_create(turn, webhook="https://h/cb", now=NOW, context=told))
        assert set(body) == {"bot_id", "user_id", "create_user_if_not_exists", "webhook", "with_messages"}


def test_a_known_conversation_is_told_what_it_is_to_know_now() -> None:
    assert json.loads(v3.encode_context(EVERYTHING)) == {
        "platform": "Qkkie",
        "freeform": "Write in Spanish (es).",
        "segment": False,
    }


def test_what_a_conversation_was_told_in_words_is_taken_back() -> None:
    assert json.loads(v3.encode_context(Context())) == {"freeform": ""}


def test_a_user_is_described_whole() -> None:
    assert json.loads(v3.encode_user("u/1", EVERYTHING)) == {
        "id": "u/1",
        "username": "Max",
        "attributes": [{"name": "age", "value": "30"}, {"name": "town", "value": "Cádiz"}],
        "freeform": "Likes tea.",
    }


def test_what_was_known_of_a_user_is_taken_back() -> None:
    assert json.loads(v3.encode_user("u", Context())) == {"id": "u", "attributes": [], "freeform": ""}


def test_a_message_has_its_picture() -> None:
    picture = Picture("https://h/a.jpg", "c")
    message = json.loads(v3.encode_message("look", now=NOW, picture=picture))["message"]
    assert message["attached_media"] == {"url": "https://h/a.jpg", "content_id": "c"}
    assert "attached_media" not in json.loads(v3.encode_message("look", now=NOW))["message"]


@given(requests())
def test_a_strict_server_takes_every_body(request: dict[str, Any]) -> None:
    turn = read(request)
    told = context.carry(turn.request)
    limits = shapes.Limits(any_bot_id=True, require_sent_at=True)
    create = v3.encode_create(turn, webhook="https://h/cb", now=NOW, context=told)
    message = v3.encode_message(turn.message or "", now=NOW, picture=context.picture(turn.request))
    shapes.CreateConversation.model_validate_json(create, context=limits)
    shapes.PatchConversation.model_validate_json(v3.encode_context(told), context=limits)
    shapes.NewUser.model_validate_json(v3.encode_user(turn.user_id, told), context=limits)
    shapes.PostMessage.model_validate_json(message, context=limits)


def test_of_a_list_the_conversations_whose_pair_is_said_are_read() -> None:
    headers = [{"id": "c-1", "bot_id": "b", "user_id": "u"}, {"id": "c-2", "bot_id": "b"}, {"id": "c-3"}]
    assert v3.decode_list(json.dumps({"conversations": headers}).encode()) == [("c-1", "b", "u")]
