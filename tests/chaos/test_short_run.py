"""A few seconds of the chaos suite: real processes, one of them killed, a store that goes away, receivers that fail."""

import asyncio

import pytest

from tests.chaos import oracle
from tests.chaos.run import Plan, carry_out

PLAN = Plan(
    seed=7,
    replicas=2,
    seconds=6,
    rate=6,
    receivers=("steady", "flaky", "slow", "redirecting", "gone"),
    faults=("kill", "store-black-hole", "upstream-fails-late", "callbacks-twice"),
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return ("asyncio", {"use_uvloop": True})


async def test_a_short_run_under_faults_violates_no_invariant() -> None:
    async with asyncio.timeout(120):
        logs = await carry_out(PLAN)
    judged = oracle.judge(logs)
    kept = [one for one in judged if not one.invariant.timed]  # other tests run beside this one
    violations = [f"{one.invariant.name}: {what}" for one in kept for what in one.finding.violations]
    assert violations == []
    assert {fault.name for fault in logs.faults} & {"kill", "store black hole"}
    accepted = next(one.finding for one in judged if one.invariant.name == "I1").figures["accepted"]
    assert accepted > 10
