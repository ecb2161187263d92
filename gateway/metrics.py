"""Every metric of the gateway, declared in one place with its unit and what it says.

Durations are in seconds. HTTP metrics are named after OpenTelemetry's semantic conventions, ours begin with
`gateway_`. Label values are bounded: what a label does not know, or what comes after `MAX_OPEN_VALUES` distinct values
of a label without a list, counts as `_OTHER`; an empty value means that there is none.

One process holds its numbers in memory. Several workers share a directory of memory-mapped files, whose sum any of
them shows: their parent opens it with `shared_by_workers()` before it starts them as new processes.
"""

import bisect
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import Histogram as LibraryHistogram
from prometheus_client.multiprocess import MultiProcessCollector

from gateway import errors
from gateway.field_counts import FieldCounts, Shared
from gateway.relay.delivery import Reason
from mappings.reconcile import Verdict

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Read by the metrics library when it is imported: memory or files is settled then."""

MAX_OPEN_VALUES: Final = 100
OTHER: Final = "_OTHER"


class Histogram(LibraryHistogram):
    """The library's, whose search for a bucket is a walk with two checks before it: 0.8 µs more, five times a turn."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count a value; there are no exemplars here."""
        if exemplar is not None:
            raise ValueError("exemplars are not kept")
        self._sum.inc(amount)
        self._buckets[bisect.bisect_left(self._upper_bounds, amount)].inc(1)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)


class Family(Generic[Metric]):
    """A metric with labels: `FAMILY(label=value, ...)` gives the series to count in.

    `known` lists each label's values; None leaves a label open, up to `MAX_OPEN_VALUES`.
    """

    def __init__(self, metric: Metric, **known: Collection[str] | None) -> None:
        self._metric: Metric = metric
        self._known = {name: None if values is None else frozenset(values) for name, values in known.items()}
        self._open: dict[str, set[str]] = {name: set() for name, values in known.items() if values is None}
        self._series: dict[tuple[tuple[str, str | int], ...], Metric] = {}
        if len(known) == 1:  # series that are there from the start show their first event as a rise
            [(name, values)] = known.items()
            for value in values or ():
                self(**{name: value})

    def __call__(self, **labels: str | int) -> Metric:
        """Give the series of these label values; `ValueError` unless exactly the metric's labels are given."""
        found = self._series.get(tuple(labels.items()))
        return self._find(labels) if found is None else found

    def _find(self, labels: dict[str, str | int]) -> Metric:
        bounded = {name: self._bound(name, str(value)) for name, value in labels.items()}
        series: Metric = self._metric.labels(**bounded)
        if OTHER not in bounded.values():  # what is outside the bounds must not grow the cache either
            self._series[tuple(labels.items())] = series
        return series

    def _bound(self, name: str, value: str) -> str:
        known = self._known.get(name, frozenset())
        if known is not None:
            return value if value in known or not value else OTHER
        seen = self._open[name]
        if value not in seen and len(seen) >= MAX_OPEN_VALUES:
            return OTHER
        seen.add(value)
        return value


def _error_codes(kind: type[errors.GatewayError]) -> set[str]:
    return {kind.code}.union(*(_error_codes(child) for child in kind.__subclasses__()))


disable_created_metrics()  # type: ignore[no-untyped-call]  # they would add one series to every counter and histogram, which nothing reads

REGISTRY: Final = CollectorRegistry(auto_describe=True)
_DIRECTORY: Final = os.environ.get(DIRECTORY_VARIABLE)

# Label values

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
STATUSES: Final = tuple(str(number) for number in range(100, 600))
PEERS: Final = ("upstream", "webhook")
PLANS: Final = ("created", "adopted", "reused", "recreated", "reseeded", "joined")
VERDICTS_KNOWN: Final = tuple(verdict.value for verdict in Verdict)
TURN_OUTCOMES: Final = ("accepted", *sorted(_error_codes(errors.GatewayError)))
ATTEMPT_OUTCOMES: Final = ("delivered", "retry", "dead")
BREAKER_STATES: Final = ("open", "half_open")
SEGMENT_OUTCOMES: Final = (
    "opened",
    "folded",
    "answered",
    "duplicate",
    "foreign",
    "orphan",
    "full",
    "ignored",
    "unreadable",
    "forged",
)

# Buckets, in seconds

LATENESS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
CALLS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20)
STORE_CALLS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2)

# Requests

UNREADABLE_REQUESTS: Final = Family(
    Counter(
        "gateway_unreadable_requests_total",
        "Requests refused before they had a route, by the answer's status: no HTTP, ambiguous, too large or too slow.",
        ["status"],
        registry=REGISTRY,
    ),
    status=("400", "408", "431"),
)

# Deliveries

DELIVERY_LATENESS: Final = Histogram(
    "gateway_delivery_lateness_seconds",
    "How long after the moment at which it was due an attempt to deliver a reply began: the gateway's punctuality.",
    buckets=LATENESS,
    registry=REGISTRY,
)

DELIVERY_ATTEMPTS: Final = Family(
    Counter(
        "gateway_delivery_attempts_total",
        "Attempts to deliver a reply: delivered, to be repeated (retry) or given up (dead).",
        ["outcome"],
        registry=REGISTRY,
    ),
    outcome=ATTEMPT_OUTCOMES,
)

DEAD_LETTERS: Final = Family(
    Counter("gateway_dead_letters_total", "Replies given up, by why.", ["reason"], registry=REGISTRY),
    reason=[reason.value for reason in Reason],
)

REDRIVEN: Final = Counter("gateway_redriven_total", "Dead letters sent again by an operator.", registry=REGISTRY)

BREAKERS: Final = Family(
    Gauge(
        "gateway_breakers",
        "Breakers (one for each tenant and receiving host) that are not closed, as last counted by any worker.",
        ["state"],
        multiprocess_mode="livemostrecent",
        registry=REGISTRY,
    ),
    state=BREAKER_STATES,
)

BREAKER_CHANGES: Final = Family(
    Counter("gateway_breaker_changes_total", "Changes of breakers' states, by the new one.", ["to"], registry=REGISTRY),
    to=(*BREAKER_STATES, "closed"),
)

DELIVERIES_POSTPONED: Final = Counter(
    "gateway_deliveries_postponed_total",
    "Deliveries put off without an attempt, since their breaker was open.",
    registry=REGISTRY,
)

LEASE_TAKEOVERS: Final = Counter(
    "gateway_lease_takeovers_total",
    "Deliveries claimed again because the worker that held them did not settle them within its lease.",
    registry=REGISTRY,
)

PENDING_REPLIES: Final = Gauge(
    "gateway_pending_replies",
    "Replies in the store that wait for their moment or for another attempt, as last counted by any worker.",
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)

DUE_REPLIES: Final = Gauge(
    "gateway_due_replies",
    "Pending replies whose moment has come and that no worker has claimed: hardly any, while there are enough workers.",
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)

DEAD_LETTERS_KEPT: Final = Gauge(
    "gateway_dead_letters_kept",
    "Dead letters in the store that can be sent again, as last counted by any worker.",
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)

# Turns and replies

TURNS: Final = Family(
    Counter(
        "gateway_turns_total",
        "Turns of clients: accepted, or refused with this error code; and by how the upstream conversation was come by,"
        " where it got that far.",
        ["outcome", "plan"],
        registry=REGISTRY,
    ),
    outcome=TURN_OUTCOMES,
    plan=PLANS,
)

VERDICTS: Final = Family(
    Counter(
        "gateway_verdicts_total",
        "Turns by how the client's history stood to the upstream's transcript.",
        ["verdict"],
        registry=REGISTRY,
    ),
    verdict=VERDICTS_KNOWN,
)

SEGMENTS: Final = Family(
    Counter(
        "gateway_segments_total",
        "Messages that the upstream sent to the callback: the first of a reply (opened), one more of it (folded), part"
        " of the answer that a client waits for (answered), taken"
        " before (duplicate), of another conversation than the URL's (foreign), kept until its conversation is known"
        " (orphan), one of those too many (full), not the bot's (ignored), not of the protocol (unreadable), at a URL"
        " that we never gave (forged).",
        ["outcome"],
        registry=REGISTRY,
    ),
    outcome=SEGMENT_OUTCOMES,
)

RECOVERIES: Final = Counter(
    "gateway_recoveries_total",
    "Replies, or parts of one, that were found in the upstream's transcript, since no callback had brought them.",
    registry=REGISTRY,
)

FIELDS: Final = FieldCounts(
    "gateway_fields",
    "Fields with a value in accepted requests, by what became of them on the way to the upstream.",
    registry=REGISTRY,
)

UNKNOWN_FIELDS: Final = Counter(
    "gateway_unknown_fields_total",
    "Fields in accepted requests that the client's API does not have.",
    registry=REGISTRY,
)

# The store

STORE_UP: Final = Gauge(
    "gateway_store_up",
    "1 when the store took the last call, 0 when it did not or was never asked; the worst of all workers.",
    multiprocess_mode="livemin",
    registry=REGISTRY,
)

STORE_CALL_DURATION: Final = Family(
    Histogram(
        "gateway_store_call_duration_seconds",
        "Time of one script in the store, with the wait for a connection.",
        ["script"],
        buckets=STORE_CALLS,
        registry=REGISTRY,
    ),
    script=None,
)

STORE_FAILURES: Final = Counter("gateway_store_failures_total", "Calls that the store did not take.", registry=REGISTRY)

# HTTP

SERVER_REQUEST_DURATION: Final = Family(
    Histogram(
        "http_server_request_duration_seconds",
        "Time from a request's head to the end of its answer. The route is the template, not the path.",
        ["http_request_method", "http_route", "http_response_status_code"],
        buckets=CALLS,
        registry=REGISTRY,
    ),
    http_request_method=METHODS,
    http_route=None,
    http_response_status_code=STATUSES,
)

SERVER_ACTIVE_REQUESTS: Final = Gauge(
    "http_server_active_requests",
    "Requests being served now, over all workers.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)

CLIENT_REQUEST_DURATION: Final = Family(
    Histogram(
        "http_client_request_duration_seconds",
        "Time of one call to the upstream or to a webhook, to the end of the answer; error_type says what went wrong"
        " when none came, or none that is whole. Hosts are no label: webhooks are the clients' to name.",
        ["http_request_method", "peer", "http_response_status_code", "error_type"],
        buckets=CALLS,
        registry=REGISTRY,
    ),
    http_request_method=METHODS,
    peer=PEERS,
    http_response_status_code=STATUSES,
    error_type=None,
)

# The program

BUILD_INFO: Final = Gauge(
    "gateway_build_info",
    "Always 1: the version that runs.",
    ["version"],
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
BUILD_INFO.labels(version=version("chat-migration-gateway")).set(1)

if _DIRECTORY is None:  # with several workers it could only speak of the one that happens to be asked
    ProcessCollector(registry=REGISTRY)


def render() -> tuple[bytes, str]:
    """Give all metrics in Prometheus's text format, and its content type; over all workers when there are several."""
    registry: Any = REGISTRY
    if _DIRECTORY is not None:
        _forget_dead_workers(Path(_DIRECTORY))
        registry = CollectorRegistry()
        workers: Any = MultiProcessCollector(None, _DIRECTORY)  # type: ignore[no-untyped-call]
        registry.register(Shared(FIELDS, workers))
    return generate_latest(registry), CONTENT_TYPE_LATEST


@contextlib.contextmanager
def shared_by_workers() -> Iterator[Path]:
    """Open an empty directory for the numbers of workers that are started within, and remove it in the end.

    For the parent of the workers. The environment carries its name to them; a directory that the environment names
    already is used, emptied and kept.
    """
    named = os.environ.get(DIRECTORY_VARIABLE)
    directory = Path(named or tempfile.mkdtemp(prefix="gateway-metrics-"))
    directory.mkdir(parents=True, exist_ok=True)
    for left_over in directory.glob("*.db"):
        left_over.unlink(missing_ok=True)
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    try:
        yield directory
    finally:
        if not named:
            del os.environ[DIRECTORY_VARIABLE]
            shutil.rmtree(directory, ignore_errors=True)


def _forget_dead_workers(directory: Path) -> None:
    """Drop the live gauges of workers that are gone; their counters and histograms still count."""
    for file in directory.glob("gauge_live*_*.db"):
        worker = re.fullmatch(r"gauge_\w+_(\d+)", file.stem)
        if worker and not _lives(int(worker[1])):
            file.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # nobody has the number, or somebody else's process
        return False
    return True
