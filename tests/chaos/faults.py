"""What goes wrong in a run: each fault is begun and ended by itself, noted with its times, and drawn from one seed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import redis.asyncio as redis

from gateway.sandbox.calls import account_name
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault, FaultKind
from tests.chaos.clients import Clients
from tests.chaos.collector import Collector
from tests.chaos.records import Class, Exit, Fault
from tests.chaos.world import LIMITS, Replica, World, now

FREEZE_SECONDS = LIMITS.lease + 2
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
            await self._start_store()
        for replica in self.world.replicas:
            if not replica.process.is_running:
                await self._start(replica)
            replica.busy = False

    # Processes.

    async def kill(self) -> None:
        """Kill a replica with SIGKILL, and start it again."""
        async with self._one("kill", Class.PROCESS) as replica:
            if replica:
                await replica.process.kill()
                await asyncio.sleep(self.draw.uniform(0, 1.5))
                await self._start(replica)

    async def freeze(self) -> None:
        """Freeze a replica for a moment."""
        async with self._one("freeze", Class.PROCESS) as replica:
            if replica:
                replica.process.freeze()
                try:
                    await asyncio.sleep(self.draw.uniform(0.5, 3))
                finally:
                    replica.process.thaw()

    async def freeze_past_the_lease(self) -> None:
        """Freeze a replica until all that it held has passed to others, while other things go wrong."""
        self._in_background(self._freeze_long())

    async def _freeze_long(self) -> None:
        async with self._one("freeze past the lease", Class.PROCESS) as replica:
            if replica:
                replica.process.freeze()
                try:
                    await asyncio.sleep(FREEZE_SECONDS)
                finally:
                    replica.process.thaw()
                await self.world.await_replica(replica)

    async def drain(self) -> None:
        """Ask a replica to end, and start it again."""
        async with self._one("drain", Class.DRAIN) as replica:
            if replica:
                began = now()
                code, seconds = await replica.process.terminate(LIMITS.grace + 10)
                self.exits.append(Exit(replica.number, began, seconds, code))
                await self._start(replica)

    # The store.

    async def store_cut(self) -> None:
        """Reset all connections to the store."""
        async with self._noting("store cut", Class.STORE):
            self.world.store_proxy.cut()

    async def store_refused(self) -> None:
        """Let nobody connect to the store."""
        await self._store_away("store refused", self.world.store_proxy.refuse)

    async def store_black_hole(self) -> None:
        """Take what is sent to the store, and answer nothing."""
        await self._store_away("store black hole", self.world.store_proxy.black_hole)

    async def _store_away(self, name: str, begin: Callable[[], None]) -> None:
        async with self._noting(name, Class.STORE):
            begin()
            try:
                await asyncio.sleep(self.draw.uniform(1.5, 4))
            finally:
                self.world.store_proxy.forward()

    async def store_slow(self) -> None:
        """Delay what goes to the store and comes from it."""
        async with self._noting("store slow", Class.STORE):
            self.world.store_proxy.delay_seconds = self.draw.uniform(0.05, 0.25)
            try:
                await asyncio.sleep(self.draw.uniform(2, 4))
            finally:
                self.world.store_proxy.delay_seconds = 0

    async def store_pause(self) -> None:
        """Let the store hold all commands back: they are done afterwards, whoever has given up meanwhile."""
        milliseconds = self.draw.randint(500, 3500)
        async with self._noting("CLIENT PAUSE", Class.STORE):
            await self.world.redis.client_pause(milliseconds, all=True)
            await asyncio.sleep(milliseconds / 1000)

    async def store_sleep(self) -> None:
        """Let the store do nothing at all for a while."""
        async with self._noting("DEBUG SLEEP", Class.STORE):
            with contextlib.suppress(redis.RedisError):
                seconds = str(round(self.draw.uniform(0.5, 3), 2))
                await self.world.redis.execute_command("DEBUG", "SLEEP", seconds)

    async def store_kill(self) -> None:
        """Kill the store with SIGKILL, and start it again over its file."""
        async with self._noting("store killed", Class.STORE):
            await self.world.store.kill()
            await asyncio.sleep(self.draw.uniform(0, 1.5))
            await self._start_store()

    async def store_flush(self) -> None:
        """Empty the store."""
        async with self._noting("FLUSHALL", Class.FLUSH):
            await self.world.redis.flushall()

    # The upstream.

    async def upstream_cut(self) -> None:
        """Reset all connections to the upstream, several times."""
        async with self._noting("upstream cut", Class.UPSTREAM):
            for _ in range(5):
                self.world.upstream_proxy.cut()
                await asyncio.sleep(self.draw.uniform(0.05, 0.4))

    async def upstream_black_hole(self) -> None:
        """Take what is sent to the upstream, and let no answer through."""
        async with self._noting("upstream black hole", Class.UPSTREAM):
            self.world.upstream_proxy.black_hole()
            try:
                await asyncio.sleep(self.draw.uniform(1, 5))
            finally:
                self.world.upstream_proxy.forward()

    async def upstream_fails(self) -> None:
        """Let calls fail before they have their effect."""
        await self._upstream_errors("before")

    async def upstream_fails_late(self) -> None:
        """Let calls fail after they have had their effect."""
        await self._upstream_errors("after")

    async def _upstream_errors(self, when: str) -> None:
        kinds: list[dict[str, object]] = [
            {"status": 500},
            {"status": 502, "body": "html"},
            {"status": 503, "headers": {"Retry-After": "1"}} if when == "before" else {"status": 504},
            {"status": 200, "body": "truncated"},
            {"action": "drop"},
            {"action": "hang", "seconds": self.draw.uniform(1, 5)},
            {"status": 429, "headers": {"Retry-After": "1"}} if when == "before" else {"status": 500, "body": "empty"},
        ]
        chosen = self.draw.sample(kinds, 3)
        rules = [
            RequestFault.model_validate({"when": when, "times": 3, "skip": self.draw.randrange(3), "method": "*"} | one)
            for one in chosen
        ]
        detail = ", ".join(rule.label() for rule in rules)
        async with self._noting(f"upstream fails {when}", Class.UPSTREAM, detail=detail):
            await self.world.sandbox.arm(*rules)
            await asyncio.sleep(self.draw.uniform(1.5, 3))
            await self.world.sandbox.arm()

    async def deletion(self) -> None:
        """Delete an idle conversation behind the gateway's back."""
        await self.collector.look_at_conversations()
        idle = [chat for chat in self.clients.chats.values() if chat.is_idle]
        if not idle:
            return
        chat = self.draw.choice(idle)
        found = [
            one.id
            for one in self.collector.conversations
            if (one.account, one.bot, one.user) == (account_name(chat.key), chat.bot, chat.user)
            and one.id not in self._deleted
        ]
        chat.paused = True
        try:
            await asyncio.sleep(3)  # the bot has said what it had to say
            await self.collector.look_at_conversations()
            for conversation_id in found[-1:]:
                async with self._noting("deletion", Class.DELETION, target=conversation_id):
                    await self.world.sandbox.delete(conversation_id)
        finally:
            chat.paused = False

    @property
    def _deleted(self) -> set[str]:
        return {fault.target for fault in self.faults if fault.kind is Class.DELETION}

    # Callbacks.

    async def callbacks_twice(self) -> None:
        """Send callbacks twice."""
        await self._callbacks("duplicate")

    async def callbacks_disordered(self) -> None:
        """Send callbacks after the ones that follow them."""
        await self._callbacks("reorder")

    async def callbacks_early(self) -> None:
        """Send callbacks before the message that they answer is acknowledged."""
        await self._callbacks("before_ack")

    async def callbacks_lost(self) -> None:
        """Never send some callbacks."""
        await self._callbacks("lost")

    async def _callbacks(self, kind: FaultKind) -> None:
        async with self._noting(f"callbacks {kind}", Class.CALLBACK):
            await self.world.sandbox.arm_callbacks(CallbackFault(kind=kind, times=self.draw.randint(2, 5)))
            await asyncio.sleep(self.draw.uniform(1.5, 3))
            await self.world.sandbox.arm_callbacks()

    # How they are done.

    @contextlib.asynccontextmanager
    async def _noting(self, name: str, kind: Class, *, target: str = "", detail: str = "") -> AsyncIterator[None]:
        began = now()
        try:
            yield
        finally:
            self.faults.append(Fault(name, kind, began, now(), target, detail))

    @contextlib.asynccontextmanager
    async def _one(self, name: str, kind: Class) -> AsyncIterator[Replica | None]:
        """Choose a replica for a fault; none when only one is left that works."""
        free = [replica for replica in self.world.replicas if not replica.busy]
        if len(free) < 2:
            yield None
            return
        replica = self.draw.choice(free)
        replica.busy = True
        try:
            async with self._noting(name, kind, target=str(replica.number)):
                yield replica
        finally:
            replica.busy = False

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _start(self, replica: Replica) -> None:
        await replica.process.start()
        await self.world.await_replica(replica)

    async def _start_store(self) -> None:
        await self.world.store.start()
        await self.world.await_store()


Doing: TypeAlias = Callable[[Chaos], Awaitable[None]]

FAULTS: dict[str, Doing] = {
    "kill": Chaos.kill,
    "freeze": Chaos.freeze,
    "freeze-past-the-lease": Chaos.freeze_past_the_lease,
    "drain": Chaos.drain,
    "store-cut": Chaos.store_cut,
    "store-refused": Chaos.store_refused,
    "store-black-hole": Chaos.store_black_hole,
    "store-slow": Chaos.store_slow,
    "store-pause": Chaos.store_pause,
    "store-sleep": Chaos.store_sleep,
    "store-kill": Chaos.store_kill,
    "store-flush": Chaos.store_flush,
    "upstream-cut": Chaos.upstream_cut,
    "upstream-black-hole": Chaos.upstream_black_hole,
    "upstream-fails": Chaos.upstream_fails,
    "upstream-fails-late": Chaos.upstream_fails_late,
    "deletion": Chaos.deletion,
    "callbacks-twice": Chaos.callbacks_twice,
    "callbacks-disordered": Chaos.callbacks_disordered,
    "callbacks-early": Chaos.callbacks_early,
    "callbacks-lost": Chaos.callbacks_lost,
}
"""Every fault by the name that the command line takes."""

OFF_BY_DEFAULT = frozenset({"callbacks-lost"})
