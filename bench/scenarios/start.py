"""How long the gateway takes from its command to readiness, and what it holds then."""

import asyncio
import statistics
import time

from bench import report, wire
from bench.plan import Plan
from bench.subjects.gateway import Gateway
from bench.world import open_world

PAUSE_SECONDS = 0.005


async def run(plan: Plan) -> None:
    """Start it again and again, on a store that is there."""
    seconds, memory = [], []
    async with open_world() as world:
        for _ in range(plan.rounds):
            subject = Gateway()
            began = time.perf_counter()
            async with subject.running(world) as process:
                pool = wire.Pool(subject.port)
                while (await pool.get("/readyz")).status != 200:  # noqa: ASYNC110 — another process's state
                    await asyncio.sleep(PAUSE_SECONDS)
                seconds.append(time.perf_counter() - began)
                memory.append(process.resident_bytes() / 2**20)
                pool.close()
    plan.tell(
        "start",
        [
            f"`gateway serve` on a store that is there, medians of {plan.rounds} starts:",
            "",
            *report.table(
                ["", "figure"],
                [
                    ["from the command to readiness", f"{statistics.median(seconds):.2f} s"],
                    ["memory then", f"{statistics.median(memory):.0f} MiB"],
                ],
            ),
        ],
    )
