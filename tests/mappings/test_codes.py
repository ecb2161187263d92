"""Codes of messages and the memory of their digests; what these are blind to is in test_reconcile.py."""

from hypothesis import given
from hypothesis import strategies as st

from mappings import codes
from mappings.codes import FROM_BOT, TEXT, Memory

messages = st.tuples(st.booleans(), st.sampled_from("abcdefgh"))


class Counting(Memory):
    """A memory that counts what it had to compute."""

    def __init__(self, most: int) -> None:
        self.computed: list[tuple[bool, str]] = []
        super().__init__(self._note, most)

    def _note(self, from_bot: bool, text: str) -> int:
        self.computed.append((from_bot, text))
        return codes.of(from_bot, text)

    @property
    def size(self) -> int:
        return len(self._newer) + len(self._older)


@given(st.lists(messages), st.integers(1, 4))
def test_a_remembered_digest_is_the_one_that_would_be_computed(said: list[tuple[bool, str]], most: int) -> None:
    memory = Counting(most)
    for message in said:
        assert memory.digests([message]) == [codes.write(codes.of(*message))]
        assert memory.size <= 2 * most
    assert memory.digests(said) == [codes.write(codes.of(*message)) for message in said]
    assert memory.size <= 2 * most


def test_what_is_met_again_is_not_computed_again() -> None:
    memory = Counting(2)
    for text in ("u1", "u2", "u1", "u3", "u1", "u4", "u1"):  # the first half is full with the second
        memory.digests([(False, text)])
    assert memory.computed == [(False, text) for text in ("u1", "u2", "u3", "u4")]


def test_what_was_not_met_for_long_is_forgotten() -> None:
    memory = Counting(2)
    for text in ("u1", "u2", "u3", "u4", "u5", "u1"):
        memory.digests([(False, text)])
    assert [text for _, text in memory.computed] == ["u1", "u2", "u3", "u4", "u5", "u1"]


def test_the_same_text_of_the_other_speaker_is_another_message() -> None:
    memory = Counting(4)
    one, other = memory.digests([(True, "ok"), (False, "ok")])
    assert one != other
    assert len(memory.computed) == 2


@given(st.lists(st.integers(1, TEXT).flatmap(lambda text: st.sampled_from([text, text | FROM_BOT])), max_size=20))
def test_digests_are_read_as_they_were_written(row: list[int]) -> None:
    assert list(codes.read("".join(map(codes.write, row)))) == row
