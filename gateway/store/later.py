"""What the store is to be told once it takes calls again: the end of something that it may have begun."""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterable

from gateway import errors
from gateway.store.scripts import Answer, Call, NoAnswer

MAX_WAITING = 10_000
"""Calls beyond it push the oldest out: what they would have ended ends by its own time to live."""

MAX_BATCH = 128
PAUSE_SECONDS = 0.1

RunAll = Callable[[Iterable[Call]], Awaitable[list[Answer | NoAnswer]]]


class Later:
    """Calls whose answers nobody waits for, repeated until the store takes them."""

    def __init__(self, run_all: RunAll) -> None:
        self._run_all = run_all
        self._waiting: collections.deque[tuple[Call, float]] = collections.deque(maxlen=MAX_WAITING)
        self._telling: asyncio.Task[None] | None = None

    def add(self, call: Call, seconds: float) -> None:
        """Run a script when the store is back, if that is within so many seconds."""
        loop = asyncio.get_running_loop()
        self._waiting.append((call, loop.time() + seconds))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="store-later")

    async def aclose(self) -> None:
        """Tell nothing more."""
        if self._telling:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            await asyncio.sleep(PAUSE_SECONDS)
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            batch = [(call, until) for call, until in batch if until > clock()]
            try:
                answers = await self._run_all([call for call, _ in batch])
            except errors.StoreUnavailable:
                self._waiting.extendleft(reversed(batch))
            else:
                self._waiting.extend(
                    waiting for waiting, answer in zip(batch, answers, strict=True) if answer is NoAnswer.UNTAKEN
                )
