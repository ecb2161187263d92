"""What lies in the store at the end of a run, read from the keys that are declared; and dead letters sent again."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE

import msgspec

from gateway import keys
from gateway.store import script
from tests.chaos.records import DeadLetter
from tests.chaos.world import SECRET, World


async def come_to_rest(world: World, seconds: float) -> bool:
    """Wait until no reply is on its way and nothing missed is looked for; tell whether it came to that in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await _count(world, [shard.due for shard in keys.all_shards()]) or await _is_missed(world):
                await asyncio.sleep(0.1)
            return True
    return False


async def read_dead_letters(world: World) -> list[DeadLetter]:
    """Read what was given up, with its texts and its webhook, which no operator is shown."""
    found = []
    for shard in keys.all_shards():
        for reply_id in await world.redis.zrange(shard.dead, 0, -1):
            reply, read = shard.reply(reply_id), script("read_dead").source
            reason, webhook = await world.redis.eval(read, 1, reply, 0, reply_id, "reason", "webhook")
            segments = await world.redis.lrange(reply, 1, -1)
            said = tuple(msgspec.json.decode(segment)[1] for segment in segments)
            found.append(DeadLetter(reply_id, reason, said, webhook))
    return found


async def count_dead_letters(world: World) -> int:
    """Count what is given up."""
    return await _count(world, [shard.dead for shard in keys.all_shards()])


async def redrive_all(world: World) -> int:
    """Send every dead letter again, as an operator would; tell how many."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "dead-letters", "redrive", "--all", "--yes", "--json"),
        env={**os.environ, "GATEWAY_REDIS_URL": world.store_url, "GATEWAY_SECRET": SECRET},
        stdout=PIPE,
        stderr=PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"dead letters could not be sent again: exit code {process.returncode}")
    return len(json.loads(output))


async def _is_missed(world: World) -> bool:
    pipeline = world.redis.pipeline(transaction=False)
    for shard in keys.all_shards():
        pipeline.zrange(shard.pulls, 0, -1)
    return any(name.endswith(":gap") for names in await pipeline.execute() for name in names)


async def _count(world: World, names: list[str]) -> int:
    pipeline = world.redis.pipeline(transaction=False)
    for name in names:
        pipeline.zcard(name)
    return sum(await pipeline.execute())
