"""What operators do with conversations as wholes: erase one everywhere, restore the directory from the upstream.

Both may be done while gateways run, and done again.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import errors, keys
from gateway.directory import Directory
from gateway.relay import dead_letters
from gateway.replies import Replies
from gateway.store import Call, Store
from gateway.upstreams import base
from mappings import reconcile

MOST_DEAD_LETTERS = 10_000
"""Of one pair; who has more erases again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: keys of the conversation in the store, its dead letters, conversations at the upstream.

    `upstream` is None where that has no call for it.
    """

    keys: int
    dead_letters: int
    upstream: int | None

    def __bool__(self) -> bool:
        """Tell whether there was anything."""
        return bool(self.keys or self.dead_letters or self.upstream)


@dataclass(frozen=True, slots=True)
class Pair:
    """A tenant's conversation by the client's names, and its keys in the store."""

    conversation: keys.ConversationKeys
    tenant: str
    bot_id: str
    user_id: str


async def erase(store: Store, pair: Pair, upkeep: base.Upkeep) -> Erased:
    """Erase what is kept of a pair's conversation, at the upstream, too.

    The upstream first: what fails there is told while the directory still knows the conversation. Dead letters are
    looked for by their people, since nothing else says whose they are.
    """
    upstream: int | None = None
    with contextlib.suppress(errors.NotSupported):
        upstream = await upkeep.erase(pair.bot_id, pair.user_id)
    conversation, shard = pair.conversation, pair.conversation.shard
    erased: int = await store.run(
        "erase_conversation",
        [
            conversation.directory,
            conversation.turns,
            conversation.fingerprints,
            conversation.outbox,
            conversation.pull,
            conversation.seen,
            conversation.orphans,
            shard.due,
            shard.pulls,
        ],
        shard.prefix,
        conversation.digest,
    )
    return Erased(erased, await _erase_dead_letters(store, pair), upstream)


async def _erase_dead_letters(store: Store, pair: Pair) -> int:
    theirs = dead_letters.Filter(tenant=pair.tenant, bot_id=pair.bot_id, user_id=pair.user_id)
    found = await dead_letters.find(store, theirs, MOST_DEAD_LETTERS)
    erased = 0
    for shard in keys.all_shards():  # an id does not tell its shard: all are asked, and one has it
        calls = (Call("erase_dead", (shard.dead, shard.reply(one.id)), (one.id, shard.prefix)) for one in found.newest)
        erased += sum(answer == 1 for answer in await store.run_all(calls))
    return erased


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of a rebuild: entries that were restored, those that were there, conversations that are gone again."""

    restored: int = 0
    known: int = 0
    gone: int = 0


async def rebuild(
    store: Store,
    upkeep: base.Upkeep,
    session: base.Session,
    replies: Replies,
    conversation_of: Callable[[str, str], keys.ConversationKeys],
    progress: Callable[[int, int], object],
) -> Rebuilt:
    """Restore the directory's entries of one client's key from what the upstream has; those that are there stay.

    A pair with several conversations gets the one that the upstream lists first, its newest. `progress` is told of
    each one how many are done of how many.
    """
    directory, listed = Directory(store), await upkeep.listed()
    restored = known = gone = 0
    for number, one in enumerate(listed, 1):
        user_id = reconcile.base_user_id(one.user_id)
        conversation = conversation_of(one.bot_id, user_id)
        if "id" in await directory.show(conversation):
            known += 1
        else:
            try:
                await session.adopt(one.id, replies.callback_url(conversation))
                transcript = await session.transcript(one.id)
            except base.ConversationGone:
                gone += 1
            else:
                end, held = reconcile.Known.of(transcript), str(len(transcript))
                fields = ["tail", end.tail, "count", str(end.count), "heard", held, "since", held]
                fields += ["user", one.user_id] if user_id != one.user_id else []
                taken = await _restore(store, conversation, one.id, fields)
                restored, known = restored + taken, known + (not taken)
        progress(number, len(listed))
    return Rebuilt(restored, known, gone)


async def _restore(store: Store, conversation: keys.ConversationKeys, upstream_id: str, fields: Sequence[str]) -> bool:
    taken: int = await store.run(
        "restore_conversation", [conversation.directory], upstream_id, keys.CONVERSATION_TTL_SECONDS, *fields
    )
    return taken == 1
