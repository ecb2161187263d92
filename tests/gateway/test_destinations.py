"""Whom we may call: addresses by what they are, URLs by what they say."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import destinations
from gateway.destinations import ForbiddenAddress, ForbiddenDestination, InvalidDestination, Networks
from gateway.http import pool

NOBODY = Networks()


def networks(*cidrs: str) -> Networks:
    return Networks(tuple(ipaddress.ip_network(cidr) for cidr in cidrs))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "this host"),
        ("0.1.2.3", "this host"),
        ("10.0.0.1", "a private network"),
        ("172.16.0.1", "a private network"),
        ("172.31.255.255", "a private network"),
        ("192.168.255.255", "a private network"),
        ("100.64.0.1", "a carrier's shared network"),
        ("100.100.100.200", "a carrier's shared network"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link-local"),
        ("192.0.0.192", "reserved for protocols"),
        ("192.0.2.1", "reserved for documentation"),
        ("198.51.100.1", "reserved for documentation"),
        ("203.0.113.1", "reserved for documentation"),
        ("192.88.99.1", "a 6to4 relay"),
        ("198.18.0.1", "reserved for benchmarks"),
        ("198.19.255.255", "reserved for benchmarks"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("168.63.129.16", "a cloud's platform address"),
        ("::", "this host"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "a private network"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("64:ff9b::10.0.0.1", "a private network"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("64:ff9b:1::8.8.8.8", "reserved"),
        ("100::1", "reserved"),
        ("2001::1", "reserved for protocols"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved for protocols"),
        ("2001:db8::1", "reserved for documentation"),
        ("3fff::1", "reserved for documentation"),
        ("2002:7f00:1::1", "a 6to4 tunnel"),
        ("5f00::1", "reserved"),
        ("fc00::1", "a private network"),
        ("fd00:ec2::254", "a private network"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "a private network"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("localhost", "not an address"),
        ("127.1", "not an address"),
        ("", "not an address"),
    ],
)
def test_an_address_that_is_not_public_has_a_reason(address: str, reason: str) -> None:
    assert destinations.classify(address) == reason


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450::1",
    ],
)
def test_a_public_address_has_none(address: str) -> None:
    assert destinations.classify(address) is None


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert destinations.classify(str(address)) is not None or str(address).startswith(("64:ff9b::", "::ffff:"))


@given(st.ip_addresses(v=4))
def test_the_forms_of_an_address_in_ipv6_are_judged_as_the_address(address: ipaddress.IPv4Address) -> None:
    reason = destinations.classify(str(address))
    assert destinations.classify(f"::ffff:{address}") == reason
    assert destinations.classify(f"64:ff9b::{address}") == reason


def test_an_allowed_network_is_open_and_its_neighbours_are_not() -> None:
    allowed = networks("10.1.2.0/24", "fd00::/8")
    allowed.check("10.1.2.3")
    allowed.check("::ffff:10.1.2.3")
    allowed.check("fd12::1")
    for address in ("10.1.3.3", "127.0.0.1", "fc00::1", "not an address"):
        with pytest.raises(ForbiddenAddress) as caught:
            allowed.check(address)
        assert caught.value.address == address


def test_a_refusal_is_no_ordinary_failure_of_a_connection() -> None:
    assert not issubclass(ForbiddenAddress, (OSError, RuntimeError, ValueError))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/path?token=a%20b&x=+#f",
        "http://hooks.example",
        "HTTPS://Hooks.Example:8443/",
        "http://hooks.example.:80/",
        "http://hooks.example:/",
        "http://intranet-name/",
        "http://my_service:8080/hook",
        "http://bücher.example/ü?ü",
        "http://1.1.1.1/",
        "http://[2606:4700:4700::1111]:8080/",
        "http://xn--bcher-kva.example/",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "http://0x7f.example/",
        "http://hooks.example/?u=http://user:pass@127.0.0.1/",
        "http://hooks.example?a@b",
    ],
)
def test_a_url_that_says_nothing_wrong_passes(url: str) -> None:
    destinations.check_url(url, NOBODY)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/", "the address is loopback"),
        ("http://10.0.0.1:8080/", "the address is a private network"),
        ("http://169.254.169.254/latest/meta-data", "the address is link-local"),
        ("http://0.0.0.0/", "the address is this host"),
        ("http://127.0.0.1./", "the address is loopback"),
        ("http://[::1]/", "the address is loopback"),
        ("http://[::]/", "the address is this host"),
        ("http://[::ffff:127.0.0.1]/", "the address is loopback"),
        ("http://[::FFFF:7F00:1]/", "the address is loopback"),
        ("http://[64:ff9b::a00:1]/", "the address is a private network"),
        ("http://[fe80::1]/", "the address is link-local"),
        ("http://\uff11\uff12\uff17.0.0.1/", "the address is loopback"),
        ("http://127\u30020\u30020\u30021/", "the address is loopback"),
        ("http://localhost/", "localhost is not public"),
        ("http://LocalHost.:80/", "localhost is not public"),
        ("http://a.b.localhost/", "localhost is not public"),
        ("http://\u24dbocalhost/", "localhost is not public"),
    ],
)
def test_a_url_of_a_place_that_is_not_public_is_forbidden(url: str, reason: str) -> None:
    with pytest.raises(ForbiddenDestination) as caught:
        destinations.check_url(url, NOBODY)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with http"),
        ("hooks.example/path", "must begin with http"),
        ("//hooks.example/path", "must begin with http"),
        ("ftp://hooks.example/", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("unix:///run/x.sock", "must begin with http"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http:path", "no host"),
        ("http://:80/", "no host"),
        ("http://?a", "no host"),
        ("http://[]/", "usual form|not a URL"),
        ("http://user@hooks.example/", "user or a password"),
        ("http://user:pass@hooks.example/", "user or a password"),
        ("http://hooks.example@127.0.0.1/", "user or a password"),
        ("http://127.0.0.1\\@hooks.example/", "user or a password"),
        ("http://127.0.0.1\\.hooks.example/", "not a name"),
        ("http://%6cocalhost/", "not a name"),
        ("http://%31%32%37.0.0.1/", "usual form"),
        ("http://hooks..example/", "not a name"),
        ("http://.hooks.example/", "not a name"),
        ("http://hooks.example../", "not a name"),
        ("http://hooks,example/", "not a name"),
        (f"http://{'a' * 64}.example/", "not a name"),
        (f"http://{'a.' * 127}example/", "not a name"),
        ("http://hooks.example:0/", "1 to 65535"),
        ("http://hooks.example:65536/", "not a URL"),
        ("http://hooks.example:80a/", "not a URL"),
        ("http://hooks.example:-1/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://[hooks.example]/", "usual form|not a URL"),
        ("http://[127.0.0.1]/", "usual form|not a URL"),
        ("http://[fe80::1%25eth0]/", "zone|not a URL"),
        ("http://127.1/", "usual form"),
        ("http://2130706433/", "usual form"),
        ("http://0x7f000001/", "usual form"),
        ("http://0x7F.1/", "usual form"),
        ("http://0177.0.0.1/", "usual form"),
        ("http://127.0.0.0x1/", "usual form"),
        ("http://1.1.1.1.1/", "usual form"),
        ("http://256.1.1.1/", "usual form"),
        ("http://hooks.1/", "usual form"),
        ("http://hooks.example/a b", "spaces or control"),
        ("http://hooks.example/\r\nX: y", "spaces or control"),
        ("http://hooks.example/\t", "spaces or control"),
        ("\x01http://hooks.example/", "spaces or control"),
        ("http://hooks.example/\x7f", "spaces or control"),
        ("http://hooks.example/\u2028", "spaces or control"),
        ("http://hooks.example/\ud800", "spaces or control"),
        ("http://hooks\u00a0.example/", "spaces or control"),
        ("http://hooks.example/" + "a" * 2048, "longer than 2048"),
    ],
)
def test_what_is_no_url_to_call_is_said_so(url: str, reason: str) -> None:
    with pytest.raises(InvalidDestination, match=reason) as caught:
        destinations.check_url(url, NOBODY)
    assert isinstance(caught.value, destinations.RefusedDestination)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:8080/", "127.0.0.0/8"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.0/8"),
        ("http://localhost:8080/", "127.0.0.0/8"),
        ("http://localhost:8080/", "::1/128"),
        ("http://hooks.localhost/", "127.0.0.1/32"),
        ("http://10.1.2.3/", "10.1.2.0/24"),
        ("http://[fd00::1]/", "fd00::/8"),
    ],
)
def test_a_place_that_the_operator_allows_passes(url: str, allowed: str) -> None:
    destinations.check_url(url, networks(allowed))


def refusal_of(url: str) -> str | None:
    try:
        destinations.check_url(url, NOBODY)
    except destinations.RefusedDestination as refusal:
        return str(refusal)
    return None


@given(st.text())
def test_any_text_is_either_taken_or_refused_with_a_reason(text: str) -> None:
    for url in (text, f"http://{text}", f"http://hooks.example/{text}"):
        assert refusal_of(url) != ""


@given(st.text(alphabet="a1270x.:/@[]%?#\\-_f\u00e9\u3002\uff11", max_size=20))
def test_what_is_taken_can_be_called_and_is_no_forbidden_address_to_the_dialler(text: str) -> None:
    url = f"http://{text}"
    if refusal_of(url) is None:
        host = pool._wire_url(url).raw_host
        assert host
        assert destinations.classify(host) in {None, "not an address"}


@given(st.sampled_from(["http://", "https:", "//", ""]), st.text(alphabet="htps:/?#@[]a1.%\\", max_size=12))
def test_a_url_is_judged_by_its_origin_as_it_is_by_all_of_it(scheme: str, rest: str) -> None:
    def judgement(check: Callable[[str, Networks], None]) -> str | None:
        try:
            check(scheme + rest, NOBODY)
        except destinations.RefusedDestination as error:
            return repr(error)
        return None

    assert judgement(destinations.check_url) == judgement(destinations._check_origin.__wrapped__)
