"""Who runs the server: one owner at a time, succeeded when it goes, and a server that is started again when it ends."""

import asyncio
import contextlib
from pathlib import Path
from typing import NoReturn

import structlog

from gateway.embedded import engine, places
from gateway.embedded.places import EmbeddedStoreError

STEADY_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Keeper:
    """Keeps one server running over one directory, from the moment when this process is its owner."""

    def __init__(self, binary: Path, directory: Path, socket_path: Path) -> None:
        self._binary = binary
        self._directory = directory
        self._socket_path = socket_path
        self.owns = False
        self.was_ready = False
        """Until the store has once answered, a failed start is the caller's error; from then on it is tried again."""

    async def keep(self) -> NoReturn:
        """Wait to be the owner, then run the server until cancelled, which stops it.

        Raises EmbeddedStoreError when the server cannot be run and never was ready.
        """
        clock = asyncio.get_running_loop().time
        with places.Lock(self._directory / "owner.lock") as owner:
            await owner.acquire()
            self.owns = True
            pause = places.POLL_SECONDS
            while True:
                began = clock()
                try:
                    await self._run()
                except Exception as error:
                    if not self.was_ready:
                        raise
                    unforeseen = not isinstance(error, EmbeddedStoreError)
                    log.exception("store.ended", problem=str(error), retry_seconds=pause, exc_info=unforeseen)
                await asyncio.sleep(pause)
                steady = clock() - began > STEADY_SECONDS
                pause = places.POLL_SECONDS if steady else min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run(self) -> None:
        """Run one server from its start to its end, or outlive one that is left over."""
        with places.Lock(self._directory / "server.lock") as lock, places.open_log(self._directory) as output:
            # The lock's file may have been removed under a living server, hence the question on the socket too.
            free = lock.take() and await engine.ask(self._socket_path, "PING") is None
            if free:
                (self._directory / places.SOCKET_NAME).unlink(missing_ok=True)  # stale: nobody listens there
                log_begins = output.tell()
                process = await engine.launch(self._binary, self._directory, lock, output)
        # Our copy of the lock is closed now; the server holds its own.
        if not free:
            await self._outlive_the_one_left_over()
            return
        log.info("store.started", pid=process.pid, server=str(self._binary), directory=str(self._directory))
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            await engine.stop(process, self._socket_path)
            log.info("store.stopped", pid=process.pid)
            raise
        raise EmbeddedStoreError(
            f"the server {self._binary} ended {engine.describe_end(status)}. The last lines of "
            f"{self._directory / places.LOG_NAME}: {places.read_log(self._directory, log_begins)}"
        )

    async def _outlive_the_one_left_over(self) -> None:
        """Use the server that a killed owner left behind until it ends; stop it when we leave first."""
        log.info("store.adopted", directory=str(self._directory))
        try:
            await self._gone()
        except asyncio.CancelledError:
            await engine.ask_to_leave(self._socket_path)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone(), engine.STOP_SECONDS)
            raise

    async def _gone(self) -> None:
        """Wait until no server lives."""
        with places.Lock(self._directory / "server.lock") as lock:
            await lock.acquire()
        # No event tells it: this server is no child of ours.
        while await engine.ask(self._socket_path, "PING") is not None:  # noqa: ASYNC110 — as above
            await asyncio.sleep(places.POLL_SECONDS)
