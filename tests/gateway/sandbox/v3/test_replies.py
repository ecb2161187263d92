"""What the emulated bots say follows from the messages."""

import pytest

from gateway.sandbox.v3 import replies
from mappings.wire import v3


def said(text: str, *, from_bot: bool = False) -> v3.Message:
    return v3.Message(text=text, from_bot=from_bot)


@pytest.mark.parametrize(("turn", "segments"), [(1, 2), (2, 3), (3, 1), (4, 2)])
def test_a_reply_has_one_to_three_segments_by_turn(turn: int, segments: int) -> None:
    reply = replies.compose(["Hola 👋"], turn)
    assert len(reply) == segments
    assert reply[0] == "You said “Hola 👋”."


def test_a_reply_quotes_everything_that_it_answers() -> None:
    assert replies.compose(["one", "two"], 3) == ("You said “one” and “two”.",)


def test_the_same_words_make_one_segment_where_only_one_is_allowed() -> None:
    assert replies.compose(["Hi"], 2, segmented=False) == (" ".join(replies.compose(["Hi"], 2)),)


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ([], []),
        ([said("a"), said("b", from_bot=True)], []),
        ([said("a"), said("b", from_bot=True), said("c"), said("d")], ["c", "d"]),
    ],
)
def test_what_was_last_asked_is_what_came_after_the_bot(messages: list[v3.Message], asked: list[str]) -> None:
    assert [message.text for message in replies.last_asked(messages)] == asked


@pytest.mark.parametrize(
    ("message", "wants"),
    [
        (said("Send me a picture!"), True),
        (said("a PHOTO please"), True),
        (said("photosynthesis"), False),
        (v3.Message(text="", from_bot=False, attached_media=v3.AttachedMedia(url="https://a.example/1.png")), True),
    ],
)
def test_a_picture_answers_a_picture_or_the_word(message: v3.Message, wants: bool) -> None:
    assert replies.wants_picture([message]) is wants


def test_a_conversation_is_summarised_once_it_is_long() -> None:
    messages = [said(f"line {number}") for number in range(10)]
    assert replies.summary(messages[:9]) is None
    assert replies.summary(messages) == "A chat of 10 messages that began with “line 0”."


def test_memories_hold_what_each_side_said_of_itself() -> None:
    remembered = replies.memories([said("I like tea"), said("Nice weather"), said("My cat sleeps", from_bot=True)])
    assert [memory.text for memory in remembered.user_memories] == ["I like tea"]
    assert [memory.text for memory in remembered.bot_memories] == ["My cat sleeps"]
