import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics

COUNT = """
import sys
from gateway import metrics
metrics.TURNS(outcome="accepted", plan="created").inc(int(sys.argv[1]))
metrics.FIELDS.add((("bot_id", "message"), (), ("language",), ()))
metrics.FIELDS.add((("bot_id",), (), (), ("language",) * (sys.argv[1] == "2")))
metrics.DELIVERY_LATENESS.observe(0.02)
metrics.SERVER_ACTIVE_REQUESTS.set(int(sys.argv[1]))
metrics.STORE_UP.set(int(sys.argv[1]) > 1)
metrics.PENDING_REPLIES.set(int(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
print(metrics.render()[0].decode(), flush=True)
"""


def samples(text: str) -> dict[str, float]:
    """Give every sample by its name and sorted labels."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rendered() -> dict[str, float]:
    return samples(metrics.render()[0].decode())


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    """Two workers that share their numbers, have counted 1 and 2, and wait."""
    with metrics.shared_by_workers():
        started = [
            subprocess.Popen(
                [sys.executable, "-c", COUNT, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for number in (1, 2)
        ]
        try:
            for worker in started:
                assert worker.stdout
                assert worker.stdout.readline() == "counted\n"
            yield started
        finally:
            for worker in started:
                worker.kill()
                worker.communicate()


def test_a_series_counts_under_its_labels() -> None:
    name = "gateway_turns_total outcome=accepted plan=adopted"
    before = rendered().get(name, 0)
    metrics.TURNS(outcome="accepted", plan="adopted").inc()
    metrics.TURNS(plan="adopted", outcome="accepted").inc()
    assert rendered()[name] == before + 2


def test_the_text_is_what_prometheus_reads() -> None:
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert families["gateway_delivery_lateness_seconds"].type == "histogram"
    assert all(family.documentation for family in families.values())
    assert "gateway_delivery_lateness_seconds_created" not in text.decode()


def test_every_name_has_the_prefix_of_its_convention() -> None:
    names = {family.name for family in text_string_to_metric_families(metrics.render()[0].decode())}
    assert {"gateway_store_up", "http_server_active_requests"} <= names
    assert all(name.startswith(("gateway_", "http_", "process_")) for name in names)


def test_series_of_one_bounded_label_are_there_from_the_start() -> None:
    shown = rendered()
    assert all(f"gateway_delivery_attempts_total outcome={outcome}" in shown for outcome in metrics.ATTEMPT_OUTCOMES)


def test_a_value_outside_the_list_counts_as_other() -> None:
    name = "http_server_request_duration_seconds_count http_request_method=_OTHER"
    name += " http_response_status_code=400 http_route="
    for method in ("BREW", "WHEN", "PROPFIND"):
        metrics.SERVER_REQUEST_DURATION(
            http_request_method=method, http_route="", http_response_status_code=400
        ).observe(0.1)
    assert rendered()[name] == 3
    assert not any("BREW" in shown for shown in rendered())


def test_an_open_label_is_bounded_by_number() -> None:
    family = metrics.Family(Counter("things_total", "Things.", ["kind"], registry=None), kind=None)
    series = {id(family(kind=f"kind {number}")) for number in range(3 * metrics.MAX_OPEN_VALUES)}
    assert len(series) == metrics.MAX_OPEN_VALUES + 1
    assert len(family._series) == metrics.MAX_OPEN_VALUES


def test_every_error_code_is_an_outcome_of_a_turn() -> None:
    assert {"unauthorized", "bad_request", "store_unavailable", "gateway_timeout", "upstream_rejected"} <= set(
        metrics.TURN_OUTCOMES
    )


@pytest.mark.parametrize("labels", [{}, {"outcome": "accepted"}, {"outcome": "accepted", "plan": "", "more": ""}])
def test_a_missing_or_unknown_label_name_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        metrics.TURNS(**labels)


def test_any_worker_shows_the_sum_of_all(workers: list[subprocess.Popen[str]]) -> None:
    text, _ = workers[0].communicate()
    shown = samples(text)
    assert shown["gateway_turns_total outcome=accepted plan=created"] == 3
    assert shown["gateway_fields_total fate=exact field=bot_id"] == 4
    assert shown["gateway_fields_total fate=approximated field=language"] == 2
    assert shown["gateway_fields_total fate=dropped field=language"] == 1
    assert not any("together" in name for name in shown)
    assert shown["gateway_delivery_lateness_seconds_count"] == 2
    assert shown["http_server_active_requests"] == 3
    assert shown["gateway_store_up"] == 0
    assert shown["gateway_pending_replies"] in {1, 2}
    assert not any(name.startswith("process_") for name in shown)


def test_a_dead_worker_keeps_its_counts_and_loses_its_live_gauges(workers: list[subprocess.Popen[str]]) -> None:
    workers[0].kill()
    workers[0].wait()
    text, _ = workers[1].communicate()
    shown = samples(text)
    assert shown["gateway_turns_total outcome=accepted plan=created"] == 3
    assert shown["http_server_active_requests"] == 2
    assert shown["gateway_store_up"] == 1


def test_the_shared_directory_is_new_and_removed_in_the_end() -> None:
    assert metrics.DIRECTORY_VARIABLE not in os.environ
    with metrics.shared_by_workers() as directory:
        assert os.environ[metrics.DIRECTORY_VARIABLE] == str(directory)
        assert list(directory.iterdir()) == []
    assert not directory.exists()
    assert metrics.DIRECTORY_VARIABLE not in os.environ


def test_a_named_directory_is_emptied_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "numbers"
    named.mkdir()
    (named / "counter_1.db").write_bytes(b"left over")
    monkeypatch.setenv(metrics.DIRECTORY_VARIABLE, str(named))
    with metrics.shared_by_workers() as directory:
        assert directory == named
        assert list(named.iterdir()) == []
    assert named.is_dir()
    assert os.environ[metrics.DIRECTORY_VARIABLE] == str(named)
