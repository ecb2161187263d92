"""Work behind an answer."""

import asyncio
import logging

import pytest

from gateway.sandbox.journal import Pulse
from gateway.sandbox.tasks import Tasks


async def test_an_error_in_the_background_is_logged_and_ends_only_its_own_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pulse = Pulse()
    tasks = Tasks(pulse)

    async def fail() -> None:
        raise KeyError("mine")

    tasks.start(fail())
    tasks.start(asyncio.sleep(3600))
    assert await pulse.until(lambda: len(tasks) == 1, 30)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    await tasks.cancel()


async def test_cancelling_waits_until_all_work_has_ended_also_work_that_it_starts() -> None:
    tasks = Tasks(Pulse())
    ended: list[str] = []

    async def last() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("last")

    async def first() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            tasks.start(last())
            ended.append("first")

    tasks.start(first())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert len(tasks) == 0
    assert ended[0] == "first"
