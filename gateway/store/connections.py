"""How connections to the store's servers are made: bounded, pooled, and never repeating a command by themselves."""

from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from gateway.redis_url import RedisUrl
from gateway.store.server import CALL_SECONDS

CONNECT_SECONDS = 1.0
SENTINEL_SECONDS = 0.4
"""For each step of asking a sentinel: the next one is asked within the bound of the call."""

MAX_CONNECTIONS = 64


class MasterPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the master that the sentinels name; whoever finds none free waits."""


def pool(url: str) -> redis.BlockingConnectionPool:
    """Give a pool for the server at a `redis://`, `rediss://` or `unix://` URL; it connects when it is used."""
    # Unix sockets know no connect timeout.
    connecting = {} if url.startswith("unix:") else {"socket_connect_timeout": CONNECT_SECONDS}
    return redis.BlockingConnectionPool.from_url(url, **_bounds(), **connecting)


def master_pool(url: RedisUrl) -> tuple[MasterPool, Sentinel]:
    """Give a pool for the master of a service, and the sentinels, which are to be closed after it."""
    options: dict[str, Any] = {**redis.connection.parse_url(url.at(url.addresses[0]))}
    tls = issubclass(options.pop("connection_class", redis.Connection), redis.SSLConnection)
    for name in ("host", "port"):
        del options[name]
    asking: dict[str, Any] = {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "username": options.pop("sentinel_username", None),
        "password": options.pop("sentinel_password", None),
    }
    if tls:
        asking |= {"ssl": True} | {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels = Sentinel(url.addresses, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    connection = SentinelManagedSSLConnection if tls else SentinelManagedConnection
    bounds = _bounds() | {"connection_class": connection, "socket_connect_timeout": CONNECT_SECONDS}
    return MasterPool(url.service, sentinels, **(bounds | options)), sentinels  # type: ignore[no-untyped-call]


def _bounds() -> dict[str, Any]:
    return {
        "max_connections": MAX_CONNECTIONS,
        "timeout": CALL_SECONDS,
        "socket_timeout": None,  # every call has a deadline of its own; the library's would write in a task of its own
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
    }
