"""What became of one request on its way, for the mapping log: filled in as far as it gets."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

import msgspec

from gateway import auth
from gateway.upstreams import base
from mappings.reconcile import Decision, Verdict
from mappings.turn import Turn

Plan: TypeAlias = Literal["reused", "adopted", "created", "recreated", "reseeded", "joined"]
"""How the upstream's conversation was come by, or that the turn joined an identical one."""


class TurnTrace(msgspec.Struct):
    """One request. `context_refused`: the upstream did not take what it was to be told beside the messages."""

    request_id: str
    caller: auth.Caller | None = None
    turn: Turn | None = None
    turn_id: str | None = None
    plan: Plan | None = None
    verdict: Verdict | None = None
    decision: Decision | None = None
    upstream_id: str | None = None
    delay: timedelta | None = None
    calls: Sequence[base.Call] = ()
    context_refused: bool = False

    @property
    def diverged(self) -> bool:
        """Whether the upstream goes on with another course of the conversation than the client's history tells."""
        return self.decision is not None and self.decision.restart
