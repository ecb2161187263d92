"""Whose turn it is, as the store keeps it."""

import msgspec
import pytest

from gateway import people
from gateway.people import People

ONE = People("00112233aabbccdd", "b-1", "u-1", None, "r-1")


def test_the_people_of_a_turn_are_read_as_they_were_written() -> None:
    assert people.read(people.encode(ONE).decode()) == msgspec.structs.asdict(ONE)


def test_what_another_version_wrote_behind_them_is_passed_over() -> None:
    assert people.read('["00112233aabbccdd","b-1","u-1",null,"r-1",1]') == msgspec.structs.asdict(ONE)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_what_cannot_be_read_tells_of_nobody(text: str) -> None:
    assert people.read(text) == {}
