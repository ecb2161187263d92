import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"]


def entries(name: str) -> list[str]:
    """Give the entries of a lock: a requirement with its hashes, on one line each."""
    text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name: str) -> dict[str, str]:
    requirements = [Requirement(entry.partition(" --hash")[0]) for entry in entries(name)]
    return {canonicalize_name(one.name): str(one.specifier) for one in requirements}


def declared(group: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["project"]["dependencies"] if group == "runtime" else project["dependency-groups"][group]
    return {canonicalize_name(Requirement(one).name) for one in listed if isinstance(one, str)}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_exact_versions_with_hashes_and_no_place_to_get_them_from(name: str) -> None:
    for entry in entries(name):
        assert re.match(r"[a-z0-9-]+==[0-9][\w.]*( ; .+?)? +--hash=sha256:", entry), entry
        assert not re.search(r"https?:|file:|--index|--find-links|--extra", entry), entry


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("requirements.lock", ["runtime"]),
        ("requirements-build.lock", ["build"]),
        ("requirements-dev.lock", ["runtime", "build", "dev"]),
    ],
)
def test_a_lock_holds_all_that_the_project_names(name: str, groups: list[str]) -> None:
    assert set().union(*(declared(group) for group in groups)) <= set(pins(name))


@pytest.mark.parametrize("name", LOCKS[:2])
def test_what_is_tested_is_what_runs(name: str) -> None:
    tested = pins("requirements-dev.lock")
    assert pins(name).items() <= tested.items()


def test_what_runs_is_locked_without_the_tools() -> None:
    assert not {"pytest", "hatchling", "mypy", "uv"} & set(pins("requirements.lock"))
