"""Answers that clients wait for: kept in the store with their turn, told of to all processes, taken once whole.

The process that holds a client's request need not be the one that got the reply. Every process listens on one channel
of the store; what it hears only makes it look, and it looks once a second without hearing anything, so that a lost
notice costs a second at most. Nothing is kept of a client that hangs up but the turn itself: its answer is there for
whoever sends the request again.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

import structlog
from redis.exceptions import RedisError

from gateway import errors, keys
from gateway.draining import Drain
from gateway.store import Store
from mappings import completion
from mappings.turn import Completion

LOOK_SECONDS = 1.0
"""How often the store is asked for an answer of which nothing is heard."""

LAST_WORDS = timedelta(seconds=2)
"""How long before a drain cuts requests off their clients are told to come again, to another process."""

RECONNECT_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Answers:
    """The answers that clients of this process wait for, each of them for as long as `patience`."""

    def __init__(self, store: Store, drain: Drain, patience: timedelta) -> None:
        self._patience = patience
        self._store = store
        self._drain = drain
        self.waiting: dict[str, set[asyncio.Event]] = {}
        """Whose answers are waited for, by turn."""
        self._listener: asyncio.Task[None] | None = None

    async def wait(self, conversation: keys.ConversationKeys, turn_id: str) -> Completion:
        """Wait until the turn's answer is whole, and take it.

        Raises `UpstreamTimeout` when it does not come in time: it is kept then, for an identical request. Raises
        `Draining` when this process is on its way out.
        """
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="answers")
        heard = asyncio.Event()
        self.waiting.setdefault(turn_id, set()).add(heard)
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while True:
                    heard.clear()
                    segments, pause = await self._take(conversation, turn_id)
                    if segments:
                        return completion.only(turn_id, [completion.decode_segment(one) for one in segments])
                    if self._drain.began and self._drain.left_for_work() < LAST_WORDS:
                        raise errors.Draining("this process is draining: send it again", retry_after_seconds=1)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS if pause is None else min(pause, LOOK_SECONDS)):
                            await heard.wait()
        except TimeoutError:
            raise errors.UpstreamTimeout(
                "the bot did not answer in time; its answer is kept for the same request sent again"
            ) from None
        finally:
            events = self.waiting[turn_id]
            events.discard(heard)
            if not events:
                del self.waiting[turn_id]

    async def close(self) -> None:
        """Stop listening."""
        if self._listener:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def _take(self, conversation: keys.ConversationKeys, turn_id: str) -> tuple[Sequence[str], float | None]:
        """Give the segments once they are all there, else how long they may still be gathering, None if unknown."""
        try:
            outcome, *rest = await self._store.run(
                "take_answer",
                [conversation.directory, conversation.fingerprints, conversation.shard.turn(turn_id)],
                turn_id,
                keys.ANSWER_TTL_SECONDS,
                keys.IDEMPOTENCY_TTL_SECONDS,
            )
        except errors.StoreUnavailable:
            return (), None  # the turn is there, the answer will be
        match outcome:
            case "answer":
                return rest, None
            case "gone":
                raise errors.UpstreamTimeout("the turn is no longer known: send it again")
            case _:
                return (), None if rest[0] == "" else float(rest[0]) / 1000

    async def _listen(self) -> None:
        while True:
            try:
                async with self._store.subscribe(keys.ANSWERS_CHANNEL) as messages:
                    async for turn_id in messages:
                        for event in self.waiting.get(turn_id, ()):
                            event.set()
            except (RedisError, OSError, errors.StoreUnavailable) as error:
                log.debug("answers.unheard", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)
