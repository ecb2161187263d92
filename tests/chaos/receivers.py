"""The clients' webhooks: several servers, each with a misbehaviour of its own, that keep what they were sent."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web

from tests.chaos.records import Arrival, Limits
from tests.chaos.world import now

FORBIDDEN = "127.0.0.2"
"""Loopback too, but outside of what the gateway's settings allow."""

HUGE_BYTES = 32 * 2**20
MARGIN_SECONDS = 0.3
"""By how much an answer must beat the gateway's deadline to count as surely received."""

TAKEN = ("200", "slow", "huge")
STATUSES = {"slow": 200, "huge": 200, "hang": 500, "close": 500}

Misbehaviour = Callable[[random.Random, int], str]
"""Chooses the answer to an attempt of the given number: a status, or a word that `Receivers` knows."""


def _flaky(draw: random.Random, attempt: int) -> str:
    answers = ["200", "500", "503", "429", "close", "hang"]
    return draw.choices(answers, [60, 12, 10, 6, 8, 4])[0] if attempt < 3 or draw.random() < 0.1 else "200"


def _redirecting(draw: random.Random, attempt: int) -> str:
    return draw.choice(["302", "307", "308"]) if attempt < 2 and draw.random() < 0.4 else "200"


def _gone(draw: random.Random, attempt: int) -> str:
    return "410" if draw.random() < 0.15 else "200"


KINDS: dict[str, Misbehaviour] = {
    "steady": lambda draw, attempt: "200",
    "flaky": _flaky,
    "slow": lambda draw, attempt: draw.choice(["200", "slow"]),
    "redirecting": _redirecting,
    "gone": _gone,
    "huge": lambda draw, attempt: draw.choice(["200", "huge"]),
    "hanging": lambda draw, attempt: "hang",
}
"""Each kind of receiver, on a port of its own: to the gateway, a host of its own."""


UNRELIABLE = ("flaky", "gone", "redirecting", "hanging")
"""Kinds of which replies become dead letters, and for which a breaker may open."""


class _Callback(msgspec.Struct):
    completion: list[str]
    id: str


@dataclasses.dataclass(eq=False, slots=True)
class Receivers:
    """All of them. `calm`: from now on they behave. `trapped` counts connections that nobody may make."""

    seed: int
    limits: Limits
    ports: dict[str, int] = dataclasses.field(default_factory=dict)
    arrivals: list[Arrival] = dataclasses.field(default_factory=list)
    calm: bool = False
    trapped: int = 0
    traps: tuple[str, str] = ("", "")
    on_delivery: Callable[[Arrival], None] = lambda _: None

    def webhook(self, kind: str, request_id: str, secret: str) -> str:
        """Give a request's webhook; its query is to come back byte for byte."""
        return f"http://127.0.0.1:{self.ports[kind]}/w/{request_id}?{self.query(secret)}"

    @staticmethod
    def query(secret: str) -> str:
        """Give the query of a webhook, in a form that careless handling would change."""
        return f"token={secret}&next=%2Fa%2Bb~c&empty=&plus=a+b"

    def handler(self, kind: str) -> Callable[[web.BaseRequest], "asyncio.Future[web.StreamResponse]"]:
        """Give what serves one kind of receiver."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            return await self._receive(kind, request)

        return serve  # type: ignore[return-value]  # a coroutine function is what the server wants

    async def _receive(self, kind: str, request: web.BaseRequest) -> web.StreamResponse:
        at = now()
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        attempt = int(request.headers.get("webhook-attempt", "0"))
        draw = random.Random(f"{self.seed} {path} {attempt}")
        answer = "200" if self.calm else KINDS[kind](draw, attempt)
        arrival = Arrival(
            at=at,
            ended_at=at,
            receiver=kind,
            request=path.rpartition("/")[2],
            query=query,
            delivery=request.headers.get("webhook-id", ""),
            attempt=attempt,
            body=body,
            texts=_texts(body),
            answer=answer,
            acknowledged=False,
            headers=str(dict(request.headers)),
        )
        if answer == "slow":
            await asyncio.sleep(draw.uniform(0.1, self.limits.delivery_timeout / 2))
        ended = now()
        in_time = ended - at < self.limits.delivery_timeout - MARGIN_SECONDS
        arrival = dataclasses.replace(arrival, ended_at=ended, acknowledged=in_time and answer in TAKEN)
        self.arrivals.append(arrival)
        if arrival.acknowledged:
            self.on_delivery(arrival)
        return await self._answer(answer, request)

    async def _answer(self, answer: str, request: web.BaseRequest) -> web.StreamResponse:
        if answer == "hang":
            await asyncio.sleep(self.limits.delivery_timeout * 3)
        elif answer == "close" and request.transport:
            request.transport.abort()
        body = b"x" * HUGE_BYTES if answer == "huge" else b""
        headers = {"Location": self.traps[answer == "307"]} if answer.startswith("30") else {"Retry-After": "1"}
        return web.Response(status=STATUSES.get(answer) or int(answer), headers=headers, body=body)

    async def spring(self, _request: web.BaseRequest) -> web.StreamResponse:
        """Serve the trap: whoever comes here was led where nobody may go."""
        self.trapped += 1
        return web.Response()


@contextlib.asynccontextmanager
async def receiving(seed: int, limits: Limits) -> AsyncIterator[Receivers]:
    """Run every kind of receiver, and two traps, one of them at an address that the gateway is not allowed to call."""
    receivers = Receivers(seed, limits)
    async with contextlib.AsyncExitStack() as stack:
        allowed = await _serve(stack, receivers.spring, "127.0.0.1")
        forbidden = await _serve(stack, receivers.spring, FORBIDDEN)
        receivers.traps = (f"http://127.0.0.1:{allowed}/never", f"http://{FORBIDDEN}:{forbidden}/never")
        for kind in KINDS:
            receivers.ports[kind] = await _serve(stack, receivers.handler(kind), "127.0.0.1")
        yield receivers


async def _serve(stack: contextlib.AsyncExitStack, handler: Callable[..., object], host: str) -> int:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


def _texts(body: bytes) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(body, type=_Callback).completion)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
