"""`gateway serve`, `relay` and `check-config`: run it, a part of it, or see with which settings it would run."""

import socket
from typing import Any

import click

from gateway import dialects, server
from gateway.cli import common
from gateway.settings import PREFIX, ConfigurationError, Settings


@click.command()
@common.settings_options()
@common.failing_clearly
def serve(**overrides: Any) -> None:
    """Run the gateway. Every flag can be given as an environment variable or in a .env file too."""
    effective = _load(overrides)
    _require_place(effective)
    server.export(overrides)
    server.serve(effective)


@click.command()
@common.settings_options(*(name for name in Settings.model_fields if name != "relay"))
@common.failing_clearly
def relay(**overrides: Any) -> None:
    """Run the relay alone: it delivers what gateways on the same store accept, and serves only what operators ask."""
    effective = common.load(overrides)
    _require_place(effective)
    server.export(overrides)
    server.serve_relay(effective)


@click.command("check-config")
@common.as_json_option
@common.settings_options()
@common.failing_clearly
def check_config(*, as_json: bool, **overrides: Any) -> None:
    """Print the effective settings, secrets masked; exit 1 if one is wrong."""
    shown = _load(overrides).masked()
    if as_json:
        common.echo_json(shown)
        return
    for name, value in shown.items():
        click.echo(f"{name}={_as_variable(value)}")


def _load(overrides: dict[str, Any]) -> Settings:
    effective = common.load(overrides)
    dialects.require_upstream(effective)
    effective.load_key_map()
    effective.load_bot_map()
    effective.load_webhook_secrets()
    return effective


def _require_place(effective: Settings) -> None:
    """Raise `ConfigurationError` if nobody can listen there: before anything is started, and in our words."""
    family = socket.AF_INET6 if ":" in effective.host else socket.AF_INET
    try:
        socket.create_server((effective.host, effective.port), family=family).close()
    except OSError as error:
        place = f"{PREFIX}HOST={effective.host}, {PREFIX}PORT={effective.port}"
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"{place}: cannot be listened on: {reason}") from error


def _as_variable(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
