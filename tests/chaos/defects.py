"""Gateways with one thing wrong, each to be caught by a run: `python -m tests.chaos.defects NAME --port N` serves one.

Each replaces one function of the gateway, in the replicas' processes only.
"""

import base64
import dataclasses
import sys
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import aiohttp
import msgspec

from gateway import auth, open_turns
from gateway.cli import main
from gateway.relay import queue, receiver, worker
from gateway.relay.delivery import Answered, Delivered
from gateway.upstreams import v3
from mappings import completion
from tests.chaos.run import Plan

SECONDS = 10.0
RATE = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Defect:
    """One defect: what plants it, the invariants of which one must be found violated, and what shows it."""

    plant: Callable[[], None]
    caught_by: frozenset[str]
    faults: Sequence[str] = ()
    receivers: Sequence[str] = ("steady", "flaky", "redirecting")

    def plan(self, name: str, seed: int) -> Plan:
        """Give a run that is to show it."""
        command = (sys.executable, "-m", "tests.chaos.defects", name)
        return Plan(seed, 2, SECONDS, RATE, faults=self.faults, receivers=self.receivers, command=command)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def repeated_requests_do_not_join() -> None:
    """Give each request a fingerprint of its own."""

    def make(enter: Any) -> Any:
        async def without_joining(self: Any, conversation: Any, proposal: Any, *rest: Any, **named: Any) -> Any:
            alone = msgspec.structs.replace(proposal, fingerprint=uuid.uuid4().hex)
            return await enter(self, conversation, alone, *rest, **named)

        return without_joining

    _replace(open_turns.OpenTurns, "enter", make)


def replies_do_not_wait() -> None:
    """Forget the delay."""

    def make(enter: Any) -> Any:
        async def at_once(self: Any, conversation: Any, proposal: Any, *rest: Any, **named: Any) -> Any:
            hasty = msgspec.structs.replace(proposal, delay_ms=0, min_delay_ms=0)
            return await enter(self, conversation, hasty, *rest, **named)

        return at_once

    _replace(open_turns.OpenTurns, "enter", make)


def leases_are_too_short() -> None:
    """Let everybody claim what somebody is delivering."""

    def make(claim: Any) -> Any:
        async def shortly(self: Any, limits: Any, _lease: timedelta, *rest: Any, **named: Any) -> Any:
            return await claim(self, limits, timedelta(seconds=0.3), *rest, **named)

        return shortly

    _replace(queue.Queue, "claim", make)


def repeated_callbacks_count() -> None:
    """Take each callback for a new one."""

    def make(fold: Any) -> Any:
        async def again(self: Any, conversation: Any, upstream_id: str, segment: Any, *rest: Any, **named: Any) -> Any:
            renamed = dataclasses.replace(segment, message_id=str(uuid.uuid4()))
            return await fold(self, conversation, upstream_id, renamed, *rest, **named)

        return again

    _replace(queue.Queue, "fold", make)


def counts_are_not_read() -> None:
    """See in no callback how many messages there are."""

    def make(fold: Any) -> Any:
        async def uncounted(
            self: Any, conversation: Any, upstream_id: str, segment: Any, *rest: Any, **named: Any
        ) -> Any:
            alone = dataclasses.replace(segment, position=None)
            return await fold(self, conversation, upstream_id, alone, *rest, **named)

        return uncounted

    _replace(queue.Queue, "fold", make)


def posts_are_repeated_blindly() -> None:
    """See nothing in any transcript."""

    def make(_transcript: Any) -> Any:
        async def nothing(_self: Any, *_rest: Any, **_named: Any) -> Sequence[Any]:
            return []

        return nothing

    _replace(v3.V3Session, "transcript", make)


def replies_go_astray() -> None:
    """Send every fifth reply to where the one before went."""
    sent: list[str] = []

    def make(post: Any) -> Any:
        async def elsewhere(self: Any, delivery: Any, *rest: Any, **named: Any) -> Any:
            sent.append(delivery.webhook)
            if len(sent) % 5 == 0:
                delivery = dataclasses.replace(delivery, webhook=sent[-2])
            return await post(self, delivery, *rest, **named)

        return elsewhere

    _replace(receiver.Receiver, "post", make)


def failures_count_as_delivered() -> None:
    """Take every answer for an acknowledgement."""

    def make(classify: Any) -> Any:
        def content(result: Any, *rest: Any, **named: Any) -> Any:
            return Delivered(200) if isinstance(result, Answered) else classify(result, *rest, **named)

        return content

    _replace(worker, "classify", make)


def tokens_are_believed() -> None:
    """Read callback tokens without looking at their proof."""

    def make(_verify: Any) -> Any:
        def gullible(_self: Any, token: str) -> str | None:
            try:
                return base64.urlsafe_b64decode(token + "=")[:16].hex()
            except ValueError:
                return None

        return gullible

    _replace(auth.Tokens, "verify", make)


def segments_are_shuffled() -> None:
    """Turn the segments of a reply around."""
    _replace(completion, "order", lambda order: lambda arrived: order(arrived)[::-1])


def texts_are_normalized() -> None:
    """Compose the characters of what users say."""

    def make(post: Any) -> Any:
        async def composed(self: Any, conversation_id: str, text: str, *rest: Any, **named: Any) -> Any:
            return await post(self, conversation_id, unicodedata.normalize("NFC", text).strip(), *rest, **named)

        return composed

    _replace(v3.V3Session, "post", make)


def redirects_are_followed() -> None:
    """Let the HTTP client go where it is told."""

    def make(request: Any) -> Any:
        async def follow(self: Any, method: str, url: Any, **named: Any) -> Any:
            return await request(self, method, url, **named | {"allow_redirects": True})

        return follow

    _replace(aiohttp.ClientSession, "_request", make)


def keys_are_printed() -> None:
    """Print who calls."""

    def make(authenticate: Any) -> Any:
        def talkative(self: Any, authorization: str | None) -> Any:
            print(authorization, flush=True)  # noqa: T201 — this is the defect
            return authenticate(self, authorization)

        return talkative

    _replace(auth.Authenticator, "authenticate", make)


DEFECTS: dict[str, Defect] = {
    "no-join": Defect(repeated_requests_do_not_join, frozenset({"I6", "I25"})),
    "no-delay": Defect(replies_do_not_wait, frozenset({"I8"})),
    "short-lease": Defect(leases_are_too_short, frozenset({"I2", "I23"}), receivers=("slow",)),
    "no-seen-set": Defect(repeated_callbacks_count, frozenset({"I14"}), ("callbacks-twice",)),
    "no-counts": Defect(counts_are_not_read, frozenset({"I14"}), ("callbacks-lost",)),
    "blind-repeats": Defect(posts_are_repeated_blindly, frozenset({"I6"}), ("upstream-fails-late",)),
    "astray": Defect(replies_go_astray, frozenset({"I12"})),
    "content": Defect(failures_count_as_delivered, frozenset({"I1"})),
    "gullible": Defect(tokens_are_believed, frozenset({"I16"})),
    "shuffled": Defect(segments_are_shuffled, frozenset({"I14"})),
    "normalized": Defect(texts_are_normalized, frozenset({"I15"})),
    "redirected": Defect(redirects_are_followed, frozenset({"I17"})),
    "talkative": Defect(keys_are_printed, frozenset({"I18"})),
}
"""Every defect by its name."""


if __name__ == "__main__":
    DEFECTS[sys.argv[1]].plant()
    main(["serve", *sys.argv[2:]])
