"""`gateway serve` and `check-config`: run it, or see with which settings it would run."""

from typing import Any

import click

from gateway import app, server
from gateway.cli import common
from gateway.settings import Settings


@click.command()
@common.settings_options()
@common.failing_clearly
def serve(**overrides: Any) -> None:
    """Run the gateway. Every flag can be given as an environment variable or in a .env file too."""
    effective = _load(overrides)
    server.export(overrides)
    server.serve(effective)


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
    app.require_upstream(effective)
    effective.load_key_map()
    return effective


def _as_variable(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
