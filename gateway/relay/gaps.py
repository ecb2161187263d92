"""Messages whose callbacks are missing, where the upstream has told that it holds more than it has told of.

Each callback says how many messages the conversation has. What is known to be there is counted too: what it began with,
what was posted and added, what was called back. Where that is less, a callback was overtaken, or is lost. Scripts see
it (`scripts/_gap.lua`), wait for what was overtaken, and then have one look at the transcript, by way of the queue
of pulls; the client's key for it is the one that was kept for the turn. A reply that has not left waits for the look,
and gets what is found in its place; else it is delivered by itself.

Looking may be done again, by anybody: messages are told apart by their ids.
"""

from gateway.relay.pulls import Ended, Pull
from gateway.relay.queue import MAX_IDS
from gateway.store import Store
from gateway.upstreams.pulling import Source
from mappings import missed
from mappings.missed import Missed, Told


class Gaps:
    """The gaps in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def look(self, pull: Pull) -> Told | None:
        """Say what is known of the claimed conversation; None when nothing is missing there any more."""
        conversation = pull.conversation
        answer = await self._store.run("look_at_gap", [conversation.directory, conversation.seen], pull.upstream_id)
        if not answer:
            return None
        told, since, ours, *taken = answer
        return Told(int(told), int(since), list(missed.digests(ours)), frozenset(taken))

    async def close(self, pull: Pull, accounted: int) -> Ended:
        """End the claim: of the upstream's messages so many are known now, or not to be had."""
        conversation = pull.conversation
        ended: Ended = await self._store.run(
            "close_gap",
            [conversation.shard.pulls, conversation.gap, conversation.directory, conversation.turns],
            pull.name,
            pull.fence,
            pull.upstream_id,
            accounted,
            conversation.shard.prefix,
        )
        return ended


async def read(source: Source, pull: Pull, known: Told) -> tuple[list[Missed], int]:
    """Read the transcript: give what nobody has brought of it, oldest first, and how many messages it has."""
    held = await source.held(pull.upstream_id)
    return missed.find(held, known, most=MAX_IDS), len(held)
