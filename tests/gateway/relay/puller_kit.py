"""What the puller's tests share: an upstream that holds one conversation, and a puller over a real store."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from relay_kit import ONE, PEOPLE, UPSTREAM_ID

from gateway import errors, keys, people
from gateway.relay.puller import Bounds, Puller
from gateway.relay.pulls import Brief, Expected, Pull, Pulls, Result
from gateway.relay.queue import Queue
from gateway.sealed import Sealer
from gateway.store import Store
from gateway.upstreams.base import Call
from gateway.upstreams.pulling import Spoken
from mappings import fates, generation, reconcile
from mappings.turn import Message

SECRETS = [b"a-secret-of-the-puller-tests"]
PATIENCE = timedelta(seconds=45)
LEASE = timedelta(seconds=30)

Answer = str | generation.Failed | Exception


@dataclass
class Bot:
    """An upstream with one conversation. What it says lies ready in `answers`; `gate` holds every generation back."""

    transcript: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    dialect: fates.Upstream = "chatbotkit"
    compacted: int = 0
    compact_fails: bool = False

    def session(self, key: str) -> "Talk":
        """Begin dealings under the key."""
        return Talk(self, key)

    def ready(self, *answers: Answer) -> None:
        """Have answers lie ready, and hold none of them back."""
        self.answers = list(answers)
        self.gate.set()

    def says(self, text: str) -> Message:
        """Add a message of the bot's."""
        self.transcript.append(Message(True, text, str(uuid.uuid4())))
        return self.transcript[-1]

    def user_says(self, text: str) -> None:
        """Add a message of the user's."""
        self.transcript.append(Message(False, text, str(uuid.uuid4())))


class Talk:
    """A `pulling.Source`."""

    speaks_when_asked = True

    def __init__(self, bot: Bot, key: str) -> None:
        self._bot = bot
        self._key = key
        self.calls: list[Call] = []

    async def spoken(self, _conversation_id: str, user_messages: int) -> Spoken:
        """Look through the transcript."""
        self._bot.looked.append(user_messages)
        replies: list[Message] = []
        users: list[Message] = []
        for message in reversed(self._bot.transcript):
            (replies if message.from_bot else users).append(message)
            if len(users) == user_messages:
                break
        waiting = bool(self._bot.transcript) and not self._bot.transcript[-1].from_bot
        return Spoken(replies[::-1], waiting, users[0].text if users else None)

    async def compact(self, _conversation_id: str) -> None:
        """Note that it was to be summed up."""
        self._bot.compacted += 1
        if self._bot.compact_fails:
            raise errors.UpstreamUnavailable("down")

    async def hear(self, _conversation_id: str, told: str) -> generation.Outcome:
        """Let the bot say what lies ready."""
        self._bot.heard.append((self._key, told))
        self._bot.began.release()
        await self._bot.gate.wait()
        answer = self._bot.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, generation.Failed):
            return answer
        message = self._bot.says(answer)
        return generation.Heard(message.text, message.id, tokens=3)


@dataclass
class Seen:
    """What the observer was told, and can be waited for."""

    results: list[Result] = field(default_factory=list)
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    def pulled(self, pull: Pull, result: Result, *, dialect: str, calls: Sequence[Call], seconds: float) -> None:
        """Take note of a claim's end."""
        self.results.append(result)
        self._changed = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self.told:
            self.told.notify_all()

    async def until(self, count: int) -> list[str]:
        """Wait until so many claims have ended; give what came of them."""
        async with asyncio.timeout(10), self.told:
            await self.told.wait_for(lambda: len(self.results) >= count)
        return [result.outcome for result in self.results]


class Pulling:
    """A puller over a store, with its bot and its observer."""

    def __init__(self, store: Store, bot: Bot | None = None, **bounds: Any) -> None:
        self.store = store
        self.bot = bot or Bot()
        self.pulls = Pulls(store, Sealer(SECRETS))
        self.seen = Seen()
        self.queue = Queue(store)
        self.puller = Puller(
            self.pulls, self.queue, self.bot, observer=self.seen, bounds=Bounds(**bounds), draw=lambda: 0.5
        )

    @contextlib.asynccontextmanager
    async def running(self, grace: timedelta = timedelta()) -> AsyncIterator[None]:
        """Run the puller."""
        self.puller.start()
        try:
            yield
        finally:
            await self.puller.stop(grace)


def expected(turn_id: str, text: str = "hi", told: str = "Be kind.") -> Expected:
    """Expect the reply to a turn's message."""
    digest = reconcile.digest(Message(False, text))
    return Expected(turn_id, UPSTREAM_ID, digest, people.encode(PEOPLE), Brief("sk-client", told))


async def kept(store: Store, of: keys.ConversationKeys = ONE) -> bool:
    """Tell whether anything of a pull is kept."""
    return bool(await store.command("exists", of.pull)) or bool(
        await store.command("zscore", of.shard.pulls, of.digest) is not None
    )
