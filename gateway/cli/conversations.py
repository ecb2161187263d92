"""`gateway conversations`: look into the directory of conversations, or forget one."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from gateway import auth, dialects, keys
from gateway.cli import common
from gateway.directory import Directory
from gateway.settings import PREFIX
from gateway.store import Store

T = TypeVar("T")

KEY_VARIABLE = f"{PREFIX}API_KEY"
UNKNOWN = "the directory knows no such conversation"


@click.group("conversations")
def group() -> None:
    """Look into the directory of conversations, or forget one."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        common.settings_options(*common.STORE_SETTINGS, "upstream", "v3_url", "chatbotkit_url"),
        common.as_json_option,
        click.option("--tenant", help="the tenant's digest, as logs show it; instead of the API key"),
        click.option("--api-key", envvar=KEY_VARIABLE, help=f"the client's API key; better given as ${KEY_VARIABLE}"),
        click.argument("user_id"),
        click.argument("bot_id"),
    ):
        command = option(command)
    return command


@group.command("show")
@_options
@common.failing_clearly
def show(*, as_json: bool, **options: Any) -> None:
    """Show what the directory knows of the conversation of BOT_ID and USER_ID."""

    async def look(directory: Directory, conversation: keys.ConversationKeys) -> dict[str, str]:
        return dict(await directory.show(conversation))

    fields = _with_conversation(look, **options)
    if not fields:
        raise click.ClickException(UNKNOWN)
    shown = {"conversation_id": fields.get("id"), "known_messages": fields.get("tail", "").split()}
    if as_json:
        common.echo_json(shown)
    else:
        click.echo(f"conversation_id  {common.printable(shown['conversation_id'])}")
        click.echo(f"known messages   {len(shown['known_messages'] or [])} (the last ones, as digests)")


@group.command("forget")
@_options
@common.failing_clearly
def forget(*, as_json: bool, **options: Any) -> None:
    """Forget the directory's entry; the next turn looks upstream again. Replies on their way still leave."""

    async def erase(directory: Directory, conversation: keys.ConversationKeys) -> bool:
        return await directory.erase(conversation)

    forgotten = _with_conversation(erase, **options)
    if as_json:
        common.echo_json({"forgotten": forgotten})
    elif forgotten:
        click.echo("forgotten")
    if not forgotten:
        raise click.ClickException(UNKNOWN)


def _with_conversation(
    work: Callable[[Directory, keys.ConversationKeys], Coroutine[Any, Any, T]],
    *,
    bot_id: str,
    user_id: str,
    api_key: str | None,
    tenant: str | None,
    **overrides: Any,
) -> T:
    if (api_key is None) == (tenant is None):
        raise click.UsageError(f"give either --tenant or the API key (${KEY_VARIABLE})")
    effective = common.load(overrides)
    dialects.require_upstream(effective)

    async def on(store: Store, secrets: tuple[bytes, ...]) -> T:
        named = tenant or auth.Authenticator(secrets, {}).authenticate(f"Bearer {api_key}").tenant
        digest = keys.conversation_digest(
            dialect=effective.upstream,
            base_url=dialects.base_url(effective),
            tenant=named,
            bot_id=bot_id,
            user_id=user_id,
        )
        return await work(Directory(store), keys.ConversationKeys(digest))

    return common.with_store(effective, on)
