"""One client's trouble is not another's: receivers that hang, backlogs, bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.relay import breakers
from gateway.store import Store
from tests.flows.conftest import World, running_world

HANGING = 40
ANSWERING = 20


@dataclass
class Hang:
    """A receiver that takes whatever comes and never answers."""

    port: int = 0
    held: int = 0
    ended: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.held += 1
        self.arrived.set()
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        self.ended += 1
        writer.close()

    async def until_held(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.held < count:
                self.arrived.clear()
                await self.arrived.wait()


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[Hang]:
    hang = Hang()
    server = await asyncio.start_server(hang.serve, "127.0.0.1", 0)
    hang.port = server.sockets[0].getsockname()[1]
    async with server:
        yield hang


async def say(world: World, user: str, key: str, webhook: str) -> None:
    answer = await world.complete(key=key, user_id=user, webhook=webhook)
    assert answer.status_code == 200


async def test_while_one_receiver_hangs_all_others_get_theirs(store_url: str, store: Store) -> None:
    async with (
        hanging() as hang,
        running_world(store_url, delivery_timeout_seconds=120, grace_seconds=1) as world,
    ):
        there = f"http://127.0.0.1:{hang.port}/hook"
        await asyncio.gather(*(say(world, f"h-{number}", "hangs", there) for number in range(HANGING)))
        await hang.until_held(HANGING)

        here = f"{world.sandbox_url}/inbox/others"
        said = (say(world, f"u-{number}", "same" if number % 2 else "hangs", here) for number in range(ANSWERING))
        await asyncio.gather(*said)
        delivered = await world.sandbox.deliveries(ANSWERING, path="/others", seconds=20)

        assert len({one["json"]["id"] for one in delivered}) == ANSWERING
        assert hang.ended == 0  # all this while not one of the others had ended
        assert await breakers.read(world.gateway.store) == []


async def test_a_client_whose_replies_wait_is_told_to_wait_and_others_are_not(store_url: str, store: Store) -> None:
    bounds = {"max_pending_replies": 2, "max_pending_replies_per_tenant": 1}
    async with running_world(store_url, **bounds) as world:
        later = {"min_delay": 100, "max_delay": 100}
        assert (await world.complete(key="one", **later)).status_code == 200
        await world.sandbox.callbacks(1)
        await world.sandbox.idle()
        refused = await world.complete(key="one", user_id="u-2", **later)
        assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) > 0
        assert (await world.complete(key="two", **later)).status_code == 200
        await world.sandbox.callbacks(2)
        await world.sandbox.idle()
        refused = await world.complete(key="three", **later)
        assert (refused.status_code, refused.json()["error"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) > 0
        posts = [call for call in await world.sandbox.calls() if call["path"].endswith("/messages")]
        assert len(posts) == 2  # what was refused went nowhere
