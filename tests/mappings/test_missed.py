"""What the upstream holds and nobody has brought is found, and nothing else."""

from collections.abc import Sequence

import pytest

from mappings import missed, reconcile, v3
from mappings.missed import Held, Told
from mappings.turn import Message

MOST = 256


def transcript(said: str) -> list[Held]:
    """Read a transcript like "u1 b2 b3": who says it, and its id."""
    messages = [Message(one.startswith("b"), f"text {one}", one, sent_at=1) for one in said.split()]
    return [Held(message, v3.callback_ids(message, place)) for place, message in enumerate(messages, 1)]


def told(taken: str = "", *, since: int = 0, ours: Sequence[str] = ()) -> Told:
    return Told(
        9, since, [reconcile.digest(Message(from_bot=True, text=text)) for text in ours], frozenset(taken.split())
    )


def found(held: Sequence[Held], known: Told, most: int = MOST) -> list[str]:
    return [one.segment.message_id for one in missed.find(held, known, most=most)]


@pytest.mark.parametrize(
    ("said", "taken", "lost"),
    [
        ("u1 b2 b3", "b3", ["b2"]),
        ("u1 b2 b3 b4", "b2 b4", ["b3"]),
        ("u1 b2 b3 u4 b5", "b5", ["b2", "b3"]),
        ("u1 b2", "b2", []),
        ("u1", "", []),
        ("", "", []),
    ],
)
def test_what_was_not_taken_is_missed(said: str, taken: str, lost: list[str]) -> None:
    assert found(transcript(said), told(taken)) == lost


def test_a_history_that_the_conversation_began_with_is_not_missed() -> None:
    assert found(transcript("u1 b2 u3 b4 b5"), told("b5", since=2)) == ["b4"]


def test_what_is_older_than_all_that_is_remembered_as_taken_is_not_missed() -> None:
    assert found(transcript("u1 b2 u3 b4 b5"), told("b5"), most=2) == ["b4"]


def test_what_was_added_from_here_is_not_missed_and_only_as_often_as_it_was_added() -> None:
    held = transcript("u1 b2 b3 b4")
    held[2] = Held(Message(True, "text b2", "b3"), frozenset({"b3"}))
    assert found(held, told("b4", ours=["text b2"])) == ["b3"]


def test_each_has_its_place_and_is_late_once_the_user_has_gone_on() -> None:
    first, second = missed.find(transcript("u1 b2 u3 b4"), told(), most=MOST)
    assert (first.segment.position, first.is_late) == (2, True)
    assert (second.segment.position, second.is_late) == (4, False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"conversation_id": "c", "message": {"text": "text b2", "from_bot": true, "sent_at": 1}}',
        b'{"conversation_id": "c", "message": {"text": "text b2", "from_bot": true}, "conversation_messages_count": 2}',
        b'{"conversation_id": "c", "message": {"text": "text b2", "from_bot": true, "id": "b2"}}',
    ],
)
def test_a_callback_is_known_again_whatever_it_left_out(body: bytes) -> None:
    segment = v3.decode_callback(body, fallback_id="none").segment
    assert segment
    assert found(transcript("u1 b2"), told(segment.message_id)) == []
