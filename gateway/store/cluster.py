"""A Redis Cluster: which server has which slot, found out, kept, and followed when it changes.

The client library's own cluster client is not used, for two reasons that its source shows (8.1): it sends `ASKING` over
one pooled connection and the command over another, so that the server never sees the two together; and one server's
broken connection makes the calls to all the others wait for a new look at the cluster, and closes their connections.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError, ResponseError

from gateway import redis_url
from gateway.redis_url import Address
from gateway.store.health import Health
from gateway.store.scripts import Answer, Call, Send
from gateway.store.server import PROBE_SECONDS, REDIRECTIONS, Away, Command, Server

PAUSE_SECONDS = 0.05
"""Between two tries while a slot is on the move, or while the cluster elects somebody for it."""

LOOK_PAUSE_SECONDS = 0.25
"""Between two looks at the cluster: there is no news in between, and every call may want one."""

MAX_HOPS = 4

T = TypeVar("T")


class Cluster:
    """The servers of a cluster. `make` gives the server at an address; it connects when it is first needed."""

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], Server], health: Health) -> None:
        self._seeds = seeds
        self._make = make
        self._health = health
        self._name = ",".join(redis_url.show(seed) for seed in seeds)
        self._servers: dict[Address, Server] = {}
        self._ranges: list[tuple[int, int, Address]] = []
        self._moved: dict[int, Address] = {}  # what single answers have taught since the last look
        self._look: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._retiring: set[asyncio.Task[None]] = set()

    async def call(self, key: str, command: Command[T], deadline: float, *, patient: bool = True) -> T:
        """Carry out an idempotent command where the key is, wherever that turns out to be, by the deadline.

        A patient call waits for a slot that is on the move, or that somebody is being elected for.
        """
        slot = key_slot(key.encode())
        address = await self._owner(slot, deadline)
        for hop in itertools.count():
            if hop > MAX_HOPS:  # servers that send us to each other
                await self._pause(deadline if patient else 0)
            try:
                return await self._server(address).call(command, deadline)
            except MovedError as moved:
                address = self._moved[slot] = _address(moved, address)
            except AskError as ask:
                with contextlib.suppress(*REDIRECTIONS):
                    return await self._server(_address(ask, address)).call(asking(command), deadline)
                await self._pause(deadline if patient else 0)
            except REDIRECTIONS:
                await self._pause(deadline if patient else 0)
                address = await self._owner(slot, deadline)
            except Away:
                await self._look_around(deadline)
                if address == (address := await self._owner(slot, deadline)):
                    raise
        raise AssertionError  # the count has no end

    async def run(
        self, calls: Sequence[Call], send: Send, deadline: float, *, patient: bool
    ) -> list[Answer | Exception]:
        """Run scripts, those of one server in one round trip, all servers at once; errors are answers."""
        answers: list[Answer | Exception] = [None] * len(calls)
        shares: dict[Address, list[int]] = {}
        for index, call in enumerate(calls):
            try:
                shares.setdefault(await self._owner(key_slot(call.keys[0].encode()), deadline), []).append(index)
            except Away as error:
                answers[index] = error

        async def alone(index: int) -> None:
            """Run one call that was sent elsewhere or whose server is away."""

            async def one(client: Any) -> Answer:
                [answer] = await send(client, [calls[index]])
                if isinstance(answer, REDIRECTIONS):
                    raise answer
                return answer

            try:
                answers[index] = await self.call(calls[index].keys[0], one, deadline, patient=patient)
            except (Away, ResponseError) as error:
                answers[index] = error

        async def share(address: Address, indexes: list[int]) -> None:
            try:
                got = await self._server(address).call(
                    lambda client: send(client, [calls[index] for index in indexes]), deadline
                )
            except Away as error:
                got = [error] * len(indexes)
            for index, answer in zip(indexes, got, strict=True):
                answers[index] = answer
            again = [index for index in indexes if isinstance(answers[index], (Away, *REDIRECTIONS))]
            await asyncio.gather(*(alone(index) for index in again))

        await asyncio.gather(*(share(address, indexes) for address, indexes in shares.items()))
        return answers

    async def ping(self, deadline: float) -> None:
        """Raise `Away` unless some server takes calls: what it has goes on, whatever the others do."""
        await self._look_around(deadline)
        pings = (server.call(Server.ping, deadline) for server in self._servers.values())
        outcomes = await asyncio.gather(*pings, return_exceptions=True)
        if all(isinstance(outcome, Exception) for outcome in outcomes):
            raise Away("no server of the cluster takes calls", retry_after_seconds=1)

    @property
    def servers(self) -> Sequence[Server]:
        """The servers that are known to have slots."""
        return list(self._servers.values())

    async def aclose(self) -> None:
        """Close all connections."""
        if self._look:
            self._look.cancel()
            await asyncio.wait([self._look])
        await asyncio.gather(*self._retiring, *(server.aclose() for server in self._servers.values()))

    def _server(self, address: Address) -> Server:
        if address not in self._servers:
            self._servers[address] = self._make(address)
        return self._servers[address]

    async def _owner(self, slot: int, deadline: float) -> Address:
        address = self._known(slot)
        if address is None:
            await self._look_around(deadline)
            address = self._known(slot)
        if address is None:
            raise Away("no server of the cluster has the slot", retry_after_seconds=1)
        return address

    def _known(self, slot: int) -> Address | None:
        if slot in self._moved:
            return self._moved[slot]
        return next((address for first, last, address in self._ranges if first <= slot <= last), None)

    async def _pause(self, deadline: float) -> None:
        if asyncio.get_running_loop().time() + PAUSE_SECONDS > deadline:
            raise Away("the slot is on the move, or nobody has it", retry_after_seconds=1)
        await asyncio.sleep(PAUSE_SECONDS)

    async def _look_around(self, deadline: float) -> None:
        """Learn who has which slot, together with all who want to know; not again at once."""
        loop = asyncio.get_running_loop()
        if self._look is None or self._look.done():
            if loop.time() - self._looked_at < LOOK_PAUSE_SECONDS:
                return
            self._look = asyncio.create_task(self._learn())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(self._look)

    async def _learn(self) -> None:
        """Take the first answer of any server that we know of."""
        known = dict.fromkeys((*self._servers, *self._seeds))
        asked = [asyncio.create_task(self._ask(address)) for address in known]
        error: Exception = Away("no address is known")
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    self._take(await answer)
                except (RedisError, OSError, TimeoutError, ValueError) as failure:
                    error = failure
                else:
                    self._health.took(self._name)
                    return
            self._health.went_away(self._name, error)
        finally:
            self._looked_at = asyncio.get_running_loop().time()
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, address: Address) -> list[tuple[int, int, Address]]:
        server = self._servers.get(address) or self._make(address)
        answer = await server.ask("CLUSTER", "SLOTS", seconds=PROBE_SECONDS)
        if not answer:
            raise ValueError("a server that knows of no slots")
        # A server that was not told how it is reached gives no host: it is where we reached it.
        return [(int(one[0]), int(one[1]), (one[2][0] or address[0], int(one[2][1]))) for one in answer]

    def _take(self, ranges: list[tuple[int, int, Address]]) -> None:
        self._ranges = ranges
        self._moved.clear()
        owners = {address for _, _, address in ranges}
        for address in owners:
            self._server(address)
        for address in [each for each in self._servers if each not in owners]:
            retiring = asyncio.create_task(self._servers.pop(address).aclose())
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)


def _address(redirection: AskError, sender: Address) -> Address:
    return redirection.host or sender[0], redirection.port


def asking(command: Command[T]) -> Command[T]:
    """Let a command be the next thing on its connection after `ASKING`."""

    async def ask(client: Any) -> T:
        one = client.client()  # not as a context: cancelled at its end, that would keep the connection for ever
        try:
            await one.initialize()
            await one.execute_command("ASKING")
            return await command(one)
        finally:
            await asyncio.shield(one.aclose())

    return ask
