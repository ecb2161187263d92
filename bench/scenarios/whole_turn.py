"""A whole turn at a steady pace: accepted, answered by callbacks with one to three segments, delivered in one piece."""

import statistics
import time

from bench import deliveries, load, report, requests, wire
from bench.plan import Plan
from bench.subjects.gateway import SETTLE_SECONDS, Callbacks, Gateway
from bench.world import World, open_world

TURNS_PER_SECOND = 200
SECONDS = 10
QUICK_SECONDS = 3
HISTORY = 10
MOST_SEGMENTS = 3


async def run(plan: Plan) -> None:
    """Lead turns at `TURNS_PER_SECOND` and look at the cost of each, the answers' latency and the replies' lateness."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    costs, p50s, p99s, delivered = [], [], [], []
    memory = 0.0
    for _ in range(plan.rounds):
        async with open_world() as world:
            subject = Gateway()
            async with subject.running(world) as process:
                turns = TURNS_PER_SECOND * seconds
                await subject.know(world, history=HISTORY, users=turns)
                assert subject.output is not None
                before = subject.output.read_bytes().count(b'"delivery.attempted"')
                began = process.cpu_seconds()
                turn = _Turn(world, subject)
                taken = await load.open_loop(TURNS_PER_SECOND, seconds, turn)
                if taken.failures:
                    raise RuntimeError(f"{taken.failures} of {taken.requests} turns failed")
                lateness = await deliveries.wait(subject.output, before + turns, 30)
                costs.append((process.cpu_seconds() - began) / turns * 1e6)
                p50s.append(statistics.quantiles(turn.acks, n=100)[49] * 1000)
                p99s.append(statistics.quantiles(turn.acks, n=100)[98] * 1000)
                delivered.extend(lateness[before:])
                memory = process.resident_bytes() / 2**20
                turn.close()
    late = deliveries.summary(delivered)
    plan.tell(
        "whole-turn",
        [
            f"Whole turns, {TURNS_PER_SECOND} a second for {seconds} s, {HISTORY} messages of history,",
            f"callbacks with 1 to {MOST_SEGMENTS} segments, one delivery; medians of {plan.rounds} rounds:",
            "",
            *report.table(
                ["", "figure"],
                [
                    ["processor time of the gateway per whole turn (accept, 2 callbacks, delivery)",
                     f"{statistics.median(costs):,.0f} µs"],
                    ["acknowledgement, p50 / p99",
                     f"{statistics.median(p50s):.1f} / {statistics.median(p99s):.1f} ms"],
                    ["delivery's lateness, p50 / p99 / max",
                     f"{late.p50_ms:.0f} / {late.p99_ms:.0f} / {late.max_ms:.0f} ms"],
                    ["memory after it", f"{memory:.0f} MiB"],
                ],
            ),
        ],
    )  # fmt: skip


class _Turn:
    """One act of the load: a request, and once it is acknowledged the upstream's callbacks, one after the other."""

    def __init__(self, world: World, subject: Gateway) -> None:
        self._pool = wire.Pool(subject.port)
        self._callbacks = Callbacks(world, self._pool)
        request = requests.complete(requests.history(HISTORY), webhook=world.webhook, min_delay=0, max_delay=0)
        self._template = requests.template(request)
        self.acks: list[float] = []

    async def __call__(self, number: int) -> int:
        """Lead one turn of its own conversation."""
        began = time.perf_counter()
        body = requests.filled(self._template, user=number, number=number)
        reply = await self._pool.post("/v2/complete", body, requests.LOAD_KEY)
        self.acks.append(time.perf_counter() - began)
        for segment in range(1 + number % MOST_SEGMENTS):
            status = await self._callbacks.say(number, f"m-{number}-{segment}", f"Reply {segment}.")
            if status != 200:
                return status
        return reply.status

    def close(self) -> None:
        """Hang up."""
        self._pool.close()


assert SETTLE_SECONDS > 0, "segments must find their reply still waiting"
