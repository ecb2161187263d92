"""The demo, the sandbox and the explanation, as their users call them."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from gateway import sandbox
from gateway.cli import main, trying
from tests.gateway.cli.cli_kit import gateway, process

SEED = str(Path(__file__).parents[2] / "golden/seed/v1_request.json")
FREE = ("--port", "0", "--sandbox-port", "0")


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_tells_the_story_as_json_and_ends_well() -> None:
    result = process("demo", "--once", "--json", *FREE)
    assert (result.returncode, result.stderr) == (0, "")
    story = json.loads(result.stdout)
    assert story["plan"] == "created"
    assert story["arrived_in_window"] is True
    assert 5 <= story["drawn_seconds"] <= story["delivered_after_seconds"] <= 9
    delivered = json.loads(story["delivery"]["body"])
    assert delivered["id"] == story["acknowledgement"]["body"]["message_id"]
    assert delivered["completion"] == [callback["json"]["message"]["text"] for callback in story["callbacks"]]
    assert len(delivered["completion"]) == 2
    assert story["delivery"]["query"] == "token=s3cr%2Bt~42&chat=57"
    assert story["fields"]["dropped"] == ["enable_protections"]
    assert {call["path"].split("/")[2] for call in story["upstream_calls"]} >= {"conversations"}


def test_the_demo_tells_the_same_story_with_chatbotkit_behind_the_gateway() -> None:
    result = process("demo", "--once", "--json", "--upstream", "chatbotkit", *FREE)
    assert result.returncode == 0, result.stderr
    story = json.loads(result.stdout)
    assert story["arrived_in_window"]
    paths = [call["path"].rpartition("/")[2] for call in story["upstream_calls"]]
    assert paths == ["list", "create", "update", "send", "receive"]
    assert (story["callbacks"], len(story["delivery"]["json"]["completion"])) == ([], 1)


@pytest.mark.parametrize("flag", ["--port", "--sandbox-port"])
def test_the_demo_names_the_flag_of_a_port_that_is_taken(flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = process("demo", "--once", *FREE, flag, port)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == f"Error: port {port} cannot be used: it is taken; choose another with {flag}, 0 takes a free one\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_quietly(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with started("demo", *FREE) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if "POST /v2/complete" in line:
                break
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (trying.INTERRUPTED, "")
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_says_where_it_is_once_it_is_there() -> None:
    with started("sandbox", "--port", "0", "--fast") as running:
        assert running.stderr
        url = re.search(r"http://127\.0\.0\.1:\d+/", running.stderr.readline())
        assert url
        with urllib.request.urlopen(url[0], timeout=10) as page:
            assert page.status == 200
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, output, errors) == (0, "", "")


def test_the_sandbox_names_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = gateway("sandbox", "--port", port)
    assert result.exit_code == 1
    assert f"--port {port}: cannot be listened on: address already in use" in result.stderr


def test_every_setting_of_the_sandbox_is_a_flag() -> None:
    flags = {option.name for option in main.commands["sandbox"].params if isinstance(option, click.Option)}
    assert flags >= {field.name for field in dataclasses.fields(sandbox.SandboxSettings)}


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ((), {}),
        (("--fast",), "fast"),
        (("--key", "a", "--key", "b"), {"keys": frozenset({"a", "b"})}),
        (
            ("--any-bot-id", "--require-sent-at", "--echo-user-messages"),
            dict.fromkeys(("any_bot_id", "require_sent_at", "echo_user_messages"), True),
        ),
        (
            ("--segment-interval", "0.5", "--webhook-attempts", "7"),
            {"segment_interval": timedelta(seconds=0.5), "webhook_attempts": 7},
        ),
        (
            ("--chatbotkit-bot", "b", "--chatbotkit-events", "seed"),
            {"chatbotkit_bots": frozenset("b"), "chatbotkit_events": "seed"},
        ),
        (("--prefix", "/v3", "--journal-items", "5"), {"prefix": "/v3", "journal_items": 5}),
    ],
)
def test_the_flags_of_the_sandbox_are_its_settings(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], changes: Any
) -> None:
    chosen = []
    monkeypatch.setattr(sandbox, "run", lambda _host, _port, settings, ready: chosen.append(settings))
    assert gateway("sandbox", *flags).exit_code == 0
    base = sandbox.SandboxSettings()
    assert chosen == [base.fast() if changes == "fast" else dataclasses.replace(base, **changes)]


def test_the_pace_of_the_sandbox_can_be_fast_but_for_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    monkeypatch.setattr(sandbox, "run", lambda _host, _port, settings, ready: chosen.append(settings))
    gateway("sandbox", "--fast", "--first-segment-after", "3")
    [settings] = chosen
    assert settings == dataclasses.replace(sandbox.SandboxSettings().fast(), first_segment_after=timedelta(seconds=3))


@pytest.mark.parametrize(
    "flags",
    [("--prefix", "v3"), ("--webhook-attempts", "0"), ("--segment-interval", "-1"), ("--chatbotkit-events", "x")],
)
def test_a_wrong_setting_of_the_sandbox_is_wrong_usage(flags: tuple[str, ...]) -> None:
    assert gateway("sandbox", *flags).exit_code == 2


def test_a_request_is_explained_without_sending_it() -> None:
    result = gateway("explain", SEED)
    assert result.exit_code == 0
    assert "POST /api/conversations" in result.stdout
    for name in json.loads(Path(SEED).read_text()):
        assert name in result.stdout


def test_an_explanation_can_be_had_as_json_and_of_standard_input() -> None:
    result = gateway("explain", "-", "--json", "--context", "none", typed=Path(SEED).read_text())
    explained = json.loads(result.stdout)
    assert explained["mode"] == "none"
    assert {field["name"] for field in explained["fields"]} == set(json.loads(Path(SEED).read_text()))


@pytest.mark.parametrize(("text", "told"), [("[]", "the gateway would answer 400"), (None, "cannot be read")])
def test_what_cannot_be_explained_fails_and_says_why(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "request.json"
    if text is not None:
        file.write_text(text)
    result = gateway("explain", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr
