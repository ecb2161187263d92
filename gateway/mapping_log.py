"""What became of each turn and of each delivery attempt: one event each, as a log line and in the metrics.

`mapping_log.schema.json` beside this module describes the lines. They name who, what and how long: never a message's
text, a key, or a webhook's path or query.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from gateway import errors, logs, mapping_lines, metrics
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Outcome, RetryAt
from gateway.relay.pulls import Pull, Result
from gateway.trace import Plan, TurnTrace
from gateway.upstreams.base import Call
from mappings import receipt
from mappings.receipt import Outcomes
from mappings.reconcile import CatchUp, Decision, Verdict

MAX_TEXT_CHARACTERS: Final = 512


def schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of the lines."""
    text = resources.files("gateway").joinpath("mapping_log.schema.json").read_text(encoding="utf-8")
    described: dict[str, Any] = json.loads(text)
    return described


def turn_accepted(
    trace: TurnTrace, seconds: float, *, dialect: str | None = None, fields: Outcomes | None = None
) -> None:
    """Record a turn that was taken after so many seconds; `fields` are found anew where they are not given."""
    found = _fields(trace, fields)
    logs.tell(_line(trace, seconds, dialect, found, head=("info", "turn.accepted", "accepted")))
    told = found.by_fate
    metrics.FIELDS.add((told.exact, told.emulated, told.approximated, told.dropped))
    if told.unknown.count:
        metrics.UNKNOWN_FIELDS.inc(told.unknown.count)
    _count(trace, "accepted")


def turn_refused(
    trace: TurnTrace,
    error: errors.GatewayError,
    seconds: float,
    *,
    dialect: str | None = None,
    fields: Outcomes | None = None,
) -> None:
    """Record a turn that was refused with this error after so many seconds. The error's text is the client's alone."""
    level: logs.Level = "info" if error.status < 500 else "warning"
    line = _line(trace, seconds, dialect, _fields(trace, fields), head=(level, "turn.refused", "refused"))
    logs.tell(mapping_lines.RefusedTurn(**msgspec.structs.asdict(line), error=error.code, status=error.status))
    _count(trace, error.code)


def attempted(
    delivery: Delivery, outcome: Outcome, lateness: timedelta, duration: timedelta, status: int | None
) -> None:
    """Record an attempt; `lateness` is from the moment it was due to its start. Observes the relay's worker."""
    level, name, cause, reason, next_attempt_at = _told_of(outcome)
    meta = delivery.meta
    logs.tell(
        mapping_lines.Delivery(
            time=logs.now(),
            level=level,
            event="delivery.attempted",
            request_id=_known(meta, "request_id"),
            delivery_id=delivery.id,
            turn_ids=delivery.turn_ids,
            tenant=_known(meta, "tenant"),
            bot_id=_known(meta, "bot_id"),
            user_id=_known(meta, "user_id"),
            conversation_id=_known(meta, "conversation_id"),
            host=delivery.host[:MAX_TEXT_CHARACTERS],
            attempt=delivery.attempts,
            takeovers=delivery.takeovers,
            segments=len(delivery.segments),
            status=status,
            outcome=name,
            reason=reason,
            cause=_cut(cause),
            delay=mapping_lines.Delay(
                _seconds(delivery.delay), _seconds(delivery.due + lateness - delivery.accepted_at)
            ),
            lateness_seconds=_seconds(lateness),
            duration_milliseconds=_milliseconds(duration),
            next_attempt_at=next_attempt_at,
        )
    )
    metrics.DELIVERY_LATENESS.observe(max(lateness.total_seconds(), 0))
    metrics.DELIVERY_ATTEMPTS(outcome=name).inc()
    if reason is not None:
        metrics.DEAD_LETTERS(reason=reason).inc()
    if delivery.takeovers:
        metrics.LEASE_TAKEOVERS.inc(delivery.takeovers)


def _told_of(outcome: Outcome) -> tuple[logs.Level, str, str | None, str | None, str | None]:
    """Give level, name, cause and reason of an outcome, and when the delivery is tried again."""
    match outcome:
        case Delivered():
            return "info", "delivered", None, None, None
        case RetryAt():
            return "info", "retry", outcome.cause, None, _instant(outcome.due)
        case DeadLettered():
            return "warning", "dead", outcome.cause, outcome.reason.value, None


def pulled(pull: Pull, result: Result, *, dialect: str, calls: Sequence[Call], seconds: float) -> None:
    """Record one claim of a reply that is pulled: this module is an observer of the puller."""
    went_wrong = result.outcome in {"retry", "given_up", "lost"} or result.reason == "length"
    meta = pull.meta
    logs.tell(
        mapping_lines.Pull(
            time=logs.now(),
            level="warning" if went_wrong else "info",
            event="reply.pulled",
            request_id=_known(meta, "request_id"),
            tenant=_known(meta, "tenant"),
            bot_id=_known(meta, "bot_id"),
            user_id=_known(meta, "user_id"),
            conversation_id=_known(meta, "conversation_id"),
            upstream=mapping_lines.Upstream(dialect, _cut(pull.upstream_id)),
            claim=pull.claims,
            takeovers=pull.takeovers,
            failures=pull.failures,
            outcome=result.outcome,
            end_reason=_cut(result.reason),
            cause=_cut(result.cause),
            status=result.status,
            messages=result.messages,
            tokens=result.tokens,
            upstream_calls=_calls(calls),
            duration_milliseconds=round(seconds * 1000, 3),
        )
    )


def _calls(calls: Sequence[Call]) -> list[mapping_lines.UpstreamCall]:
    return [
        mapping_lines.UpstreamCall(call.name, call.status, round(call.milliseconds, 3), call.attempt) for call in calls
    ]


def _fields(trace: TurnTrace, fields: Outcomes | None) -> Outcomes:
    if fields is not None:
        return fields
    return receipt.outcomes(trace.turn) if trace.turn else Outcomes()


def _line(
    trace: TurnTrace, seconds: float, dialect: str | None, fields: Outcomes, *, head: tuple[logs.Level, str, str]
) -> mapping_lines.Turn:
    level, event, outcome = head
    line = mapping_lines.Turn(
        time=logs.now(),
        level=level,
        event=event,
        request_id=trace.request_id,
        turn_id=trace.turn_id,
        tenant=trace.caller.tenant if trace.caller else None,
        upstream=mapping_lines.Upstream(dialect, _cut(trace.upstream_id)),
        plan=trace.plan,
        verdict=trace.verdict,
        reconciled=_reconciled(trace.decision) if trace.decision else None,
        fields=fields.by_fate,
        upstream_calls=_calls(trace.calls),
        duration_milliseconds=round(seconds * 1000, 3),
        outcome=outcome,
    )
    if turn := trace.turn:
        line.bot_id, line.user_id = _cut(turn.bot_id), _cut(turn.user_id)
        line.conversation_id = _cut(turn.client_conversation_id)
        line.history = mapping_lines.History(len(turn.history), turn.history_segments)
        line.window = mapping_lines.Window(
            _seconds(turn.window.minimum),
            _seconds(turn.window.maximum),
            None if trace.delay is None else _seconds(trace.delay),
        )
    return line


def _count(trace: TurnTrace, outcome: str) -> None:
    for series in _series_of(outcome, trace.plan, trace.verdict):
        series.inc()


@functools.lru_cache  # of a few outcomes, plans and verdicts
def _series_of(outcome: str, plan: Plan | None, verdict: Verdict | None) -> Sequence[Counter]:
    turns = metrics.TURNS(outcome=outcome, plan=plan or "")
    return (turns, metrics.VERDICTS(verdict=verdict.value)) if verdict else (turns,)


def _reconciled(decision: Decision) -> mapping_lines.Reconciled:
    plan = decision.plan
    added, lost = (len(plan.add), plan.lost) if isinstance(plan, CatchUp) else (0, 0)
    return mapping_lines.Reconciled(decision.matched, decision.missing, decision.extra, added, lost)


def _known(meta: Mapping[str, object], name: str) -> str | None:
    value = meta.get(name)
    return _cut(value) if isinstance(value, str) else None


def _cut(text: str | None) -> str | None:
    return text and text[:MAX_TEXT_CHARACTERS]


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 3)


def _milliseconds(duration: timedelta) -> float:
    return round(duration / timedelta(milliseconds=1), 3)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
