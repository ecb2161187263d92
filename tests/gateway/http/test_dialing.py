"""No packet goes where the guard forbids it: real clients, real sockets, names that resolve as an attacker likes."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence

import pytest
from byte_server import Connection, Server, say_ok, serve
from certificates import Authority

from gateway import http
from gateway.destinations import ForbiddenAddress, Networks
from gateway.http import dialing

PUBLIC = "93.184.215.14"
LOOPBACK = Networks((ipaddress.ip_network("127.0.0.1"),))

LOOPBACKS = Networks((ipaddress.ip_network("127.0.0.0/8"),))


class Names:
    """A name server under an attacker's control: each answer may be another one, and the last is given for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Run a server on all addresses of this machine, so that whatever is dialled would reach it."""
    async with serve(say_ok, host="0.0.0.0") as server:
        yield server


async def call(url: str, guard: Networks, lookup: http.Lookup | None = None, tls: ssl.SSLContext | None = None) -> int:
    async with http.client(timeout_seconds=10, max_answer_bytes=1000, guard=guard, lookup=lookup, tls=tls) as client:
        return (await client.request("POST", url, content=b"{}")).status


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[::7f00:1]",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "127.0.0.1.",
        "127.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127。0。0。1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "ⓛocalhost",
    ],
)
async def test_no_form_of_this_host_is_reached(server: Server, host: str) -> None:
    with pytest.raises((ForbiddenAddress, http.InvalidUrl, http.UnknownHost, http.LookupFailed)):
        await call(f"http://{host}:{server.port}/", Networks())
    assert server.connections == 0


async def test_what_is_allowed_is_reached(server: Server) -> None:
    assert await call(f"http://127.0.0.1:{server.port}/", LOOPBACK) == 200


async def test_what_is_beside_the_allowed_is_not_reached(server: Server) -> None:
    with pytest.raises(ForbiddenAddress):
        await call(f"http://127.0.0.2:{server.port}/", LOOPBACK)
    assert server.connections == 0


async def test_without_a_guard_everything_is_reached(server: Server) -> None:
    async with http.client(timeout_seconds=10, max_answer_bytes=1000) as client:
        for host in ("127.0.0.1", "localhost"):
            assert (await client.request("GET", f"http://{host}:{server.port}/")).status == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%1"])
async def test_a_name_of_a_forbidden_address_is_refused(server: Server, address: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        await call(f"http://hooks.example:{server.port}/", Networks(), Names([address]))
    assert caught.value.address == address
    assert address not in str(caught.value)
    assert server.connections == 0


@pytest.mark.parametrize("answer", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_a_name_with_one_forbidden_address_is_refused_as_a_whole(server: Server, answer: list[str]) -> None:
    with pytest.raises(ForbiddenAddress):
        await call(f"http://hooks.example:{server.port}/", LOOPBACK, Names(answer))
    assert server.connections == 0


async def test_several_addresses_that_are_all_allowed_are_tried(server: Server) -> None:
    names = Names(["127.0.0.3", "127.0.0.1"])
    assert await call(f"http://hooks.example:{server.port}/", LOOPBACKS, names) == 200


async def test_a_name_that_is_bound_anew_is_judged_anew(server: Server) -> None:
    async with (
        serve(say_ok, host="0.0.0.0") as other,
        http.client(
            timeout_seconds=10, max_answer_bytes=1000, guard=LOOPBACK, lookup=Names(["127.0.0.1"], ["::1"])
        ) as client,
    ):
        assert (await client.request("GET", f"http://hooks.example:{server.port}/")).status == 200
        with pytest.raises(ForbiddenAddress):
            await client.request("GET", f"http://hooks.example:{other.port}/")
        assert other.connections == 0


async def test_concurrent_calls_of_one_name_are_all_refused(server: Server) -> None:
    async with http.client(
        timeout_seconds=10, max_answer_bytes=1000, guard=Networks(), lookup=Names(["127.0.0.1"])
    ) as client:
        calls = (client.request("GET", f"http://hooks.example:{server.port}/") for _ in range(5))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ForbiddenAddress] * 5
    assert server.connections == 0


async def test_a_redirect_to_a_forbidden_address_is_not_followed(server: Server) -> None:
    async def redirect(connection: Connection) -> None:
        await connection.read_request()
        location = f"http://127.0.0.2:{server.port}/".encode()
        await connection.say(b"HTTP/1.1 307 Go\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")

    async with serve(redirect) as first:
        assert await call(f"{first.url}/", LOOPBACK) == 307
    assert server.connections == 0


async def test_tls_asks_for_the_name_and_checks_it(authority: Authority) -> None:
    names_seen = []
    authority.server.sni_callback = lambda _tls, name, _context: names_seen.append(name)
    async with serve(say_ok, tls=authority.server) as server:
        url = f"https://hooks.example:{server.port}/"
        assert await call(url, LOOPBACK, Names(["127.0.0.1"]), authority.client) == 200
    assert names_seen == ["hooks.example"]


async def test_tls_refuses_a_certificate_of_another_name(authority: Authority) -> None:
    async with serve(say_ok, tls=authority.server) as server:
        with pytest.raises(http.TlsFailed, match="Hostname mismatch"):
            await call(f"https://other.example:{server.port}/", LOOPBACK, Names(["127.0.0.1"]), authority.client)
        assert server.requests == []


def test_no_socket_is_made_for_a_forbidden_address() -> None:
    make = dialing.socket_factory(LOOPBACK)
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    make((*info, ("127.0.0.1", 80))).close()
    with pytest.raises(ForbiddenAddress):
        make((*info, (PUBLIC.replace("93", "10"), 80)))


async def test_the_system_knows_the_names_of_this_host() -> None:
    resolver = dialing.Resolver()
    try:
        assert {found["host"] for found in await resolver.resolve("localhost", 80)} & {"127.0.0.1", "::1"}
    finally:
        await resolver.close()
