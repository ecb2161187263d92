"""Calls of webhooks over real sockets: what goes out byte for byte, and what comes back as a result."""

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from relay_kit import conversation, reply

from gateway import destinations, http
from gateway.relay.delivery import LONGEST_PAUSE, Answered, Delivery, Failed, Result
from gateway.relay.queue import Queue
from gateway.relay.receiver import Receiver
from gateway.relay.worker import Worker
from gateway.settings import Settings
from gateway.store import Store

LOOPBACK = destinations.Networks((ipaddress.ip_network("127.0.0.0/8"),))
BODY = '{"completion":["¡Hola! 👋"],"id":"r1","media":null,"media_id":null}'.encode()
EPOCH = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass
class Webhooks:
    """A server that gives one and the same answer to whatever comes; None closes the connection."""

    answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if self.answer is None:
                    break
                writer.write(self.answer)
                await writer.drain()
        writer.close()


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    webhooks = Webhooks()
    server = await asyncio.start_server(webhooks.serve, "127.0.0.1", 0)
    webhooks.port = server.sockets[0].getsockname()[1]
    async with server:
        yield webhooks


async def post(
    url: str,
    *,
    guard: destinations.Networks = LOOPBACK,
    timeout_seconds: float = 10,
    lookup: http.Lookup | None = None,
) -> Result:
    """Make one attempt at that URL."""
    async with http.client(
        timeout_seconds=timeout_seconds, max_answer_bytes=65536, guard=guard, lookup=lookup
    ) as client:
        return await Receiver(client).post(dataclasses.replace(DELIVERY, webhook=url), BODY)


DELIVERY = Delivery(
    id="r1",
    conversation="00" * 16,
    webhook="",
    segments=(),
    turn_ids=(),
    meta={},
    accepted_at=EPOCH,
    delay=timedelta(),
    not_before=EPOCH,
    due=EPOCH,
    attempts=3,
    takeovers=0,
    fence=1,
    body=None,
)


async def test_the_webhook_gets_its_url_and_its_body_byte_for_byte(webhooks: Webhooks) -> None:
    target = "/hook/%7Ea//b;x=1?token=a%2Fb+c&x=%E9&&q=[1]'"
    assert await post(f"http://127.0.0.1:{webhooks.port}{target}") == Answered(200)
    [request] = webhooks.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert first == f"POST {target} HTTP/1.1"
    assert body == BODY
    sent = {name.lower(): value for name, _, value in (header.partition(": ") for header in headers)}
    assert sent == {
        "host": f"127.0.0.1:{webhooks.port}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "webhook-id": "r1",
        "webhook-attempt": "3",
        "user-agent": sent["user-agent"],
        "accept-encoding": "identity",
    }
    assert sent["user-agent"]


async def test_a_redirect_is_an_answer_and_not_followed(webhooks: Webhooks) -> None:
    webhooks.answer = (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:%d/else\r\nContent-Length: 0\r\n\r\n"
        % webhooks.port
    )
    assert await post(f"http://127.0.0.1:{webhooks.port}/") == Answered(307)
    assert len(webhooks.requests) == 1


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        (b"Retry-After: 120\r\n", timedelta(seconds=120)),
        (
            b"Date: Fri, 01 May 2026 12:00:00 GMT\r\nRetry-After: Fri, 01 May 2026 12:05:00 GMT\r\n",
            timedelta(minutes=5),
        ),
        (b"Retry-After: 99999999999999999999\r\n", LONGEST_PAUSE),
        (b"Retry-After: soon\r\n", None),
        (b"", None),
    ],
)
async def test_a_receiver_may_ask_for_a_pause(webhooks: Webhooks, headers: bytes, pause: timedelta | None) -> None:
    webhooks.answer = b"HTTP/1.1 503 Busy\r\n" + headers + b"Content-Length: 0\r\n\r\n"
    assert await post(f"http://127.0.0.1:{webhooks.port}/") == Answered(503, pause)


async def test_an_answer_that_says_more_than_is_read_is_an_answer(webhooks: Webhooks) -> None:
    webhooks.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    assert await post(f"http://127.0.0.1:{webhooks.port}/") == Answered(200)


async def test_an_answer_that_ends_too_early_is_an_answer(webhooks: Webhooks) -> None:
    webhooks.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"
    assert await post(f"http://127.0.0.1:{webhooks.port}/", timeout_seconds=0.2) == Answered(200)


async def test_a_receiver_that_hangs_is_left_at_the_deadline(webhooks: Webhooks) -> None:
    webhooks.answer = b""
    assert await post(f"http://127.0.0.1:{webhooks.port}/", timeout_seconds=0.2) == Failed("deadline_exceeded")


async def test_a_receiver_that_closes_before_it_answers_has_failed(webhooks: Webhooks) -> None:
    webhooks.answer = None
    assert await post(f"http://127.0.0.1:{webhooks.port}/") == Failed("connection_dropped")


async def test_a_receiver_that_nobody_listens_at_has_failed(webhooks: Webhooks) -> None:
    async with await asyncio.start_server(webhooks.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert await post(f"http://127.0.0.1:{port}/") == Failed("connect_failed")


async def test_an_address_that_may_not_be_called_is_refused_without_a_packet(webhooks: Webhooks) -> None:
    expected = Failed("forbidden_address", "destination")
    assert await post(f"http://127.0.0.1:{webhooks.port}/", guard=destinations.Networks()) == expected
    assert webhooks.requests == []


async def test_a_url_that_cannot_be_called_is_refused() -> None:
    assert await post("http://[broken/") == Failed("invalid_url", "destination")


async def test_a_lookup_that_fails_is_not_the_receivers_fault() -> None:
    async def fail(host: str) -> list[str]:
        raise OSError("no name server answers")

    async def nobody(host: str) -> list[str]:
        return []

    assert await post("http://client.example/", lookup=fail) == Failed("lookup_failed", "ours")
    assert await post("http://client.example/", lookup=nobody) == Failed("unknown_host")


async def test_a_worker_delivers_over_real_sockets(store: Store, webhooks: Webhooks) -> None:
    queue, done = Queue(store), asyncio.Event()

    class Observer:
        def attempted(self, *_: object) -> None:
            if len(webhooks.requests) == 5:
                done.set()

    for number in range(5):
        webhook = f"http://127.0.0.1:{webhooks.port}/{number}?token=s3cret"
        await reply(store, queue, f"¡Hola {number}!", conversation(number), webhook=webhook)
    async with http.client(timeout_seconds=10, max_answer_bytes=65536, guard=LOOPBACK) as client:
        worker = Worker(queue, Receiver(client).post, Settings(_env_file=None), observer=Observer())
        worker.start()
        async with asyncio.timeout(10):
            await done.wait()
        await worker.stop(timedelta(seconds=10))
    said = {json.loads(request.partition(b"\r\n\r\n")[2])["completion"][0] for request in webhooks.requests}
    assert said == {f"¡Hola {number}!" for number in range(5)}
    assert (await queue.count()).pending == 0
