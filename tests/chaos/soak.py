"""`python -m tests.chaos.soak`: constant load for an hour, and whether anything grows that should not.

The population of conversations is fixed, so that all that is kept of it is bounded: after the warm-up, memory,
descriptors, the store's keys and the lateness of replies are to stay as they are.
"""

import asyncio
import contextlib
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop

from tests.chaos import shelf
from tests.chaos.clients import Clients, Habits
from tests.chaos.growth import LIMITS, Sample, growth, percentile, plot
from tests.chaos.receivers import Receivers, receiving
from tests.chaos.world import LIMITS as WORLD_LIMITS
from tests.chaos.world import World, now, open_world

SEED = 1
REPLICAS = 2
POPULATION = 120
WINDOW = 4.0
"""Every reply is due so long after its request: the bot has said it all by then, and lateness is known exactly."""

HABITS = Habits(
    receivers=("steady", "slow"),
    share_of_twins=0.02,
    share_of_impatient=0.0,
    windows=((WINDOW, WINDOW),),
    population=POPULATION,
    remembered=30,
)
SAMPLES = 240


async def soak(minutes: float, rate: float, most: int) -> list[Sample]:
    """Keep the load up for so long, or for so many requests, and give what was measured meanwhile."""
    pause = max(minutes * 60 / SAMPLES, 1.0)
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        receivers = await stack.enter_async_context(receiving(SEED, WORLD_LIMITS))
        settings = {"GATEWAY_LOG_LEVEL": "WARNING"}
        world = await stack.enter_async_context(open_world(directory, REPLICAS, settings=settings, rewrite=True))
        clients = Clients(SEED, rate, world.replicas, receivers, HABITS)
        samples: list[Sample] = []
        sampling = asyncio.create_task(_sample(world, clients, receivers, samples, pause))
        await clients.run(minutes * 60, most)
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await shelf.come_to_rest(world, 60)
    return samples


async def _sample(world: World, clients: Clients, receivers: Receivers, samples: list[Sample], pause: float) -> None:
    began = now()
    while True:
        await asyncio.sleep(pause)
        accepted = {one.id: one.accepted_at for one in clients.requests}
        lateness = [
            arrival.at - at - WINDOW
            for arrival in receivers.arrivals
            if arrival.attempt == 1 and (at := accepted.get(arrival.request)) is not None
        ]
        memory = await world.redis.info("memory")
        samples.append(
            Sample(
                minute=round((now() - began) / 60, 3),
                requests=clients.sent,
                memory_mib=max(_memory_mib(replica.process.pid) for replica in world.replicas),
                descriptors=max(_descriptors(replica.process.pid) for replica in world.replicas),
                store_keys=await world.redis.dbsize(),
                store_mib=round(memory["used_memory"] / 2**20, 2),
                late_p50_ms=round(1000 * percentile(lateness, 0.5), 1),
                late_p99_ms=round(1000 * percentile(lateness, 0.99), 1),
            )
        )
        receivers.arrivals.clear()
        recent = now() - 2 * WINDOW - pause
        clients.requests[:] = [one for one in clients.requests if not one.exchanges or one.began > recent]


def _memory_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 2)
    raise RuntimeError(f"/proc/{pid}/status names no memory")


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _write(samples: Sequence[Sample], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "soak.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        writer.writerows(samples)
    (directory / "soak.svg").write_text(plot(samples))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", default=60.0, show_default=True, help="how long")
@click.option("--rate", default=20.0, show_default=True, help="requests per second")
@click.option("--requests", "most", default=200_000, show_default=True, help="end after so many requests")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/soak"), show_default=True)
def main(*, minutes: float, rate: float, most: int, out: Path) -> None:
    """Keep the gateway under constant load; exit 1 when something grows beyond its limit."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(soak(minutes, rate, most))
    _write(samples, out)
    grown = False
    for name, limit in LIMITS.items():
        found = growth(samples, name)
        allowed = limit.allowed(samples)
        grown |= found > allowed
        click.echo(f"{name}: {'grows' if found > allowed else 'flat'}, by {found:.2f} where {allowed:.2f} are allowed")
    last = samples[-1]
    click.echo(f"{last.requests} requests in {last.minute:g} min; see {out}/soak.csv and {out}/soak.svg")
    sys.exit(grown)


if __name__ == "__main__":
    main()
