"""From a host name to a connected socket: names are looked up apart from each other, and a guard sees every address.

aiohttp asks its resolver for names only, so the guard stands in two places: on the resolver's answers, all of them,
and in the making of every socket, which the addresses written in URLs reach too. The second alone would be enough to
keep packets in, but with several addresses to choose from aiohttp swallows what it raises and tries the next one; a
name with one forbidden address is refused as a whole, since nobody honest publishes such a mixture.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUP_THREADS = 16
"""A name server that never answers holds a thread for some seconds; each client has threads of its own."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name; raises OSError when it has none."""


class Guard(Protocol):
    """Decides where connections may go."""

    def check(self, address: str) -> None:
        """Raise an exception, one that is no OSError, unless this address may be dialled."""


class Resolver(AbstractResolver):
    """Looks names up in the system's way, or by `lookup`, and shows every answer to the guard."""

    def __init__(self, guard: Guard | None = None, lookup: Lookup | None = None) -> None:
        self._guard = guard
        self._lookup = lookup or self._ask_the_system
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 — always both
    ) -> list[ResolveResult]:
        """Give all addresses of a name; raises OSError, or what the guard raises."""
        try:
            addresses = await self._lookup(host)
        except UnicodeError as error:  # a name that cannot be asked for
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if self._guard is not None:
            for address in addresses:
                self._guard.check(address)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Let go of the threads; one that still waits for a name server ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_the_system(self, host: str) -> Sequence[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _addresses_of, host)


def _addresses_of(host: str) -> list[str]:
    # AI_ADDRCONFIG: no IPv6 addresses on a host without IPv6.
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


def socket_factory(guard: Guard | None) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Give the function by which aiohttp makes its sockets: none is made for an address that the guard refuses."""

    def make(address_info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if guard is not None:
            guard.check(str(address[0]))
        return socket.socket(family, kind, protocol)

    return make
