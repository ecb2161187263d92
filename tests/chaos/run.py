"""One run from beginning to end: traffic under faults, calm, what is left is sent again, the logs."""

import asyncio
import contextlib
import dataclasses
import random
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import store
from gateway.sandbox.calls import account_name
from tests import keys_check
from tests.chaos import leaks, shelf
from tests.chaos.adversary import Adversary
from tests.chaos.chaos import Chaos
from tests.chaos.clients import Clients, Habits
from tests.chaos.collector import Collector
from tests.chaos.faults import FAULTS
from tests.chaos.receivers import KINDS, Receivers, receiving
from tests.chaos.records import Class, Fault, Logs
from tests.chaos.world import GATEWAY, LIMITS, REPLY_TIMEOUT_SECONDS, World, now, open_world

IDLE_SECONDS = 60.0
"""How long the upstream may still be trying its callbacks."""

LEASES_SECONDS = LIMITS.lease + 8
"""How long what a dead process has held may take to be delivered by another."""

REST_SECONDS = 150.0
"""How long the last replies may take when nothing goes wrong any more, with the pauses of an open breaker."""

CALM_SHARE = 0.15
"""The part of a run before its first fault, against which the rest can be seen."""

STALL_SECONDS = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of. `faults` are names of `FAULTS`, `receivers` of `KINDS`; no faults is a calm run."""

    seed: int = 1
    replicas: int = 3
    seconds: float = 120.0
    rate: float = 12.0
    faults: Sequence[str] = tuple(FAULTS)
    receivers: Sequence[str] = tuple(KINDS)
    command: Sequence[str] = GATEWAY
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keep: Path | None = None
    """Where the processes' output goes; None: nowhere that lasts."""


async def carry_out(plan: Plan) -> Logs:
    """Carry a plan out, and give all logs."""
    async with contextlib.AsyncExitStack() as stack:
        directory = plan.keep
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        directory.mkdir(parents=True, exist_ok=True)
        receivers = await stack.enter_async_context(receiving(plan.seed, LIMITS))
        world = await stack.enter_async_context(
            open_world(directory, plan.replicas, command=plan.command, settings=plan.settings)
        )
        return await _carry_out(plan, world, receivers)


async def _carry_out(plan: Plan, world: World, receivers: Receivers) -> Logs:
    clients = Clients(plan.seed, plan.rate, world.replicas, receivers, Habits(plan.receivers))
    collector = Collector(world.sandbox)
    chaos = Chaos(world, clients, collector, random.Random(f"faults {plan.seed}"))
    adversary = Adversary(
        random.Random(f"adversary {plan.seed}"), world.replicas, collector, receivers, clients.keys[0]
    )
    deck = list(plan.faults)
    chaos.draw.shuffle(deck)
    stalls: list[Fault] = []
    async with _going_on(collector.run(), _watch(stalls)):
        async with _going_on(adversary.run(), *([chaos.run(deck, plan.seconds * CALM_SHARE)] if deck else [])):
            await clients.run(plan.seconds)
        await chaos.calm()
        await clients.settle()
        await world.sandbox.idle(IDLE_SECONDS)
        if "callbacks-lost" in plan.faults:
            await asyncio.sleep(REPLY_TIMEOUT_SECONDS + LIMITS.lease)
        await shelf.come_to_rest(world, LEASES_SECONDS)
        receivers.calm = True  # what is still pending waits for a receiver that has not answered yet
        at_rest = await shelf.come_to_rest(world, REST_SECONDS)
        letters = await shelf.read_dead_letters(world)
        before = len(receivers.arrivals)
        await shelf.redrive_all(world)
        await shelf.come_to_rest(world, REST_SECONDS)
        left = await shelf.count_dead_letters(world)
        async with store.connect(world.store_url) as opened:
            undeclared = await keys_check.undeclared(opened)
    await collector.look()
    await collector.look_at_conversations()
    return Logs(
        requests=clients.requests,
        calls=collector.calls,
        conversations=collector.conversations,
        callbacks=collector.callbacks,
        arrivals=receivers.arrivals[:before],
        redriven=receivers.arrivals[before:],
        dead_letters=letters,
        dead_letters_left=left,
        forgeries=adversary.forgeries,
        hostile=adversary.hostile,
        faults=sorted([*chaos.faults, *stalls], key=lambda one: one.began),
        exits=chaos.exits,
        recovers="callbacks-lost" in plan.faults,
        trapped=receivers.trapped,
        undeclared_keys=undeclared,
        leaks=await leaks.search(world, clients),
        crashes=[*leaks.crashes(world), *([] if at_rest else [f"no rest {REST_SECONDS:g} s after the last fault"])],
        accounts={key: account_name(key) for key in clients.keys},
        limits=LIMITS,
    )


@contextlib.asynccontextmanager
async def _going_on(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let work go on in the background as long as the context is open; what it raises ends the run."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _watch(stalls: list[Fault]) -> None:
    """Note when the suite's own loop, or the machine under it, stands still: its clocks are then read late."""
    while True:
        before = now()
        await asyncio.sleep(STALL_SECONDS / 5)
        if now() - before > STALL_SECONDS:
            stalls.append(Fault("suite stalled", Class.SUITE, before, now()))
