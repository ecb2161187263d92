"""The store's scripts by name, and calls of them."""

import enum
import functools
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeAlias

import msgspec
from redis.exceptions import NoScriptError, ReadOnlyError

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = tuple[Argument, ...]
Answer: TypeAlias = Any
"""What a script returns, as decoded by the client: each script's head says its shape."""


@dataclass(frozen=True, slots=True)
class Script:
    """One transition of the store, from `gateway/scripts/NAME.lua`."""

    name: str
    source: str
    sha: str


class Call(msgspec.Struct, frozen=True):
    """One run of a script. Its keys are on one shard, and there is at least one."""

    name: str
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()


class NoAnswer(enum.Enum):
    """Why a call among several has no answer."""

    BROKEN = "the script met data that it cannot work with; what is wrong is in the log"
    UNTAKEN = "its server did not take the call, or nobody knows whether it did: send it again"


Send: TypeAlias = Callable[[Any, Sequence[Call]], Awaitable[list[Answer | Exception]]]
"""Runs calls with a server's client; a call that the server refused has the error for an answer."""


_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


@functools.cache
def script(name: str) -> Script:
    """Load a script by its file's name."""
    text = source(resources.files("gateway.scripts"), name)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def source(folder: Traversable, name: str) -> str:
    """Give the text of a script in a folder, with what it includes."""
    text = folder.joinpath(f"{name}.lua").read_text()
    return _INCLUDE.sub(lambda line: folder.joinpath(f"{line[1]}.lua").read_text(), text)


async def send(client: Any, calls: Sequence[Call], first_argument: Argument) -> list[Answer | Exception]:
    """Run scripts on one server, in one round trip; give each one's answer, or the error that the server answered.

    A server that does not know a script (it is fresh, was flushed, or has just become the master) is taught it. Raises
    `ReadOnlyError` where the server is a replica.
    """
    commands = [
        ("EVALSHA", script(call.name).sha, len(call.keys), *call.keys, first_argument, *call.arguments)
        for call in calls
    ]
    answers = await _exchange(client, commands)
    for answer in answers:
        if isinstance(answer, Exception):
            await _look_at_refusals(client, calls, commands, answers)
            break
    return answers


async def _look_at_refusals(
    client: Any, calls: Sequence[Call], commands: Sequence[Command], answers: list[Answer | Exception]
) -> None:
    _require_master(answers)
    unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        for name in {calls[index].name for index in unknown}:
            await client.script_load(script(name).source)
        repeated = await _exchange(client, [commands[index] for index in unknown])
        _require_master(repeated)
        for index, answer in zip(unknown, repeated, strict=True):
            answers[index] = answer


def _require_master(answers: Sequence[Answer | Exception]) -> None:
    for answer in answers:
        if isinstance(answer, ReadOnlyError):  # not the call's trouble but the server's
            raise answer


def _exchange(client: Any, commands: Sequence[Command]) -> Awaitable[list[Answer | Exception]]:
    exchanged: Awaitable[list[Answer | Exception]]
    if client.connection is None:
        exchanged = client.lane.run(commands)
    else:  # a connection of its own: what was said on it before counts for these calls
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        exchanged = pipeline.execute(raise_on_error=False)
    return exchanged
