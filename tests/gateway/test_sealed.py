"""Sealing what must not lie in the store in clear."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sealed import Sealer

OLD, NEW = b"an-old-secret-of-the-tests", b"a-new-secret-of-the-tests"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens_in_its_context(text: str, context: str) -> None:
    sealer = Sealer([NEW])
    assert sealer.open(sealer.seal(text, context), context) == text


def test_nothing_of_the_text_shows_and_equal_texts_look_different() -> None:
    sealer = Sealer([NEW])
    one, two = sealer.seal("sk-client-key", "turn-1"), sealer.seal("sk-client-key", "turn-1")
    assert one != two
    assert b"sk-client-key" not in base64.urlsafe_b64decode(one)


def test_another_context_does_not_open_it() -> None:
    sealer = Sealer([NEW])
    assert sealer.open(sealer.seal("key", "turn-1"), "turn-2") is None


def test_what_the_old_secret_sealed_opens_after_a_rotation_but_the_new_one_seals() -> None:
    rotated = Sealer([NEW, OLD])
    assert rotated.open(Sealer([OLD]).seal("key", "t"), "t") == "key"
    assert Sealer([NEW]).open(rotated.seal("key", "t"), "t") == "key"
    assert Sealer([OLD]).open(rotated.seal("key", "t"), "t") is None


@pytest.mark.parametrize("position", [0, 11, 12, -1])
def test_a_changed_byte_does_not_open(position: int) -> None:
    sealer = Sealer([NEW])
    whole = bytearray(base64.urlsafe_b64decode(sealer.seal("key", "t")))
    whole[position] ^= 1
    assert sealer.open(base64.urlsafe_b64encode(whole).decode(), "t") is None


@pytest.mark.parametrize("garbage", ["", "AAAA", "not base64 at all", "ä", "A"])
def test_garbage_does_not_open(garbage: str) -> None:
    assert Sealer([NEW]).open(garbage, "t") is None


def test_a_sealer_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Sealer([])
