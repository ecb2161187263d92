"""URLs of a server, of a cluster, of sentinels."""

import pytest

from gateway import redis_url, settings

SECRET = "a-secret-of-the-tests-long-enough"


@pytest.mark.parametrize("url", ["redis://host", "rediss://u:p@host:6380/1", "redis://[::1]:6379", "unix:///r.sock"])
def test_the_url_of_one_server_is_left_as_it_is(url: str) -> None:
    parsed = redis_url.parse(url)
    assert (parsed.kind, parsed.template, parsed.addresses) == ("server", url, ())


def test_a_cluster_is_named_by_any_of_its_nodes() -> None:
    parsed = redis_url.parse("rediss+cluster://user:p%40ss@one:7000,[::1]:7001,three?ssl_cert_reqs=none")
    assert parsed.kind == "cluster"
    assert parsed.addresses == (("one", 7000), ("::1", 7001), ("three", 6379))
    assert parsed.at(("::1", 7001)) == "rediss://user:p%40ss@[::1]:7001/?ssl_cert_reqs=none"


def test_sentinels_are_followed_by_the_service_and_its_database() -> None:
    parsed = redis_url.parse("redis+sentinel://:secret@one,two:26380/the-store/2?sentinel_password=x")
    assert parsed.kind == "sentinel"
    assert parsed.addresses == (("one", 26379), ("two", 26380))
    assert parsed.service == parsed.name == "the-store"
    assert parsed.at(("one", 1)) == "redis://:secret@one:1/2?sentinel_password=x"


def test_braces_in_a_password_are_not_taken_for_the_host() -> None:
    assert redis_url.parse("redis+cluster://:{}@host").at(("host", 1)) == "redis://:%7B%7D@host:1/"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://user:secret@host:6379/0?password=secret", "host:6379/0"),
        ("unix:///run/redis.sock?db=0", "/run/redis.sock"),
    ],
)
def test_the_name_for_logs_has_no_secrets(url: str, name: str) -> None:
    assert redis_url.parse(url).name == name


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://host", r"must begin with one of redis://, rediss://, unix://, redis\+cluster://"),
        ("host", "must begin"),
        ("redis://host:port", "cannot be read"),
        ("redis+cluster://one,", "a host is missing"),
        ("redis+cluster://", "a host is missing"),
        ("redis+cluster://one:99999", "cannot be read"),
        ("redis+cluster://one/0", "no databases"),
        ("redis+sentinel://one", "the name of the sentinels' service"),
        ("redis+sentinel://one/", "the name of the sentinels' service"),
    ],
)
def test_what_is_wrong_is_told(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        redis_url.parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://u:hidden@one:1,two:2", "redis+cluster://***@one:1,two:2"),
        ("redis+sentinel://one,two/name?sentinel_password=hidden", "redis+sentinel://one,two/name?***"),
    ],
)
def test_the_settings_take_them_and_show_them_without_secrets(url: str, shown: str) -> None:
    effective = settings.load(redis_url=url, secret=SECRET)
    assert effective.redis_url == url
    assert effective.masked()["GATEWAY_REDIS_URL"] == shown
