"""`python -m tests.chaos`: one run under faults, judged; exit code 1 when an invariant does not hold."""

import asyncio
import json
import sys
from pathlib import Path

import click
import pydantic_core
import uvloop

from tests.chaos import oracle, report
from tests.chaos.defects import DEFECTS
from tests.chaos.faults import FAULTS
from tests.chaos.records import Logs
from tests.chaos.run import Plan, carry_out


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", default=1, show_default=True, help="what traffic and faults are drawn from")
@click.option("--replicas", default=3, show_default=True, type=click.IntRange(1, 16), help="gateway processes")
@click.option("--seconds", default=120.0, show_default=True, help="how long there is traffic under faults")
@click.option("--rate", default=12.0, show_default=True, help="requests per second")
@click.option("--fault", "faults", multiple=True, type=click.Choice(sorted(FAULTS)), help="only these; repeatable")
@click.option("--calm", is_flag=True, help="no faults at all")
@click.option("--defects", is_flag=True, help="run gateways with planted defects: exit 0 when each is caught")
@click.option("--keep", type=click.Path(path_type=Path), help="a new directory for the processes' output and the logs")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="write the report as JSON there")
def main(
    *,
    seed: int,
    replicas: int,
    seconds: float,
    rate: float,
    faults: tuple[str, ...],
    calm: bool,
    defects: bool,
    keep: Path | None,
    json_path: Path | None,
) -> None:
    """Run the gateway under faults, and hold what came of it against the invariants."""
    if defects:
        caught = [_catch(name, seed) for name in DEFECTS]
        sys.exit(not all(caught))
    chosen = () if calm else faults or tuple(FAULTS)
    plan = Plan(seed=seed, replicas=replicas, seconds=seconds, rate=rate, faults=chosen, keep=keep)
    click.echo(f"seed {seed}, {len(chosen)} kinds of faults", err=True)
    logs = _run(plan)
    if keep:
        (keep / "logs.json").write_bytes(pydantic_core.to_json(logs, bytes_mode="utf8", inf_nan_mode="null"))
    judgements = oracle.judge(logs)
    title = f"Seed {seed}: {replicas} replicas, {seconds:g} s at {rate:g} requests/s"
    told = report.describe(logs, judgements, title)
    click.echo(report.markdown(told))
    if json_path:
        json_path.write_text(json.dumps(told, indent=2, ensure_ascii=False))
    sys.exit(not told["ok"])


def _run(plan: Plan) -> Logs:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(carry_out(plan))


def _catch(name: str, seed: int) -> bool:
    """Run a gateway with a planted defect, and tell whether the checks that are meant to notice it do."""
    defect = DEFECTS[name]
    violated = oracle.violated(oracle.judge(_run(defect.plan(name, seed))))
    caught = bool(violated & defect.caught_by)
    found = ", ".join(sorted(violated)) or "nothing"
    click.echo(f"{name}: {'caught' if caught else 'NOT CAUGHT'} ({found} violated)")
    return caught


if __name__ == "__main__":
    main()
