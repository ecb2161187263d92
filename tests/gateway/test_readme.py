"""The command that keeps the README's tables up to date."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import metrics, readme
from gateway.settings import Settings

PAGE = "# Title\n\n<!-- settings -->\n<!-- /settings -->\n\nText.\n\n<!-- metrics -->\nold\n<!-- /metrics -->\nEnd.\n"


def row(page: str, name: str) -> list[str]:
    """Give the cells of the row that begins with the name."""
    [found] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


def test_every_setting_is_told_with_its_default_and_what_is_allowed() -> None:
    page = readme.updated(PAGE)
    for name, field in Settings.model_fields.items():
        assert row(page, f"GATEWAY_{name.upper()}")[2] == field.description
    assert row(page, "GATEWAY_PORT")[:2] == ["`8080`", "0 to 65\u202f535"]
    assert row(page, "GATEWAY_LOG_FORMAT")[:2] == ["`json`", "`json`, `console`"]
    assert row(page, "GATEWAY_RELAY")[:2] == ["`true`", "`true`, `false`"]
    assert row(page, "GATEWAY_UPSTREAM_TIMEOUT_SECONDS")[1] == "above 0 to 300"
    assert row(page, "GATEWAY_SECRET")[0] == ""


def test_every_metric_of_ours_is_told() -> None:
    page = readme.updated(PAGE)
    assert row(page, "gateway_dead_letters_total")[0] == "counter"
    assert row(page, "gateway_store_up")[0] == "gauge"
    ours = [family for family in metrics.REGISTRY.collect() if not family.name.startswith("process_")]
    assert all(family.documentation in page for family in ours)


def test_the_rest_of_the_page_stays_and_what_was_in_the_places_goes() -> None:
    page = readme.updated(PAGE)
    assert page.startswith("# Title\n\n<!-- settings -->\n\n| Variable |")
    assert "<!-- /settings -->\n\nText.\n\n<!-- metrics -->" in page
    assert page.endswith("<!-- /metrics -->\nEnd.\n")
    assert "\nold\n" not in page
    assert readme.updated(page) == page


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of metrics"):
        readme.updated(PAGE.replace("<!-- metrics -->", ""))


def test_a_written_page_is_current_until_it_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(PAGE)
    stale = CliRunner().invoke(readme.main, ["--check", str(file)])
    assert stale.exit_code == 1
    assert f"{file} is out of date" in stale.output
    assert CliRunner().invoke(readme.main, ["--write", str(file)]).exit_code == 0
    assert CliRunner().invoke(readme.main, ["--check", str(file)]).exit_code == 0
