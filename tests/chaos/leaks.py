"""Searches everything that the gateway has written for what it must not write: keys anywhere, texts in its output."""

import re
from collections.abc import Iterable, Iterator

import httpx

from tests.chaos.clients import Clients
from tests.chaos.world import World

_TEXT = re.compile(rb"\[c\d+\.\d+\]|You said")
_CRASH = re.compile(rb"Traceback \(most recent call last\)|\"event\": ?\"(request|relay\.round|delivery)[._]failed\"")
AROUND = 60


async def search(world: World, clients: Clients) -> list[str]:
    """Give each place where something is that must not be there."""
    found = []
    outputs = {replica.process.name: replica.process.output.read_bytes() for replica in world.replicas}
    for replica in world.replicas:
        try:
            answer = await world.control.get(f"{replica.url}/metrics", timeout=5)
            outputs[f"the metrics of {replica.process.name}"] = answer.content
        except httpx.HTTPError:
            continue  # the replica has ended: a violation of its own
    secrets = [*clients.keys, *clients.secrets.values()]
    for name, content in outputs.items():
        found += [f"{name} holds a secret: …{context}…" for context in _contexts(content, secrets)]
        if text := _TEXT.search(content):
            found.append(f"{name} holds a message: …{_around(content, text.start())}…")
    for path in sorted((world.directory / "store").rglob("*.aof")):
        content = path.read_bytes()
        found += [
            f"the store's {path.name} holds an API key: {context}" for context in _contexts(content, clients.keys)
        ]
    return found


def crashes(world: World) -> list[str]:
    """Give the processes that have ended by themselves, and the errors that nobody foresaw in their output."""
    found = [f"{one.process.name} has ended by itself" for one in world.replicas if not one.process.is_running]
    for replica in world.replicas:
        content = replica.process.output.read_bytes()
        seen = list(_CRASH.finditer(content))
        if seen:
            found.append(f"{replica.process.name} logs {len(seen)} failures: {_around(content, seen[0].start(), 300)}")
    return found


def _contexts(content: bytes, secrets: Iterable[str]) -> Iterator[str]:
    for secret in secrets:
        place = content.find(secret.encode())
        if place >= 0:
            yield _around(content, place)


def _around(content: bytes, place: int, after: int = AROUND) -> str:
    return content[max(place - AROUND, 0) : place + after].decode(errors="replace").replace("\n", " ")
