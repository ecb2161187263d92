"""Print, write or check the page that says what becomes of each V1 field: `python -m gateway.parity`."""

from pathlib import Path

import click

from mappings import parity

PAGE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--check", "checked", type=PAGE, metavar="FILE", help="exit 1 if FILE is not the page")
@click.option("--write", "written", type=PAGE, metavar="FILE", help="write the page to FILE")
def main(checked: Path | None, written: Path | None) -> None:
    """Print the page, unless told to check or to write a file."""
    page = parity.render()
    if written is not None:
        written.write_text(page, encoding="utf-8")
    if checked is not None and not is_current(checked):
        raise click.ClickException(f"{checked} is out of date: python -m gateway.parity --write {checked}")
    if written is None and checked is None:
        click.echo(page, nl=False)


def is_current(file: Path) -> bool:
    """Tell whether the file is the page; a missing one is not."""
    return file.is_file() and file.read_text(encoding="utf-8") == parity.render()


if __name__ == "__main__":
    main()
