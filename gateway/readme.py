"""Check or write the tables of the README that the code knows better: `python -m gateway.readme`.

Each stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from gateway import metrics
from gateway.settings import PREFIX, Settings

PAGE = click.Path(exists=True, dir_okay=False, path_type=Path)

PREFIXES = ("gateway_", "http_")
"""What the names of our own metrics begin with; the others are the metrics library's."""


@click.command()
@click.option("--check", "checked", type=PAGE, metavar="FILE", help="exit 1 if a table in FILE is out of date")
@click.option("--write", "written", type=PAGE, metavar="FILE", help="bring the tables in FILE up to date")
def main(checked: Path | None, written: Path | None) -> None:
    """Check the tables of a page, or write them."""
    if written is not None:
        written.write_text(updated(written.read_text(encoding="utf-8")), encoding="utf-8")
    if checked is not None:
        text = checked.read_text(encoding="utf-8")
        if updated(text) != text:
            raise click.ClickException(f"{checked} is out of date: python -m gateway.readme --write {checked}")


def updated(page: str) -> str:
    """Give the page with its tables as the code has them; `ValueError` when a table's place is not there."""
    for name, rows in (("settings", _settings()), ("metrics", _metrics())):
        before, opened, rest = page.partition(f"<!-- {name} -->\n")
        _, closed, after = rest.partition(f"<!-- /{name} -->")
        if not (opened and closed):
            raise ValueError(f"there is no place for the table of {name}")
        page = "".join((before, opened, "\n", *(f"{row}\n" for row in rows), "\n", closed, after))
    return page


def _settings() -> Iterator[str]:
    yield from _head("Variable", "Default", "Allowed", "What it is")
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        text = "" if shown in {None, "", ()} else f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"
        yield _row(f"`{PREFIX}{name.upper()}`", text, _allowed(field.annotation, field.metadata), field.description)


def _allowed(annotation: Any, metadata: Iterable[Any]) -> str:
    """Say what values a setting may have, where that is a list or a range."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if annotation is bool:
        return "`true`, `false`"
    bounds = {name: getattr(one, name) for one in metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    if "le" not in bounds:
        return ""
    low = f"above {bounds['gt']}" if "gt" in bounds else str(bounds["ge"])
    return f"{low} to {bounds['le']:,}".replace(",", "\u202f")


def _metrics() -> Iterator[str]:
    yield from _head("Metric", "Kind", "What it says")
    for family in metrics.REGISTRY.collect():
        if family.name.startswith(PREFIXES):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield _row(f"`{name}`", family.type, family.documentation)


def _head(*columns: str) -> Sequence[str]:
    return (_row(*columns), _row(*("---" for _ in columns)))


def _row(*cells: str | None) -> str:
    return f"| {' | '.join((cell or '').replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()
