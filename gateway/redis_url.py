"""Where a Redis is: the URL of one server, of a cluster, or of the sentinels that know where the master is.

    redis://[user:password@]host[:port][/db][?option=value...]      one server; rediss:// with TLS, unix:///path
    redis+cluster://[user:password@]host[:port],host[:port],...     any of a cluster's nodes; rediss+cluster://
    redis+sentinel://[user:password@]host[:port],.../service[/db]   the sentinels of a master; rediss+sentinel://

The options are the client library's own. User and password are the servers'; the sentinels' are the options
`sentinel_username` and `sentinel_password`. TLS covers the sentinels too.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

REDIS_PORT = 6379
SENTINEL_PORT = 26379

Kind: TypeAlias = Literal["server", "cluster", "sentinel"]
Address: TypeAlias = tuple[str, int]

KINDS: dict[str, Kind] = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL that was read. `addresses` are the cluster's nodes or the sentinels, `service` the sentinels' name for it.

    `template` is the URL of one server, with `{}` in the place of its host and port.
    """

    kind: Kind
    template: str
    addresses: tuple[Address, ...] = ()
    service: str = ""

    @property
    def name(self) -> str:
        """What logs call it: without login and options."""
        if self.kind == "sentinel":
            return self.service
        _, _, rest = self.template.partition("://")
        return rest.partition("?")[0].rpartition("@")[2]

    def at(self, address: Address) -> str:
        """Give the URL of one of the servers."""
        return self.template.replace("{}", show(address), 1)


def show(address: Address) -> str:
    """Write an address as URLs do."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(url: str) -> RedisUrl:
    """Read a URL; `ValueError` tells what is wrong with it, and quotes nothing of it."""
    scheme, _, rest = url.partition("://")
    kind = KINDS.get(scheme)
    if kind is None:
        raise ValueError(f"must begin with one of {', '.join(f'{known}://' for known in KINDS)}")
    place, mark, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if kind == "server":
        if scheme != "unix":
            _address(hosts, REDIS_PORT, required=False)
        return RedisUrl(kind, url)
    default = REDIS_PORT if kind == "cluster" else SENTINEL_PORT
    addresses = tuple(_address(host, default) for host in hosts.split(","))
    service, _, db = path.partition("/")
    if kind == "cluster" and path:
        raise ValueError("a cluster has no databases: nothing may follow the hosts but options")
    if kind == "sentinel" and not service:
        raise ValueError("the name of the sentinels' service must follow the hosts, as /NAME")
    # In a template, the place is the first `{}`: braces of a login are written as escapes.
    login = login.replace("{", "%7B").replace("}", "%7D")
    template = f"{scheme.partition('+')[0]}://{login}{at}{{}}/{db}{mark}{query}"
    return RedisUrl(kind, template, addresses, service)


def _address(text: str, default_port: int, *, required: bool = True) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL: its host or port cannot be read") from None
    if required and not host:
        raise ValueError("is no URL: a host is missing")
    return host or "", port or default_port
