"""What is compared: each subject started in the same way, given the same conversations, checked for the same work."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx

from bench import processes, requests, wire
from bench.machine import SUBJECT_CORE
from bench.mock_v3 import CHECK_KEY
from bench.world import World, free_port
from gateway import sandbox

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class Unfit(Exception):
    """A subject that does not do the work; its figures would mean nothing."""


class Subject(ABC):
    """One way to carry the front half of a turn. `port` is where it listens once started."""

    name: str
    label: str

    def __init__(self) -> None:
        self.port = 0
        self.output: Path | None = None
        self.directory = ROOT
        self.cores = {SUBJECT_CORE}

    def missing(self) -> str | None:
        """Say what it needs and this machine lacks; None when it can run."""
        return None

    @abstractmethod
    def command(self, world: World) -> Sequence[str]:
        """Give the command that starts it on `port`."""

    def environment(self, world: World) -> Mapping[str, str]:
        """Give what it reads from the environment."""
        return {"PORT": str(self.port), "REDIS_PORT": str(world.store_port), "V3_PORT": str(world.v3_port)}

    @abstractmethod
    async def know(self, world: World, *, history: int, users: int) -> None:
        """Make the conversations of so many users known to it, as if their last turn were over."""

    async def check(self, world: World, template: bytes, message: str) -> None:
        """Send one request and raise `Unfit` unless it was acknowledged, posted upstream once, and remembered.

        What it posted is posted to a sandbox, too, which takes what the vendor takes and nothing else.
        """
        world.recorder.requests.clear()
        pool = wire.Pool(self.port)
        reply = await pool.post("/v2/complete", requests.filled(template, user=0, number=0), CHECK_KEY)
        pool.close()
        self._require(reply.status == 200, f"answered {reply.status}: {reply.body[:200]!r}")
        ack = json.loads(reply.body)
        self._require(ack["status"] == "accepted" and ack["conversation_id"] == "chat-57-0", f"acknowledged {ack}")
        self._require(ack["bot_id"] == requests.BOT and bool(ack["message_id"]), f"acknowledged {ack}")
        calls = [f"{method} {path}" for method, path, _ in world.recorder.requests]
        self._require(len(calls) == 1 and calls[0].endswith("/messages"), f"called upstream: {calls}")
        posted = json.loads(world.recorder.requests[0][2])["message"]
        self._require(posted["text"] == message and posted["from_bot"] is False, f"posted {posted}")
        self._require(await _taken(world.recorder.requests[0][2]) == [message], "posted what the sandbox does not take")
        webhook = json.loads(template)["webhook"]
        kept = [
            key
            async for key in world.store.scan_iter("*", count=10_000, _type="hash")
            if ":turn:" in key and await world.store.hget(key, "webhook") == webhook
        ]
        self._require(len(kept) == 1 and await world.store.ttl(kept[0]) > 0, f"remembers {kept}")

    def _require(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 — an assertion that names the subject
        if not holds:
            raise Unfit(f"{self.name} {otherwise}")

    @contextlib.asynccontextmanager
    async def running(self, world: World) -> AsyncIterator[processes.Process]:
        """Run it, pinned, until the context closes."""
        self.port = free_port()
        self.output = world.directory / f"{self.name}.log"
        command, environment = self.command(world), self.environment(world)
        with processes.started(
            self.name, command, cores=self.cores, environment=environment, directory=self.directory, output=self.output
        ) as process:
            await processes.listening(self.port, self.name)
            yield process


async def _taken(posted: bytes) -> list[str]:
    """Post it to a conversation of a sandbox's; give what the user has said there then."""
    async with (
        sandbox.serve(sandbox.SandboxSettings().fast()) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {CHECK_KEY}"}, trust_env=False) as http,
    ):
        wanted = {"bot_id": requests.BOT, "user_id": "user-0", "create_user_if_not_exists": True}
        created = await http.post("/api/conversations", json=wanted)
        path = f"/api/conversations/{created.json()['conversation']['id']}"
        await http.post(f"{path}/messages", content=posted, headers={"Content-Type": "application/json"})
        messages = (await http.get(path)).json()["messages"]
        return [message["text"] for message in messages if not message["from_bot"]]


class ByHand(Subject):
    """A subject with the plain layout of the hand-written ones: `NAME:conv:TENANT:BOT:USER` names the conversation."""

    async def know(self, world: World, *, history: int, users: int) -> None:  # noqa: ARG002 — it knows no history
        """Write the directory's entries."""
        for key in (requests.LOAD_KEY, CHECK_KEY):
            tenant = hashlib.md5(key.encode()).hexdigest()
            names = [f"{self.name}:conv:{tenant}:{requests.BOT}:user-{number}" for number in range(users)]
            await world.store.mset({name: requests.upstream_id(number) for number, name in enumerate(names)})


class Nginx(ByHand):
    """A subject that is a configuration of nginx."""

    file: str

    def missing(self) -> str | None:
        """Need nginx."""
        return None if shutil.which("nginx") else "nginx is not installed"

    def command(self, world: World) -> Sequence[str]:
        """Write the configuration with this run's ports in it."""
        place = world.directory / self.name
        place.mkdir(exist_ok=True)
        text = (HERE / "nginx" / self.file).read_text()
        values = {"DIR": place, "HERE": HERE / "nginx", "PORT": self.port, "V3": world.v3_port}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        (place / "nginx.conf").write_text(text)
        return ["nginx", "-c", str(place / "nginx.conf"), "-p", str(HERE.parent.parent), "-e", str(place / "nginx.log")]


class PassThrough(Nginx):
    """The floor: nginx hands the request on as it is."""

    name, label, file = "passthrough", "nginx, pass-through (the floor)", "passthrough.conf"

    async def check(self, world: World, template: bytes, message: str) -> None:  # noqa: ARG002 — it passes all on
        """Raise `Unfit` unless the body arrived upstream byte for byte."""
        world.recorder.requests.clear()
        pool = wire.Pool(self.port)
        body = requests.filled(template, user=0, number=0)
        reply = await pool.post("/v2/complete", body, CHECK_KEY)
        pool.close()
        self._require(reply.status == 200, f"answered {reply.status}")
        self._require([one[2] for one in world.recorder.requests] == [body], "did not pass the body on")


class Lua(Nginx):
    """The front half by hand, in Lua inside nginx."""

    name, label, file = "nginx", "nginx + Lua + Redis, by hand", "lua.conf"

    def missing(self) -> str | None:
        """Need the modules where Debian puts them."""
        modules = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
        cjson = any(Path("/usr/lib").glob("*/lua/5.1/cjson.so"))
        return super().missing() or (
            None if modules.exists() and cjson else "nginx's Lua module or lua-cjson is missing"
        )


class Node(ByHand):
    """The front half by hand, on Node."""

    name, label = "node", "Node: http + undici + ioredis, by hand"

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self._place = cache / "node"

    def missing(self) -> str | None:
        """Need Node, and its two libraries from npm: they are installed outside the project."""
        if not (shutil.which("node") and shutil.which("npm")):
            return "node or npm is not installed"
        self._place.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "server.js"):
            shutil.copy(HERE / "node" / file, self._place)
        if not (self._place / "node_modules" / "undici").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
            if subprocess.run(command, cwd=self._place, capture_output=True, check=False).returncode:
                return "npm could not install undici and ioredis"
        return None

    def command(self, world: World) -> Sequence[str]:  # noqa: ARG002 — its ports are in the environment
        """Run the server."""
        return ["node", str(self._place / "server.js")]


class Idiomatic(ByHand):
    """The front half as Python teams write it first."""

    name, label = "python", "Python: starlette + uvicorn + httpx + redis-py + pydantic"

    def command(self, world: World) -> Sequence[str]:  # noqa: ARG002 — its ports are in the environment
        """Run the server."""
        return [sys.executable, str(HERE / "idiomatic.py")]
