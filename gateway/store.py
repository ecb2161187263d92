"""The one door to Redis: the client and its limits, the scripts by name, failures told as `StoreUnavailable`."""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, TypeAlias, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from gateway import errors

CALL_TIMEOUT_SECONDS = 1.8
"""Bound of one call with its one retry: a request is answered within 2 s of a store that has become a black hole."""

SOCKET_TIMEOUT_SECONDS = 1.5
CONNECT_TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 64

Argument: TypeAlias = str | bytes | int | float
Answer: TypeAlias = Any
"""What a script returns, as decoded by the client: each script's head says its shape."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One transition of the store, from `gateway/scripts/NAME.lua`."""

    name: str
    source: str
    sha: str


@functools.cache
def script(name: str) -> Script:
    """Load a script by its file's name."""
    source = resources.files("gateway.scripts").joinpath(f"{name}.lua").read_text()
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Store:
    """Runs the store's scripts and commands with bounds; every failure of the store is `StoreUnavailable`.

    `clock_offset_ms` is added to Redis's own time by every script: tests move it, production leaves it at zero.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.redis: Any = client  # its own types leave most answers open
        self.clock_offset_ms = 0

    async def run(self, name: str, keys: Sequence[str], *arguments: Argument) -> Answer:
        """Run a script; it may run twice when the connection breaks, so that every script is idempotent."""
        return await self.call(lambda: self._evaluate(script(name), keys, arguments))

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Run an idempotent command within the bounds, once more if a pooled connection turns out to be dead."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                try:
                    return await command()
                except RedisConnectionError:
                    return await command()
        except (RedisError, OSError, TimeoutError) as error:
            message = f"the store did not take the call: {type(error).__name__}"
            raise errors.StoreUnavailable(message, retry_after_seconds=1) from error

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers."""
        await self.call(self.redis.ping)

    async def _evaluate(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Answer:
        call = (len(keys), *keys, self.clock_offset_ms, *arguments)
        try:
            return await self.redis.evalsha(script.sha, *call)
        except NoScriptError:  # a fresh, flushed or restarted server: EVAL loads it
            return await self.redis.eval(script.source, *call)


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[Store]:
    """Open the store at a `redis://`, `rediss://` or `unix://` URL; nothing is sent before the first call."""
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=CALL_TIMEOUT_SECONDS,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),  # the client's own retry would repeat writes up to ten times
        decode_responses=True,
        # Unix sockets know no connect timeout.
        **({} if url.startswith("unix:") else {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS}),
    )
    client = redis.Redis(connection_pool=pool)
    try:
        yield Store(client)
    finally:
        await client.aclose()
        await pool.disconnect()
