"""The worker when processes and stores die: real servers, real kills."""

import asyncio
import contextlib
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from relay_kit import LEASE, Receivers, Relay, advance, conversation, open_turn, reply, speak
from structlog.testing import capture_logs

from gateway import errors
from gateway.embedded import engine
from gateway.relay import worker as worker_module
from gateway.relay.delivery import Delivered
from gateway.relay.queue import Claimed, Counts
from gateway.store import Store, connect

PROCESS = """
import asyncio, sys
from datetime import timedelta
sys.path.insert(0, sys.argv[2])
from relay_kit import Receivers, Relay
from gateway.store import connect

class HangingReceivers(Receivers):
    async def post(self, delivery, body):
        print(delivery.id, delivery.attempts, body.hex(), flush=True)
        await asyncio.Event().wait()

async def main():
    async with connect(sys.argv[1]) as store, Relay(store, HangingReceivers()).running():
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Server:
    """A store of a test's own, which it may kill and start again; what was acknowledged is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: Process | None = None
        self.url = f"unix://{directory}/store.sock"

    async def start(self) -> None:
        """Start it, and wait until it takes commands."""
        options = ["--port", "0", "--unixsocket", "store.sock", "--save", "", "--appendonly", "yes"]
        always = ["--appendfsync", "always", "--dir", str(self._directory)]
        self._process = await asyncio.create_subprocess_exec(
            engine.find(), *options, *always, cwd=self._directory, stdout=DEVNULL
        )
        async with connect(self.url) as store:
            await takes_calls(store)

    async def kill(self) -> None:
        """Kill it as it is."""
        if self._process:
            self._process.kill()
            await self._process.wait()
            self._process = None


async def takes_calls(store: Store) -> None:
    """Wait until the store takes calls; one that was away is asked again a little later."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(errors.StoreUnavailable):
                return await store.ping()
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="relay-") as directory:
        server = Server(Path(directory))
        yield server
        await server.kill()


@pytest.fixture
async def own_store(server: Server) -> AsyncIterator[Store]:
    await server.start()
    async with connect(server.url) as store:
        yield store


async def rounds(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Count the worker's claims that failed."""
    failed = asyncio.Semaphore(0)
    claim = relay.queue.claim

    async def counted(limits: Any, lease: timedelta, shares: Any) -> dict[int, Claimed]:
        try:
            return await claim(limits, lease, shares)
        except errors.StoreUnavailable:
            failed.release()
            raise

    monkeypatch.setattr(relay.queue, "claim", counted)
    return failed


async def test_the_worker_goes_on_when_the_store_is_back_and_says_so_once(
    own_store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(own_store)
    failed = await rounds(relay, monkeypatch)
    await open_turn(own_store)
    await speak(relay.queue, "Hello!")
    with capture_logs() as lines:
        async with relay.running():
            await server.kill()
            for _ in range(3):
                await failed.acquire()
            advance(own_store, timedelta(hours=1))
            await server.start()
            await relay.receivers.until(1)
    told = [line["event"] for line in lines if line["event"].startswith("relay.")]
    assert told == ["relay.store_away", "relay.store_back"]
    assert relay.receivers.said == ["Hello!"]
    assert await relay.queue.count() == Counts(0, 0, 0)


async def test_an_outcome_that_the_store_could_not_take_is_recorded_when_it_is_back(
    own_store: Store, server: Server
) -> None:
    relay = Relay(own_store)
    answer = asyncio.Event()
    relay.receivers.ready["https://a.example/"] = [answer]
    await reply(own_store, relay.queue, "a", webhook="https://a.example/")
    with capture_logs():
        async with relay.running():
            await relay.receivers.until(1)
            await server.kill()
            answer.set()
            await relay.observations.until(1)
            await server.start()
            await takes_calls(own_store)
            relay.advance(2 * LEASE)
            await reply(own_store, relay.queue, "b", conversation(2))
            await relay.receivers.until(2)
    assert relay.receivers.said == ["a", "b"]
    assert relay.observations.outcomes == [Delivered(200)] * 2
    assert await relay.queue.count() == Counts(0, 0, 0)


async def test_a_worker_stops_though_the_store_is_away(
    own_store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "FLUSH_SECONDS", 0.1)
    relay = Relay(own_store)
    relay.receivers.ready["https://a.example/"] = [asyncio.Event()]
    await reply(own_store, relay.queue, "a", webhook="https://a.example/")
    with capture_logs():
        async with relay.running(grace=timedelta()):
            await relay.receivers.until(1)
            await server.kill()
    await server.start()
    await takes_calls(own_store)
    assert await relay.queue.count() == Counts(pending=1, due=0, dead=0)


async def test_a_killed_process_has_its_delivery_made_by_another_with_the_same_bytes(
    store: Store, store_url: str
) -> None:
    relay = Relay(store, Receivers())
    turn = await reply(store, relay.queue, "Hello!")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, store_url, str(Path(__file__).parent), stdout=PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(20):
            reply_id, attempt, body = (await process.stdout.readline()).decode().split()
    finally:
        process.kill()
        await process.communicate()
    assert (reply_id, attempt) == (turn, "1")
    advance(store, LEASE)
    async with relay.running():
        [sent] = await relay.receivers.until(1)
    assert (sent.id, sent.attempt, sent.body.hex()) == (turn, 2, body)
    assert [seen.delivery.takeovers for seen in relay.observations.seen] == [1]
    assert await relay.queue.count() == Counts(0, 0, 0)
