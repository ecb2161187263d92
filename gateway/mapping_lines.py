"""The lines of the mapping log, each with what it holds in the order in which it is written."""

import msgspec

from gateway import logs
from gateway.trace import Plan
from mappings.receipt import ByFate
from mappings.reconcile import Verdict


class Upstream(msgspec.Struct, gc=False):
    """Where the turn went: the upstream's dialect, and its own name of the conversation."""

    dialect: str | None
    conversation_id: str | None


class Reconciled(msgspec.Struct, gc=False):
    """How the client's history stood to what the upstream is known to hold, in messages."""

    matched: int
    missing: int
    extra: int
    added: int
    lost: int


class History(msgspec.Struct, gc=False):
    """How long the client's history is."""

    items: int
    segments: int


class Window(msgspec.Struct, gc=False):
    """When the reply may reach its webhook, in seconds from the acceptance on, and the moment that was drawn."""

    min_delay: float
    max_delay: float
    drawn: float | None


class UpstreamCall(msgspec.Struct, gc=False):
    """One call to the upstream; `status` is None when no answer came."""

    call: str
    status: int | None
    milliseconds: float
    attempt: int


class Turn(logs.Line, kw_only=True, gc=False):
    """One request of a client. What it did not get to is None or empty."""

    request_id: str
    turn_id: str | None
    tenant: str | None
    bot_id: str | None = None
    user_id: str | None = None
    conversation_id: str | None = None
    upstream: Upstream
    plan: Plan | None
    verdict: Verdict | None
    reconciled: Reconciled | None
    history: History | None = None
    fields: ByFate
    window: Window | None = None
    upstream_calls: list[UpstreamCall]
    duration_milliseconds: float
    outcome: str


class RefusedTurn(Turn, kw_only=True, gc=False):
    """A request that was answered with an error."""

    error: str
    status: int


class Delay(msgspec.Struct, gc=False):
    """How long a reply was held, in seconds from the acceptance of its newest turn."""

    drawn_seconds: float
    real_seconds: float


class Delivery(logs.Line, kw_only=True, gc=False):
    """One attempt to deliver a reply."""

    request_id: str | None
    delivery_id: str
    turn_ids: tuple[str, ...]
    tenant: str | None
    bot_id: str | None
    user_id: str | None
    conversation_id: str | None
    host: str
    attempt: int
    takeovers: int
    segments: int
    status: int | None
    outcome: str
    reason: str | None
    cause: str | None
    delay: Delay
    lateness_seconds: float
    duration_milliseconds: float
    next_attempt_at: str | None


class Pull(logs.Line, kw_only=True, gc=False):
    """One claim of a reply that is pulled."""

    request_id: str | None
    tenant: str | None
    bot_id: str | None
    user_id: str | None
    conversation_id: str | None
    upstream: Upstream
    claim: int
    takeovers: int
    failures: int
    outcome: str
    end_reason: str | None
    cause: str | None
    status: int | None
    messages: int
    tokens: int | None
    upstream_calls: list[UpstreamCall]
    duration_milliseconds: float
