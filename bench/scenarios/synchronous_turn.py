"""A turn whose client waits for the answer: posted upstream, called back, answered with the completion itself."""

import asyncio
import json
import statistics
import time

from bench import load, report, requests, wire
from bench.plan import Plan
from bench.subjects.gateway import Callbacks, Gateway
from bench.world import World, open_world

TURNS_PER_SECOND = 200
SECONDS = 10
QUICK_SECONDS = 3
HISTORY = 10
THOUGHT_SECONDS = 0.05
"""How long the bot thinks: the message is upstream by then."""


async def run(plan: Plan) -> None:
    """Lead turns at `TURNS_PER_SECOND`; look at the cost of each and at an answer's way from its callback."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    costs, waits = [], []
    for _ in range(plan.rounds):
        async with open_world() as world:
            subject = Gateway()
            async with subject.running(world) as process:
                turns = TURNS_PER_SECOND * seconds
                await subject.know(world, history=HISTORY, users=turns)
                began = process.cpu_seconds()
                turn = _Turn(world, subject)
                taken = await load.open_loop(TURNS_PER_SECOND, seconds, turn)
                if taken.failures:
                    raise RuntimeError(f"{taken.failures} of {taken.requests} turns failed")
                costs.append((process.cpu_seconds() - began) / turns * 1e6)
                waits.extend(turn.waits)
                turn.close()
    cuts = statistics.quantiles(waits, n=100)
    plan.tell(
        "synchronous-turn",
        [
            f"Synchronous turns, {TURNS_PER_SECOND} a second for {seconds} s, {HISTORY} messages of history,",
            f"a bot that thinks for {THOUGHT_SECONDS * 1000:.0f} ms and says one thing; {plan.rounds} rounds:",
            "",
            *report.table(
                ["", "figure"],
                [
                    ["processor time of the gateway per turn (request, callback, answer)",
                     f"{statistics.median(costs):,.0f} µs"],
                    ["from the callback to the answer, p50 / p99",
                     f"{cuts[49] * 1000:.1f} / {cuts[98] * 1000:.1f} ms"],
                ],
            ),
        ],
    )  # fmt: skip


class _Turn:
    """One act of the load: a request, the upstream's callback while it waits, and its answer."""

    def __init__(self, world: World, subject: Gateway) -> None:
        self._pool = wire.Pool(subject.port)
        self._callbacks = Callbacks(world, self._pool)
        request = requests.complete(
            requests.history(HISTORY), webhook=None, min_delay=0, max_delay=0, segment=False
        )  # one segment is the whole answer
        self._template = requests.template(request)
        self.waits: list[float] = []
        """From each callback to the answer, in seconds."""

    async def __call__(self, number: int) -> int:
        """Lead one turn of its own conversation."""
        body = requests.filled(self._template, user=number, number=number)
        answering = asyncio.create_task(self._pool.post("/v2/complete", body, requests.LOAD_KEY))
        await asyncio.sleep(THOUGHT_SECONDS)
        text = f"Reply to {number}."
        began = time.perf_counter()
        status = await self._callbacks.say(number, f"m-{number}", text)
        if status != 200:
            return status
        answer = await answering
        self.waits.append(time.perf_counter() - began)
        if answer.status == 200 and json.loads(answer.body)["completion"] != [text]:
            raise RuntimeError(f"answered {answer.body[:200]!r}")
        return answer.status

    def close(self) -> None:
        """Hang up."""
        self._pool.close()
