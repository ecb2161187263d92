import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway import settings
from gateway.settings import ConfigurationError, Settings

SECRET = "a secret of this test"
OTHER = "the secret before it"
PASSWORD = "pa55word"


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable and no .env of the machine reach the tests."""
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def complaint(**overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings.load(**overrides)
    return str(caught.value)


def test_the_defaults_are_one_process_with_an_embedded_store() -> None:
    defaults = settings.load()
    assert (defaults.host, defaults.port, defaults.workers, defaults.redis_url) == ("127.0.0.1", 8080, 1, "")
    assert defaults.secrets == ()


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_flag_goes_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("GATEWAY_PORT=1001\nGATEWAY_WORKERS=2\nGATEWAY_HOST=192.0.2.1\n")
    monkeypatch.setenv("GATEWAY_PORT", "1002")
    monkeypatch.setenv("GATEWAY_WORKERS", "3")
    loaded = settings.load(port="1003", workers=None)
    assert (loaded.port, loaded.workers, loaded.host) == (1003, 3, "192.0.2.1")


def test_a_variable_that_is_set_to_nothing_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "HOST", "KEY_MAP", "WEBHOOK_ALLOW", "SECRET", "SETTLE_SECONDS", "REDIS_URL"):
        monkeypatch.setenv(f"GATEWAY_{name}", "")
    assert settings.load() == settings.load(key_map=None)
    assert settings.load().key_map is None
    assert settings.load().load_key_map() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "http"),
        ("workers", "0"),
        ("max_body_bytes", "1"),
        ("upstream_timeout_seconds", "nan"),
        ("settle_seconds", "inf"),
        ("delivery_backoff_seconds", "-1"),
        ("upstream", "v9"),
        ("log_level", "LOUD"),
        ("log_format", "xml"),
        ("redis_url", "memcached://host"),
        ("redis_url", "redis://host:port"),
        ("redis_url", "redis://["),
        ("v3_url", "host/v3"),
        ("v3_url", "ftp://host"),
        ("v3_url", "http://"),
        ("v3_url", "http://["),
        ("v3_url", "https://host:99999"),
        ("public_url", "https://host/#part"),
        ("webhook_allow", "10.0.0.0/8,somewhere"),
        ("webhook_allow", "10.0.0.1/8"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed(name: str, value: str) -> None:
    text = complaint(**{name: value})
    assert text.startswith(f"GATEWAY_{name.upper()}={value.partition('#')[0]}")
    assert text.endswith(f"({Settings.model_fields[name].description})")
    assert "\n" not in text


def test_all_wrong_values_are_told_at_once() -> None:
    assert [line.partition("=")[0] for line in complaint(port="-1", workers="many").splitlines()] == [
        "GATEWAY_PORT",
        "GATEWAY_WORKERS",
    ]


@pytest.mark.parametrize("value", ["short", f"{SECRET},short", f"{SECRET},", ",", " " * 20])
def test_a_short_secret_is_refused_and_not_shown(value: str) -> None:
    text = complaint(secret=value)
    assert text.startswith("GATEWAY_SECRET=***: each secret must have at least 16 characters")
    assert "short," not in text


def test_several_secrets_are_given_in_order() -> None:
    assert settings.load(secret=f"{SECRET}, {OTHER}").secrets == (SECRET.encode(), OTHER.encode())


def test_a_shared_store_needs_a_shared_secret() -> None:
    assert complaint(redis_url="redis://host") == (
        "GATEWAY_SECRET: required with REDIS_URL, since all processes on one store must share it"
    )
    assert settings.load(redis_url="redis://host", secret=SECRET).redis_url == "redis://host"


@pytest.mark.parametrize(
    "url", ["redis://host", "rediss://u:p@host:6380/1", "redis://[::1]:6379", "unix:///run/redis.sock?db=1"]
)
def test_each_kind_of_store_url_is_taken(url: str) -> None:
    assert settings.load(redis_url=url, secret=SECRET).redis_url == url


@pytest.mark.parametrize("name", ["v3_url", "public_url"])
def test_a_base_url_keeps_its_prefix_and_loses_its_last_slash(name: str) -> None:
    assert getattr(settings.load(**{name: "https://host:8443/v3/"}), name) == "https://host:8443/v3"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis_url": f"http://:{PASSWORD}@host"},
        {"redis_url": f"redis://:{PASSWORD}/more@host"},
        {"redis_url": f"user:{PASSWORD}@host"},
        {"redis_url": f"{PASSWORD}@host"},
        {"redis_url": f"redis://:{PASSWORD}@["},
        {"redis_url": f"redis://:{PASSWORD}/@host:port"},
        {"redis_url": f"http://:{PASSWORD}#?@host"},
        {"redis_url": f"http://:#{PASSWORD}?@host"},
        {"v3_url": f"ftp://user:{PASSWORD}@host"},
        {"v3_url": f"https://host/?token={PASSWORD}"},
        {"v3_url": f"https://host/#{PASSWORD}"},
    ],
)
def test_a_wrong_url_is_told_without_its_secrets(wrong: dict[str, str]) -> None:
    assert PASSWORD not in complaint(**wrong)


def test_the_effective_settings_are_shown_by_variable_with_secrets_masked() -> None:
    shown = settings.load(
        redis_url=f"redis://user:{PASSWORD}@host:6379/0?password={PASSWORD}",
        v3_url=f"https://user:{PASSWORD}@host/v3",
        secret=f"{SECRET},{OTHER}",
        webhook_allow="10.0.0.0/8",
    ).masked()
    assert shown["GATEWAY_REDIS_URL"] == "redis://***@host:6379/0?***"
    assert shown["GATEWAY_V3_URL"] == "https://***@host/v3"
    assert shown["GATEWAY_SECRET"] == "2 set"
    assert shown["GATEWAY_WEBHOOK_ALLOW"] == ["10.0.0.0/8"]
    assert list(shown) == [f"GATEWAY_{name.upper()}" for name in Settings.model_fields]
    for secret in (PASSWORD, SECRET, OTHER):
        assert secret not in json.dumps(shown)


def test_urls_without_secrets_are_shown_as_they_are() -> None:
    shown = settings.load(redis_url="unix:///run/redis.sock", secret=SECRET, v3_url="https://host/v3").masked()
    assert shown["GATEWAY_REDIS_URL"] == "unix:///run/redis.sock"
    assert shown["GATEWAY_V3_URL"] == "https://host/v3"
    assert shown["GATEWAY_PUBLIC_URL"] == ""


def test_settings_do_not_show_their_secret() -> None:
    assert SECRET not in repr(settings.load(secret=SECRET))


def test_networks_are_read_from_a_list_with_commas() -> None:
    assert settings.load(webhook_allow=" 10.0.0.0/8, fd00::/8,,192.0.2.7 ").webhook_allow == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
        ipaddress.ip_network("192.0.2.7/32"),
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "192.0.2.1", "port": "9000"}, "http://192.0.2.1:9000"),
        ({"host": "::1"}, "http://[::1]:8080"),
        ({"public_url": "https://gateway.example/"}, "https://gateway.example"),
    ],
)
def test_the_upstream_calls_back_at_the_public_url_or_where_we_listen(given: dict[str, str], url: str) -> None:
    assert settings.load(**given).callback_base_url == url


def test_without_a_key_map_no_key_is_replaced() -> None:
    assert settings.load().load_key_map() == {}


def test_the_key_map_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"old": "new"}')
    assert settings.load(key_map=str(file)).load_key_map() == {"old": "new"}


@pytest.mark.parametrize(
    "content", ["", "[]", '"old"', '{"old": 1}', '{"old": ""}', '{"old": null}', "\ufffe", '{"sekrit": nope}']
)
def test_what_is_no_key_map_is_named_by_its_file_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(content.encode("utf-16-le"))
    for encoding in ("utf-8", "utf-16-le"):
        file.write_bytes(content.encode(encoding))
        with pytest.raises(ConfigurationError) as caught:
            settings.load(key_map=file).load_key_map()
        assert str(caught.value).startswith(f"GATEWAY_KEY_MAP={file}: ")
        assert "sekrit" not in str(caught.value)


def test_a_key_map_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GATEWAY_KEY_MAP=.*nowhere\.json: cannot be read"):
        settings.load(key_map=tmp_path / "nowhere.json").load_key_map()


@pytest.mark.parametrize("text", ["[]", '"x"', '{"key": 1}', '{"key": []}', '{"key": [1]}', "{", '{"": null}'])
def test_a_table_of_webhook_secrets_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(text)
    with pytest.raises(settings.ConfigurationError, match="GATEWAY_WEBHOOK_SECRETS="):
        settings.load(webhook_secrets=file).load_webhook_secrets()


def test_webhook_secrets_may_be_one_or_several(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text('{"key": "whsec_a", "0011223344556677": ["whsec_b", "whsec_c"]}')
    expected = {"key": ["whsec_a"], "0011223344556677": ["whsec_b", "whsec_c"]}
    assert settings.load(webhook_secrets=file).load_webhook_secrets() == expected
    assert settings.load().load_webhook_secrets() == {}
