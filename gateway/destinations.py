"""Whom we may call: webhooks come from strangers, so no packet of ours goes where only insiders can go.

A destination is looked at twice. `check_url` looks at its text when a turn is accepted, so that the client hears of
a plain mistake at once. `Networks.check` looks at every address just before it is dialled, and that is the guard:
names are not resolved at accept, since the answer would be another one by the time of the delivery, would make the
client wait for a stranger's name server, and would tell the client what our resolver knows.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_URL_CHARACTERS = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REASONS = {
    # The standard library's `is_global` of 3.11 is no help: it takes multicast, 2002::/16, fec0::/10 and more.
    # IANA's special-purpose registries; whatever they hold is refused, also the few global services among them.
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "a private network",
    "100.64.0.0/10": "a carrier's shared network",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "a private network",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "reserved for documentation",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "a private network",
    "198.18.0.0/15": "reserved for benchmarks",
    "198.51.100.0/24": "reserved for documentation",
    "203.0.113.0/24": "reserved for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    # Public by number, yet answered by the host of a virtual machine: Azure's platform services.
    "168.63.129.16/32": "a cloud's platform address",
    "::/128": "this host",
    "::1/128": "loopback",
    "2001::/23": "reserved for protocols",  # Teredo is in it
    "2001:db8::/32": "reserved for documentation",
    "2002::/16": "a 6to4 tunnel",
    "3fff::/20": "reserved for documentation",
    "fc00::/7": "a private network",
    "fe80::/10": "link-local",
    "fec0::/10": "a private network",
    "ff00::/8": "multicast",
}
_DENIED = tuple((ipaddress.ip_network(network), reason) for network, reason in _REASONS.items())
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_CARRIES_IPV4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))

_ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")
"""What of a URL says whom it calls: the scheme, and all up to the path, the query or the fragment."""

_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK = ("127.0.0.1", "::1")


class RefusedDestination(ValueError):
    """A webhook that no delivery may go to; the message says why, without repeating the URL."""


class InvalidDestination(RefusedDestination):
    """Not a URL that can be called."""


class ForbiddenDestination(RefusedDestination):
    """A URL of a place that is not public and not allowed."""


class ForbiddenAddress(Exception):
    """A host turned out to be at an address that may not be dialled; trying again would be trying to get in."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"the address is {reason}")
        self.address = address  # for the operator: it may tell the client about our network
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)  # compared as what it is: networks take long to be compared
class Networks:
    """What may be dialled: all public addresses, and those of the operator's own choice."""

    allowed: tuple[Network, ...] = ()

    def check(self, address: str) -> None:
        """Raise ForbiddenAddress unless `address`, one that a connection is about to go to, may be dialled."""
        reason = self.refuses(address)
        if reason is not None:
            raise ForbiddenAddress(address, reason)

    def refuses(self, address: str) -> str | None:
        """Say why an address may not be dialled; None when it may."""
        reason = classify(address)
        if reason is None or not self.allowed:
            return reason
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return reason
        forms = (parsed, _carried_ipv4(parsed))
        return None if any(form in network for form in forms if form for network in self.allowed) else reason


def classify(address: str) -> str | None:
    """Say what keeps an address from being public; None for a public one. IPv6 forms of IPv4 count as IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an address"
    effective = _carried_ipv4(parsed) or parsed
    for network, reason in _DENIED:
        if effective in network:
            return reason
    if effective.version == 6 and effective not in _GLOBAL_UNICAST:
        return "reserved"
    return None


def _carried_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    """Give the IPv4 address that a mapped or NAT64 address stands for, which is where the packets go."""
    if any(address in network for network in _CARRIES_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def check_url(url: str, networks: Networks) -> None:
    """Raise RefusedDestination when the text of a webhook's URL already says that it cannot or may not be called.

    What passes is an http or https URL without credentials, of a name or of an address that may be dialled. The
    path and the query are the client's own and are not judged.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidDestination(f"longer than {MAX_URL_CHARACTERS} characters")
    if not url.isprintable() or " " in url:
        raise InvalidDestination("must not contain spaces or control characters")
    origin = _ORIGIN.match(url)
    _check_origin(origin[0] if origin else url, networks)


@functools.lru_cache(maxsize=4096)  # clients come back with the same few, and judging one takes 10 to 20 µs
def _check_origin(url: str, networks: Networks) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidDestination("not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise InvalidDestination("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidDestination("must not contain a user or a password: put a token into the query instead")
    if port == 0:
        raise InvalidDestination("the port must be a number from 1 to 65535")
    _check_host(parts.hostname or "", networks, bracketed="[" in parts.netloc)


def _check_host(host: str, networks: Networks, *, bracketed: bool) -> None:
    if not host:
        raise InvalidDestination("no host")
    if bracketed:
        _check_literal(host, networks)
        return
    try:
        # What the resolver will be asked for: full-width digits and dots become plain ones.
        name = host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        raise InvalidDestination("the host is not a name") from None
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        _check_literal(name, networks)
        return
    if not _HOST_NAME.fullmatch(name) or len(name) > 253:
        raise InvalidDestination("the host is not a name")
    local = name == "localhost" or name.endswith(".localhost")
    if local and all(networks.refuses(address) for address in _LOOPBACK):
        raise ForbiddenDestination("localhost is not public")


def _check_literal(host: str, networks: Networks) -> None:
    """Judge an address in its one usual form. Others (127.1, 0x7f000001, 017700000001) only ever serve to hide it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidDestination("the host looks like an address but is none in its usual form") from None
    if "%" in host:
        raise InvalidDestination("the host must not name a zone")
    if reason := networks.refuses(str(address)):
        raise ForbiddenDestination(f"the address is {reason}")
