"""Real servers of a test's own: one that can be killed and started again, a cluster, a master with its sentinels.

They are the binary that the embedded store runs, on ports of 127.0.0.1, and keep their data in a directory.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from gateway.embedded import engine
from tests.free_ports import free_ports

START_SECONDS = 15
SLOTS = 16384


class Server:
    """One server. What it has acknowledged is kept when it is killed, unless it is started without its file."""

    def __init__(
        self,
        directory: Path,
        port: int,
        *options: str,
        bus: int | None = None,
        durable: bool = True,
        configuration: str | None = None,
    ) -> None:
        self.port = port
        self.bus = bus
        self.process: Process | None = None
        self._directory = directory
        file = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        of_cluster = ["--cluster-enabled", "yes", "--cluster-port", str(bus)] if bus else []
        place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
        self._options = [*place, "--save", "", "--repl-diskless-sync-delay", "0", *file, *of_cluster, *options]
        if configuration:
            self._options = [configuration, "--sentinel"]
        self.client: Any = redis.Redis(
            port=port, decode_responses=True, retry=Retry(NoBackoff(), 1), socket_timeout=5, max_connections=8
        )

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it takes commands."""
        self._directory.mkdir(exist_ok=True)
        command = [str(engine.find()), *self._options]
        if engine.DEATH_SIGNAL:  # a test run that is killed leaves nothing behind
            command = [sys.executable, "-I", "-S", str(engine._DIE_WITH_PARENT), str(os.getpid()), *command]
        self.process = await asyncio.create_subprocess_exec(*command, cwd=self._directory, stdout=DEVNULL)
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError):
                    await self.client.ping()
                    return
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """Kill it as it is."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            await self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Stop its process where it stands: it takes connections and answers nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its process go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    async def replicated(self) -> None:
        """Wait until a replica has what has been written until now; what it has not may be lost with this server."""
        async with self.client.client() as one:
            await one.ping()  # waiting is for what came before a connection's last command
            if not await one.execute_command("WAIT", 1, 1000 * START_SECONDS):
                raise TimeoutError("no replica has it")

    async def aclose(self) -> None:
        """Kill it, and close the connections to it."""
        await self.client.aclose()
        await self.kill()


@contextlib.asynccontextmanager
async def running_server(directory: Path, *options: str) -> AsyncIterator[Server]:
    """Run one server."""
    [port] = free_ports(1)
    server = Server(directory / "server", port, *options)
    try:
        await server.start()
        yield server
    finally:
        await server.aclose()


class Cluster:
    """A cluster of masters, and of replicas if asked for, whose slots can be moved."""

    def __init__(self, masters: Sequence[Server], replicas: Sequence[Server]) -> None:
        self.masters = masters
        self.replicas = replicas
        self.ids: dict[Server, str] = {}

    @property
    def servers(self) -> list[Server]:
        """All of them."""
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        """The URL of it for the gateway: two of its masters."""
        return f"redis+cluster://127.0.0.1:{self.masters[0].port},127.0.0.1:{self.masters[1].port}"

    async def assemble(self) -> None:
        """Make one cluster of the servers, each master with its share of the slots."""
        first = self.masters[0]
        for number, server in enumerate(self.masters):
            share = number * SLOTS // len(self.masters), (number + 1) * SLOTS // len(self.masters) - 1
            await server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", *share)
            await server.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            await server.client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        for server in self.servers:
            self.ids[server] = await server.client.execute_command("CLUSTER", "MYID")
        await self.settled()
        for number, replica in enumerate(self.replicas):
            master = self.masters[number % len(self.masters)]
            await replica.client.execute_command("CLUSTER", "REPLICATE", self.ids[master])
        await self.settled()

    async def settled(self) -> None:
        """Wait until all servers that run agree that all is well, and every replica follows its master."""
        async with asyncio.timeout(START_SECONDS):
            for server in self.servers:
                while server.process and not await self._is_well(server):
                    await asyncio.sleep(0.02)

    async def _is_well(self, server: Server) -> bool:
        info = str(await server.client.execute_command("CLUSTER", "INFO"))
        nodes = str(await server.client.execute_command("CLUSTER", "NODES"))
        replication = await server.client.info("replication")
        return (
            "cluster_state:ok" in info
            and f"cluster_known_nodes:{len(self.servers)}" in info
            and "handshake" not in nodes
            and replication.get("master_link_status", "up") == "up"
        )

    async def owner(self, slot: int) -> Server:
        """Tell which master has a slot."""
        for server in self.servers:
            if not server.process:
                continue
            for first, last, place, *_ in await _slots(server):
                if first <= slot <= last:
                    return next(each for each in self.servers if each.port == place[1])
        raise LookupError(slot)

    async def begin_to_move(self, slot: int, target: Server) -> Server:
        """Declare a slot to be on the move to another master; give the one that has it."""
        source = await self.owner(slot)
        await target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        await source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])
        return source

    async def move_keys(self, slot: int, source: Server, target: Server, most: int | None = None) -> int:
        """Move so many of a slot's keys, all of them unless told; give how many."""
        moved = 0
        while most is None or moved < most:
            keys = await source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1)
            if not keys:
                break
            await source.client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        return moved

    async def finish_to_move(self, slot: int, target: Server) -> None:
        """Give a slot whose keys have moved to its new master."""
        for server in (target, *(each for each in self.masters if each is not target)):
            await server.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])


async def _slots(server: Server) -> list[Any]:
    async with server.client.client() as raw:
        raw.response_callbacks.pop("CLUSTER SLOTS", None)
        return list(await raw.execute_command("CLUSTER SLOTS"))


@contextlib.asynccontextmanager
async def running_cluster(directory: Path, *, masters: int = 3, replicas: int = 0) -> AsyncIterator[Cluster]:
    """Run a cluster."""
    ports = free_ports(2 * (masters + replicas))
    options = ["--cluster-node-timeout", "1000", "--cluster-allow-replica-migration", "no"]
    servers = [
        Server(directory / f"node-{port}", port, *options, bus=bus, durable=False)
        for port, bus in zip(ports[::2], ports[1::2], strict=True)
    ]
    cluster = Cluster(servers[:masters], servers[masters:])
    try:
        for server in servers:
            await server.start()
        await cluster.assemble()
        yield cluster
    finally:
        for server in servers:
            await server.aclose()


class Sentinels:
    """A master and its replica under three sentinels, in this order: `servers` and `guards`."""

    SERVICE = "the-store"

    def __init__(self, servers: Sequence[Server], guards: Sequence[Server]) -> None:
        self.servers = servers
        self.guards = guards

    @property
    def url(self) -> str:
        """The URL of it for the gateway."""
        places = ",".join(f"127.0.0.1:{guard.port}" for guard in self.guards)
        return f"redis+sentinel://{places}/{self.SERVICE}"

    async def fail_over(self) -> None:
        """Have the sentinels make the replica the master."""
        await self.guards[-1].client.execute_command("SENTINEL", "FAILOVER", self.SERVICE)

    async def settled(self) -> None:
        """Wait until the sentinels know each other and the replica."""
        async with asyncio.timeout(START_SECONDS):
            for guard in self.guards:
                while not await self._is_well(guard):
                    await asyncio.sleep(0.02)

    async def _is_well(self, guard: Server) -> bool:
        state = (await guard.client.sentinel_masters())[self.SERVICE]
        replicas = await guard.client.sentinel_slaves(self.SERVICE)
        links = [each["master-link-status"] == "ok" for each in replicas]
        return state["num-other-sentinels"] == len(self.guards) - 1 and links == [True]


@contextlib.asynccontextmanager
async def running_sentinels(directory: Path) -> AsyncIterator[Sentinels]:
    """Run a master, a replica, and three sentinels that take half a second's silence for a death."""
    ports = free_ports(5)
    master = Server(directory / "master", ports[0])
    replica = Server(directory / "replica", ports[1], "--replicaof", f"127.0.0.1 {ports[0]}")
    name = Sentinels.SERVICE
    guards = []
    for port in ports[2:]:
        place = directory / f"sentinel-{port}"
        place.mkdir()
        (place / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {ports[0]} 2\n"
            f"sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
        )
        guards.append(Server(place, port, configuration="sentinel.conf"))
    sentinels = Sentinels([master, replica], guards)
    try:
        for server in (master, replica, *guards):
            await server.start()
        await sentinels.settled()
        yield sentinels
    finally:
        for server in (*guards, master, replica):
            await server.aclose()


def slot_of(key: str) -> int:
    """Tell a key's slot."""
    return int(key_slot(key.encode()))
