"""Where two rows of codes meet; the laws are in test_reconcile.py, in terms of histories."""

from collections.abc import Iterator
from itertools import dropwhile

from hypothesis import assume, given
from hypothesis import strategies as st

from mappings import alignment
from mappings.alignment import Alignment, Recent
from mappings.codes import FROM_BOT, TEXT


def test_what_is_recent_is_read_only_as_far_as_somebody_looks() -> None:
    read = []

    def newest_first() -> Iterator[int]:
        for code in range(100, 0, -1):
            read.append(code)
            yield code

    recent = Recent(newest_first())
    assert (recent[1], recent[0], recent[1]) == (99, 100, 99)
    assert read == [100, 99]


def test_a_history_ends_where_it_began() -> None:
    recent = Recent([7, 8])
    assert recent[2] is None
    assert list(recent.behind(1)) == [8]


def test_what_is_lacking_is_named_by_its_place_from_the_end_oldest_first() -> None:
    found = alignment.align(Recent([5, 4 | FROM_BOT, 3, 2 | FROM_BOT, 1]), [1, 2 | FROM_BOT], unanswered=0, whole=True)
    assert found == Alignment(lacking=[2, 1, 0], matched=2, missing=0)


def test_a_joined_reply_is_the_sum_of_its_segments_whatever_they_come_to() -> None:
    segments = [TEXT | FROM_BOT, 3 | FROM_BOT]
    assert alignment.align(Recent([2 | FROM_BOT, 1]), [1, *segments], unanswered=0, whole=True) == Alignment([], 3, 0)


def test_rows_without_anything_in_common_have_parted() -> None:
    assert alignment.align(Recent([9]), [1], unanswered=0, whole=False) is None


def test_a_tail_of_which_the_client_may_know_nothing_yet_is_no_contradiction() -> None:
    assert alignment.align(Recent([9]), [1], unanswered=1, whole=False) == Alignment((), 0, 1)


CODES = st.builds(lambda text, bot: text | bot, st.integers(1, 4), st.sampled_from([0, FROM_BOT]))


@given(st.lists(CODES, max_size=4), st.lists(CODES, max_size=8), st.integers(0, 3), st.booleans())
def test_a_client_whose_history_ends_with_what_is_remembered_from_a_users_message_on_is_in_step(
    before: list[int], codes: list[int], unanswered: int, whole: bool
) -> None:
    held = list(dropwhile(lambda code: code & FROM_BOT, codes))
    assume(held)
    found = alignment.align(Recent(held[::-1] + before), codes, unanswered=unanswered, whole=whole)
    assert found == Alignment([], len(held), 0)
