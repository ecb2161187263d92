"""The shapes of V3: strict in what they send, lenient in what they read."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappings.wire import v3

REPLY = {
    "event": "message.created",
    "conversation_id": "c1",
    "bot_id": "b1",
    "user_id": "u1",
    "message": {
        "id": "m1",
        "text": "Hi there",
        "from_bot": True,
        "sent_at": 1640995205,
        "message_tone": "Friendly",
        "moderation": None,
        "attached_media": {"url": "https://pictures.example/1.png", "content_id": "p1"},
    },
    "conversation_messages_count": 4,
}


def test_a_whole_webhook_is_read_field_by_field() -> None:
    callback = v3.MessageCreated.model_validate_json(json.dumps(REPLY))
    assert callback.event == v3.MESSAGE_CREATED
    assert (callback.conversation_id, callback.bot_id, callback.user_id) == ("c1", "b1", "u1")
    assert callback.conversation_messages_count == 4
    message = callback.message
    assert (message.id, message.text, message.from_bot, message.sent_at) == (
        "m1",
        "Hi there",
        True,
        1640995205,
    )
    assert message.message_tone == "Friendly"
    assert message.moderation is None
    assert message.attached_media == v3.AttachedMedia(url="https://pictures.example/1.png", content_id="p1")


def test_a_webhook_needs_only_its_conversation_and_its_message() -> None:
    callback = v3.MessageCreated.model_validate({"conversation_id": "c1", "message": {"text": "Hi", "from_bot": True}})
    assert callback.message.text == "Hi"
    assert callback.event is None
    assert callback.conversation_messages_count is None


@pytest.mark.parametrize("missing", ["conversation_id", "message"])
def test_a_webhook_without_what_is_always_there_is_refused(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        v3.MessageCreated.model_validate({name: value for name, value in REPLY.items() if name != missing})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sent_at", "yesterday"),
        ("sent_at", True),
        ("message_tone", {"name": "Friendly"}),
        ("moderation", "none"),
        ("attached_media", {"content_id": "no-url"}),
        ("id", 7),
    ],
)
def test_an_unreadable_optional_field_counts_as_missing(field: str, value: object) -> None:
    message = v3.Message.model_validate({"text": "Hi", "from_bot": True, field: value})
    assert getattr(message, field) is None
    assert message.text == "Hi"


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_speaker_is_a_boolean_or_an_error(value: object) -> None:
    with pytest.raises(ValidationError, match="from_bot"):
        v3.Message.model_validate({"text": "Hi", "from_bot": value})


@pytest.mark.parametrize("sent_at", [1640995205, 1640995205.25])
def test_the_time_of_a_message_keeps_its_kind_of_number(sent_at: float) -> None:
    message = v3.Message.model_validate_json(json.dumps({"text": "Hi", "from_bot": True, "sent_at": sent_at}))
    assert message.sent_at == sent_at
    assert type(message.sent_at) is type(sent_at)


def test_unknown_fields_are_kept() -> None:
    read = v3.ConversationDetail.model_validate({"messages": [], "colour": "blue"})
    assert json.loads(read.body()) == {"messages": [], "colour": "blue"}


def test_a_request_carries_only_the_fields_that_were_set() -> None:
    message = v3.Message(text="Hola 👋", from_bot=False, sent_at=1640995200)
    request = v3.CreateConversation(bot_id="b1", user_id="u1", create_user_if_not_exists=True, with_messages=[message])
    assert json.loads(request.body()) == {
        "bot_id": "b1",
        "user_id": "u1",
        "create_user_if_not_exists": True,
        "with_messages": [{"text": "Hola 👋", "from_bot": False, "sent_at": 1640995200}],
    }


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(texts, st.booleans())), texts, st.sampled_from([{}, {"platform": "p", "segment": False}]))
def test_a_conversation_with_a_history_is_written_in_the_same_bytes_as_any_other(
    said: list[tuple[str, bool]], freeform: str, settings: dict[str, Any]
) -> None:
    begins: dict[str, Any] = {
        "bot_id": "b1",
        "user_id": "u1",
        "create_user_if_not_exists": True,
        "webhook": "https://g",
    }
    settings = settings | ({"freeform": freeform} if freeform else {})
    messages = [{"text": text, "from_bot": from_bot, "sent_at": 1640995200} for text, from_bot in said]
    slow = v3.CreateConversation(**begins, with_messages=[v3.Message(**one) for one in messages], **settings)
    quick = v3.BeginConversation(**begins, with_messages=[v3.Said(**one) for one in messages], **settings)
    assert msgspec.json.encode(quick) == slow.body()


@given(texts)
def test_a_text_is_posted_in_the_same_bytes_as_any_other_message(text: str) -> None:
    message = v3.Message(text=text, from_bot=False, sent_at=1640995200)
    assert msgspec.json.encode(v3.PostText(v3.Text(text, sent_at=1640995200))) == v3.PostMessage(message=message).body()


def test_a_field_that_is_cleared_is_sent_as_null() -> None:
    assert json.loads(v3.PatchConversation(webhook=None).body()) == {"webhook": None}
    assert json.loads(v3.PatchConversation().body()) == {}


def test_a_validation_error_does_not_quote_the_text_of_a_message() -> None:
    with pytest.raises(ValidationError) as caught:
        v3.PostMessage.model_validate({"message": {"text": ["a private line"], "from_bot": False}})
    assert "a private line" not in str(caught.value)


def test_a_shape_cannot_be_changed_once_it_is_read() -> None:
    message: Any = v3.Message(text="Hi", from_bot=True)
    with pytest.raises(ValidationError, match="frozen"):
        message.text = "Bye"
