"""What one turn writes to the store, taken down from the server's own words, to be written again for very many turns.

The commands are the gateway's, whatever they are by now: only the conversation's digest with its shard, the turn's id
and the drawn delay are put in anew. So a million conversations with a pending reply take two minutes, and not an hour.
"""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from bench.world import World

DELAY_MILLISECONDS = 604_799_123
"""A delay (under the seven days that are allowed) that is found again among a command's arguments."""

CHUNK = 500
LISTEN_SECONDS = 0.5

_LINE = re.compile(rb"\+[\d.]+ \[\d+ [^\]]*\] (.*)\r\n")
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation with a pending reply: digest, shard prefix, tenant, the webhook's host and the delay."""

    digest: str
    prefix: str
    delay_milliseconds: int
    tenant: str
    host: str


@dataclass(frozen=True, slots=True)
class Recording:
    """The scripts of one turn with one segment, and what is to be put in anew."""

    commands: tuple[tuple[bytes, ...], ...]
    digest: bytes
    prefix: bytes
    turn_id: bytes
    tenant: bytes
    host: bytes

    def encoded(self, item: Item) -> bytes:
        """Give the same commands for another conversation."""
        changes = (
            (self.digest, item.digest.encode()),
            (self.prefix, item.prefix.encode()),
            (self.turn_id, str(uuid.uuid4()).encode()),
            (self.tenant, item.tenant.encode()),
            (self.host, item.host.encode()),
            (str(DELAY_MILLISECONDS).encode(), str(item.delay_milliseconds).encode()),
        )
        return b"".join(self._encode(command, changes) for command in self.commands)

    @staticmethod
    def _encode(command: tuple[bytes, ...], changes: tuple[tuple[bytes, bytes], ...]) -> bytes:
        parts = [b"*%d\r\n" % len(command)]
        for argument in command:
            value = argument
            if len(value) < 512:
                for old, new in changes:
                    value = value.replace(old, new)
            parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
        return b"".join(parts)


class Listener:
    """Takes down the scripts that the store is asked to run."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""

    @classmethod
    async def open(cls, world: World) -> "Listener":
        """Begin to listen."""
        reader, writer = await asyncio.open_connection("127.0.0.1", world.store_port)
        writer.write(b"MONITOR\r\n")
        await reader.readline()
        return cls(reader, writer)

    async def close(self) -> list[tuple[bytes, ...]]:
        """Give the EVALSHA commands so far, in order."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):  # the relay never falls silent
                while True:
                    self._buffer += await self._reader.read(1 << 20)
        self._writer.close()
        words = (tuple(map(_unescaped, _WORD.findall(line))) for line in _LINE.findall(self._buffer))
        return [command for command in words if command and command[0].upper() == b"EVALSHA"]


async def write(world: World, recording: Recording, items: Iterable[Item]) -> float:
    """Write all items; give the seconds that it took. Raises when the store refuses one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.store_port, limit=1 << 24)
    began, pending, chunk = time.monotonic(), 0, bytearray()
    for item in items:
        chunk += recording.encoded(item)
        pending += 1
        if pending == CHUNK:
            await _send(reader, writer, chunk)
            pending, chunk = 0, bytearray()
    await _send(reader, writer, chunk)
    writer.close()
    return time.monotonic() - began


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunk: bytearray) -> None:
    """Send commands and read their answers up to the one to a last command that is ours."""
    mark = uuid.uuid4().hex.encode()
    writer.write(bytes(chunk) + b"*2\r\n$4\r\nECHO\r\n$32\r\n" + mark + b"\r\n")
    answers = await reader.readuntil(mark + b"\r\n")
    if answers.startswith(b"-") or b"\n-" in answers:
        raise RuntimeError(f"the store refused: {answers[answers.index(b'-') :][:200]!r}")


def _unescaped(word: bytes) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        name = found[1]
        return bytes.fromhex(name[1:].decode()) if name[:1] == b"x" and len(name) == 3 else _NAMED.get(name, name)

    return _ESCAPE.sub(one, word)
