"""Time limits of waits, as `asyncio.timeout` sets them, with one timer for all: nearly none is ever reached.

`asyncio.timeout` makes and cancels a timer of the loop for every wait, and a turn has five: 8 µs each, of which 1 µs
is left here. The timer stands at the earliest end that was known when it was set. It rings once in a while for nothing
and looks for the next.
"""

import asyncio
import math
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.001
"""The loop's clock counts in these: a timer rings up to so much before its time."""


class _Ringer:
    """The timer of one loop, and the ends of all waits that it watches over.

    Waits of one length (in ticks) end in the order in which they began, and there are few lengths: a ring looks at the
    first of each, so that it costs the same when thousands wait for somebody who has fallen silent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lines: dict[int, dict[Within, float]] = {}
        self.rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Ring at `when`, which is earlier than it would ring otherwise."""
        if self._timer is not None:
            self._timer.cancel()
        self.rings_at = when
        self._timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, self.rings_at = None, math.inf
        now, first = self.loop.time() + TICK_SECONDS, math.inf
        for length, line in list(self.lines.items()):
            late = []
            for wait, end in line.items():
                if end > now:
                    first = min(first, end)
                    break
                late.append(wait)
            else:
                del self.lines[length]
            for wait in late:
                del line[wait]
                wait.ring()
        if first < math.inf:
            self.set(first)


_ringer: _Ringer | None = None
"""That of the loop that asked last: there is one loop, but in tests."""


class Within:
    """`with Within(seconds): ...` raises TimeoutError in the task that waits in it for longer.

    As with `asyncio.timeout`, the task is cancelled, and what reaches the end of the block is told as TimeoutError
    unless somebody else has cancelled the task, too. It may be entered once.
    """

    __slots__ = ("_cancelling", "_has_rung", "_line", "_seconds", "_task")

    _task: asyncio.Task[object]
    _line: "dict[Within, float]"
    _cancelling: int

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_rung = False

    def __enter__(self) -> Self:
        global _ringer  # noqa: PLW0603 — a look-up by the loop would cost as much as all the rest
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be made to stop waiting")
        loop = task.get_loop()
        ringer = _ringer
        if ringer is None or ringer.loop is not loop:
            ringer = _ringer = _Ringer(loop)
        self._task, self._cancelling = task, task.cancelling()
        length = int(self._seconds / TICK_SECONDS)
        line = ringer.lines.get(length)
        if line is None:
            line = ringer.lines[length] = {}
        self._line = line
        end = line[self] = loop.time() + self._seconds
        if end < ringer.rings_at:
            ringer.set(end)
        return self

    def ring(self) -> None:
        """End the wait."""
        self._has_rung = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._line.pop(self, None)
        if self._has_rung and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
