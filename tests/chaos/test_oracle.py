"""Each check catches the defect that it is there for, and lets pass what a fault explains."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos import oracle
from tests.chaos.records import Class, DeadLetter, Exit, Forgery, Hostile, Logs
from tests.chaos.small_story import (
    BEGAN,
    KEYS,
    arrival,
    callbacks,
    conversation,
    create,
    fault,
    good_logs,
    post,
    request,
)


def violated(logs: Logs) -> set[str]:
    return oracle.violated(oracle.judge(logs))


def found(logs: Logs, name: str) -> tuple[int, int]:
    """Count what an invariant's checks excused, and what they did not."""
    findings = [one.finding for one in oracle.judge(logs) if one.invariant.name == name]
    return sum(len(one.excused) for one in findings), sum(len(one.violations) for one in findings)


def test_a_run_that_went_well_violates_nothing() -> None:
    assert violated(good_logs()) == set()


def lose_a_delivery(logs: Logs) -> None:
    logs.arrivals = logs.arrivals[:2]


def lose_a_segment(logs: Logs) -> None:
    last = logs.arrivals[2]
    logs.arrivals = [*logs.arrivals[:2], replace(last, texts=last.texts[:1])]


def repeat_a_segment(logs: Logs) -> None:
    first = logs.arrivals[0]
    again = replace(first, delivery="d-other", at=first.at + 0.1, texts=first.texts[1:])
    logs.arrivals = [*logs.arrivals, again]


def deliver_twice(logs: Logs) -> None:
    first = logs.arrivals[0]
    logs.arrivals = [*logs.arrivals, replace(first, at=first.at + 3, attempt=2)]


def change_between_attempts(logs: Logs) -> None:
    first = replace(logs.arrivals[0], acknowledged=False, answer="500")
    logs.arrivals = [first, replace(logs.arrivals[0], at=first.at + 0.2, attempt=2, body=b"{}"), *logs.arrivals[1:]]


def share_an_id(logs: Logs) -> None:
    logs.arrivals = [*logs.arrivals[:2], replace(logs.arrivals[2], delivery=logs.arrivals[0].delivery)]


def create_twice(logs: Logs) -> None:
    logs.calls = [*logs.calls, create(logs.requests[0], BEGAN + 5)]


def keep_two_conversations(logs: Logs) -> None:
    logs.conversations = [*logs.conversations, replace(logs.conversations[0], id="v-9", messages=())]


def seed_a_strange_history(logs: Logs) -> None:
    logs.calls = [replace(logs.calls[0], seed=((True, "never said"),)), *logs.calls[1:]]


def post_twice(logs: Logs) -> None:
    logs.calls = [*logs.calls, post(logs.requests[0], "v-0", BEGAN + 3)]


def never_post(logs: Logs) -> None:
    logs.calls = logs.calls[:-1]


def post_out_of_order(logs: Logs) -> None:
    logs.calls = [replace(call, at=BEGAN + 20) if call.at == BEGAN + 0.05 else call for call in logs.calls]


def deliver_early(logs: Logs) -> None:
    logs.arrivals = [arrival(logs.requests[0], BEGAN + 0.9), *logs.arrivals[1:]]


def deliver_late(logs: Logs) -> None:
    logs.arrivals = [*logs.arrivals[:2], arrival(logs.requests[2 - 1], BEGAN + 14)]


def call_with_another_key(logs: Logs) -> None:
    logs.calls = [replace(logs.calls[1], account="account-two"), logs.calls[0], *logs.calls[2:]]


def tell_the_upstream_a_webhook(logs: Logs) -> None:
    logs.calls = [replace(logs.calls[1], body="... secret-c0.1 ..."), logs.calls[0], *logs.calls[2:]]


def misroute(logs: Logs) -> None:
    first, other, second = logs.arrivals
    texts, body = first.texts, first.body
    logs.arrivals = [replace(first, texts=other.texts, body=other.body), replace(other, texts=texts, body=body), second]


def change_a_query(logs: Logs) -> None:
    logs.arrivals = [replace(logs.arrivals[0], query="token=secret-c0.1"), *logs.arrivals[1:]]


def reorder_replies(logs: Logs) -> None:
    first, other, second = logs.arrivals
    early = replace(second, at=BEGAN + 11.2)
    logs.arrivals = [other, early, replace(first, at=BEGAN + 12)]


def change_a_text_on_its_way_there(logs: Logs) -> None:
    logs.calls = [*logs.calls[:-1], replace(logs.calls[-1], posted=(False, "[c0.2] Hello"))]


def change_a_text_on_its_way_back(logs: Logs) -> None:
    first = logs.arrivals[0]
    logs.arrivals = [replace(first, texts=(first.texts[0], first.texts[1] + "\u0301")), *logs.arrivals[1:]]


def believe_a_forgery(logs: Logs) -> None:
    logs.forgeries = [Forgery("an unknown token", "Forged segment 1", BEGAN, BEGAN + 0.1, 200)]


def deliver_a_forgery(logs: Logs) -> None:
    first = logs.arrivals[0]
    logs.arrivals = [replace(first, texts=(*first.texts, "Forged segment 1")), *logs.arrivals[1:]]


def follow_a_redirect(logs: Logs) -> None:
    logs.trapped = 1


def insist_after_410(logs: Logs) -> None:
    gone = replace(logs.arrivals[0], at=BEGAN + 1.4, ended_at=BEGAN + 1.4, answer="410", acknowledged=False)
    logs.arrivals = [gone, replace(logs.arrivals[0], attempt=2), *logs.arrivals[1:]]


def send_a_key_to_a_webhook(logs: Logs) -> None:
    logs.arrivals = [replace(logs.arrivals[0], headers=f"Authorization: Bearer {KEYS[0]}"), *logs.arrivals[1:]]


def log_a_key(logs: Logs) -> None:
    logs.leaks = ["replica-0 holds a secret"]


def accept_without_a_store(logs: Logs) -> None:
    logs.faults = [fault("store refused", Class.STORE, 9.5, 12)]


def hang_without_a_store(logs: Logs) -> None:
    logs.faults = [fault("store black hole", Class.STORE, 9.5, 15)]
    slow = replace(logs.requests[1].exchanges[0], ended_at=BEGAN + 14, status=503)
    logs.requests = [logs.requests[0], replace(logs.requests[1], exchanges=[slow]), logs.requests[2]]


def fail_at_hostility(logs: Logs) -> None:
    logs.hostile = [Hostile("deep nesting", BEGAN, BEGAN + 1, 500)]


def refuse_without_a_reason(logs: Logs) -> None:
    refused = replace(logs.requests[0].exchanges[0], status=503, error="store_unavailable", ended_at=BEGAN + 0.01)
    kept = logs.requests[0].exchanges[0]
    logs.requests = [replace(logs.requests[0], exchanges=[refused, kept]), *logs.requests[1:]]


def die(logs: Logs) -> None:
    logs.crashes = ["replica-0 has ended by itself"]


def end_badly(logs: Logs) -> None:
    logs.exits = [Exit(replica=0, began=BEGAN, seconds=1.0, code=1)]


def end_slowly(logs: Logs) -> None:
    logs.exits = [Exit(replica=0, began=BEGAN, seconds=60.0, code=0)]


def come_back_stale(logs: Logs) -> None:
    failed = replace(logs.arrivals[0], at=BEGAN + 1.3, attempt=2, acknowledged=False, answer="500")
    logs.arrivals = [failed, *logs.arrivals]


def leave_keys_behind(logs: Logs) -> None:
    logs.undeclared_keys = ["gw:{s1}:something"]


def split_twins(logs: Logs) -> None:
    one = logs.requests[0].exchanges[0]
    both = [one, replace(one, replica=1, message_id="another")]
    logs.requests = [replace(logs.requests[0], twin=True, exchanges=both), *logs.requests[1:]]


def lose_a_dead_letter(logs: Logs) -> None:
    logs.dead_letters = [DeadLetter("d-c0.2", "attempts", logs.arrivals[2].texts, logs.requests[1].webhook)]
    logs.arrivals = logs.arrivals[:2]


def keep_a_dead_letter(logs: Logs) -> None:
    logs.dead_letters_left = 1


DEFECTS: list[tuple[str, Callable[[Logs], None]]] = [
    ("I1", lose_a_delivery),
    ("I2", deliver_twice),
    ("I3", change_between_attempts),
    ("I3", share_an_id),
    ("I4", create_twice),
    ("I4", keep_two_conversations),
    ("I5", seed_a_strange_history),
    ("I6", post_twice),
    ("I6", never_post),
    ("I7", post_out_of_order),
    ("I8", deliver_early),
    ("I9", deliver_late),
    ("I11", call_with_another_key),
    ("I11", tell_the_upstream_a_webhook),
    ("I12", misroute),
    ("I12", change_a_query),
    ("I14", lose_a_segment),
    ("I14", repeat_a_segment),
    ("I14", reorder_replies),
    ("I15", change_a_text_on_its_way_there),
    ("I15", change_a_text_on_its_way_back),
    ("I16", believe_a_forgery),
    ("I16", deliver_a_forgery),
    ("I17", follow_a_redirect),
    ("I17", insist_after_410),
    ("I18", send_a_key_to_a_webhook),
    ("I18", log_a_key),
    ("I19", accept_without_a_store),
    ("I19", hang_without_a_store),
    ("I20", fail_at_hostility),
    ("I20", refuse_without_a_reason),
    ("I20", die),
    ("I22", end_badly),
    ("I22", end_slowly),
    ("I23", come_back_stale),
    ("I24", leave_keys_behind),
    ("I25", split_twins),
    ("I27", lose_a_dead_letter),
    ("I27", keep_a_dead_letter),
]


@pytest.mark.parametrize(("name", "spoil"), DEFECTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_defect_is_caught_by_its_check(name: str, spoil: Callable[[Logs], None]) -> None:
    logs = good_logs()
    spoil(logs)
    assert name in violated(logs)


def test_delays_that_are_not_drawn_evenly_are_caught() -> None:
    logs = Logs(accounts=good_logs().accounts)
    requests = [request(f"c{number}.1", BEGAN + number * 10, user=f"user-{number}") for number in range(60)]
    logs.requests = requests
    logs.conversations = [
        replace(conversation(f"v-{number}", one), user=one.user) for number, one in enumerate(requests)
    ]
    logs.calls = [post(one, f"v-{number}", one.began + 0.05) for number, one in enumerate(requests)]
    logs.callbacks = [
        each for number, one in enumerate(requests) for each in callbacks(one, f"v-{number}", one.began + 0.1)
    ]
    logs.arrivals = [arrival(one, one.began + 1 + (number + 0.5) / 60) for number, one in enumerate(requests)]
    assert "I10" not in violated(logs)
    logs.arrivals = [arrival(one, one.began + 1.5 + (number + 0.5) / 120) for number, one in enumerate(requests)]
    assert "I10" in violated(logs)


def test_a_second_delivery_is_explained_by_a_kill_between_the_answer_and_its_record() -> None:
    logs = good_logs()
    deliver_twice(logs)
    logs.faults = [fault("kill", Class.PROCESS, 1.6, 2.5, "0")]
    assert found(logs, "I2") == (1, 0)


def test_a_second_delivery_is_not_explained_by_a_kill_long_after() -> None:
    logs = good_logs()
    deliver_twice(logs)
    logs.faults = [fault("kill", Class.PROCESS, 4.0, 5.0, "0")]
    assert found(logs, "I2") == (0, 1)


def test_a_second_post_is_explained_by_a_kill_or_a_held_back_call_and_not_by_an_answer_that_failed() -> None:
    logs = good_logs()
    post_twice(logs)
    for name, kind in (("kill", Class.PROCESS), ("upstream black hole", Class.UPSTREAM)):
        logs.faults = [fault(name, kind, 0, 1)]
        assert found(logs, "I6") == (1, 0)
    for name, kind in (("upstream fails after", Class.UPSTREAM), ("callbacks duplicate", Class.CALLBACK)):
        logs.faults = [fault(name, kind, 0, 1)]
        assert found(logs, "I6") == (0, 1)


def test_an_emptied_store_excuses_what_was_pending_and_nothing_that_came_later() -> None:
    logs = good_logs()
    lose_a_delivery(logs)
    logs.faults = [fault("FLUSHALL", Class.FLUSH, 10.2, 10.3)]
    assert found(logs, "I1") == (1, 0)
    logs.faults = [fault("FLUSHALL", Class.FLUSH, 4, 4.1)]
    assert found(logs, "I1") == (0, 1)


def test_a_reply_whose_callback_got_lost_is_missed_where_the_gateway_recovers_such_replies() -> None:
    logs = good_logs()
    lose_a_delivery(logs)
    logs.callbacks = [replace(one, state="lost", acknowledged_at=None) for one in logs.callbacks]
    assert found(logs, "I1") == (1, 0)
    logs.recovers = True
    assert found(logs, "I1") == (0, 1)


def miss_a_message(logs: Logs, number: int) -> None:
    """Lose the callback of one message of c0, and let its text be in no delivery."""
    of_chat = [index for index, one in enumerate(logs.callbacks) if one.conversation == "v-0"]
    lost = logs.callbacks[of_chat[number]]
    logs.callbacks = [
        replace(one, state="lost", acknowledged_at=None) if one is lost else one for one in logs.callbacks
    ]
    logs.arrivals = [
        replace(one, texts=tuple(text for text in one.texts if text != lost.text)) for one in logs.arrivals
    ]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_message_that_a_later_callback_shows_to_be_missed_must_be_delivered(number: int) -> None:
    logs = good_logs()
    miss_a_message(logs, number)
    assert "I14" not in violated(logs)  # where nobody looks for such messages
    logs.recovers = True
    assert found(logs, "I14") == (0, 1)
    logs.faults = [fault("FLUSHALL", Class.FLUSH, 10.2, 10.3)]
    assert found(logs, "I14") == (1, 0)
    logs.faults = [fault("deletion", Class.DELETION, 4, 4.1, "v-0")]
    assert found(logs, "I14") == (1, 0)


def test_the_last_message_of_all_may_be_missed() -> None:
    logs = good_logs()
    logs.recovers = True
    miss_a_message(logs, 3)
    assert "I14" not in violated(logs)


def test_a_reply_may_wait_for_what_it_misses() -> None:
    logs = good_logs()
    logs.recovers = True
    first = replace(logs.callbacks[0], state="lost", acknowledged_at=None)
    logs.callbacks = [first, *logs.callbacks[1:]]
    logs.arrivals = [arrival(logs.requests[0], BEGAN + 4.5), *logs.arrivals[1:]]
    assert "I9" not in violated(logs)
    logs.arrivals = [arrival(logs.requests[0], BEGAN + 5.5), *logs.arrivals[1:]]
    assert "I9" in violated(logs)


def test_a_hanging_receiver_that_delays_the_others_is_caught() -> None:
    logs = good_logs()
    hanging = replace(
        logs.arrivals[0], request="c9.1", receiver="hanging", delivery="d-h", acknowledged=False, answer="hang"
    )
    late = [
        replace(logs.arrivals[0], delivery=f"d-late-{number}", at=BEGAN + 2.5 + number * 0.5) for number in range(4)
    ]
    logs.requests = [replace(one, min_delay=2.0) for one in logs.requests]
    logs.arrivals = [hanging, *late]
    assert "I21" in violated(logs)


def test_a_dead_letter_is_no_loss_once_it_came_again() -> None:
    logs = good_logs()
    lose_a_dead_letter(logs)
    logs.redriven = [arrival(logs.requests[1], BEGAN + 60)]
    assert violated(logs) == set()


def test_a_late_delivery_near_a_killed_process_has_the_time_of_a_lease() -> None:
    logs = good_logs()
    logs.faults = [fault("kill", Class.PROCESS, 11, 12, "1")]
    logs.arrivals = [*logs.arrivals[:2], arrival(logs.requests[1], BEGAN + 20)]
    assert found(logs, "I9") == (1, 0)
    logs.arrivals = [*logs.arrivals[:2], arrival(logs.requests[1], BEGAN + 40)]
    assert found(logs, "I9") == (0, 1)


def test_a_refusal_for_want_of_a_store_is_excused_while_it_is_away_and_until_it_is_noticed_to_be_back() -> None:
    logs = good_logs()
    refuse_without_a_reason(logs)
    logs.faults = [fault("store refused", Class.STORE, -5, -1.5)]
    assert found(logs, "I20") == (1, 0)
    logs.faults = [fault("store refused", Class.STORE, -8, -4)]
    assert found(logs, "I20") == (0, 1)


def test_conversations_that_were_deleted_upstream_may_be_created_again() -> None:
    logs = good_logs()
    create_twice(logs)
    keep_two_conversations(logs)
    logs.faults = [fault("deletion", Class.DELETION, 4, 4.1, "v-0")]
    assert violated(logs) == set()
