"""`python -m bench`: choose scenarios and thoroughness, run them, write what they showed."""

import datetime as dt
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import uvloop

from bench import load, machine, mock_v3, report
from bench.plan import Plan
from bench.scenarios import cold_turn, front_half, relay, start, synchronous_turn, whole_turn, workers
from bench.subjects import Idiomatic, Lua, Node, PassThrough, Subject
from bench.subjects.gateway import Gateway

SCENARIOS: dict[str, Callable[[Plan], Awaitable[None]]] = {
    "front-half": front_half.run,
    "whole-turn": whole_turn.run,
    "synchronous-turn": synchronous_turn.run,
    "cold-turn": cold_turn.run,
    "relay": relay.run,
    "workers": workers.run,
    "start": start.run,
}

_BINARIES = {"nginx": "-v", "wrk": "-v", "node": "--version"}


@click.command()
@click.option("--quick", is_flag=True, help="few and short rounds, in under two minutes; nothing is written")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="run this scenario; may be repeated")
@click.option("--rounds", type=click.IntRange(1), help="rounds of each measurement; their medians count")
@click.option("--against", type=click.Path(path_type=Path), help="another source tree of the gateway, measured beside")
@click.option("--large", is_flag=True, help="a million conversations and pending replies: 8 GiB of memory, minutes")
def main(*, quick: bool, only: tuple[str, ...], rounds: int | None, against: Path | None, large: bool) -> None:
    """Measure what a turn costs, beside what people would run instead."""
    os.sched_setaffinity(0, {machine.OTHER_CORE})
    cache = Path(tempfile.gettempdir()) / "gateway-bench-cache"
    others: list[Subject] = [PassThrough(), Lua(), Node(cache), Idiomatic()]
    subjects: list[Subject] = [Gateway()]
    if against:
        subjects.append(Gateway(against.resolve(), "before"))
    for subject in others:
        missing = subject.missing()
        if missing:
            click.echo(f"skipped: {subject.label}: {missing}")
        else:
            subjects.append(subject)
    if not mock_v3.is_nginx():
        click.echo("nginx is not installed: a Python server plays V3, and throughput is bounded by it")
    if not load.is_wrk():
        click.echo("wrk is not installed: a Python client makes the load, and throughput is bounded by it")
    plan = Plan(subjects=subjects, rounds=rounds or (1 if quick else 5), quick=quick, large=large)

    async def run() -> None:
        for name in only or SCENARIOS:
            click.echo(f"\n== {name}")
            await SCENARIOS[name](plan)

    uvloop.run(run())
    if not quick:
        told = "; ".join(machine.describe(_BINARIES))
        today = dt.datetime.now(dt.UTC).date()
        report.write_section("machine", [f"Last run: {today}, {plan.rounds} rounds. {told}."])


if __name__ == "__main__":
    main()
