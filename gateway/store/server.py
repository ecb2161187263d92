"""One server of the store: every call has a deadline, and while the server is away calls fail at once.

The client library's own repetition is off, since it would repeat writes up to ten times. A call is made a second time
only when its connection turns out to be dead, over a new one: a server that was started again has closed them all.
A call that is not taken makes the server `away`. From then on one probe at a time knocks, each over a connection of
its own, and no call waits for what the others have found out: however many calls a request makes one after the
other, and however many requests there are, a black hole costs each of them one deadline at most.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, cast

import redis.asyncio as redis
import structlog
from redis.exceptions import (
    AskError,
    ClusterDownError,
    InvalidResponse,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway import errors, metrics
from gateway.deadlines import Within
from gateway.store.health import Health
from gateway.store.lane import Lane

CALL_SECONDS = 1.6
"""Bound of one call, with all its repetitions: a request is answered within 2 s of a store that is a black hole."""

PROBE_SECONDS = 0.8
PROBE_PAUSE_SECONDS = 0.1
"""A probe that began just before the server came back fails yet: together they stay below a second."""

PROBE = "#!lua flags=allow-oom\nreturn 1"
"""Passes on a full store, which still gives; not on a replica, nor while writes are paused."""

REDIRECTIONS = (AskError, TryAgainError, ClusterDownError)
"""What a cluster's server says of a slot: the cluster knows what to do. (A `MovedError` is an `AskError`.)"""

_DEAD = (RedisConnectionError, InvalidResponse, ReadOnlyError, OSError)
"""Where a new connection may do: among them LOADING, and READONLY of a master that is one no longer."""

T = TypeVar("T")
Command: TypeAlias = Callable[[Any], Awaitable[T]]
"""What is to be done with a server's client, an idempotent thing; the client's own types leave most answers open."""

log = structlog.get_logger(__name__)


class Away(errors.StoreUnavailable):
    """The server did not take the call; whether it was carried out is not known."""


class Server:
    """One server. `name` is for logs; the pool connects when it is first needed."""

    def __init__(self, name: str, pool: redis.ConnectionPool, health: Health) -> None:
        self.name = name
        self.client: Any = cast("Any", redis.Redis(connection_pool=pool))
        self.client.lane = self._lane = Lane(pool)  # for `scripts.send`
        self._pool: Any = pool  # half of it is untyped
        self._health = health
        self._known = False
        self._away: str | None = None
        self._generation = 0  # of connections: those of one are given up together
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock = asyncio.get_running_loop().time

    async def call(self, command: Command[T], deadline: float) -> T:
        """Carry out an idempotent command by the deadline, in the loop's time.

        Raises `Away`, or the server's refusal as the client library's `ResponseError`.
        """
        if self._away is not None:
            metrics.STORE_FAILURES.inc()
            raise self._unavailable(self._away)
        began, generation = self._clock(), self._generation
        try:
            with Within(deadline - began):
                try:
                    with _RESETS_ARE_ERRORS:
                        answer = await command(self.client)
                except _DEAD:
                    if generation == self._generation:  # else another call has done it, and new ones are open
                        self._generation += 1
                        await self._drop_idle()  # the others are probably as dead
                    with _RESETS_ARE_ERRORS:
                        answer = await command(self.client)
        except TimeoutError as error:
            if self._clock() - began > PROBE_SECONDS:  # else the deadline was too near to tell anything of the server
                self._went_away(error)
            raise self._unavailable("no answer in time") from error
        except (*_DEAD, RedisTimeoutError) as error:
            self._went_away(error)
            raise self._unavailable(type(error).__name__) from error
        except ResponseError:
            self._came_back()  # it is there
            raise
        if not self._is_calm():
            self._came_back()
        return answer

    async def ask(self, *command: str | int, seconds: float = PROBE_SECONDS) -> Any:
        """Give the answer to one command over a connection of its own, known away or not; raise as the library does."""
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(seconds):
                with _RESETS_ARE_ERRORS:
                    await connection.connect()
                    await connection.send_command(*command)
                    return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)

    @staticmethod
    async def ping(client: Any) -> None:
        """Raise unless the client's server could take a call now; to be called as a command."""
        await client.eval(PROBE, 0)

    async def aclose(self) -> None:
        """Stop probing and close the connections; those in use close when they are given back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.update_active_connections_for_reconnect()
        await self._drop_idle()
        self._health.is_gone(self.name)

    def _unavailable(self, why: str) -> Away:
        return Away(f"the store did not take the call: {why}", retry_after_seconds=1)

    def _went_away(self, error: BaseException) -> None:
        metrics.STORE_FAILURES.inc()
        if self._away is None:
            self._away = type(error).__name__
            self._health.went_away(self.name, error)
            self._in_background(self._knock())

    def _is_calm(self) -> bool:
        """Tell whether a call that was taken changes nothing of what is known."""
        return self._away is None and self._known and self._health.is_calm

    def _came_back(self) -> None:
        self._away = None
        self._health.took(self.name)
        if not self._known:
            self._known = True
            self._in_background(self._look_at_its_policy())

    async def _knock(self) -> None:
        """Probe until the server answers."""
        await self._drop_idle()
        while self._away is not None:
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
            with _FAILURES_PASS:
                await self.ask("EVAL", PROBE, 0)
                self._came_back()

    async def _look_at_its_policy(self) -> None:
        """Warn of a server that may evict what is written here, as soon as one is connected."""
        with _FAILURES_PASS, _RESETS_ARE_ERRORS:  # nothing depends on being told
            policy = (await self.client.info("memory")).get("maxmemory_policy", "noeviction")
            if policy != "noeviction":
                log.warning(
                    "store.may_evict",
                    server=self.name,
                    policy=policy,
                    advice="set maxmemory-policy to noeviction: replies on their way are evicted otherwise",
                )

    async def _drop_idle(self) -> None:
        await self._lane.drop()
        with _FAILURES_PASS, _RESETS_ARE_ERRORS:
            await self._pool.disconnect(inuse_connections=False)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _ResetsAreErrors:
    """Tells a write to a connection that was reset before as the connection's error; uvloop says a bare RuntimeError.

    A class, since every call of the store meets it, and a generator's context costs several times as much.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RuntimeError) and "handler is closed" in str(error):
            raise RedisConnectionError("the connection was reset") from error


_RESETS_ARE_ERRORS = _ResetsAreErrors()


class _FailuresPass:
    """Passes over what goes wrong with the server, and over a cancellation that nobody has asked this task for.

    The library waits for the end of a closing connection in the task of whoever closes it. When one of several who do
    is cancelled, all of them hear of it: a probe that took that for its own end would leave the server away for ever.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            return task is not None and not task.cancelling()
        return isinstance(error, (RedisError, OSError))  # a TimeoutError is an OSError


_FAILURES_PASS = _FailuresPass()
