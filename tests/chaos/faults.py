"""Every fault that there is, by its name."""

from tests.chaos import faults_processes, faults_store, faults_upstream  # noqa: F401 — they enter theirs
from tests.chaos.chaos import FAULTS

__all__ = ["FAULTS"]
