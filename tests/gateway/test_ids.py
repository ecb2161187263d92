"""Ids that nobody can guess."""

import uuid

from gateway import ids


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    made = [ids.new() for _ in range(1000)]
    read = [uuid.UUID(one) for one in made]
    assert [str(one) for one in read] == made
    assert {(one.version, one.variant) for one in read} == {(4, uuid.RFC_4122)}


def test_every_bit_but_those_that_tell_the_form_is_random() -> None:
    made = [uuid.UUID(ids.new()).int for _ in range(1000)]
    always, ever = ~0, 0
    for one in made:
        always, ever = always & one, ever | one
    assert always == 0x4000_8000_0000_0000_0000
    assert ever ^ (1 << 128) - 1 == 0xB000_4000_0000_0000_0000
