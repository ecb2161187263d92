"""`python -m bench.histories`: what a long history costs beyond a short one, beside what parsing its bytes costs.

Of a turn's work only reading the request, naming it (its fingerprint) and the verdict see the history; all of that is
done here as the gateway does it. Processor time of one process, medians of several rounds.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec

from gateway.fingerprints import Fingerprints
from mappings import reconcile, v1
from mappings.turn import flatten

ROUNDS = 7
LENGTHS = (10, 100, 1_000, 10_000)

FINGERPRINTS = Fingerprints(b"the bench's secret")


def request(items: int) -> bytes:
    """Give the body of a V1 request with a history of so many items."""
    history = [
        {"bot": bool(number % 2), "content": [f"This is message {number} of a long talk about nothing in particular."]}
        for number in range(items)
    ]
    fields = {"bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83", "user_id": "u", "message": "Hola", "messages": history}
    return json.dumps(fields).encode()


def cost(work: Callable[[], Any], times: int) -> float:
    """Give the processor time of a piece of work, in µs."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) / times * 1e6)
    return statistics.median(rounds)


def see(body: bytes, known: reconcile.Known) -> reconcile.Decision:
    """Do all that the gateway does with a history."""
    FINGERPRINTS.of(body)
    turn = v1.decode_request(body)
    return reconcile.decide(turn.history, known, segments=turn.history_segments)


def main() -> None:
    """Print the table."""
    click.echo("| items | bytes | the gateway's work µs | json.loads µs | msgspec, untyped µs |")
    click.echo("| ---: | ---: | ---: | ---: | ---: |")
    for items in LENGTHS:
        body, times = request(items), max(20_000 // items, 5)
        known = reconcile.Known.of(flatten(v1.decode_request(body).history))
        figures = (
            cost(functools.partial(see, body, known), times),
            cost(functools.partial(json.loads, body), times),
            cost(functools.partial(msgspec.json.decode, body), times),
        )
        click.echo(f"| {items:,} | {len(body):,} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
