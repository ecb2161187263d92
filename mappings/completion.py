"""The whole reply out of its segments: their stored form, their order, and the body of V1's webhook."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from mappings.turn import Completion, Moderation, Picture, ReplySegment
from mappings.wire import v1

PICTURE_TYPE = "image"
"""V1's `media.type` of a picture, the only media that a reply brings."""


class _Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A segment as a JSON array; a later version may append fields."""

    message_id: str
    text: str
    sent_at: int | float | None = None
    position: int | None = None
    picture_url: str | None = None
    content_id: str | None = None
    tone: str | None = None
    moderation: tuple[str | None, str | None, str | None] | None = None


_DECODER = msgspec.json.Decoder(_Stored)


def encode_segment(segment: ReplySegment) -> str:
    """Give the stored form of a segment: compact JSON, the same for the same segment, without nulls at its end."""
    url, content_id = (segment.picture.url, segment.picture.content_id) if segment.picture else (None, None)
    flag = segment.moderation
    stored = [
        segment.message_id,
        segment.text,
        segment.sent_at,
        segment.position,
        url,
        content_id,
        segment.tone,
        (flag.category, flag.reasoning, flag.severity) if flag else None,
    ]
    while stored[-1] is None:
        stored.pop()
    return msgspec.json.encode(stored).decode()


def decode_segment(stored: str) -> ReplySegment:
    """Read the stored form of a segment; raises `msgspec.DecodeError` (a ValueError) when it is none."""
    raw = _DECODER.decode(stored)
    picture = None if raw.picture_url is None else Picture(raw.picture_url, raw.content_id)
    flag = None if raw.moderation is None else Moderation(*raw.moderation)
    return ReplySegment(raw.message_id, raw.text, raw.sent_at, picture, raw.tone, flag, raw.position)


def order(arrived: Sequence[ReplySegment]) -> list[ReplySegment]:
    """Order segments by when they were sent, in the same second by their position, then by their arrival.

    One that does not say when it was sent, or its position, stays behind the one that arrived before it.
    """
    keyed: list[tuple[float, int, int, ReplySegment]] = []
    latest, last = float("-inf"), 0
    for arrival, segment in enumerate(arrived):
        latest = latest if segment.sent_at is None else segment.sent_at
        last = last if segment.position is None else segment.position
        keyed.append((latest, last, arrival, segment))
    return [segment for *_, segment in sorted(keyed, key=lambda item: item[:3])]


def complete(reply_id: str, arrived: Sequence[ReplySegment]) -> Completion:
    """Make one completion of all segments of a reply, given as they arrived.

    A picture without words adds no text. V1's webhook holds one picture: a second one is a ValueError, since leaving
    it out would be a loss in silence (the relay opens another reply for it).
    """
    ordered = order(arrived)
    pictures = [segment.picture for segment in ordered if segment.picture]
    if len(pictures) > 1:
        raise ValueError("one completion holds one picture")
    texts = tuple(segment.text for segment in ordered if segment.text or not segment.picture)
    return Completion(
        reply_id,
        texts,
        pictures[0] if pictures else None,
        tone=next((segment.tone for segment in reversed(ordered) if segment.tone), None),
        moderation=next((segment.moderation for segment in ordered if segment.moderation), None),
        sent_at=max((segment.sent_at for segment in ordered if segment.sent_at is not None), default=None),
    )


def only(reply_id: str, arrived: Sequence[ReplySegment]) -> Completion:
    """Make the one completion that there will be of all segments: of further pictures the text gives the addresses."""
    segments: list[ReplySegment] = []
    has_picture = False
    for segment in order(arrived):
        if segment.picture and has_picture:
            words = filter(None, (segment.text, segment.picture.url))
            segments.append(replace(segment, text="\n".join(words), picture=None))
        else:
            segments.append(segment)
        has_picture = has_picture or segment.picture is not None
    return complete(reply_id, segments)


def encode_callback(completion: Completion) -> bytes:
    """Give the body of V1's webhook: UTF-8, every text code point for code point, the same bytes every time."""
    picture = completion.picture
    callback = v1.Callback(
        completion=list(completion.texts),
        id=completion.id,
        media=v1.Media(picture.url, PICTURE_TYPE) if picture else None,
        media_id=picture.content_id if picture else None,
    )
    return msgspec.json.encode(callback)
