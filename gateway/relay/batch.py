"""Several of the store's scripts in one round trip."""

from collections.abc import Iterable

from gateway.store import Answer, Call, NoAnswer, Store

Broken = NoAnswer
BROKEN = NoAnswer.BROKEN

__all__ = ["BROKEN", "Broken", "Call", "run"]


async def run(store: Store, calls: Iterable[Call]) -> list[Answer | NoAnswer]:
    """Run the scripts in order; give their answers."""
    return await store.run_all(calls)
