"""A reply out of its segments: laws over any text, and the cases by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import completion
from mappings.turn import Completion, Picture, ReplySegment

texts = st.text(st.characters(exclude_categories=["Cs"]))
times = st.none() | st.integers(0, 2**40) | st.floats(allow_nan=False, allow_infinity=False)
pictures = st.builds(Picture, url=texts, content_id=st.none() | texts)
segments = st.builds(ReplySegment, message_id=texts, text=texts, sent_at=times, picture=st.none() | pictures)
texts_only = st.builds(ReplySegment, message_id=texts, text=texts, sent_at=times)


@given(segments)
def test_a_stored_segment_is_read_back_as_it_was(segment: ReplySegment) -> None:
    assert completion.decode_segment(completion.encode_segment(segment)) == segment


@given(segments)
def test_the_stored_form_of_a_segment_is_one_line_of_json(segment: ReplySegment) -> None:
    stored = completion.encode_segment(segment)
    assert isinstance(json.loads(stored), list)
    assert "\n" not in stored


def test_a_stored_segment_of_a_later_version_is_read() -> None:
    assert completion.decode_segment('["m1","hello",7,null,null,null,null,null,"new"]') == ReplySegment(
        "m1", "hello", 7
    )


def test_a_stored_segment_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `array`"):
        completion.decode_segment('{"text":"hello"}')


@given(st.lists(texts_only))
def test_no_segment_is_lost_and_none_is_doubled(arrived: list[ReplySegment]) -> None:
    made = completion.complete("r1", arrived)
    assert sorted(made.texts) == sorted(segment.text for segment in arrived)


@given(st.lists(texts_only))
def test_segments_stand_in_the_order_in_which_they_were_sent(arrived: list[ReplySegment]) -> None:
    sent = [segment.sent_at for segment in completion.order(arrived) if segment.sent_at is not None]
    assert sent == sorted(sent)


@given(st.lists(texts_only), st.none() | st.integers(0, 9))
def test_segments_of_one_moment_stand_in_the_order_of_their_arrival(
    arrived: list[ReplySegment], moment: int | None
) -> None:
    at_once = [ReplySegment(segment.message_id, segment.text, moment) for segment in arrived]
    assert completion.order(at_once) == at_once


def test_a_segment_overtaken_on_its_way_stands_where_it_was_sent() -> None:
    second, first = ReplySegment("m2", "How are you?", 11), ReplySegment("m1", "Hello!", 10)
    assert completion.complete("r1", [second, first]).texts == ("Hello!", "How are you?")


def test_a_segment_that_does_not_say_when_it_was_sent_stays_behind_its_forerunner() -> None:
    late, silent, early = ReplySegment("m3", "c", 12), ReplySegment("m4", "d"), ReplySegment("m1", "a", 10)
    assert completion.complete("r1", [late, silent, early]).texts == ("a", "c", "d")


def test_a_picture_without_words_adds_no_text() -> None:
    picture = Picture("https://host/pic.jpg", "c1")
    made = completion.complete("r1", [ReplySegment("m1", "Look:"), ReplySegment("m2", "", picture=picture)])
    assert made == Completion("r1", ("Look:",), picture)


def test_an_empty_text_without_a_picture_is_a_text() -> None:
    assert completion.complete("r1", [ReplySegment("m1", "")]).texts == ("",)


def test_the_words_beside_a_picture_are_kept() -> None:
    segment = ReplySegment("m1", "Look!", picture=Picture("https://host/pic.jpg"))
    assert completion.complete("r1", [segment]).texts == ("Look!",)


def test_a_second_picture_is_refused_rather_than_lost() -> None:
    both = [ReplySegment(name, "", picture=Picture(f"https://host/{name}")) for name in ("m1", "m2")]
    with pytest.raises(ValueError, match="one picture"):
        completion.complete("r1", both)


@given(st.builds(Completion, id=texts, texts=st.lists(texts).map(tuple), picture=st.none() | pictures))
def test_the_webhook_carries_every_text_code_point_for_code_point(made: Completion) -> None:
    body = json.loads(completion.encode_callback(made).decode())
    assert body == {
        "completion": list(made.texts),
        "id": made.id,
        "media": {"url": made.picture.url, "type": "image"} if made.picture else None,
        "media_id": made.picture.content_id if made.picture else None,
    }


def test_the_webhook_body_of_a_reply_with_a_picture() -> None:
    made = Completion("r1", ("Grüße", "👋"), Picture("https://host/pic.jpg", "c1"))
    assert (
        completion.encode_callback(made)
        == (
            '{"completion":["Grüße","👋"],"id":"r1","media":{"url":"https://host/pic.jpg","type":"image"},"media_id":"c1"}'
        ).encode()
    )


def test_the_webhook_body_of_a_reply_without_a_picture() -> None:
    assert completion.encode_callback(Completion("r1", ("Hello!",))) == (
        b'{"completion":["Hello!"],"id":"r1","media":null,"media_id":null}'
    )


@given(st.lists(texts_only), st.none() | st.builds(ReplySegment, message_id=texts, text=texts, picture=pictures))
def test_a_reply_with_one_picture_at_most_is_the_same_when_it_is_the_only_one(
    arrived: list[ReplySegment], picture: ReplySegment | None
) -> None:
    arrived = [*arrived, picture] if picture else arrived
    assert completion.only("r1", arrived) == completion.complete("r1", arrived)


def test_where_no_other_reply_follows_further_pictures_are_told_by_their_addresses() -> None:
    arrived = [
        ReplySegment("m1", "", 1, Picture("https://host/1", "c-1")),
        ReplySegment("m3", "", 3, Picture("https://host/3")),
        ReplySegment("m2", "see", 2, Picture("https://host/2")),
    ]
    made = completion.only("r1", arrived)
    assert made.picture == arrived[0].picture
    assert made.texts == ("see\nhttps://host/2", "https://host/3")
