"""The command that keeps the page of fates up to date."""

from pathlib import Path

from click.testing import CliRunner

from gateway import parity
from mappings import parity as page


def test_the_page_is_printed() -> None:
    assert CliRunner().invoke(parity.main).output == page.render()


def test_a_written_page_is_current_until_it_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "PARITY.md"
    assert CliRunner().invoke(parity.main, ["--write", str(file)]).output == ""
    assert CliRunner().invoke(parity.main, ["--check", str(file)]).exit_code == 0
    file.write_text(file.read_text() + "\n")
    checked = CliRunner().invoke(parity.main, ["--check", str(file)])
    assert checked.exit_code == 1
    assert f"{file} is out of date" in checked.output


def test_a_missing_page_is_not_current(tmp_path: Path) -> None:
    assert CliRunner().invoke(parity.main, ["--check", str(tmp_path / "PARITY.md")]).exit_code == 1
