"""The end of a process in good order, within a grace period that all of its parts share.

- At the signal, readiness fails and the relay claims nothing more.
- After a pause, in which load balancers learn that nobody is to be sent here, the server stops to listen; requests and
  deliveries that are under way go on.
- When `WORK_SHARE` of the grace period has passed, what still runs is cut off. The rest is for the last words to the
  store: outcomes, claims handed back.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType

WORK_SHARE = 0.8
LONGEST_PAUSE = timedelta(seconds=1)
PAUSE_SHARE = 0.1


class Drain:
    """One process's way out: whether it has begun, and what is left of `grace`."""

    def __init__(self, grace: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._began_at: float | None = None
        self._signal = asyncio.Event()

    @property
    def began(self) -> bool:
        """Whether this process is on its way out."""
        return self._began_at is not None

    def begin(self) -> None:
        """Begin, unless that was before."""
        if self._began_at is None:
            self._began_at = self._clock()
            self._signal.set()

    async def wait(self) -> None:
        """Wait until it begins."""
        await self._signal.wait()

    def left(self) -> timedelta:
        """Give the time in which the process must be gone; all of it before the drain."""
        return self._left(1.0)

    def left_for_work(self) -> timedelta:
        """Give the time that requests and deliveries under way may still take."""
        return self._left(WORK_SHARE)

    def _left(self, share: float) -> timedelta:
        passed = 0.0 if self._began_at is None else self._clock() - self._began_at
        return max(share * self._grace - timedelta(seconds=passed), timedelta())


def pause(grace: timedelta) -> timedelta:
    """Give the time from the first sign of the drain to the end of listening."""
    return min(LONGEST_PAUSE, PAUSE_SHARE * grace)


def time_for_requests(grace: timedelta) -> timedelta:
    """Give the time from the end of listening to the cut."""
    return WORK_SHARE * grace - pause(grace)


def time_for_last_words(grace: timedelta) -> timedelta:
    """Give the time from the cut to the end, for what must still be written."""
    return (1 - WORK_SHARE) * grace


@contextlib.contextmanager
def on_signals(drain: Drain, grace: timedelta) -> Iterator[None]:
    """Let SIGTERM begin the drain, and reach the server only after the pause; SIGINT, a person's, does both at once.

    Where the server has no handlers (it runs inside another program) nothing is changed.
    """
    ours = {signal.SIGTERM: pause(grace), signal.SIGINT: timedelta()}
    servers = {number: signal.getsignal(number) for number in ours}
    if threading.current_thread() is not threading.main_thread() or not callable(servers[signal.SIGTERM]):
        yield
        return
    loop = asyncio.get_running_loop()

    def leave(number: int, frame: FrameType | None) -> None:
        stop = servers[signal.Signals(number)]
        loop.call_soon_threadsafe(drain.begin)
        if callable(stop):
            loop.call_soon_threadsafe(
                loop.call_later, ours[signal.Signals(number)].total_seconds(), stop, number, frame
            )

    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)
