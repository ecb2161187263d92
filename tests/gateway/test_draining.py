"""The way out of a process: when it begins, and what is left of the grace period for whom."""

import asyncio
import signal
from datetime import timedelta

from gateway import draining
from gateway.draining import Drain

GRACE = timedelta(seconds=10)
ROUNDING = timedelta(milliseconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_before_the_drain_all_of_the_grace_period_is_left() -> None:
    drain = Drain(GRACE, Clock())
    assert (drain.began, drain.left(), drain.left_for_work()) == (False, GRACE, timedelta(seconds=8))


def test_time_runs_from_the_first_beginning_and_never_below_nothing() -> None:
    clock = Clock()
    drain = Drain(GRACE, clock)
    drain.begin()
    clock.now += 3
    drain.begin()
    assert (drain.began, drain.left(), drain.left_for_work()) == (True, timedelta(seconds=7), timedelta(seconds=5))
    clock.now += 6
    assert (drain.left(), drain.left_for_work()) == (timedelta(seconds=1), timedelta())
    clock.now += 6
    assert drain.left() == timedelta()


def test_the_pause_and_the_requests_end_when_the_deliveries_do() -> None:
    for seconds in (1, 5, 25, 600):
        grace = timedelta(seconds=seconds)
        assert draining.pause(grace) <= timedelta(seconds=1)
        assert draining.pause(grace) + draining.time_for_requests(grace) == Drain(grace, Clock()).left_for_work()
        assert abs(draining.time_for_last_words(grace) + Drain(grace, Clock()).left_for_work() - grace) < ROUNDING


async def test_whoever_waits_for_the_drain_hears_of_it() -> None:
    drain = Drain(GRACE)
    waiting = asyncio.create_task(drain.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    drain.begin()
    await waiting


async def test_sigterm_reaches_the_server_after_the_pause_and_sigint_at_once() -> None:
    got: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def servers(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(got.put_nowait, number)

    before = {number: signal.signal(number, servers) for number in (signal.SIGTERM, signal.SIGINT)}
    grace = timedelta(seconds=1)
    try:
        for number in before:
            drain = Drain(grace)
            with draining.on_signals(drain, grace):
                signal.raise_signal(number)
                await drain.wait()
                assert number == signal.SIGINT or got.empty()
                assert await got.get() == number
            assert signal.getsignal(number) is servers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_without_a_server_that_minds_signals_they_stay_as_they_are() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with draining.on_signals(Drain(GRACE), GRACE):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
