"""The front half of a turn on a known conversation: request in, store, post upstream, acknowledgement out."""

import asyncio
import contextlib
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from bench import load, machine, report, requests
from bench.plan import Plan
from bench.processes import Process
from bench.subjects import Subject
from bench.world import World, open_world

HISTORIES = (0, 10, 100, 1_000, 10_000)
QUICK_HISTORIES = (10, 100)
USERS = 8_000
"""So many that a user of the gateway's has one turn a sample: a second one would lack what he said in the first."""

WARM_UP_SECONDS = 2
MEETING_SECONDS = 15
"""To warm up with histories that a process remembers: it must have met each user's two times."""

REMEMBERED = 100
SECONDS = 2
LONG = 10_000
"""From so many messages on (a megabyte) users are fewer, as are requests at once, and rounds are shorter."""

LONG_CONNECTIONS = 4
LONG_USERS = 1_200
LONG_SECONDS = 1

PLOT = report.HERE / "front_half.svg"


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the rounds: processor microseconds per turn, turns a second, latency, memory, and foreign load.

    `foreign` is the share of the machine's processor time that went to processes that are not of the run.
    """

    subject_us: float
    store_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    resident_mib: float
    spread: float
    foreign: float


async def run(plan: Plan) -> None:
    """Measure all subjects on all lengths of history; write the tables and the plot."""
    found: dict[int, dict[str, Figures]] = {}
    for history in QUICK_HISTORIES if plan.quick else HISTORIES:
        async with open_world() as world:
            is_long = history >= LONG
            found[history] = await measure(
                world,
                plan.subjects,
                history=history,
                rounds=plan.rounds,
                seconds=LONG_SECONDS if is_long else SECONDS,
                users=LONG_USERS if is_long else USERS,
                warm_up=1 if plan.quick else MEETING_SECONDS if history >= REMEMBERED else WARM_UP_SECONDS,
            )
        click.echo(
            f"{history:>6}  " + "  ".join(f"{name} {one.subject_us:.0f}" for name, one in found[history].items())
        )
    labels = {subject.name: subject.label for subject in plan.subjects}
    plan.tell("front-half", _tables(found, labels))
    if not plan.quick:
        costs = {
            label: {length: one[name].subject_us for length, one in found.items()} for name, label in labels.items()
        }
        report.plot(PLOT, "Processor time of a turn's front half", costs)


async def measure(
    world: World,
    subjects: Sequence[Subject],
    *,
    history: int,
    rounds: int,
    seconds: int,
    users: int = USERS,
    warm_up: int = WARM_UP_SECONDS,
) -> dict[str, Figures]:
    """Interleave the subjects over the rounds, on one history length, and give each one's medians by name."""
    items = requests.history(history)
    template = requests.template(requests.complete(items, webhook=world.webhook))
    samples: dict[str, list[Figures]] = {subject.name: [] for subject in subjects}
    async with contextlib.AsyncExitStack() as stack:
        running = [(subject, await stack.enter_async_context(subject.running(world))) for subject in subjects]
        entries = {}
        for subject, _ in running:
            await world.flush()
            await subject.know(world, history=history, users=users)
            entries[subject.name] = await _dump(world)
            await subject.check(world, template, "And message 0?")
        for round_number in range(rounds + 1):
            for subject, process in running:
                await _restore(world, entries[subject.name])
                span = seconds if round_number else warm_up
                figures = await sample(world, subject, process, template, users, span)
                if round_number:
                    samples[subject.name].append(figures)
    return {name: _medians(figures) for name, figures in samples.items()}


async def sample(
    world: World, subject: Subject, process: Process, template: bytes, users: int, seconds: int
) -> Figures:
    """Load one subject for so long and account for it."""
    ours = [process, world.store_process, *([world.mock_process] if world.mock_process else [])]
    before = [one.cpu_seconds() for one in ours]
    busy, own = machine.busy_seconds(), _own_seconds()
    run = await load.closed(
        subject.port,
        template,
        users=users,
        seconds=seconds,
        first=0,
        directory=world.directory,
        connections=LONG_CONNECTIONS if len(template) > 10**6 else load.CONNECTIONS,
    )
    if run.failures:
        raise RuntimeError(f"{subject.name} failed {run.failures} of {run.requests} requests")
    used = [one.cpu_seconds() - was for one, was in zip(ours, before, strict=True)]
    foreign = machine.busy_seconds() - busy - sum(used) - (_own_seconds() - own)
    return Figures(
        subject_us=used[0] / run.requests * 1e6,
        store_us=used[1] / run.requests * 1e6,
        per_second=run.requests / run.seconds,
        p50_ms=run.p50_ms,
        p99_ms=run.p99_ms,
        resident_mib=process.resident_bytes() / 2**20,
        spread=0,
        foreign=max(foreign, 0) / (run.seconds * len(machine.CORES)),
    )


def _own_seconds() -> float:
    """Give the processor time of the bench and of the load generators that it has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


async def _dump(world: World) -> dict[str, bytes]:
    """Keep what a subject knows before the first turn."""
    kept: dict[str, bytes] = {}
    names = [name async for name in world.store.scan_iter("*", count=10_000)]
    for begin in range(0, len(names), 2_000):
        chunk = names[begin : begin + 2_000]
        pipeline = world.store.pipeline(transaction=False)
        for name in chunk:
            pipeline.dump(name)
        kept |= dict(zip(chunk, await pipeline.execute(), strict=True))
    return kept


async def _restore(world: World, entries: dict[str, bytes]) -> None:
    await world.flush()
    pipeline = world.store.pipeline(transaction=False)
    for name, value in entries.items():
        pipeline.restore(name, 0, value)
    await pipeline.execute()
    await asyncio.sleep(0.1)


def _medians(samples: Sequence[Figures]) -> Figures:
    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in samples))

    costs = [one.subject_us for one in samples]
    middle = {name: median(name) for name in Figures.__dataclass_fields__}
    return Figures(**middle | {"spread": (max(costs) - min(costs)) / 2 / statistics.median(costs)})


def _tables(found: Mapping[int, Mapping[str, Figures]], labels: Mapping[str, str]) -> list[str]:
    costs = [
        [label, *(f"{one[name].subject_us:,.0f} ±{one[name].spread:.0%}" for one in found.values())]
        for name, label in labels.items()
    ]
    shown = 100
    others = [
        [
            label,
            f"{figures.per_second:,.0f}",
            f"{figures.p50_ms:.1f}",
            f"{figures.p99_ms:.1f}",
            f"{figures.store_us:.0f}",
            f"{figures.resident_mib:.0f}",
            f"{figures.subject_us / found[shown]['gateway'].subject_us:.2f}",
        ]
        for name, label in labels.items()
        for figures in [found[shown][name]]
    ]
    foreign = statistics.median(one.foreign for by_name in found.values() for one in by_name.values())
    return [
        "Processor time of the subject's processes per turn by the number of messages in the history",
        "(µs, medians; ± half the range over the rounds):",
        "",
        *report.table(["subject", *(f"{length:,}" for length in found)], costs),
        "",
        f"With {shown} messages, {load.CONNECTIONS} requests at once, the subject on a core of its own:",
        "",
        *report.table(
            ["subject", "turns/s", "p50 ms", "p99 ms", "store µs", "memory MiB", "cost / gateway's"],
            others,
        ),
        "",
        f"Meanwhile other processes of the machine took {foreign:.0%} of its cores.",
    ]
