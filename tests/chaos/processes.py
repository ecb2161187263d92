"""Processes of the run: started, frozen, killed, drained; what they print is kept, and none outlives the suite."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.embedded import die_with_parent

ROOT = Path(__file__).parents[2]


class Process:
    """One program that can be started again under the same name; its output is appended to one file."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.output = directory / f"{name}.log"
        self._command = command
        self._variables = variables
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it. On Linux the kernel ends it together with the suite."""
        command = list(self._command)
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", str(die_with_parent.__file__), str(os.getpid()), *command]
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=ROOT,
                env={**os.environ, **self._variables},
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """Kill it as it is."""
        if self.is_running:
            self._running().kill()
            await self._running().wait()

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    async def terminate(self, patience: float) -> tuple[int | None, float]:
        """Ask it to end; give its exit code and how long it took, None for the code when it had to be killed."""
        began = time.monotonic()
        self._running().terminate()
        try:
            async with asyncio.timeout(patience):
                code: int | None = await self._running().wait()
        except TimeoutError:
            await self.kill()
            code = None
        return code, time.monotonic() - began

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process
