"""A cold turn: nobody knows the conversation, so it is looked for upstream, created with its history, and posted to."""

import statistics

from bench import load, report, requests
from bench.plan import Plan
from bench.subjects.gateway import Gateway
from bench.world import open_world

HISTORIES = (0, 10, 100, 1_000)
QUICK_HISTORIES = (10,)
SECONDS = 2
EVERYBODY = 10**9
"""So many users that none comes twice."""


async def run(plan: Plan) -> None:
    """Measure by length of history."""
    rows = []
    for history in QUICK_HISTORIES if plan.quick else HISTORIES:
        costs, rates, p99s = [], [], []
        async with open_world() as world:
            template = requests.template(requests.complete(requests.history(history), webhook=world.webhook))
            subject = Gateway()
            async with subject.running(world) as process:
                for number in range(plan.rounds + 1):
                    await world.flush()
                    began = process.cpu_seconds()
                    taken = await load.closed(
                        subject.port,
                        template,
                        users=EVERYBODY,
                        seconds=SECONDS if number else 1,
                        first=number * 10**6,
                        directory=world.directory,
                    )
                    if taken.failures:
                        raise RuntimeError(f"{taken.failures} of {taken.requests} cold turns failed")
                    if number:  # the first round warms up
                        costs.append((process.cpu_seconds() - began) / taken.requests * 1e6)
                        rates.append(taken.requests / taken.seconds)
                        p99s.append(taken.p99_ms)
        figures = (statistics.median(costs), statistics.median(rates), statistics.median(p99s))
        rows.append([f"{history:,} messages", *(f"{figure:,.0f}" for figure in figures)])
    plan.tell(
        "cold-turn",
        [
            f"Cold turns, {load.CONNECTIONS} at once; medians of {plan.rounds} rounds:",
            "",
            *report.table(["history", "µs per turn", "turns/s", "p99 ms"], rows),
        ],
    )
