"""What the commands share: settings as flags, failures told in one line, work on the store, text fit for terminals."""

import asyncio
import functools
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
import uvloop

from gateway import app, embedded, errors, logs, settings
from gateway.settings import PREFIX, ConfigurationError, Settings
from gateway.store import Store

T = TypeVar("T")

STORE_SETTINGS = ("redis_url", "data_dir")
"""The settings that say where the store is."""


def settings_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one flag for each of the settings, all of them if none is named.

    A flag goes before the environment. Values are checked with the settings, so that a wrong one is told in the same
    words wherever it came from.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names or tuple(Settings.model_fields)):
            command = _option(name)(command)
        return command

    return decorate


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    field = Settings.model_fields[name]
    flag = name.replace("_", "-")
    shown = f"{field.description} [{PREFIX}{name.upper()}]"
    if field.annotation is bool:
        return click.option(f"--{flag}/--no-{flag}", name, default=None, help=shown)
    return click.option(f"--{flag}", name, metavar="VALUE", help=shown)


as_json_option = click.option("--json", "as_json", is_flag=True, help="print one JSON object")


def failing_clearly(command: Callable[..., T]) -> Callable[..., T]:
    """Let a command tell what failed in a line on stderr, and exit with 1."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> T:
        try:
            return command(*arguments, **options)
        except (ConfigurationError, embedded.EmbeddedStoreError) as error:
            raise click.ClickException(str(error)) from error
        except errors.GatewayError as error:
            raise click.ClickException(error.message) from error

    return wrapped


def with_store(effective: Settings, work: Callable[[Store, tuple[bytes, ...]], Coroutine[Any, Any, T]]) -> T:
    """Do some work on the gateway's store, given with the secrets; a running gateway goes on beside it."""
    if not effective.redis_url and not effective.data_dir.is_dir():
        raise ConfigurationError(
            f"{PREFIX}DATA_DIR={effective.data_dir}: there is no store; name the data directory of a gateway, or its "
            f"Redis by {PREFIX}REDIS_URL"
        )

    logs.configure("WARNING", "console", stream=_Stderr())

    async def run() -> T:
        async with app.open_store(effective) as (opened, secrets):
            return await work(opened, secrets)

    try:
        return run_async(run())
    except errors.StoreUnavailable as error:
        place = effective.masked()[f"{PREFIX}REDIS_URL"]
        raise click.ClickException(f"{error.message} ({PREFIX}REDIS_URL={place})") from error


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end what must be awaited, on the loop that the servers have, too."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class _Stderr:
    """Standard error as it is when it is written to: standard output is for what a command was asked for."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def load(overrides: dict[str, Any]) -> Settings:
    """Read the settings with the flags that were given."""
    return settings.load(**overrides)


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def printable(text: object) -> str:
    """Give a text as a terminal may show it: what it might obey comes out escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))
