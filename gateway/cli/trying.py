"""`gateway demo`, `sandbox` and `explain`: see what the gateway does, without an upstream of one's own."""

import asyncio
import dataclasses
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import click
import uvloop

from gateway import demo, explain, sandbox
from gateway.cli import common
from mappings import fates

PORT = click.IntRange(0, 65535)
INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


@click.command("demo")
@click.option("--once", is_flag=True, help="end after the first story; exit 0 only if the reply arrived in its window")
@click.option("--json", "as_json", is_flag=True, help="print the story as one JSON object")
@click.option("--port", default=8080, show_default=True, type=PORT, help="the gateway's port; 0 takes a free one")
@click.option("--sandbox-port", default=8090, show_default=True, type=PORT, help="the sandbox's port; 0 likewise")
@common.failing_clearly
def demo_command(*, once: bool, as_json: bool, port: int, sandbox_port: int) -> None:
    """Run store, sandbox and gateway together, send a V1 request and tell its story."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the loop that the servers have elsewhere
            ending = runner.run(demo.run(once=once, as_json=as_json, port=port, sandbox_port=sandbox_port))
    except demo.PortUnavailable as error:
        flag = {"gateway": "--port", "sandbox": "--sandbox-port"}[error.whose]
        raise click.ClickException(f"{error}; choose another with {flag}, 0 takes a free one") from error
    match ending:
        case demo.Ending.MISSED:
            raise click.ClickException("the reply did not arrive in its window")
        case demo.Ending.INTERRUPTED:
            raise SystemExit(INTERRUPTED)
        case demo.Ending.ARRIVED:
            pass


SANDBOX_HELP = {
    "keys": "let only this API key in; may be given several times",
    "any_bot_id": "take any string as a bot's id, not only UUIDs",
    "require_sent_at": "refuse messages without sent_at, as some deployments did",
    "prefix": "a path before /api, such as /v3",
    "public_url": "where others reach the sandbox, for the addresses of pictures",
    "first_segment_after": "seconds that a bot thinks before it speaks",
    "segment_interval": "seconds between two segments of a reply",
    "echo_user_messages": "call webhooks for the user's messages too",
    "webhook_timeout": "seconds that a call of a webhook may take",
    "webhook_attempts": "tries of a webhook call",
    "webhook_retry_after": "seconds before a webhook call's second try; doubles from try to try",
    "max_body_bytes": "largest request body that the API takes",
    "max_delivery_bytes": "largest request body that the inbox takes",
    "journal_items": "calls, callbacks and deliveries that are remembered, of each",
    "journal_bytes": "bytes of bodies that are remembered, of each",
}
"""What each setting of the sandbox is, for `--help`."""


def _sandbox_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one flag for each setting of the sandbox."""
    defaults = sandbox.SandboxSettings()
    for name, text in reversed(SANDBOX_HELP.items()):
        flag, default = f"--{name.replace('_', '-')}", getattr(defaults, name)
        match default:
            case None if name == "keys":
                option = click.option("--key", name, multiple=True, help=text)
            case bool():
                option = click.option(flag, name, is_flag=True, help=text)
            case timedelta():
                shown = f"{default.total_seconds():g}"
                option = click.option(flag, name, type=click.FloatRange(min=0), help=text, show_default=shown)
            case int():
                option = click.option(flag, name, type=click.IntRange(min=0), help=text, show_default=str(default))
            case _:
                option = click.option(flag, name, help=text)
        command = option(command)
    return command


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=8090, show_default=True, type=PORT, help="port to listen on; 0 takes a free one")
@click.option("--fast", is_flag=True, help="bots answer within tens of milliseconds instead of seconds")
@_sandbox_options
def sandbox_command(*, host: str, port: int, fast: bool, **given: Any) -> None:
    """Run an emulator of the stateful API and a webhook inbox on one port."""
    try:
        chosen = _sandbox_settings(fast=fast, given=given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        sandbox.run(host, port, chosen, ready=_tell_sandbox)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise click.ClickException(
            f"--host {host} --port {port}: cannot be listened on: {reason}; port 0 takes a free one"
        ) from error


def _sandbox_settings(*, fast: bool, given: dict[str, Any]) -> sandbox.SandboxSettings:
    """Give the settings: what is said in so many words goes before `fast`, and that before the defaults."""
    base = sandbox.SandboxSettings()
    values: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(getattr(base, name), timedelta) and value is not None:
            values[name] = timedelta(seconds=value)
        elif name == "keys":
            values[name] = frozenset(value) or None
        elif value is not None:
            values[name] = value
    return dataclasses.replace(base.fast() if fast else base, **values)


def _tell_sandbox(url: str) -> None:
    click.echo(f"The sandbox is at {url}/ (its page lists what there is); Ctrl-C ends it.", err=True)


@click.command("explain")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@click.option(
    "--context",
    type=click.Choice(get_args(fates.Mode)),
    default="full",
    show_default=True,
    help="what the upstream takes beside the messages: all that V3 has, or none",
)
@common.failing_clearly
def explain_command(*, file: str, as_json: bool, context: fates.Mode) -> None:
    """Say what would become of the V1 request in FILE (- for stdin), field by field; nothing is sent."""
    click.echo(explain.run(file, as_json=as_json, mode=context))
