"""What befalls the gateway's processes: kills, freezes, drains."""

import asyncio

from tests.chaos.chaos import Chaos, fault
from tests.chaos.records import Class, Exit
from tests.chaos.world import LIMITS, now

FREEZE_SECONDS = LIMITS.lease + 2


@fault("kill")
async def kill(chaos: Chaos) -> None:
    """Kill a replica with SIGKILL, and start it again."""
    async with chaos.one("kill", Class.PROCESS) as replica:
        if replica:
            await replica.process.kill()
            await asyncio.sleep(chaos.draw.uniform(0, 1.5))
            await chaos.start(replica)


@fault("freeze")
async def freeze(chaos: Chaos) -> None:
    """Freeze a replica for a moment."""
    async with chaos.one("freeze", Class.PROCESS) as replica:
        if replica:
            replica.process.freeze()
            try:
                await asyncio.sleep(chaos.draw.uniform(0.5, 3))
            finally:
                replica.process.thaw()


@fault("freeze-past-the-lease")
async def freeze_past_the_lease(chaos: Chaos) -> None:
    """Freeze a replica until all that it held has passed to others, while other things go wrong."""
    chaos.in_background(_freeze_long(chaos))


async def _freeze_long(chaos: Chaos) -> None:
    async with chaos.one("freeze past the lease", Class.PROCESS) as replica:
        if replica:
            replica.process.freeze()
            try:
                await asyncio.sleep(FREEZE_SECONDS)
            finally:
                replica.process.thaw()
            await chaos.world.await_replica(replica)


@fault("drain")
async def drain(chaos: Chaos) -> None:
    """Ask a replica to end, and start it again."""
    async with chaos.one("drain", Class.DRAIN) as replica:
        if replica:
            began = now()
            code, seconds = await replica.process.terminate(LIMITS.grace + 10)
            chaos.exits.append(Exit(replica.number, began, seconds, code))
            await chaos.start(replica)
