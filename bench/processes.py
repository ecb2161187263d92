"""Processes of a run: started on a core of their own, accounted for by the kernel, ended by their number."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process with all that it starts."""

    name: str
    pid: int

    def cpu_seconds(self) -> float:
        """Give the processor time that it and its descendants have used, to the nanosecond of the scheduler's clock."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def resident_bytes(self) -> int:
        """Give the memory that it and its descendants hold and share with nobody, shared pages by their part."""
        total = 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        return total


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    *,
    cores: set[int],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    output: Path | None = None,
) -> Iterator[Process]:
    """Run a command pinned to `cores` for as long as the context is open; `output` takes what it prints."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(output.open("wb")) if output else subprocess.DEVNULL
        popen = subprocess.Popen(
            command,
            env=os.environ | (environment or {}),
            cwd=directory,
            stdout=sink,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 — no threads here yet
        )
        try:
            yield Process(name, popen.pid)
        finally:
            popen.send_signal(signal.SIGTERM)
            try:
                popen.wait(10)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


async def listening(port: int, what: str) -> None:
    """Wait until somebody takes connections on a port of loopback."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} does not listen on port {port}") from None
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) gives
    except OSError:
        return 0.0
