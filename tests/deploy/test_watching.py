"""Alert rules, dashboard and runbook speak of metrics, labels, commands and sections that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway import field_counts, metrics
from gateway.cli import main
from gateway.relay.delivery import Reason

DEPLOY = Path(__file__).parents[2] / "deploy"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())

METRIC = re.compile(r"\b((?:gateway|http)_[a-z_]+)")
SELECTOR = re.compile(r"\{([^{}]*)\}")


def names() -> set[str]:
    """Give the names of all series, as queries must have them."""
    found = set()
    for family in metrics.REGISTRY.collect():
        match family.type:
            case "counter":
                found.add(f"{family.name}_total")
            case "histogram":
                found |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
            case _:
                found.add(family.name)
    return found


def labels() -> set[str]:
    """Give the names of all labels."""
    declared = (value for value in vars(metrics).values() if isinstance(value, metrics.Family))
    return {"le", *field_counts.LABELS}.union(*(family._known for family in declared))


def queries() -> Iterator[str]:
    for rule in RULES:
        yield rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_is_of_metrics_and_labels_that_there_are(query: str) -> None:
    words = set(METRIC.findall(SELECTOR.sub("", re.sub(r"by \([^)]*\)", "", query))))
    assert words
    assert words <= names()
    asked = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    asked |= {label for group in SELECTOR.findall(query) for label in re.findall(r"(\w+)\s*[=!]", group)}
    assert asked <= labels()
    assert query.count("(") == query.count(")")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_grave_it_is_and_where_it_is_written_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert file == "deploy/RUNBOOK.md"
    assert anchor in {heading.lower() for heading in re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)}


def test_every_alert_has_a_name_of_its_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_panels_have_ids_and_places_of_their_own() -> None:
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]}
    assert len(places) == len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_runbook_names_metrics_that_there_are() -> None:
    families = {family.name for family in metrics.REGISTRY.collect()} | names()
    assert set(re.findall(r"`(gateway_[a-z_]+)`", RUNBOOK)) - set(metrics.TURN_OUTCOMES) <= families


def test_the_runbook_tells_of_every_reason_for_a_dead_letter() -> None:
    assert {reason.value for reason in Reason} <= set(re.findall(r"^\| `(\w+)` \|", RUNBOOK, re.MULTILINE))


@pytest.mark.parametrize("line", sorted(set(re.findall(r"(?:^|`)gateway ([^`#\n]+)", RUNBOOK, re.MULTILINE))))
def test_the_runbook_calls_commands_with_options_that_there_are(line: str) -> None:
    words = line.split()
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    options = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= options
