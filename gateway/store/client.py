"""The store's scripts and commands, wherever the data is: with bounds, and all failures as `StoreUnavailable`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import structlog
from redis.exceptions import ResponseError

from gateway import errors, keys, metrics, redis_url
from gateway.store import connections, scripts
from gateway.store.cluster import Cluster
from gateway.store.health import Health
from gateway.store.later import Later
from gateway.store.scripts import Answer, Argument, Call, NoAnswer, Send
from gateway.store.server import CALL_SECONDS, Command, Server

DATA_FAULTS = ("WRONGTYPE", "user_script:")
"""How the server's message begins when a script met data that it cannot work with: that call's trouble alone."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Servers(Protocol):
    """Where calls go: to one server or to a cluster of them. Deadlines are in the loop's time."""

    @property
    def servers(self) -> Sequence[Server]:
        """The servers that are known."""

    def call(self, key: str, command: Command[T], deadline: float) -> Awaitable[T]:
        """Carry out an idempotent command where the key is."""

    def run(
        self, calls: Sequence[Call], send: Send, deadline: float, *, patient: bool
    ) -> Awaitable[list[Answer | Exception]]:
        """Run scripts; errors are answers. A patient run waits for data that is on the move."""

    async def ping(self, deadline: float) -> None:
        """Raise `StoreUnavailable` unless calls are taken."""

    async def aclose(self) -> None:
        """Close all connections."""


class Single:
    """One server, or the master that sentinels name."""

    def __init__(self, server: Server) -> None:
        self.servers = [server]

    def call(self, _key: str, command: Command[T], deadline: float) -> Awaitable[T]:
        """Carry out an idempotent command."""
        return self.servers[0].call(command, deadline)

    def run(
        self,
        calls: Sequence[Call],
        send: Send,
        deadline: float,
        *,
        patient: bool,  # noqa: ARG002 — nothing moves
    ) -> Awaitable[list[Answer | Exception]]:
        """Run scripts in one round trip."""
        return self.servers[0].call(lambda client: send(client, calls), deadline)

    async def ping(self, deadline: float) -> None:
        """Raise `StoreUnavailable` unless the server takes calls."""
        await self.servers[0].call(Server.ping, deadline)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.servers[0].aclose()


class Store:
    """Runs the store's scripts and commands; every failure of the store is `StoreUnavailable`.

    `clock_offset_ms` is added to Redis's own time by every script: tests move it, production leaves it at zero.
    """

    def __init__(self, servers: Servers, health: Health, *, guarded: bool = False) -> None:
        self.clock_offset_ms = 0
        self._servers = servers
        self._health = health
        self._guarded = guarded
        self._later = Later(self.run_all)
        self._clock = asyncio.get_running_loop().time

    async def run(self, name: str, keys: Sequence[str], *arguments: Argument) -> Answer:
        """Run a script; it may run twice when the connection breaks, so that every script is idempotent."""
        call = self._guard(Call(name, tuple(keys), arguments))
        began = time.perf_counter()
        try:
            [answer] = await self._servers.run((call,), self._send, self._deadline(), patient=True)
        except ResponseError as error:
            raise self._refused(error) from error
        finally:
            metrics.STORE_CALL_DURATION(script=name).observe(time.perf_counter() - began)
        if isinstance(answer, Exception):
            raise self._failed(call, answer) from answer
        return answer

    async def run_all(self, calls: Iterable[Call]) -> list[Answer | NoAnswer]:
        """Run scripts in order (on each server of a cluster), at a fifth of the cost of as many single calls.

        One call's broken data does not touch the others. Raises `StoreUnavailable` when no call was taken; some may
        have run then, and all may be sent again.
        """
        batch = [self._guard(call) for call in calls]
        if not batch:
            return []
        began = time.perf_counter()
        try:
            answers = await self._servers.run(batch, self._send, self._deadline(), patient=False)
        except ResponseError as error:
            raise self._refused(error) from error
        finally:
            elapsed = time.perf_counter() - began
            for name in {call.name for call in batch}:
                metrics.STORE_CALL_DURATION(script=name).observe(elapsed)
        failures = [answer for answer in answers if isinstance(answer, Exception) and not _is_data_fault(answer)]
        if len(failures) == len(answers):
            raise self._refused(failures[0]) from failures[0]
        return [self._checked(call, answer) for call, answer in zip(batch, answers, strict=True)]

    def later(self, call: Call, seconds: float) -> None:
        """Run a script as soon as the store takes calls, if that is within so many seconds; nobody is answered."""
        self._later.add(call, seconds)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._later.aclose()
        await self._servers.aclose()

    async def command(self, name: str, key: str, *arguments: Any, **options: Any) -> Answer:
        """Carry out an idempotent command by the name of the client library's method for it."""
        try:
            return await self._servers.call(
                key, lambda client: getattr(client, name)(key, *arguments, **options), self._deadline()
            )
        except ResponseError as error:
            raise self._refused(error) from error

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store takes calls."""
        try:
            await self._servers.ping(self._deadline())
        except ResponseError as error:
            raise self._refused(error) from error

    @contextlib.asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[str]]:
        """Listen to a channel; of a cluster, any server hears what is published on any other.

        What is published while nobody listens is not heard. Raises the client library's errors, or `StoreUnavailable`.
        """
        if not self.clients:
            await self.ping()
        async with self.clients[0].pubsub() as pubsub:
            await pubsub.subscribe(channel)
            yield self._heard(pubsub)

    async def _heard(self, pubsub: Any) -> AsyncIterator[str]:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is not None:
                yield message["data"]

    @property
    def clients(self) -> list[Any]:
        """The client library's clients, one for each server that is known: for tools and tests."""
        return [server.client for server in self._servers.servers]

    @property
    def redis(self) -> Any:
        """The client library's client of a store that is one server: for tools and tests."""
        [client] = self.clients
        return client

    def _send(self, client: Any, calls: Sequence[Call]) -> Awaitable[list[Answer | Exception]]:
        return scripts.send(client, calls, self.clock_offset_ms)

    def _guard(self, call: Call) -> Call:
        """Let a cluster refuse a script as a whole while its slot is on the move.

        A script may touch keys that it does not declare. Of those that have moved already, the server would tell it
        in its midst, with half of its work done. A declared key that never exists makes the server answer TRYAGAIN.
        """
        if not self._guarded:
            return call
        return Call(call.name, (*call.keys, keys.never_written(call.keys[0])), call.arguments)

    def _deadline(self) -> float:
        return self._clock() + CALL_SECONDS

    def _checked(self, call: Call, answer: Answer | Exception) -> Answer | NoAnswer:
        if not isinstance(answer, Exception):
            return answer
        self._failed(call, answer)
        return NoAnswer.BROKEN if _is_data_fault(answer) else NoAnswer.UNTAKEN

    def _failed(self, call: Call, error: Exception) -> errors.StoreUnavailable:
        """Give what to raise for a call that the server did not take, or whose data is broken, noting either."""
        if _is_data_fault(error):
            log.error("store.broken_data", script=call.name, keys=call.keys, error=str(error))
            return _unavailable(NoAnswer.BROKEN.name)
        return self._refused(error)

    def _refused(self, error: Exception) -> errors.StoreUnavailable:
        """Give what to raise for an error, noting it if the server is there and has refused."""
        if isinstance(error, errors.StoreUnavailable):
            return error
        self._health.refused(error)
        return _unavailable(type(error).__name__)


def _unavailable(why: str) -> errors.StoreUnavailable:
    return errors.StoreUnavailable(f"the store did not take the call: {why}", retry_after_seconds=1)


def _is_data_fault(error: Exception) -> bool:
    return type(error) is ResponseError and str(error).startswith(DATA_FAULTS)


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[Store]:
    """Open the store at a URL that `gateway.redis_url` tells of; nothing is sent before the first call."""
    place, health = redis_url.parse(url), Health()
    async with contextlib.AsyncExitStack() as stack:
        servers: Single | Cluster
        match place.kind:
            case "server":
                servers = Single(Server(place.name, connections.pool(url), health))
            case "sentinel":
                pool, sentinels = connections.master_pool(place)
                stack.push_async_callback(sentinels.aclose)
                servers = Single(Server(place.name, pool, health))
            case "cluster":
                servers = Cluster(
                    place.addresses,
                    lambda address: Server(redis_url.show(address), connections.pool(place.at(address)), health),
                    health,
                )
        opened = Store(servers, health, guarded=place.kind == "cluster")
        stack.push_async_callback(opened.aclose)
        yield opened
