"""Settings as flags, and the command that shows them."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.free_ports import free_port
from tests.gateway.cli.cli_kit import SECRET, gateway, process

V3 = ("--v3-url", "https://v3.example/v3")


def test_the_effective_settings_are_printed_and_secrets_are_not() -> None:
    result = gateway("check-config", *V3, "--redis-url", "redis://u:hidden@store:6379/0", GATEWAY_SECRET=SECRET)
    assert result.exit_code == 0
    lines = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert list(lines) == [f"GATEWAY_{name.upper()}" for name in Settings.model_fields]
    assert (lines["GATEWAY_PORT"], lines["GATEWAY_V3_URL"], lines["GATEWAY_SECRET"]) == (
        "8080",
        "https://v3.example/v3",
        "1 set",
    )
    assert "hidden" not in result.output
    assert SECRET not in result.output


def test_the_settings_can_be_had_as_json() -> None:
    shown = json.loads(gateway("check-config", "--json", *V3, "--webhook-allow", "10.0.0.0/8,fd00::/8").stdout)
    assert shown["GATEWAY_PORT"] == 8080
    assert shown["GATEWAY_WEBHOOK_ALLOW"] == ["10.0.0.0/8", "fd00::/8"]


def test_a_flag_goes_before_the_environment() -> None:
    result = gateway("check-config", *V3, "--port", "9001", GATEWAY_PORT="9000", GATEWAY_HOST="::1")
    assert "GATEWAY_PORT=9001\n" in result.stdout
    assert "GATEWAY_HOST=::1\n" in result.stdout


@pytest.mark.parametrize("command", ["check-config", "serve"])
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), ("GATEWAY_V3_URL", "required")),
        ((*V3, "--port", "70000"), ("GATEWAY_PORT=70000", "less than or equal to 65535", "port to listen on")),
        ((*V3, "--workers", "many"), ("GATEWAY_WORKERS=many", "valid integer")),
        ((*V3, "--log-level", "LOUD"), ("GATEWAY_LOG_LEVEL=LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'")),
        ((*V3, "--redis-url", "http://store"), ("GATEWAY_REDIS_URL=http://store", "redis://")),
        ((*V3, "--key-map", "none.json"), ("GATEWAY_KEY_MAP=none.json", "cannot be read")),
        (("--v3-url", "v3.example"), ("GATEWAY_V3_URL=v3.example", "http:// or https://")),
    ],
)
def test_a_wrong_setting_is_told_by_variable_value_and_what_is_allowed(
    command: str, flags: tuple[str, ...], told: tuple[str, ...]
) -> None:
    result = gateway(command, *flags)
    assert (result.exit_code, result.stdout) == (1, "")
    for part in told:
        assert part in result.stderr


def test_a_relay_needs_no_upstream_but_right_settings() -> None:
    result = gateway("relay", "--port", "70000")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "GATEWAY_PORT=70000" in result.stderr
    assert "GATEWAY_V3_URL" not in result.stderr


def test_the_relay_serves_operators_until_it_is_told_to_end(tmp_path: Path) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "relay", "--port", str(port), "--data-dir", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
    ) as relay:
        assert relay.stdout
        for line in relay.stdout:
            if "Uvicorn running" in line:
                break
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            assert answer.status == 200
        relay.terminate()
        relay.communicate(timeout=30)
    assert relay.returncode == 0


@pytest.mark.parametrize("command", [("serve", *V3), ("serve", *V3, "--workers", "2"), ("relay",)])
def test_a_port_that_is_taken_is_told_before_anything_is_started(command: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = gateway(*command, "--port", port)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"GATEWAY_PORT={port}: cannot be listened on: address already in use" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_ours_is_told() -> None:
    result = gateway("serve", *V3, "--host", "192.0.2.1", "--port", "0")
    assert result.exit_code == 1
    assert "GATEWAY_HOST=192.0.2.1, GATEWAY_PORT=0: cannot be listened on: cannot assign requested" in result.stderr


def test_a_switch_is_a_flag_of_two_forms() -> None:
    assert "GATEWAY_RELAY=True\n" in gateway("check-config", *V3, "--relay", GATEWAY_RELAY="false").stdout
    assert "GATEWAY_RELAY=False\n" in gateway("check-config", *V3, "--no-relay").stdout


def test_all_wrong_settings_are_told_at_once() -> None:
    result = gateway("check-config", *V3, "--port", "x", "--workers", "0")
    assert "GATEWAY_PORT=x" in result.stderr
    assert "GATEWAY_WORKERS=0" in result.stderr


def test_settings_come_from_a_dotenv_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_V3_URL=https://v3.example\nGATEWAY_PORT=9002\n")
    result = process("check-config")
    assert (result.returncode, result.stderr) == (0, "")
    assert "GATEWAY_PORT=9002\n" in result.stdout
