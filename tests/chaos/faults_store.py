"""What befalls the store, and the way to it."""

import asyncio
import contextlib
from collections.abc import Callable

import redis.asyncio as redis

from tests.chaos.chaos import Chaos, fault
from tests.chaos.records import Class


@fault("store-cut")
async def store_cut(chaos: Chaos) -> None:
    """Reset all connections to the store."""
    async with chaos.noting("store cut", Class.STORE):
        chaos.world.store_proxy.cut()


@fault("store-refused")
async def store_refused(chaos: Chaos) -> None:
    """Let nobody connect to the store."""
    await _store_away(chaos, "store refused", chaos.world.store_proxy.refuse)


@fault("store-black-hole")
async def store_black_hole(chaos: Chaos) -> None:
    """Take what is sent to the store, and answer nothing."""
    await _store_away(chaos, "store black hole", chaos.world.store_proxy.black_hole)


async def _store_away(chaos: Chaos, name: str, begin: Callable[[], None]) -> None:
    async with chaos.noting(name, Class.STORE):
        begin()
        try:
            await asyncio.sleep(chaos.draw.uniform(1.5, 4))
        finally:
            chaos.world.store_proxy.forward()


@fault("store-slow")
async def store_slow(chaos: Chaos) -> None:
    """Delay what goes to the store and comes from it."""
    async with chaos.noting("store slow", Class.STORE):
        chaos.world.store_proxy.delay_seconds = chaos.draw.uniform(0.05, 0.25)
        try:
            await asyncio.sleep(chaos.draw.uniform(2, 4))
        finally:
            chaos.world.store_proxy.delay_seconds = 0


@fault("store-pause")
async def store_pause(chaos: Chaos) -> None:
    """Let the store hold all commands back: they are done afterwards, whoever has given up meanwhile."""
    milliseconds = chaos.draw.randint(500, 3500)
    async with chaos.noting("CLIENT PAUSE", Class.STORE):
        await chaos.world.redis.client_pause(milliseconds, all=True)
        await asyncio.sleep(milliseconds / 1000)


@fault("store-sleep")
async def store_sleep(chaos: Chaos) -> None:
    """Let the store do nothing at all for a while."""
    async with chaos.noting("DEBUG SLEEP", Class.STORE):
        with contextlib.suppress(redis.RedisError):
            seconds = str(round(chaos.draw.uniform(0.5, 3), 2))
            await chaos.world.redis.execute_command("DEBUG", "SLEEP", seconds)


@fault("store-kill")
async def store_kill(chaos: Chaos) -> None:
    """Kill the store with SIGKILL, and start it again over its file."""
    async with chaos.noting("store killed", Class.STORE):
        await chaos.world.store.kill()
        await asyncio.sleep(chaos.draw.uniform(0, 1.5))
        await chaos.start_store()


@fault("store-flush")
async def store_flush(chaos: Chaos) -> None:
    """Empty the store."""
    async with chaos.noting("FLUSHALL", Class.FLUSH):
        await chaos.world.redis.flushall()
