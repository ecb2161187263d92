"""What comes of an attempt: the schedule, and every kind of answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.relay import delivery as rules
from gateway.relay.delivery import (
    Answered,
    DeadLettered,
    Delivered,
    Delivery,
    Failed,
    Policy,
    Reason,
    Result,
    RetryAt,
    backoff,
    classify,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY = Policy()
SECOND = timedelta(seconds=1)

draws = st.floats(0, 1, exclude_max=True)
statuses = st.integers(100, 599)
failures = st.builds(Failed, st.just("connect_failed"), st.sampled_from(["receiver", "ours", "destination"]))
results = st.builds(Answered, statuses, st.none() | st.timedeltas(timedelta(), timedelta(days=99))) | failures


def delivery(**changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "id": "r1",
        "conversation": "00" * 16,
        "webhook": "https://client.example/hook?token=s3cret",
        "segments": ('["m1","Hello!"]',),
        "turn_ids": ("r1",),
        "meta": {},
        "accepted_at": NOW - 60 * SECOND,
        "delay": 45 * SECOND,
        "not_before": NOW - 15 * SECOND,
        "due": NOW,
        "attempts": 1,
        "takeovers": 0,
        "fence": 1,
        "body": None,
    }
    return Delivery(**fields | changes)


def judge(result: Result, *, draw: float = 0.5, **changes: Any) -> rules.Outcome:
    return classify(result, delivery(**changes), POLICY, now=NOW, draw=draw)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert judge(Answered(status)) == Delivered(status)


def test_gone_ends_it_at_once() -> None:
    assert judge(Answered(410)) == DeadLettered(Reason.GONE, "status 410", 410)


def test_a_refused_destination_ends_it_at_once() -> None:
    expected = DeadLettered(Reason.REFUSED_DESTINATION, "forbidden_address")
    assert judge(Failed("forbidden_address", "destination")) == expected


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 408, 422, 500, 502, 504])
def test_other_answers_are_tried_again_after_the_first_pause(status: int) -> None:
    assert judge(Answered(status)) == RetryAt(NOW + 20 * SECOND, f"status {status}", status)


def test_a_call_without_an_answer_is_tried_again() -> None:
    assert judge(Failed("deadline_exceeded")) == RetryAt(NOW + 20 * SECOND, "deadline_exceeded")


def test_a_fault_of_ours_is_not_charged_to_the_receiver() -> None:
    outcome = judge(Failed("lookup_failed", "ours"), attempts=8)
    assert outcome == RetryAt(NOW + 20 * SECOND, "lookup_failed", charged=False)


def test_a_fault_of_ours_does_not_last_for_ever() -> None:
    outcome = judge(Failed("lookup_failed", "ours"), not_before=NOW - POLICY.patience)
    assert outcome == DeadLettered(Reason.AGE, "lookup_failed")


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_receiver_asks_for_is_kept(status: int) -> None:
    assert judge(Answered(status, 300 * SECOND)) == RetryAt(NOW + 300 * SECOND, f"status {status}", status)


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_cannot_use_its_attempts_up_within_seconds(status: int) -> None:
    assert judge(Answered(status, SECOND)) == RetryAt(NOW + 20 * SECOND, f"status {status}", status)


def test_a_pause_that_is_asked_for_has_a_bound() -> None:
    outcome = judge(Answered(503, timedelta(days=3650)))
    assert outcome == RetryAt(NOW + rules.LONGEST_PAUSE, "status 503", 503)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_other_answers_cannot_ask_for_a_pause(status: int) -> None:
    assert judge(Answered(status, 300 * SECOND)) == judge(Answered(status))


def test_the_last_attempt_ends_it_with_the_last_failure() -> None:
    assert judge(Answered(500), attempts=7) != judge(Answered(500), attempts=8)
    assert judge(Answered(500), attempts=8) == DeadLettered(Reason.ATTEMPTS, "status 500", 500)


def test_a_last_attempt_may_succeed() -> None:
    assert judge(Answered(200), attempts=8) == Delivered(200)


def test_what_waited_behind_a_failing_forerunner_gets_one_try() -> None:
    long_ago = NOW - POLICY.patience
    assert judge(Answered(200), not_before=long_ago) == Delivered(200)
    assert judge(Answered(500), not_before=long_ago) == DeadLettered(Reason.AGE, "status 500", 500)


@given(results, st.integers(1, 8), draws)
def test_an_attempt_is_never_made_sooner_than_the_schedule_says(result: Result, attempt: int, draw: float) -> None:
    outcome = judge(result, attempts=attempt, draw=draw)
    if isinstance(outcome, RetryAt):
        first = attempt if outcome.charged else 1
        assert NOW + backoff(first, POLICY.pause, draw) <= outcome.due <= NOW + rules.LONGEST_PAUSE


@given(st.integers(1, 7), draws)
def test_pauses_grow_and_stay_within_a_quarter_of_the_schedule(attempt: int, draw: float) -> None:
    pause, middle = backoff(attempt, POLICY.pause, draw), backoff(attempt, POLICY.pause, 0.5)
    assert 0.75 * middle <= pause <= 1.25 * middle
    assert backoff(attempt + 1, POLICY.pause, draw) > pause


@given(st.integers(1, 10_000), st.floats(0.001, 3600), draws)
def test_no_pause_is_longer_than_half_a_day(attempt: int, seconds: float, draw: float) -> None:
    assert timedelta() < backoff(attempt, timedelta(seconds=seconds), draw) <= rules.LONGEST_PAUSE


def test_eight_attempts_take_about_twelve_hours() -> None:
    whole = sum((backoff(attempt, POLICY.pause, 0.5) for attempt in range(1, POLICY.max_attempts)), timedelta())
    assert timedelta(hours=12) < whole < timedelta(hours=12.5)
    assert POLICY.patience == 2 * whole


@given(st.integers(1, 100), st.floats(0.001, 3600))
def test_patience_stays_within_what_the_store_remembers(attempts: int, seconds: float) -> None:
    patience = Policy(attempts, timedelta(seconds=seconds)).patience
    assert rules.SHORTEST_PATIENCE <= patience <= rules.LONGEST_PATIENCE


@pytest.mark.parametrize(
    ("webhook", "host"),
    [
        ("https://Client.example/hook?token=s3cret", "client.example"),
        ("http://user:pass@client.example:8080/x", "client.example:8080"),
        ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
        ("https://[broken", ""),
        ("", ""),
    ],
)
def test_a_host_is_named_without_what_may_be_secret(webhook: str, host: str) -> None:
    assert delivery(webhook=webhook).host == host
