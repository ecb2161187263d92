"""A worker, a guarded client and a name server under an attacker's control: no packet goes where only insiders can."""

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from byte_server import Connection, Server, say_ok, serve
from certificates import Authority
from relay_kit import Observations, conversation, reply

from gateway import http
from gateway.destinations import Networks
from gateway.relay import dead_letters
from gateway.relay.delivery import DeadLettered, Delivered, Outcome, Reason, RetryAt
from gateway.relay.queue import Queue
from gateway.relay.receiver import Receiver
from gateway.relay.worker import Worker
from gateway.settings import Settings
from gateway.store import Store

HERE = Networks((ipaddress.ip_network("127.0.0.1"),))
NOWHERE = Networks()
GIVEN_UP = DeadLettered(Reason.REFUSED_DESTINATION, "forbidden_address")


class Names:
    """A name server whose answers may differ from one time to the next; the last one is given for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
async def inside() -> AsyncIterator[Server]:
    """Run a server on all addresses of this machine: whatever gets out reaches it."""
    async with serve(say_ok, host="0.0.0.0") as server:
        yield server


@contextlib.asynccontextmanager
async def relaying(
    store: Store, guard: Networks, lookup: http.Lookup | None, authority: Authority | None = None
) -> AsyncIterator[Observations]:
    observations = Observations()
    tls = authority.client if authority else None
    async with http.client(timeout_seconds=5, max_answer_bytes=65536, guard=guard, lookup=lookup, tls=tls) as client:
        settings = Settings(_env_file=None)
        worker = Worker(Queue(store), Receiver(client).post, settings, observer=observations)
        worker.start()
        try:
            yield observations
        finally:
            await worker.stop(timedelta(seconds=5))


async def outcomes(store: Store, webhook: str, guard: Networks, lookup: http.Lookup | None = None) -> list[Outcome]:
    """Let a reply fall due at a webhook; give what comes of its first attempt."""
    async with relaying(store, guard, lookup) as observations:
        await reply(store, Queue(store), "hello", webhook=webhook)
        await observations.until(1)
    return observations.outcomes


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[::127.0.0.1]",
        "127.0.0.1.",
        "localhost",
    ],
)
async def test_an_address_in_whatever_form_is_given_up_at_once(store: Store, inside: Server, host: str) -> None:
    [outcome] = await outcomes(store, f"http://{host}:{inside.port}/hook", NOWHERE)
    assert isinstance(outcome, (DeadLettered, RetryAt))
    if isinstance(outcome, DeadLettered):
        assert outcome.reason == Reason.REFUSED_DESTINATION
    else:  # this system's resolver does not take the form for an address
        assert outcome.cause in {"unknown_host", "lookup_failed"}
    assert inside.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["fd00::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:7f00:1::1"],
        ["2001:0:4136:e378:8000:63bf:80ff:fffe"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["2606:4700:4700::1111", "fe80::1"],
    ],
)
async def test_a_name_of_a_private_or_a_mixed_answer_is_given_up_at_once(
    store: Store, inside: Server, answer: list[str]
) -> None:
    names = Names(answer)
    assert await outcomes(store, f"http://hooks.example:{inside.port}/", NOWHERE, names) == [GIVEN_UP]
    assert names.asked == ["hooks.example"]
    assert inside.connections == 0
    [letter] = await dead_letters.newest(store, 9)
    assert (letter.reason, letter.attempts, letter.host) == (
        "refused_destination",
        1,
        f"hooks.example:{inside.port}",
    )


async def test_the_address_that_is_dialled_is_the_one_that_was_judged(store: Store, inside: Server) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])  # another answer to whoever asks twice
    assert await outcomes(store, f"http://hooks.example:{inside.port}/", HERE, names) == [Delivered(200)]
    assert names.asked == ["hooks.example"]


async def test_a_name_that_moves_inside_between_two_deliveries_is_given_up(store: Store, inside: Server) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with serve(say_ok) as outside, relaying(store, HERE, names) as observations:
        await reply(store, Queue(store), "out", webhook=f"http://hooks.example:{outside.port}/")
        await observations.until(1)
        await reply(store, Queue(store), "in", conversation(2), webhook=f"http://hooks.example:{inside.port}/")
        await observations.until(2)
    assert observations.outcomes == [Delivered(200), GIVEN_UP]
    assert inside.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_inside_is_a_failure_and_not_followed(store: Store, inside: Server, status: int) -> None:
    async def redirect(connection: Connection) -> None:
        await connection.read_request()
        there = f"http://127.0.0.2:{inside.port}/".encode()
        await connection.say(b"HTTP/1.1 %d Go\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, there))

    async with serve(redirect) as outside:
        [outcome] = await outcomes(store, f"http://127.0.0.1:{outside.port}/", HERE)
    assert isinstance(outcome, RetryAt)
    assert (outcome.cause, outcome.status) == (f"status {status}", status)
    assert inside.connections == 0


async def test_tls_sees_the_name_though_the_address_was_chosen_before(store: Store, authority: Authority) -> None:
    names_seen = []
    authority.server.sni_callback = lambda _tls, name, _context: names_seen.append(name)
    async with serve(say_ok, tls=authority.server) as server:
        names = Names(["127.0.0.1"])
        async with relaying(store, HERE, names, authority) as observations:
            queue = Queue(store)
            await reply(store, queue, "good", webhook=f"https://hooks.example:{server.port}/")
            await observations.until(1)
            await reply(store, queue, "bad", conversation(2), webhook=f"https://other.example:{server.port}/")
            await observations.until(2)
        good, bad = observations.outcomes
        assert good == Delivered(200)
        assert isinstance(bad, RetryAt)
        assert bad.cause == "tls_failed"  # the certificate is of another name
        assert len(server.requests) == 1
    assert names_seen == ["hooks.example", "other.example"]
