"""Bounded records that can be waited for."""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.sandbox.journal import Journal, Pulse

LONG = 30.0


@dataclass
class Note:
    text: str
    n: int = 0

    @property
    def size(self) -> int:
        return len(self.text)


@pytest.fixture
def pulse() -> Pulse:
    return Pulse()


@pytest.fixture
def journal(pulse: Pulse) -> Journal[Note]:
    return Journal(pulse, max_items=3, max_bytes=100)


def texts(notes: list[Note]) -> list[str]:
    return [note.text for note in notes]


def test_records_are_numbered_from_one_and_read_oldest_first(journal: Journal[Note]) -> None:
    journal.add(Note("a"))
    journal.add(Note("b"))
    assert [(note.n, note.text) for note in journal.since()] == [(1, "a"), (2, "b")]
    assert texts(journal.since(1)) == ["b"]
    assert texts(journal.since(0, lambda note: note.text == "a")) == ["a"]


def test_the_oldest_records_give_way_to_the_newest(journal: Journal[Note]) -> None:
    for text in "abcde":
        journal.add(Note(text))
    assert texts(journal.since()) == ["c", "d", "e"]
    assert journal.dropped == 2


def test_bytes_are_bounded_but_the_newest_record_is_always_kept(journal: Journal[Note]) -> None:
    journal.add(Note("x" * 60))
    journal.add(Note("y" * 60))
    assert texts(journal.since()) == ["y" * 60]
    journal.add(Note("z" * 500))
    assert texts(journal.since()) == ["z" * 500]


def test_numbers_go_on_after_the_records_were_forgotten(journal: Journal[Note]) -> None:
    journal.add(Note("a"))
    journal.clear()
    assert len(journal) == 0
    assert journal.add(Note("b")).n == 2


async def test_a_wait_ends_with_the_record_that_it_waits_for(journal: Journal[Note]) -> None:
    wait = asyncio.create_task(journal.wait(0, lambda note: note.text == "b", count=1, seconds=LONG))
    for text in "ab":
        await asyncio.sleep(0)
        assert not wait.done()
        journal.add(Note(text))
    assert texts(await wait) == ["b"]


async def test_a_wait_that_runs_out_gives_what_there_is(journal: Journal[Note]) -> None:
    journal.add(Note("a"))
    assert texts(await journal.wait(0, lambda _: True, count=2, seconds=0)) == ["a"]


async def test_closing_ends_every_wait(pulse: Pulse) -> None:
    wait = asyncio.create_task(pulse.until(lambda: False, LONG))
    await asyncio.sleep(0)
    pulse.close()
    assert await wait is False
    assert await pulse.until(lambda: False, LONG) is False
