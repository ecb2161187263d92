"""One connection that the calls of many turns share: each leaves at once, answers are matched by their order.

The client library gives every command a connection of its own, and with it a place in a pool, a lock, a look at the
socket, and time limits for the write and for the read. Here a call is a write and a future, and calls that are made
in one turn of the loop leave together (`wire`).
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.store.wire import Wire

Argument: TypeAlias = str | bytes | int | float

OPENING_SECONDS = 1.0
"""For connecting and for the greetings, which a server that is frozen never answers."""


class Lane:
    """The shared connection to one server: opened when it is first needed, and anew when it has broken.

    Whoever is cancelled leaves the connection as it is: his answer comes and is dropped.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._wire: Wire | None = None
        self._opening: asyncio.Task[None] | None = None

    def run(self, commands: Sequence[tuple[Argument, ...]]) -> Awaitable[list[Any]]:
        """Carry out commands in order, in one round trip; what the server refuses has the error for an answer.

        Raises the library's `ConnectionError` when the connection breaks; some commands may have been carried out.
        """
        packed = b"".join(map(pack_command, commands))  # type: ignore[arg-type]  # tuples of any length
        wire = self._wire
        if wire is None or wire.is_over:
            return self._run_when_open(packed, len(commands))
        return wire.send(packed, len(commands))

    async def _run_when_open(self, packed: bytes, count: int) -> list[Any]:
        wire = self._wire
        while wire is None or wire.is_over:
            await self._opened()
            wire = self._wire
        return await wire.send(packed, count)

    async def drop(self) -> None:
        """Close the connection; calls under way fail as if it had broken."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._wire is not None:
            await self._wire.close()

    async def _opened(self) -> None:
        """Wait for the connection, together with all who need one."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="store-lane-opening")
            self._opening.add_done_callback(_look_at)
        opening = self._opening
        await asyncio.wait([opening])  # whoever is cancelled here leaves it to the others
        if opening.cancelled():  # dropped before it began
            raise RedisConnectionError("the connection was dropped")
        opening.result()

    async def _open(self) -> None:
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                await connection.connect()
        except (TimeoutError, asyncio.CancelledError) as error:  # dropped: whoever waits for it is not cancelled
            await connection.disconnect(nowait=True)
            raise RedisConnectionError("the connection did not open") from error
        self._wire = Wire(connection)


def _look_at(opening: asyncio.Task[None]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not opening.cancelled():
        opening.exception()
