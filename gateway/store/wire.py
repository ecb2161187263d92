"""A connection to a server as the loop's own protocol: commands go out, answers come in, told apart by their order.

The client library has connected it and greeted the server, with all that it knows of TLS and passwords; from then on
a call is a write and a future. Through the library's streams it would be a coroutine for the write, one for each
answer, and a wake-up in between: 437,000 instructions more for a turn's two scripts, with what is around them, where
the whole turn has 3,233,000. What is sent in one turn of the loop leaves in one write, the dearest part of a call: a
system call that carries the bytes all the way to the server's socket.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from hiredis import PushNotification
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError


class Wire(asyncio.Protocol):
    """Takes over a connection of the client library's that is connected and on which nothing is asked.

    `is_over`: it has broken or was closed; nothing may be sent any more.
    """

    def __init__(self, connection: Any) -> None:
        self.is_over = False
        self._loop = asyncio.get_running_loop()
        self._connection = connection  # whose streams close the transport when they are collected
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001 — the library has no way
        self._reader: Any = connection._parser._reader  # noqa: SLF001 — for it; a test holds what is assumed here
        self._unsent: list[bytes] = []
        self._expected: deque[tuple[asyncio.Future[list[Any]], int]] = deque()
        self._answers: list[Any] = []  # to the first call that is expected, as far as they have come
        self._aside: set[asyncio.Task[None]] = set()
        self._transport.set_protocol(self)
        self.data_received(bytes(connection._reader._buffer))  # noqa: SLF001 — what the server said on its own account

    def send(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send so many commands; give their answers, where a refusal is the error for an answer.

        Raises the library's `ConnectionError`, or its word for an answer that is none, when the connection breaks:
        some commands may have been carried out. Whoever is cancelled leaves his answers to come, and be dropped.
        """
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(packed)
        whole: asyncio.Future[list[Any]] = self._loop.create_future()
        self._expected.append((whole, count))
        return whole

    async def close(self) -> None:
        """Close the connection; calls under way fail as if it had broken."""
        self._end(RedisConnectionError("the connection was dropped"))
        if self._aside:
            await asyncio.wait(self._aside)

    def _end(self, error: Exception) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._do_aside(self._connection.disconnect(nowait=True))
        unanswered, self._expected = self._expected, deque()
        for whole, _ in unanswered:
            if not whole.done():
                whole.set_exception(error)

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self.is_over:
            return
        try:
            self._transport.write(b"".join(unsent))
        except RuntimeError:  # uvloop's word for a connection that was reset, and whose loss it has not told yet
            self._end(RedisConnectionError("the connection was reset"))

    def data_received(self, data: bytes) -> None:
        """Take what has come of answers."""
        reader = self._reader
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not NOT_ENOUGH_DATA:
                if isinstance(answer, PushNotification):
                    self._note(answer)
                elif isinstance(answer, RedisConnectionError):  # the server loads its file, or has too many clients
                    self._end(answer)
                else:
                    self._take(answer)
        except (RedisError, UnicodeDecodeError) as odd:
            self._end(odd if isinstance(odd, RedisError) else RedisConnectionError("an answer that is no text"))

    def _take(self, answer: Any) -> None:
        if not self._expected:
            self._end(RedisConnectionError("an answer that nobody has asked for"))
            return
        whole, count = self._expected[0]
        self._answers.append(answer)
        if len(self._answers) == count:
            self._expected.popleft()
            if not whole.done():
                whole.set_result(self._answers)
            self._answers = []

    def _note(self, news: PushNotification) -> None:
        """Let the library handle what the server tells on its own account: that it is about to move, for one."""
        self._do_aside(self._connection._parser.handle_push_response(news))  # noqa: SLF001

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, name="store-wire")
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who wait."""
        self._end(RedisConnectionError(str(exc) if exc else "the connection was closed"))
