"""The invariants, each a pure check over the logs of a run: what was looked at, what is excused, what is wrong."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.chaos.records import Logs
from tests.chaos.story import Story


@dataclass(slots=True)
class Finding:
    """What one check has seen. `excused` names what a fault explains, `violations` what nothing does."""

    checked: int = 0
    excused: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def hold(self, holds: bool, what: str, *, excuse: object = None) -> None:
        """Count one thing that was looked at; where it does not hold, say what, excused or not."""
        self.checked += 1
        if not holds and excuse:
            self.excused.append(f"{what}: {excuse}" if isinstance(excuse, str) else what)
        elif not holds:
            self.violations.append(what)


Check: TypeAlias = Callable[[Story, Finding], None]


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant by its name, with the statement that is checked. `timed`: it needs a machine that is not busy."""

    name: str
    statement: str
    check: Check
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """An invariant with what was found."""

    invariant: Invariant
    finding: Finding


INVARIANTS: list[Invariant] = []


def invariant(name: str, statement: str, *, timed: bool = False) -> Callable[[Check], Check]:
    """Enter a check under an invariant's name."""

    def enter(check: Check) -> Check:
        INVARIANTS.append(Invariant(name, statement, check, timed))
        return check

    return enter


def judge(logs: Logs) -> Sequence[Judgement]:
    """Hold a run against every invariant, in the order of their numbers."""
    from tests.chaos import checks_posts, checks_replies, checks_strangers, checks_time  # noqa: F401 — they enter themselves

    return list(_judge(Story(logs)))


def _judge(story: Story) -> Iterator[Judgement]:
    for one in sorted(INVARIANTS, key=lambda each: int(each.name[1:])):
        finding = Finding()
        one.check(story, finding)
        yield Judgement(one, finding)


def violated(judgements: Sequence[Judgement]) -> set[str]:
    """Give the names of the invariants that do not hold."""
    return {judgement.invariant.name for judgement in judgements if judgement.finding.violations}
