"""What the gateway's own log says of its deliveries: how late each attempt began, to the millisecond."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVENT = b'"delivery.attempted"'


@dataclass(frozen=True, slots=True)
class Lateness:
    """How many deliveries arrived, and how late they left."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


async def wait(log: Path, count: int, patience: float) -> list[float]:
    """Wait until so many deliveries are in the log; give their lateness in seconds. Raises when one failed."""
    deadline = time.monotonic() + patience
    while (text := log.read_bytes()).count(_EVENT) < count:  # noqa: ASYNC240 — twice a second, nobody waits
        if time.monotonic() > deadline:
            raise RuntimeError(f"{text.count(_EVENT)} of {count} deliveries after {patience:.0f} s")
        await asyncio.sleep(0.5)
    lines = [json.loads(line) for line in text.splitlines() if _EVENT in line]
    failed = [line for line in lines if line["outcome"] != "delivered"]
    if failed:
        raise RuntimeError(f"{len(failed)} deliveries failed, the first: {failed[0]}")
    return [line["lateness_seconds"] for line in lines]


def summary(seconds: Sequence[float]) -> Lateness:
    """Give the figures of many deliveries."""
    cuts = statistics.quantiles(seconds, n=100)
    return Lateness(len(seconds), cuts[49] * 1000, cuts[98] * 1000, max(seconds) * 1000)
