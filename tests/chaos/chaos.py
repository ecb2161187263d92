"""Faults in a run: drawn from one seed, begun and ended one by one, and noted with their times."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.chaos.clients import Clients
from tests.chaos.collector import Collector
from tests.chaos.records import Class, Exit, Fault
from tests.chaos.world import Replica, World, now

PAUSE_SECONDS = (1.0, 3.5)


@dataclass(eq=False)
class Chaos:
    """Carries out faults, and keeps what there were."""

    world: World
    clients: Clients
    collector: Collector
    draw: random.Random
    faults: list[Fault] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, deck: list[str], after: float) -> None:
        """Let one fault after the other happen, in the deck's order and then in other ones, until it is cancelled."""
        await asyncio.sleep(after)
        while True:
            for name in deck:
                await asyncio.sleep(self.draw.uniform(*PAUSE_SECONDS))
                await FAULTS[name](self)
            self.draw.shuffle(deck)

    async def calm(self) -> None:
        """End every fault that is still going on."""
        await asyncio.gather(*self._background)
        self.world.heal()
        await self.world.sandbox.arm()
        await self.world.sandbox.arm_callbacks()
        if not self.world.store.is_running:
            await self.start_store()
        for replica in self.world.replicas:
            if not replica.process.is_running:
                await self.start(replica)
            replica.busy = False

    @contextlib.asynccontextmanager
    async def noting(self, name: str, kind: Class, *, target: str = "", detail: str = "") -> AsyncIterator[None]:
        """Note what happens meanwhile as a fault."""
        began = now()
        try:
            yield
        finally:
            self.faults.append(Fault(name, kind, began, now(), target, detail))

    @contextlib.asynccontextmanager
    async def one(self, name: str, kind: Class) -> AsyncIterator[Replica | None]:
        """Choose a replica for a fault; none when only one is left that works."""
        free = [replica for replica in self.world.replicas if not replica.busy]
        if len(free) < 2:
            yield None
            return
        replica = self.draw.choice(free)
        replica.busy = True
        try:
            async with self.noting(name, kind, target=str(replica.number)):
                yield replica
        finally:
            replica.busy = False

    def in_background(self, work: Awaitable[None]) -> None:
        """Let a fault go on beside the next ones."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def start(self, replica: Replica) -> None:
        """Start a replica that has ended, and wait until it serves."""
        await replica.process.start()
        await self.world.await_replica(replica)

    async def start_store(self) -> None:
        """Start the store over the file that it had."""
        await self.world.store.start()
        await self.world.await_store()


Doing: TypeAlias = Callable[[Chaos], Awaitable[None]]

FAULTS: dict[str, Doing] = {}
"""Every fault by the name that the command line takes; the modules of faults enter theirs."""


def fault(name: str) -> Callable[[Doing], Doing]:
    """Enter a fault under its name."""

    def enter(doing: Doing) -> Doing:
        FAULTS[name] = doing
        return doing

    return enter
