"""`gateway dead-letters`: see the replies that could not be delivered, and send them again."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from gateway.cli import common
from gateway.relay import dead_letters
from gateway.relay.dead_letters import DeadLetter, Filter, Found
from gateway.relay.delivery import Reason
from gateway.settings import Settings
from gateway.store import Store

PREVIEWED = 5
LISTED = 50

COLUMNS = ("died_at", "id", "reason", "cause", "host")


@click.group("dead-letters")
def group() -> None:
    """See the replies that could not be delivered, and send them again."""


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--user", "user_id", help="of this user"),
        click.option("--bot", "bot_id", help="of this bot"),
        click.option("--reason", type=click.Choice([reason.value for reason in Reason]), help="given up for this"),
        click.option("--host", help="whose webhook is at this host, with its port if it names one"),
        click.option("--tenant", help="of this tenant, by its digest as logs show it"),
    ):
        command = option(command)
    return command


@group.command("list")
@_filter_options
@click.option("--limit", default=LISTED, show_default=True, type=click.IntRange(1), help="the newest so many")
@common.as_json_option
@common.settings_options(*common.STORE_SETTINGS)
@common.failing_clearly
def list_(*, limit: int, as_json: bool, **options: Any) -> None:
    """List dead letters, newest first; no message text and no webhook's path or query is shown."""
    wanted, effective = _split(options)
    letters = common.with_store(effective, lambda store, _: dead_letters.newest(store, limit + 1, wanted))
    shown = letters[:limit]
    if as_json:
        common.echo_json({"dead_letters": [dead_letters.describe(letter) for letter in shown]})
    else:
        _print_table(shown, err=False)
    if len(letters) > limit:
        click.echo(f"There are more than these {limit}: see --limit.", err=True)
    elif not letters:
        click.echo("There is none.", err=True)


@group.command("show")
@click.argument("reply_id", metavar="ID")
@common.as_json_option
@common.settings_options(*common.STORE_SETTINGS)
@common.failing_clearly
def show(*, reply_id: str, as_json: bool, **overrides: Any) -> None:
    """Show all that is told of one dead letter."""
    letter = common.with_store(common.load(overrides), lambda store, _: dead_letters.show(store, reply_id))
    if letter is None:
        raise click.ClickException(f"{common.printable(reply_id)}: no such dead letter")
    described = dead_letters.describe(letter)
    if as_json:
        common.echo_json(described)
        return
    for name, value in described.items():
        text = ", ".join(value) if isinstance(value, list) else "" if value is None else value
        click.echo(f"{name:<16} {common.printable(text)}".rstrip())


@group.command("redrive")
@click.argument("reply_ids", metavar="[ID]...", nargs=-1)
@_filter_options
@click.option("--all", "everything", is_flag=True, help="all dead letters")
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--dry-run", is_flag=True, help="end after the preview")
@common.as_json_option
@common.settings_options(*common.STORE_SETTINGS)
@common.failing_clearly
def redrive(
    *, reply_ids: tuple[str, ...], everything: bool, yes: bool, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Send dead letters again: those with these IDs, those that agree with all filters, or all of them.

    What would be sent is shown first. Each goes out at once, under its id and with its bytes, and has all its attempts
    again.
    """
    wanted, effective = _split(options)
    if [bool(reply_ids), wanted != dead_letters.EVERYTHING, everything].count(True) != 1:
        raise click.UsageError("give IDs, or filters, or --all")
    choice: _Choice = _ById(reply_ids) if reply_ids else _ByFilter(wanted)
    found = common.with_store(effective, lambda store, _: choice.find(store))
    _preview(found)
    redriven = 0
    if found.count and not dry_run and (yes or click.confirm("Send again?", err=True, default=False)):
        redriven = _redrive(effective, choice, found)
    if as_json:
        common.echo_json({"found": found.count, "redriven": redriven})
    elif not dry_run:
        click.echo(f"{redriven} sent again")


@dataclass(frozen=True, slots=True)
class _ById:
    reply_ids: Sequence[str]

    async def find(self, store: Store) -> Found:
        letters = []
        for reply_id in dict.fromkeys(self.reply_ids):
            letter = await dead_letters.show(store, reply_id)
            if letter is None:
                raise click.ClickException(f"{common.printable(reply_id)}: no such dead letter; none was sent again")
            letters.append(letter)
        return Found(len(letters), letters[:PREVIEWED])

    async def redrive(self, store: Store, found: Found, progress: Callable[[int], object]) -> int:
        count = len(await dead_letters.redrive(store, self.reply_ids))
        progress(found.count)
        return count


@dataclass(frozen=True, slots=True)
class _ByFilter:
    wanted: Filter

    async def find(self, store: Store) -> Found:
        return await dead_letters.find(store, self.wanted, PREVIEWED)

    async def redrive(self, store: Store, found: Found, progress: Callable[[int], object]) -> int:
        # Only what the preview has counted: not what dies, or dies again, while it is asked for and done.
        bounded = replace(self.wanted, died_until=found.newest[0].died_at)
        return await dead_letters.redrive_all(store, bounded, progress=progress)


_Choice = _ById | _ByFilter


def _split(options: dict[str, Any]) -> tuple[Filter, Settings]:
    """Part a command's options into the filter and the settings."""
    names = ("tenant", "host", "reason", "bot_id", "user_id")
    wanted = Filter(**{name: options.pop(name) for name in names})
    return wanted, common.load(options)


def _redrive(effective: Settings, choice: _Choice, found: Found) -> int:
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=found.count, label="Sending again", file=sys.stderr, hidden=hidden) as bar:
        return common.with_store(effective, lambda store, _: choice.redrive(store, found, bar.update))


def _preview(found: Found) -> None:
    if not found.count:
        click.echo("There is no such dead letter.", err=True)
        return
    letters = "dead letter" if found.count == 1 else "dead letters"
    rest = found.count - len(found.newest)
    click.echo(f"{found.count} {letters} to send again{', the newest of them' if rest else ''}:", err=True)
    _print_table(found.newest, err=True)
    if rest:
        click.echo(f"and {rest} more", err=True)


def _print_table(letters: Iterable[DeadLetter], *, err: bool) -> None:
    rows = []
    for letter in letters:
        described = dead_letters.describe(letter)
        rows.append([common.printable(described[name]) for name in COLUMNS])
    if not rows:
        return
    rows.insert(0, [name.upper() for name in COLUMNS])
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), err=err)
