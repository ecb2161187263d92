"""`gateway conversations`: look into the directory of conversations, forget one, restore it from the upstream."""

import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

import click

from gateway import auth, dialects, keys, upkeep
from gateway.cli import common
from gateway.directory import Directory
from gateway.relay.queue import Queue
from gateway.settings import PREFIX, Settings
from gateway.store import Store

T = TypeVar("T")

KEY_VARIABLE = f"{PREFIX}API_KEY"
UNKNOWN = "the directory knows no such conversation"


@click.group("conversations")
def group() -> None:
    """Look into the directory of conversations, forget one, or restore them from the upstream."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        common.settings_options(*common.STORE_SETTINGS, "v3_url", "chatbotkit_url", "key_map"),
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
@click.option(
    "--upstream",
    "upstream_too",
    is_flag=True,
    help="erase: also turns, replies on their way, dead letters, and the conversation at the upstream",
)
@common.failing_clearly
def forget(*, as_json: bool, upstream_too: bool, **options: Any) -> None:
    """Forget the directory's entry; the next turn looks upstream again. Replies on their way still leave."""
    if upstream_too:
        _erase(as_json=as_json, **options)
        return

    async def erase(directory: Directory, conversation: keys.ConversationKeys) -> bool:
        return await directory.erase(conversation)

    forgotten = _with_conversation(erase, **options)
    if as_json:
        common.echo_json({"forgotten": forgotten})
    elif forgotten:
        click.echo("forgotten")
    if not forgotten:
        raise click.ClickException(UNKNOWN)


@group.command("rebuild")
@common.settings_options(*common.STORE_SETTINGS, "v3_url", "chatbotkit_url", "public_url", "key_map")
@common.as_json_option
@click.option("--api-key", envvar=KEY_VARIABLE, required=True, help=f"a client's; better given as ${KEY_VARIABLE}")
@common.failing_clearly
def rebuild(*, as_json: bool, api_key: str, **overrides: Any) -> None:
    """Restore the directory's entries of an API key from what the upstream has; those that are there stay.

    A lost directory comes back by itself, turn by turn; this does it for all conversations at once.
    """
    effective = common.load(overrides)
    dialects.require_upstream(effective)

    async def on(store: Store, secrets: tuple[bytes, ...]) -> upkeep.Rebuilt:
        caller = auth.Authenticator(secrets, effective.load_key_map()).authenticate(f"Bearer {api_key}")
        async with dialects.connect(effective, store, Queue(store), secrets) as connected:
            with click.progressbar(length=0, label="conversations", file=sys.stderr) as bar:

                def progress(done: int, of: int) -> None:
                    bar.length = of
                    bar.update(done - bar.pos)

                return await upkeep.rebuild(
                    store,
                    connected.upstream.upkeep(caller.upstream_key),
                    connected.upstream.session(caller.upstream_key),
                    connected.replies,
                    lambda bot_id, user_id: _keys(effective, caller.tenant, bot_id, user_id),
                    progress,
                )

    done = common.with_store(effective, on)
    if as_json:
        common.echo_json(asdict(done))
    else:
        click.echo(f"{done.restored} restored, {done.known} were known, {done.gone} are gone upstream")


def _erase(*, as_json: bool, bot_id: str, user_id: str, api_key: str | None, tenant: str | None, **rest: Any) -> None:
    if api_key is None or tenant is not None:
        raise click.UsageError(f"the upstream wants the API key (${KEY_VARIABLE}), not --tenant")
    effective = common.load(rest)
    dialects.require_upstream(effective)

    async def on(store: Store, secrets: tuple[bytes, ...]) -> upkeep.Erased:
        caller = auth.Authenticator(secrets, effective.load_key_map()).authenticate(f"Bearer {api_key}")
        conversation = _keys(effective, caller.tenant, bot_id, user_id)
        async with dialects.connect(effective, store, Queue(store), secrets) as connected:
            looking_after = connected.upstream.upkeep(caller.upstream_key)
            return await upkeep.erase(store, upkeep.Pair(conversation, caller.tenant, bot_id, user_id), looking_after)

    erased = common.with_store(effective, on)
    if as_json:
        common.echo_json(asdict(erased))
    elif erased:
        there = f"{erased.upstream or 0} conversations at the upstream, "
        click.echo(f"erased: {there}{erased.keys} entries of the store, {erased.dead_letters} dead letters")
    if erased.upstream is None:
        raise click.ClickException("the upstream has no call that deletes a conversation: delete the user there")
    if not erased:
        raise click.ClickException("nothing is known of such a conversation, here or at the upstream")


def _keys(effective: Settings, tenant: str, bot_id: str, user_id: str) -> keys.ConversationKeys:
    return keys.ConversationKeys(
        keys.conversation_digest(
            dialect=effective.upstream,
            base_url=dialects.base_url(effective),
            tenant=tenant,
            bot_id=bot_id,
            user_id=user_id,
        )
    )


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
        return await work(Directory(store), _keys(effective, named, bot_id, user_id))

    return common.with_store(effective, on)
