"""The clients: conversations that go on, each request sent again as the same bytes until it is answered."""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos import texts
from tests.chaos.receivers import KINDS, Receivers
from tests.chaos.records import Arrival, Exchange, Request, Said
from tests.chaos.world import Replica, now

TRY_SECONDS = 9.0
"""How long a client waits for an answer: longer than a turn that goes well, shorter than one that meets a freeze."""

PATIENCE_SECONDS = 60.0
"""How long a client goes on sending one request."""

KEYS = 3
BOTS = 2
USERS = 4

REPLY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Habits:
    """How clients behave. Shares are of all requests, windows in seconds.

    The bots need up to 2.5 s: the longer windows open when their reply is whole. `population`: how many conversations
    there are, or None for ever new ones; then each has `most_turns`. `remembered` bounds the history that is sent.
    """

    receivers: Sequence[str] = (*KINDS,)
    share_of_steady: float = 0.4
    share_of_twins: float = 0.08
    share_of_impatient: float = 0.25
    windows: Sequence[tuple[float, float]] = ((0, 0), (0, 1), (1, 3), (4, 7), (5, 9))
    population: int | None = None
    most_turns: int = 12
    remembered: int = 1000


@dataclass(eq=False, slots=True)
class Chat:
    """One conversation as its client holds it."""

    name: str
    key: str
    bot: str
    user: str
    receiver: str
    sent: int = 0
    history: list[tuple[bool, list[str]]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    replied: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    """The suite is about to take the conversation away upstream: nothing is to be under way then."""
    quiet: bool = True

    @property
    def is_idle(self) -> bool:
        """Whether it has got the reply to its last message, and nobody else is at it."""
        return self.quiet and not self.paused and f"{self.name}.{self.sent}" in self.answered


class Clients:
    """All clients of a run. `rate` is in requests per second over all of them."""

    def __init__(
        self, seed: int, rate: float, replicas: Sequence[Replica], receivers: Receivers, habits: Habits | None = None
    ) -> None:
        self._draw = random.Random(seed)
        self._habits = habits or Habits()
        self._rate = rate
        self._replicas = replicas
        self._receivers = receivers
        self._session: aiohttp.ClientSession | None = None
        self.requests: list[Request] = []
        self.sent = 0
        self.keys = [f"sk-chaos-{number}-{self._draw.randbytes(12).hex()}" for number in range(KEYS)]
        self.secrets: dict[str, str] = {}
        """The secret in the query of each request's webhook."""
        self.chats: dict[str, Chat] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        receivers.on_delivery = self._on_delivery

    async def run(self, seconds: float, most: int | None = None) -> None:
        """Send requests for so long, or so many; every one that was begun is carried to its end."""
        began = asyncio.get_running_loop().time()
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS, sock_connect=2)
        # Connections are taken in turns: one of many that a burst has made would not be idle for longer for minutes.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as self._session:
            at = began
            while loop.time() - began < seconds and (most is None or self.sent < most):
                at += self._draw.expovariate(self._rate)
                await asyncio.sleep(max(at - loop.time(), 0))
                if chat := self._choose():
                    request = self._compose(chat)
                    self._start(self._turn(chat, request, encode(request, chat.history)), self._under_way)
                    self.sent += 1
            await self.settle()

    async def settle(self) -> None:
        """Wait until every request that was begun has ended; nobody waits for replies any more."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        for task in self._waiting:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)

    def _choose(self) -> Chat | None:
        """Choose who speaks next: somebody who is not waiting, now and then somebody who is, or somebody new."""
        habits, draw = self._habits, self._draw
        impatient = draw.random() < habits.share_of_impatient
        idle = [chat for chat in self.chats.values() if not chat.paused and (chat.quiet or impatient)]
        if habits.population is not None and len(self.chats) >= habits.population:
            return draw.choice(idle) if idle else None
        idle = [chat for chat in idle if chat.sent < habits.most_turns]
        if idle and draw.random() < 0.7:
            return draw.choice(idle)
        number = len(self.chats)
        steady = draw.random() < habits.share_of_steady
        chat = Chat(
            name=f"c{number}",
            key=self.keys[number % KEYS],
            # Few bots and users, so that different keys have conversations of the same pair.
            bot=str(uuid.UUID(int=number // (KEYS * USERS) % BOTS + 1, version=4)),
            user=f"user-{number // KEYS % USERS}-{number // (KEYS * USERS * BOTS)}",
            receiver="steady" if steady else draw.choice(habits.receivers),
        )
        self.chats[chat.name] = chat
        return chat

    def _compose(self, chat: Chat) -> Request:
        chat.sent += 1
        chat.quiet = False
        request_id = f"{chat.name}.{chat.sent}"
        secret = self._draw.randbytes(12).hex()
        self.secrets[request_id] = secret
        low, high = self._draw.choice(self._habits.windows)
        request = Request(
            id=request_id,
            key=chat.key,
            bot=chat.bot,
            user=chat.user,
            text=texts.message(request_id, self._draw),
            history=flat(chat.history),
            webhook=self._receivers.webhook(chat.receiver, request_id, secret),
            min_delay=low,
            max_delay=high,
            twin=self._draw.random() < self._habits.share_of_twins,
            receiver=chat.receiver,
        )
        self.requests.append(request)
        return request

    async def _turn(self, chat: Chat, request: Request, body: bytes) -> None:
        """Send one request until it is answered; its client then waits for the reply as a person would."""
        chat.replied.clear()
        async with asyncio.TaskGroup() as group:
            for sender in range(2 if request.twin else 1):
                group.create_task(self._send(request, body, random.Random(f"{request.id} {sender}")))
        if request.accepted_at is not None:
            chat.history.append((False, [request.text]))
        self._start(self._await_reply(chat), self._waiting)

    async def _await_reply(self, chat: Chat) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLY_SECONDS):
                await chat.replied.wait()
        chat.quiet = True

    async def _send(self, request: Request, body: bytes, draw: random.Random) -> None:
        begin = now()
        while now() - begin < PATIENCE_SECONDS:
            exchange = await self._try(request, body, draw.randrange(len(self._replicas)))
            request.exchanges.append(exchange)
            if exchange.status is not None and exchange.status < 500 and exchange.status != 429:
                return
            await asyncio.sleep(draw.uniform(0.2, 0.8))

    async def _try(self, request: Request, body: bytes, replica: int) -> Exchange:
        headers = {"Authorization": f"Bearer {request.key}", "Content-Type": "application/json"}
        sent_at = now()
        status: int | None = None
        content: dict[str, Any] = {}
        if self._session is None:
            raise RuntimeError("the clients are not running")
        try:
            url = f"{self._replicas[replica].url}/v2/complete"
            async with self._session.post(url, data=body, headers=headers) as answer:
                status = answer.status
                content = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            pass
        return Exchange(replica, sent_at, now(), status, content.get("message_id"), content.get("error"))

    def _on_delivery(self, arrival: Arrival) -> None:
        chat = self.chats.get(texts.chat_of(arrival.request))
        if chat is None or arrival.delivery in chat.seen:
            return
        chat.seen.add(arrival.delivery)
        chat.answered.update(texts.ids_in(arrival.texts))
        chat.history.append((True, list(arrival.texts)))
        del chat.history[: -self._habits.remembered]
        chat.replied.set()


def encode(request: Request, history: Sequence[tuple[bool, list[str]]]) -> bytes:
    """Give the body of a request, in V1's shape."""
    return json.dumps(
        {
            "bot_id": request.bot,
            "user_id": request.user,
            "conversation_id": f"chat-{request.chat}",
            "message": request.text,
            "messages": [{"bot": from_bot, "content": said} for from_bot, said in history],
            "webhook": request.webhook,
            "min_delay": request.min_delay,
            "max_delay": request.max_delay,
            "platform": "chaos",
            "language": "en",
            "user_kv_pairs": {"age": 30},
        },
        ensure_ascii=False,
    ).encode()


def flat(history: Sequence[tuple[bool, list[str]]]) -> tuple[Said, ...]:
    """Give a history as atomic messages."""
    return tuple((from_bot, text) for from_bot, said in history for text in said)
