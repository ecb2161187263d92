"""Time limits that share a timer."""

import asyncio

import pytest

from gateway import deadlines
from gateway.deadlines import Within


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_wait_beyond_its_limit_is_a_timeout_and_its_task_goes_on() -> None:
    with pytest.raises(TimeoutError), Within(0.001):
        await forever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_limit_that_is_over_already_ends_the_first_wait() -> None:
    with pytest.raises(TimeoutError), Within(-1):
        await forever()


async def test_a_wait_within_its_limit_is_left_alone_for_good() -> None:
    with Within(0.001):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), Within(0.01):  # the other's end lies before this one's
        await forever()


async def test_the_shorter_limit_ends_first_whichever_began_first() -> None:
    ended = []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), Within(seconds):
            await forever()
        ended.append(seconds)

    await asyncio.gather(wait(0.02), wait(0.01), wait(0.03))
    assert ended == [0.01, 0.02, 0.03]


async def test_of_many_that_wait_in_vain_each_is_told_once_and_nothing_is_kept_of_them() -> None:
    told = []

    async def wait(number: int) -> None:
        with pytest.raises(TimeoutError), Within(0.001 * (number % 7)):
            await forever()
        told.append(number)

    await asyncio.gather(*(wait(number) for number in range(500)))
    assert sorted(told) == list(range(500))
    assert deadlines._ringer is not None
    assert not any(deadlines._ringer.lines.values())


async def test_of_two_limits_one_within_the_other_the_one_that_is_over_is_told() -> None:
    with Within(60):
        with pytest.raises(TimeoutError), Within(0.001):
            await forever()
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), Within(0.001), Within(60):
        await forever()


async def test_whoever_is_cancelled_by_somebody_else_is_cancelled() -> None:
    began = asyncio.Event()

    async def wait() -> None:
        with Within(60):
            began.set()
            await forever()

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whoever_is_cancelled_as_the_limit_ends_is_cancelled() -> None:
    waits: list[Within] = []

    async def wait() -> None:
        with Within(60) as limit:
            waits.append(limit)
            await forever()

    task = asyncio.create_task(wait())
    while not waits:
        await asyncio.sleep(0)
    waits[0].ring()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_goes_wrong_meanwhile_is_told_as_it_is() -> None:
    with pytest.raises(KeyError), Within(60):
        raise KeyError


async def test_waits_have_one_timer_and_nothing_is_kept_of_those_that_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, timers = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def count(when: float, *rest: object) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_at", count, raising=False)
    for _ in range(100):
        with Within(60):
            await asyncio.sleep(0)
    assert len(timers) <= 1
    assert deadlines._ringer is not None
    assert not any(deadlines._ringer.lines.values())


def test_every_loop_has_its_own() -> None:
    async def wait() -> None:
        with pytest.raises(TimeoutError), Within(0.001):
            await forever()

    for _ in range(2):
        asyncio.run(wait())


def test_only_a_task_can_wait() -> None:
    with pytest.raises(RuntimeError):
        Within(1).__enter__()
