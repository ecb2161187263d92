"""The page that says what becomes of each V1 field."""

from collections import Counter
from pathlib import Path

from mappings import fates, parity

PAGE = Path(parity.__file__).with_name("PARITY.md")


def test_the_page_in_the_repository_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == parity.render(), "python -m gateway.parity --write mappings/PARITY.md"


def test_every_field_has_its_rows() -> None:
    page = parity.render()
    assert Counter(line.split("`")[1] for line in page.splitlines() if line.startswith("| `")) == {
        name: 1 + len(parity.TITLES) for name in fates.ROWS
    }
    assert "| `platform` | seed document | null, a blank text | exact | dropped |" in page


def test_a_cell_cannot_break_its_table() -> None:
    assert parity._line("a|b", "c") == "| a&#124;b | c |"
