"""Every fault that there is, by its name."""

from tests.chaos import faults_processes, faults_store, faults_upstream  # noqa: F401 — they enter theirs
from tests.chaos.chaos import FAULTS

OFF_BY_DEFAULT = frozenset({"callbacks-lost"})

__all__ = ["FAULTS", "OFF_BY_DEFAULT"]
