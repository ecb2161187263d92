"""The `gateway` command. Errors go to stderr: exit code 2 for wrong usage, 1 for what failed."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from gateway import app, auth, demo, embedded, errors, keys, sandbox, server, settings
from gateway.directory import Directory
from gateway.settings import ConfigurationError, Settings

T = TypeVar("T")

KEY_VARIABLE = f"{settings.PREFIX}API_KEY"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="chat-migration-gateway")
def main() -> None:
    """Carry V1 clients onto the stateful API: they change one base URL and nothing else."""


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one flag for each setting; a flag goes before the environment."""
    for name, field in reversed(Settings.model_fields.items()):
        option = "--" + name.replace("_", "-")
        shown = f"{field.description} [{settings.PREFIX}{name.upper()}]"
        command = click.option(option, name, metavar="VALUE", help=shown)(command)
    return command


def _failing_clearly(command: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> T:
        try:
            return command(*arguments, **options)
        except (ConfigurationError, embedded.EmbeddedStoreError) as error:
            raise click.ClickException(str(error)) from error
        except errors.GatewayError as error:
            raise click.ClickException(error.message) from error

    return wrapped


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@main.command()
@_settings_options
@_failing_clearly
def serve(**overrides: str | None) -> None:
    """Run the gateway. Every flag can be given as an environment variable or in a .env file too."""
    effective = settings.load(**overrides)
    app.require_upstream(effective)
    effective.load_key_map()
    server.export(overrides)
    server.serve(effective)


@main.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@_settings_options
@_failing_clearly
def check_config(as_json: bool, **overrides: str | None) -> None:  # noqa: FBT001 — click passes flags by name
    """Print the effective settings, secrets masked; exit 1 if one is wrong."""
    effective = settings.load(**overrides)
    app.require_upstream(effective)
    effective.load_key_map()
    shown = effective.masked()
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        click.echo(f"{name}={_as_variable(value)}")


def _as_variable(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


@main.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="port to listen on")
@click.option("--fast", is_flag=True, help="bots answer within tens of milliseconds instead of seconds")
@click.option("--any-bot-id", is_flag=True, help="take any string as a bot's id, not only UUIDs")
@click.option("--key", "allowed", multiple=True, help="let only this API key in; may be repeated")
def sandbox_command(*, host: str, port: int, fast: bool, any_bot_id: bool, allowed: tuple[str, ...]) -> None:
    """Run an emulator of the stateful API and a webhook inbox on one port."""
    chosen = sandbox.SandboxSettings(keys=frozenset(allowed) or None, any_bot_id=any_bot_id)
    click.echo(f"The sandbox is at http://{host}:{port}/ — Ctrl-C ends it.", err=True)
    sandbox.run(host, port, chosen.fast() if fast else chosen)


@main.command("demo")
@click.option("--once", is_flag=True, help="end after the first story; exit 0 only if the reply arrived in its window")
@click.option("--json", "as_json", is_flag=True, help="print the story as JSON")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="the gateway's port")
@click.option("--sandbox-port", default=8090, show_default=True, type=click.IntRange(0, 65535))
@_failing_clearly
def demo_command(*, once: bool, as_json: bool, port: int, sandbox_port: int) -> None:
    """Run store, sandbox and gateway together, send a V1 request and tell its story."""
    arrived = _run(demo.run(once=once, as_json=as_json, port=port, sandbox_port=sandbox_port))
    if not arrived:
        raise click.ClickException("the reply did not arrive in its window")


@main.group()
def conversations() -> None:
    """Look into the directory of conversations, or forget one."""


def _conversation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="print one JSON object"),
        click.option("--tenant", help="the tenant's digest, as logs show it; instead of the API key"),
        click.option("--api-key", envvar=KEY_VARIABLE, help=f"the client's API key; better given as ${KEY_VARIABLE}"),
        click.argument("user_id"),
        click.argument("bot_id"),
    ):
        command = option(command)
    return command


@conversations.command("show")
@_conversation_options
@_failing_clearly
def show_conversation(*, bot_id: str, user_id: str, api_key: str | None, tenant: str | None, as_json: bool) -> None:
    """Show what the directory knows of the conversation of BOT_ID and USER_ID."""

    async def look(directory: Directory, conversation: keys.ConversationKeys) -> dict[str, str]:
        return dict(await directory.show(conversation))

    fields = _run(_with_conversation(look, bot_id, user_id, api_key, tenant))
    if not fields:
        raise click.ClickException("the directory knows no such conversation")
    shown = {"conversation_id": fields.get("id"), "known_messages": fields.get("tail", "").split()}
    if as_json:
        click.echo(json.dumps(shown))
    else:
        click.echo(f"conversation_id  {shown['conversation_id']}")
        click.echo(f"known messages   {len(shown['known_messages'] or [])} (the last ones, as digests)")


@conversations.command("forget")
@_conversation_options
@_failing_clearly
def forget_conversation(*, bot_id: str, user_id: str, api_key: str | None, tenant: str | None, as_json: bool) -> None:
    """Forget the directory's entry; the next turn looks upstream again. Replies on their way still leave."""

    async def forget(directory: Directory, conversation: keys.ConversationKeys) -> bool:
        return await directory.erase(conversation)

    forgotten = _run(_with_conversation(forget, bot_id, user_id, api_key, tenant))
    if as_json:
        click.echo(json.dumps({"forgotten": forgotten}))
    elif forgotten:
        click.echo("forgotten")
    if not forgotten:
        raise click.ClickException("the directory knows no such conversation")


async def _with_conversation(
    work: Callable[[Directory, keys.ConversationKeys], Coroutine[Any, Any, T]],
    bot_id: str,
    user_id: str,
    api_key: str | None,
    tenant: str | None,
) -> T:
    if (api_key is None) == (tenant is None):
        raise click.UsageError(f"give either --tenant or the API key (${KEY_VARIABLE})")
    effective = settings.load()
    app.require_upstream(effective)
    async with app.open_store(effective) as (opened, secrets):
        if api_key is not None:
            tenant = auth.Authenticator(secrets, {}).authenticate(f"Bearer {api_key}").tenant
        digest = keys.conversation_digest(
            dialect=effective.upstream, base_url=effective.v3_url, tenant=tenant or "", bot_id=bot_id, user_id=user_id
        )
        return await work(Directory(opened), keys.ConversationKeys(digest))


@main.group("dead-letters")
def dead_letters() -> None:
    """See the replies that could not be delivered, and send them again."""
