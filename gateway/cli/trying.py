"""`gateway demo`, `sandbox` and `explain`: see what the gateway does, without an upstream of one's own."""

import dataclasses
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

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
@click.option(
    "--upstream",
    default="v3",
    show_default=True,
    type=click.Choice(get_args(fates.Upstream)),
    help="what the sandbox is to be for the gateway",
)
@common.failing_clearly
def demo_command(*, once: bool, as_json: bool, port: int, sandbox_port: int, upstream: fates.Upstream) -> None:
    """Run store, sandbox and gateway together, send a V1 request and tell its story."""
    try:
        ending = common.run_async(
            demo.run(once=once, as_json=as_json, port=port, sandbox_port=sandbox_port, upstream=upstream)
        )
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
    "chatbotkit_events": "which of ChatBotKit's two public descriptions its streams follow",
    "chatbotkit_bots": "let ChatBotKit know only this bot; may be given several times",
    "max_body_bytes": "largest request body that the API takes",
    "max_delivery_bytes": "largest request body that the inbox takes",
    "journal_items": "calls, callbacks and deliveries that are remembered, of each",
    "journal_bytes": "bytes of bodies that are remembered, of each",
}
"""What each setting of the sandbox is, for `--help`."""

SANDBOX_TYPES = get_type_hints(sandbox.SandboxSettings)


def _sandbox_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one flag for each setting of the sandbox."""
    for name in reversed(SANDBOX_HELP):
        command = _sandbox_option(name)(command)
    return command


def _sandbox_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    annotation, default = SANDBOX_TYPES[name], getattr(sandbox.SandboxSettings(), name)
    flag, text = "--" + name.replace("_", "-"), SANDBOX_HELP[name]
    if annotation is bool:
        return click.option(flag, name, is_flag=True, help=text)
    if annotation == frozenset[str] | None:
        return click.option(flag.removesuffix("s"), name, multiple=True, help=text)
    if annotation is timedelta:
        shown = f"{default.total_seconds():g}"
        return click.option(flag, name, type=click.FloatRange(min=0), help=text, show_default=shown)
    if annotation is int:
        return click.option(flag, name, type=click.IntRange(min=0), help=text, show_default=str(default))
    if get_origin(annotation) is Literal:
        return click.option(flag, name, type=click.Choice(get_args(annotation)), help=text, show_default=str(default))
    return click.option(flag, name, help=text)


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
        if value is None or value == ():
            continue
        if SANDBOX_TYPES[name] is timedelta:
            values[name] = timedelta(seconds=value)
        else:
            values[name] = frozenset(value) if isinstance(value, tuple) else value
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
@click.option(
    "--upstream",
    type=click.Choice(get_args(fates.Upstream)),
    default="v3",
    show_default=True,
    help="whom the request would be carried to",
)
@common.failing_clearly
def explain_command(*, file: str, as_json: bool, context: fates.Mode, upstream: fates.Upstream) -> None:
    """Say what would become of the V1 request in FILE (- for stdin), field by field; nothing is sent."""
    if context == "none" and upstream != "v3":
        raise click.UsageError("--context none is about a V3 that takes nothing else; other upstreams take it all")
    click.echo(explain.run(file, as_json=as_json, mode=context, upstream=upstream))
