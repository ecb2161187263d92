"""Two workers against one: the cost of a turn must not grow, and what it brings is bounded by the cores there are."""

from bench import machine, report
from bench.plan import Plan
from bench.scenarios import front_half
from bench.subjects.gateway import Gateway
from bench.world import open_world

HISTORY = 100


async def run(plan: Plan) -> None:
    """Measure one worker and two on all cores, interleaved."""
    subjects = [Gateway(name="one worker"), Gateway(name="two workers", workers=2)]
    for subject in subjects:
        subject.cores = set(machine.CORES)
    async with open_world() as world:
        found = await front_half.measure(
            world,
            subjects,
            history=HISTORY,
            rounds=plan.rounds,
            seconds=front_half.SECONDS,
            warm_up=1 if plan.quick else 2 * front_half.MEETING_SECONDS,  # either process is to have met each user
        )
    rows = [
        [name, f"{one.subject_us:,.0f}", f"{one.per_second:,.0f}", f"{one.p99_ms:.0f}", f"{one.resident_mib:.0f}"]
        for name, one in found.items()
    ]
    plan.tell(
        "workers",
        [
            f"One worker and two, all cores theirs, {HISTORY} messages of history. Load, store and mock share the",
            f"{len(machine.CORES)} cores, so that throughput is bounded by what they leave:",
            "",
            *report.table(["", "µs per turn", "turns/s", "p99 ms", "memory MiB"], rows),
        ],
    )
