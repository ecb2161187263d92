"""The gateway as a subject: `gateway serve` with everything on, and conversations that it has itself written."""

import asyncio
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from bench import requests, wire
from bench.mock_v3 import CHECK_KEY
from bench.subjects import ROOT, Subject
from bench.world import World
from gateway import auth, keys
from gateway.store import scripts

SECRET = "a-secret-of-the-bench-long-enough"
SETTLE_SECONDS = 0.2
CHUNK = 2_000


class Gateway(Subject):
    """`gateway serve` from a source tree: this one, or an earlier one to compare with."""

    def __init__(self, tree: Path = ROOT, name: str = "gateway", *, workers: int = 1, **settings: str) -> None:
        super().__init__()
        self.name = name
        self.label = "**the gateway**" if tree == ROOT else f"the gateway of {tree.name}"
        self.directory = tree  # where `python -m` imports from first
        self._settings = settings | {"workers": str(workers)}

    def command(self, world: World) -> Sequence[str]:  # noqa: ARG002 — all is in the environment
        """Run the gateway's own command."""
        return [sys.executable, "-m", "gateway", "serve"]

    def environment(self, world: World) -> Mapping[str, str]:
        """Set what has no default, and nothing that makes it cheaper."""
        settings = {
            "port": self.port,
            "redis_url": f"redis://127.0.0.1:{world.store_port}/0",
            "secret": SECRET,
            "v3_url": f"http://127.0.0.1:{world.v3_port}",
            "webhook_allow": "127.0.0.0/8",
            "settle_seconds": SETTLE_SECONDS,
            **self._settings,
        }
        return {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}

    async def know(self, world: World, *, history: int, users: int) -> None:
        """Lead one conversation through a whole turn, and write its directory entry for every user."""
        entry = await self._one_whole_turn(world, history)
        await world.flush()
        await self._write_conversations(world, entry, range(users), requests.LOAD_KEY)
        await self._write_conversations(world, entry, range(1), CHECK_KEY)

    async def _one_whole_turn(self, world: World, history: int) -> dict[str, str]:
        items = requests.history(history)
        first, said, replied = items[:-2], items[-2:-1], items[-1:]
        message = said[0]["content"][0] if said else "Hello?"
        request = requests.complete(first, webhook=world.recorded_webhook, message=message, min_delay=0, max_delay=0)
        world.recorder.requests.clear()
        pool = wire.Pool(self.port)
        body = requests.filled(requests.template(request), user=0, number=0)
        reply = await pool.post("/v2/complete", body, CHECK_KEY)
        self._require(reply.status == 200, f"answered {reply.status}: {reply.body[:200]!r}")
        [created] = [json.loads(body) for body in world.recorder.of("POST", "/api/conversations")]
        name = conversation(world, CHECK_KEY, 0).directory
        callback = created["webhook"].split(f":{self.port}", 1)[1]
        for number, text in enumerate(replied[0]["content"] if replied else ["Hello!"]):
            told = {
                "event": "message.created",
                "conversation_id": (await read_entry(world, name))["id"],
                "message": {"id": f"m-{number}", "text": text, "from_bot": True, "sent_at": int(time.time())},
            }
            taken = await pool.post(callback, json.dumps(told).encode())
            self._require(taken.status == 200, f"took a callback with {taken.status}")
        pool.close()
        deadline = time.monotonic() + 10
        while not world.recorder.of("POST", "/hooks/reply"):
            self._require(time.monotonic() < deadline, "delivered nothing")
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # the relay records it in its next round
        return await read_entry(world, name)

    async def _write_conversations(
        self, world: World, entry: Mapping[str, str], users: Sequence[int], key: str
    ) -> None:
        """Write one conversation's directory entry for many users, as the tree's own script does it."""
        sha = await world.store.script_load(_script(self.directory, "restore_conversation"))
        for begin in range(0, len(users), CHUNK):
            pipeline = world.store.pipeline(transaction=False)
            for user in users[begin : begin + CHUNK]:
                parts = dict(entry)
                upstream_id = parts["id"] = requests.upstream_id(user)
                if "meta" in parts:
                    for old, new in (
                        (_tenant(CHECK_KEY), _tenant(key)),
                        ("user-0", f"user-{user}"),
                        ("57-0", f"57-{user}"),
                    ):
                        parts["meta"] = parts["meta"].replace(f'{old}"', f'{new}"')
                name = conversation(world, key, user).directory
                flat = chain.from_iterable(parts.items())
                pipeline.evalsha(sha, 1, name, 0, upstream_id, keys.CONVERSATION_TTL_SECONDS, *flat)
            await pipeline.execute()


class Callbacks:
    """The upstream's calls of the gateway, about the conversations that the gateway is made to know."""

    def __init__(self, world: World, pool: wire.Pool) -> None:
        self._world = world
        self._pool = pool
        self._tokens = auth.Tokens([SECRET.encode()])

    async def say(self, user: int, message_id: str, text: str) -> int:
        """Tell one message of the bot to a user of the load; give the answer's status."""
        token = self._tokens.sign(conversation(self._world, requests.LOAD_KEY, user).digest)
        told = {
            "event": "message.created",
            "conversation_id": requests.upstream_id(user),
            "message": {"id": message_id, "text": text, "from_bot": True},
        }
        return (await self._pool.post(f"/callbacks/v3/{token}", json.dumps(told).encode())).status


def conversation(world: World, key: str, user: int) -> keys.ConversationKeys:
    """Give the store's keys of a user's conversation."""
    return keys.ConversationKeys(
        keys.conversation_digest(
            dialect="v3",
            base_url=f"http://127.0.0.1:{world.v3_port}",
            tenant=_tenant(key),
            bot_id=requests.BOT,
            user_id=f"user-{user}",
        )
    )


async def read_entry(world: World, name: str) -> dict[str, str]:
    """Read a conversation's entry in the directory, by the names of its parts."""
    if await world.store.type(name) == "hash":  # of an earlier source tree
        fields: dict[str, str] = await world.store.hgetall(name)
        return fields
    parts = await world.store.eval(_script(ROOT, "read_conversation"), 1, name, 0)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@functools.cache
def _tenant(key: str) -> str:
    return auth.Authenticator([SECRET.encode()], {}).authenticate(f"Bearer {key}").tenant


def _script(tree: Path, name: str) -> str:
    return scripts.source(tree / "gateway" / "scripts", name)
