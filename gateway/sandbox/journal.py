"""What happened, in order: bounded records that can be waited for."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Pulse:
    """Tells waiters that something changed, so that they look again; nothing polls."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.closed = False

    def beat(self) -> None:
        """Let every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """End every wait, now and later: the server is stopping."""
        self.closed = True
        self.beat()

    async def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds, for so many seconds at most; return whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not (reached() or self.closed):
                    await self._changed.wait()
        except TimeoutError:
            pass
        return reached()


class Entry(Protocol):
    """A record of a journal: `n` is its number, counted from 1 and given by the journal."""

    n: int

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        ...


E = TypeVar("E", bound=Entry)


class Journal(Generic[E]):
    """The newest records, numbered without gaps. Bounded in number and in bytes; the oldest are dropped."""

    def __init__(self, pulse: Pulse, *, max_items: int, max_bytes: int) -> None:
        self._pulse = pulse
        self._entries: deque[E] = deque()
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0
        self.last = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def dropped(self) -> int:
        """How many records are no longer held."""
        return self.last - len(self._entries)

    def add(self, entry: E) -> E:
        """Keep a record under the next number."""
        self.last += 1
        entry.n = self.last
        self._entries.append(entry)
        self._bytes += entry.size
        while len(self._entries) > self._max_items or (self._bytes > self._max_bytes and len(self._entries) > 1):
            self._bytes -= self._entries.popleft().size
        self._pulse.beat()
        return entry

    def changed(self) -> None:
        """Say that a record that is already here was completed."""
        self._pulse.beat()

    def since(self, after: int = 0, matches: Callable[[E], bool] = lambda _: True) -> list[E]:
        """Return the records with a number above `after` that match, oldest first."""
        newest_first: list[E] = []
        for entry in reversed(self._entries):
            if entry.n <= after:
                break
            if matches(entry):
                newest_first.append(entry)
        return newest_first[::-1]

    async def wait(self, after: int, matches: Callable[[E], bool], *, count: int, seconds: float) -> list[E]:
        """Return what `since` returns, once it is `count` records or the seconds are over."""
        await self._pulse.until(lambda: len(self.since(after, matches)) >= count, seconds)
        return self.since(after, matches)

    def clear(self) -> None:
        """Forget all records; numbers go on."""
        self._entries.clear()
        self._bytes = 0
        self._pulse.beat()
