"""What a store may hold at rest: keys that `gateway.keys` declares, each with a time to live or declared permanent."""

import re

from gateway import keys
from gateway.store import Store

PERMANENT = frozenset(key for shard in keys.all_shards() for key in (shard.due, shard.dead, shard.fence))

DECLARED = re.compile(
    r"gw:\{s\d+\}:(due|dead|fence|(reply|turn):.+|(conv|turns|lock|prints|outbox|seen|orphans):[0-9a-f]{32}"
    r"|picture:[0-9a-f]{32}|uploads:[0-9a-f]{16})"
)


async def undeclared(store: Store) -> list[str]:
    """Give the keys that are not declared, and those without a time to live that are not declared permanent."""
    found = []
    async for key in store.redis.scan_iter(count=1000):
        declared = DECLARED.fullmatch(key)
        if not declared or (key not in PERMANENT and await store.redis.ttl(key) < 0):
            found.append(key)
    return sorted(found)
