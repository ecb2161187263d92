"""What one run of the bench is to do, and how thoroughly."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from bench import report
from bench.subjects import Subject


@dataclass(frozen=True, slots=True)
class Plan:
    """The subjects, the first of which is the gateway, and the thoroughness."""

    subjects: Sequence[Subject]
    rounds: int
    quick: bool
    large: bool

    def tell(self, section: str, lines: Sequence[str]) -> None:
        """Print a section, and keep it unless the run is only a quick look."""
        click.echo("\n".join(lines))
        if not self.quick:
            report.write_section(section, lines)
