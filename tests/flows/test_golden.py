"""Golden pairs: for each story in `tests/golden`, everything that crosses a wire, held against what is written there.

A directory is a case. Its `story.json` (with the requests that it names) is what happens; beside it stand the client's
`answers.json`, the `upstream_calls.json`, the upstream's `callbacks.json`, the client's `webhooks.json`, and what the
`mapping_log.json` says of the history. What nobody got has no file. Ids, times, tokens and hosts are names.

`UPDATE_GOLDEN=1 pytest tests/flows/test_golden.py` writes the records anew; their difference is for the eye.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.store import Store
from tests.flows.conftest import running_world
from tests.flows.golden import Story, Teller

CASES = Path(__file__).parents[1] / "golden"
STORY = "story"
RECORDS = ("answers", "upstream_calls", "callbacks", "webhooks", "mapping_log")


def read(file: Path) -> Any:
    """Read a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def write(case: Path, records: dict[str, Any]) -> None:
    """Write the records of a case; the file of a record that there is none of goes."""
    for name in RECORDS:
        file = case / f"{name}.json"
        if name in records:
            file.write_text(json.dumps(records[name], ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        else:
            file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "case", [path.parent for path in sorted(CASES.glob(f"*/{STORY}.json"))], ids=lambda at: at.name
)
async def test_a_story_crosses_the_wires_as_it_is_written(case: Path, store: Store, store_url: str) -> None:
    story = Story.model_validate(read(case / f"{STORY}.json"))
    files = {step.send: read(case / step.send) for step in story.steps if isinstance(step.send, str)}
    settings = {"upstream": story.upstream, "settle_seconds": 1} | story.settings
    async with running_world(store_url, **settings) as world:
        records = await Teller(world, story, files).tell()
    if "UPDATE_GOLDEN" in os.environ:
        write(case, records)
        pytest.skip("written anew")
    assert records == {name: read(file) for name in RECORDS if (file := case / f"{name}.json").is_file()}


def test_every_directory_is_a_case() -> None:
    assert [path.name for path in sorted(CASES.iterdir()) if not (path / f"{STORY}.json").is_file()] == []
