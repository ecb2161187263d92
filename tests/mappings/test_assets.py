import pytest

from mappings import assets
from mappings.errors import MalformedAnswer
from mappings.wire import v1

PICTURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF\x10\0\0\0WEBP": "image/webp",
}


@pytest.mark.parametrize(("begin", "kind"), PICTURES.items())
def test_a_picture_is_known_by_how_it_begins(begin: bytes, kind: str) -> None:
    assert assets.picture_type(begin + b"rest") == kind
    assert kind in assets.PICTURE_TYPES
    assert assets.picture_type(begin[:-1]) is None
    assert assets.picture_type(b" " + begin) is None


@pytest.mark.parametrize("other", [b"", b"<svg/>", b"%PDF-1.7", b"RIFF\x10\0\0\0WAVE", b"\0\0\0\x20ftypheic", b"BM6"])
def test_other_content_is_none(other: bytes) -> None:
    assert assets.picture_type(other) is None


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b'{"bot": {}}', b'{"bot": {"id": 3}}', b'{"content": {"url": ""}}']
)
def test_an_answer_without_an_id_is_not_v3s(answer: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        assets.decode_bot(answer)
    with pytest.raises(MalformedAnswer):
        assets.decode_content(answer)


def test_what_was_made_is_named_as_the_upstream_names_it() -> None:
    assert assets.decode_bot(b'{"bot": {"id": "b-1", "new": 1}}') == v1.Created("b-1")
    content = b'{"content": {"content_id": "c-1", "url": "https://host/p.jpg"}}'
    assert assets.decode_content(content) == v1.ContentCreated("c-1", "https://host/p.jpg")
