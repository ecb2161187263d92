"""Work that goes on behind an answer, and that ends with the server at the latest."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from gateway.sandbox import journal

logger = logging.getLogger("gateway.sandbox")


class Tasks:
    """The running background work."""

    def __init__(self, pulse: journal.Pulse) -> None:
        self._pulse = pulse
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._pulse.beat()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background work failed", exc_info=error)

    async def cancel(self) -> None:
        """End all work and wait until it has ended."""
        while self._running:
            tasks = list(self._running)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
