"""What a store may hold at rest: keys that `gateway.keys` declares, each with a time to live or declared permanent."""

import re

from gateway.store import Store

NO_TTL = -1

PERMANENT = re.compile(r"gw:\{s\d+\}:(due|dead|fence|breakers|pulls|due:([0-9a-f]{16}|-))")

DECLARED = re.compile(
    r"gw:\{s\d+\}:((reply|turn):.+|(conv|turns|lock|prints|outbox|pull|seen|orphans|idem):[0-9a-f]{32}|pull:[0-9a-f]{32}:gap"
    r"|(breaker|picture):[0-9a-f]{32}|uploads:[0-9a-f]{16})"
)


async def undeclared(store: Store) -> list[str]:
    """Give the keys that are not declared, and those without a time to live that are not declared permanent."""
    return sorted([key async for key in store.redis.scan_iter(count=1000) if not await _is_declared(store, key)])


async def _is_declared(store: Store, key: str) -> bool:
    if PERMANENT.fullmatch(key):
        return True
    return bool(DECLARED.fullmatch(key)) and await store.redis.ttl(key) != NO_TTL  # it may be gone meanwhile
