from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import msgspec
import pytest

from gateway import auth, errors, logs, mapping_lines, mapping_log, metrics, redaction
from gateway.relay.delivery import DeadLettered, Delivered, Delivery, Outcome, Reason, RetryAt
from gateway.trace import TurnTrace
from gateway.upstreams.base import Call
from mappings import fates
from mappings.receipt import FieldOutcome, Outcomes
from mappings.turn import DelayWindow, Turn, Utterance
from mappings.wire.v1 import CompleteRequest
from tests import mapping_log_check

KEY = "k-very-secret"
TEXT = "Nice weather today, is it not?"
WEBHOOK = "https://hooks.example/private/path?token=hook-secret"
NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Lines]:
    """Give the lines written since, each held against the schema and searched for what must not be there."""
    logs.configure()

    def read() -> list[dict[str, Any]]:
        output = capsysbinary.readouterr().out
        for secret in (KEY, TEXT, "private/path", "hook-secret"):
            assert secret.encode() not in output
        return mapping_log_check.check(output)

    yield read
    logs.configure()


def full_trace(**extra: Any) -> TurnTrace:
    known = {name: extra.pop(name) for name in CompleteRequest.__struct_fields__ if name in extra}
    request = CompleteRequest(bot_id="bot-456", user_id="user-1", message=TEXT, webhook=WEBHOOK, **known)
    turn = Turn(
        bot_id="bot-456",
        user_id="user-1",
        client_conversation_id="chat-57",
        message=TEXT,
        history=(Utterance(True, (TEXT, TEXT)), Utterance(False, (TEXT,))),
        window=DelayWindow(timedelta(seconds=30), timedelta(seconds=60)),
        webhook=WEBHOOK,
        request=request,
        history_segments=3,
        unknown=extra,
    )
    return TurnTrace(
        "r-1",
        caller=auth.Caller("0123456789abcdef", KEY),
        turn=turn,
        turn_id="t-1",
        plan="created",
        upstream_id="c-1",
        delay=timedelta(seconds=41.23456),
        calls=[Call("list_conversations", None, 20_000.12345, 1), Call("create_conversation", 200, 12.5, 2)],
    )


def delivery(**changes: Any) -> Delivery:
    accepted = NOW - timedelta(seconds=45)
    return replace(
        Delivery(
            id="d-1",
            conversation="0" * 32,
            webhook=WEBHOOK,
            segments=(TEXT, TEXT),
            turn_ids=("t-1", "t-2"),
            meta={
                "tenant": "0123456789abcdef",
                "bot_id": "bot-456",
                "user_id": "user-1",
                "conversation_id": None,
                "request_id": "r-1",
            },
            accepted_at=accepted,
            delay=timedelta(seconds=44),
            not_before=accepted + timedelta(seconds=30),
            due=NOW - timedelta(seconds=1),
            attempts=1,
            takeovers=0,
            fence=7,
            body=None,
        ),
        **changes,
    )


def count(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


def outcome_of(name: str, kind: fates.Kind, *, known: bool = True) -> FieldOutcome:
    return FieldOutcome(name, kind, "the gateway itself", "because", known)


def test_an_accepted_turn_is_one_line(lines: Lines) -> None:
    kinds: list[tuple[str, fates.Kind]] = [
        ("message", "exact"),
        ("min_delay", "emulated"),
        ("language", "approximated"),
        ("fast_mode", "dropped"),
    ]
    mapping_log.turn_accepted(
        full_trace(), 0.0153, dialect="v3", fields=Outcomes(outcome_of(name, kind) for name, kind in kinds)
    )
    [line] = lines()
    del line["time"]
    assert line == {
        "level": "info",
        "event": "turn.accepted",
        "request_id": "r-1",
        "turn_id": "t-1",
        "tenant": "0123456789abcdef",
        "bot_id": "bot-456",
        "user_id": "user-1",
        "conversation_id": "chat-57",
        "upstream": {"dialect": "v3", "conversation_id": "c-1"},
        "plan": "created",
        "verdict": None,
        "reconciled": None,
        "history": {"items": 2, "segments": 3},
        "fields": {
            "exact": ["message"],
            "emulated": ["min_delay"],
            "approximated": ["language"],
            "dropped": ["fast_mode"],
            "unknown": {"count": 0, "names": []},
        },
        "window": {"min_delay": 30, "max_delay": 60, "drawn": 41.235},
        "upstream_calls": [
            {"call": "list_conversations", "status": None, "milliseconds": 20_000.123, "attempt": 1},
            {"call": "create_conversation", "status": 200, "milliseconds": 12.5, "attempt": 2},
        ],
        "duration_milliseconds": 15.3,
        "outcome": "accepted",
    }


def test_a_joined_turn_has_no_upstream_conversation(lines: Lines) -> None:
    trace = full_trace()
    trace.plan, trace.upstream_id, trace.calls = "joined", None, []
    mapping_log.turn_accepted(trace, 0.001)
    [line] = lines()
    assert line["plan"] == "joined"
    assert line["upstream"] == {"dialect": None, "conversation_id": None}


def test_a_turn_without_a_delay_says_zero(lines: Lines) -> None:
    trace = full_trace()
    trace.delay = timedelta(0)
    mapping_log.turn_accepted(trace, 0.001)
    assert lines()[0]["window"]["drawn"] == 0


def test_a_refused_turn_says_its_code_and_not_its_text(lines: Lines) -> None:
    mapping_log.turn_refused(full_trace(), errors.UpstreamRejected(f"the upstream said: {TEXT}", status=409), 0.01)
    [line] = lines()
    assert (line["event"], line["level"]) == ("turn.refused", "info")
    assert (line["error"], line["status"], line["outcome"]) == ("upstream_rejected", 409, "refused")
    assert line["upstream_calls"][1]["call"] == "create_conversation"


def test_a_request_that_was_refused_at_the_door_says_what_is_known(lines: Lines) -> None:
    mapping_log.turn_refused(TurnTrace("r-1"), errors.Unauthorized("Authorization: required"), 0.0001)
    [line] = lines()
    assert (line["error"], line["status"]) == ("unauthorized", 401)
    assert [line[name] for name in ("tenant", "turn_id", "bot_id", "plan", "history", "window")] == [None] * 6


def test_a_refusal_that_the_client_cannot_mend_is_a_warning(lines: Lines) -> None:
    mapping_log.turn_refused(full_trace(), errors.StoreUnavailable("the store is away"), 1.9)
    assert lines()[0]["level"] == "warning"


def test_unknown_fields_are_counted_and_named_where_they_are_names(lines: Lines) -> None:
    before = count("gateway_unknown_fields_total")
    extra = {"tone": 1, "a.b-c": 2, TEXT: 3, "": 4, "ключ": 5, "n" * 65: 6, "two\nlines": 7, "asks_for_nothing": None}
    mapping_log.turn_accepted(full_trace(**extra), 0.01)
    assert lines()[0]["fields"]["unknown"] == {"count": 7, "names": ["a.b-c", "tone"]}
    assert count("gateway_unknown_fields_total") == before + 7


def test_no_more_than_twenty_unknown_names_are_told(lines: Lines) -> None:
    mapping_log.turn_accepted(full_trace(**{f"field_{number:03}": number for number in range(1000)}), 0.01)
    unknown = lines()[0]["fields"]["unknown"]
    assert (unknown["count"], len(unknown["names"])) == (1000, 20)


def test_long_ids_are_cut(lines: Lines) -> None:
    trace = full_trace()
    assert trace.turn
    trace.turn = msgspec.structs.replace(trace.turn, client_conversation_id="c" * 5000)
    mapping_log.turn_accepted(trace, 0.01)
    assert len(lines()[0]["conversation_id"]) == mapping_log.MAX_TEXT_CHARACTERS


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (Delivered(204), 204, {"level": "info", "outcome": "delivered", "reason": None, "cause": None}),
        (
            RetryAt(NOW + timedelta(seconds=20), "status 503", 503),
            503,
            {"level": "info", "outcome": "retry", "cause": "status 503", "next_attempt_at": "2026-03-01T12:00:20.250Z"},
        ),
        (RetryAt(NOW, "timeout"), None, {"outcome": "retry", "status": None, "reason": None, "cause": "timeout"}),
        (
            DeadLettered(Reason.GONE, "status 410", 410),
            410,
            {"level": "warning", "outcome": "dead", "reason": "gone", "cause": "status 410", "next_attempt_at": None},
        ),
    ],
)
def test_each_attempt_is_one_line(lines: Lines, outcome: Outcome, status: int | None, expected: dict[str, Any]) -> None:
    mapping_log.attempted(delivery(), outcome, timedelta(seconds=1.25), timedelta(milliseconds=80), status)
    [line] = lines()
    assert {name: line[name] for name in expected} == expected
    assert line["host"] == "hooks.example"
    assert line["delay"] == {"drawn_seconds": 44, "real_seconds": 45.25}
    assert (line["lateness_seconds"], line["duration_milliseconds"]) == (1.25, 80)
    assert (line["delivery_id"], line["turn_ids"], line["attempt"], line["segments"]) == ("d-1", ["t-1", "t-2"], 1, 2)
    assert (line["request_id"], line["tenant"], line["bot_id"]) == ("r-1", "0123456789abcdef", "bot-456")


def test_a_reply_to_no_known_turn_is_told_with_what_is_known(lines: Lines) -> None:
    mapping_log.attempted(
        delivery(meta={"bot_id": 7}, turn_ids=(), webhook="http://["), Delivered(200), timedelta(0), timedelta(0), 200
    )
    [line] = lines()
    assert (line["request_id"], line["tenant"], line["bot_id"], line["host"]) == (None, None, None, "")


def test_attempts_are_counted_by_outcome_and_lateness() -> None:
    outcomes: list[Outcome] = [Delivered(200), RetryAt(NOW, "timeout"), DeadLettered(Reason.GONE, "status 410", 410)]
    names = ["delivered", "retry", "dead"]

    def counts() -> list[float]:
        return [
            *(count("gateway_delivery_attempts_total", outcome=name) for name in names),
            count("gateway_dead_letters_total", reason="gone"),
            count("gateway_lease_takeovers_total"),
            count("gateway_delivery_lateness_seconds_count"),
            count("gateway_delivery_lateness_seconds_sum"),
        ]

    before = counts()
    for outcome in outcomes:
        mapping_log.attempted(delivery(takeovers=2), outcome, timedelta(seconds=0.5), timedelta(0), None)
    mapping_log.attempted(delivery(), Delivered(200), -timedelta(seconds=9), timedelta(0), 200)
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [2, 1, 1, 1, 6, 4, 1.5]


def test_turns_and_the_fates_of_accepted_fields_are_counted() -> None:
    def counts() -> list[float]:
        return [
            count("gateway_turns_total", outcome="accepted", plan="created"),
            count("gateway_turns_total", outcome="unauthorized", plan=""),
            count("gateway_fields_total", field="language", fate="approximated"),
            count("gateway_unknown_fields_total"),
        ]

    before = counts()
    fields = Outcomes([outcome_of("language", "approximated"), outcome_of("tone", "dropped", known=False)])
    mapping_log.turn_accepted(full_trace(), 0.01, fields=fields)
    mapping_log.turn_refused(TurnTrace("r-1"), errors.Unauthorized("no"), 0.01, fields=fields)
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 1, 1, 1]


def test_fates_that_are_not_given_are_found_from_the_request(lines: Lines) -> None:
    mapping_log.turn_accepted(full_trace(language="es", fast_mode=True), 0.01)
    fields = lines()[0]["fields"]
    assert {"bot_id", "user_id", "message", "messages"} <= set(fields["exact"])
    assert "language" in fields["approximated"]
    assert "fast_mode" in fields["dropped"]


@pytest.mark.parametrize(
    "kind", [mapping_lines.Turn, mapping_lines.RefusedTurn, mapping_lines.Delivery, mapping_lines.Pull]
)
def test_no_field_of_a_line_is_hidden_for_its_name(kind: type[logs.Line]) -> None:
    assert not redaction.has_telling_names(kind)


def described_everywhere(node: Any, path: str = "") -> Iterator[str]:
    """Give the path of every property in the schema that says nothing of itself."""
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            if "description" not in value and "$ref" not in value:
                yield f"{path}/{name}"
        if node.get("type") == "object" or "properties" in node:
            assert node["additionalProperties"] is False, path
            assert set(node["required"]) == set(node["properties"]), path
        for name, value in node.items():
            if name != "properties":
                yield from described_everywhere(value, f"{path}/{name}")
        for name, value in node.get("properties", {}).items():
            yield from described_everywhere(value, f"{path}/{name}")
    elif isinstance(node, list):
        for value in node:
            yield from described_everywhere(value, path)


def test_every_property_of_the_schema_is_described_required_and_the_only_ones() -> None:
    schema = mapping_log.schema()
    assert list(described_everywhere(schema)) == []
    assert all("description" in definition for definition in schema["$defs"].values())


def test_the_schema_refuses_what_it_does_not_describe(lines: Lines) -> None:
    mapping_log.turn_accepted(full_trace(), 0.01)
    [line] = lines()
    whole = jsonschema.Draft202012Validator(mapping_log.schema())
    assert whole.is_valid(line)
    for spoiled in (
        line | {"message": TEXT},
        line | {"upstream": line["upstream"] | {"url": WEBHOOK}},
        {name: value for name, value in line.items() if name != "tenant"},
        line | {"tenant": KEY},
        line | {"event": "turn.unknown"},
    ):
        assert not whole.is_valid(spoiled)


def test_the_check_passes_other_lines_over_and_stops_at_wrong_ones() -> None:
    assert mapping_log_check.check('no json\n[]\n{"event": "started"}\n') == []
    with pytest.raises(jsonschema.ValidationError, match="is a required property"):
        mapping_log_check.check(b'{"event": "turn.accepted"}\n')


def test_the_enumerations_of_schema_and_code_agree() -> None:
    definitions = mapping_log.schema()["$defs"]
    assert set(definitions["plan"]["enum"]) == {*metrics.PLANS, None}
    assert set(definitions["fields"]["properties"]) == {*fates.KINDS, "unknown"}
    assert set(definitions["delivery.attempted"]["properties"]["outcome"]["enum"]) == set(metrics.ATTEMPT_OUTCOMES)
