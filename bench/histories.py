"""`python -m bench.histories`: what a long history costs beyond a short one, beside what scanning its bytes costs.

Of a turn's work only reading the request, naming it (its fingerprint) and the verdict see the history; all of that is
done here as the gateway does it, turn by turn of a talk that goes on. Processor time of one process, medians of several
rounds.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from gateway.fingerprints import Fingerprints
from mappings import reconcile, v1
from mappings.prefixes import Prefixes
from mappings.turn import flatten

ROUNDS = 7
LENGTHS = (10, 100, 1_000, 10_000)
TURNS = 20
"""A talk grows by so many turns, of two items each."""

FINGERPRINTS = Fingerprints(b"the bench's secret")


class Bounds(msgspec.Struct, gc=False):
    """A request of which nothing is read but where the items of its history begin and end."""

    messages: list[msgspec.Raw]


scan = msgspec.json.Decoder(Bounds).decode


def request(items: int) -> bytes:
    """Give the body of a V1 request with a history of so many items."""
    history = [
        {"bot": bool(number % 2), "content": [f"This is message {number} of a long talk about nothing in particular."]}
        for number in range(items)
    ]
    fields = {"bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83", "user_id": "u", "message": "Hola", "messages": history}
    return json.dumps(fields).encode()


def cost(work: Callable[[bytes], Any], bodies: Sequence[bytes], times: int = 1) -> float:
    """Give the processor time that a piece of work takes for one of the bodies, in µs."""
    began = time.process_time()
    for _ in range(times):
        for body in bodies:
            work(body)
    return (time.process_time() - began) / times / len(bodies) * 1e6


def see(prefixes: Prefixes, known: Mapping[int, reconcile.Known], body: bytes) -> reconcile.Decision:
    """Do all that the gateway does with a history; `known` is what the upstream holds then, by the body's length."""
    FINGERPRINTS.of(body)
    turn = prefixes.decode_request(body)
    return reconcile.decide(turn.history, known[len(body)], segments=turn.history_segments)


def measure(items: int) -> Sequence[float]:
    """Give the cost of a turn of a talk that goes on, of one met first, of the scan, and of two parsers."""
    first, *talk = [request(items + 2 * turn) for turn in range(TURNS + 1)]
    known = {len(body): reconcile.Known.of(flatten(v1.decode_request(body).history)) for body in (first, *talk)}
    times = max(1_000 // items, 1)
    rounds = []
    for _ in range(ROUNDS):
        memories = [Prefixes(FINGERPRINTS.of) for _ in range(times)]
        works = [functools.partial(see, memory, known) for memory in memories]
        met_first = statistics.mean(cost(work, [first]) for work in works)
        for work in works:
            work(first)
        goes_on = statistics.mean(cost(work, talk) for work in works)
        others = [cost(work, talk, times) for work in (scan, json.loads, msgspec.json.decode)]
        rounds.append([goes_on, met_first, *others])
    return [statistics.median(figures) for figures in zip(*rounds, strict=True)]


def main() -> None:
    """Print the table."""
    click.echo("| Items | Bytes | A talk's next turn | One met first | A scan | `json.loads` | msgspec, untyped |")
    click.echo("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for items in LENGTHS:
        figures = " | ".join(f"{figure:,.0f}" for figure in measure(items))
        click.echo(f"| {items:,} | {len(request(items)):,} | {figures} |")


if __name__ == "__main__":
    main()
