"""What must hold of the way to the upstream: from a client's request to the message in its conversation."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from tests.chaos import texts
from tests.chaos.oracle import Finding, invariant
from tests.chaos.records import Call, Class, Exchange, Fault, Request
from tests.chaos.story import Pair, Story

NOT_RECORDED = (Class.PROCESS, Class.DRAIN, Class.STORE, Class.FLUSH)
"""Faults that can come between an effect and its record."""

TROUBLE = (*NOT_RECORDED, Class.UPSTREAM, Class.DELETION)

RESUMED_SECONDS = 2.0
"""After the store's return, service resumes within so long."""

ANSWER_SECONDS = 2.3
"""Within 2 s of a store that has become a black hole, and what two busy cores add to it."""

TEXT = 60


@invariant("I4", "one live upstream conversation per key, bot and user")
def one_conversation(story: Story, finding: Finding) -> None:
    """Count the live conversations of each pair, and how often its creation was asked for."""
    for pair, conversations in story.conversations_of.items():
        live = [one for one in conversations if not story.is_deleted(one.id)]
        finding.hold(len(live) <= 1, f"{pair[2]} of {pair[1][:8]} has {len(live)} live conversations")
    created: dict[Pair, list[Call]] = defaultdict(list)
    for call in story.logs.calls:
        if call.method == "POST" and call.path.endswith("/conversations") and call.pair and call.took_effect:
            created[(call.account or "", *call.pair)].append(call)
    for pair, calls in created.items():
        deleted = [one for one in story.conversations_of.get(pair, ()) if story.is_deleted(one.id)]
        finding.hold(
            len(calls) <= 1 + len(deleted),
            f"{pair[2]} of {pair[1][:8]} was created {len(calls)} times",
            excuse=_repeated(story, calls[0].at, calls[-1].at),
        )


@invariant("I5", "a conversation begins with exactly the history of a request of its key")
def seeded_with_a_history(story: Story, finding: Finding) -> None:
    """Look for the request whose flattened history each creation carries."""
    histories: dict[Pair, set[tuple[tuple[bool, str], ...]]] = defaultdict(set)
    for request in story.logs.requests:
        histories[story.pair(request)].add(request.history)
    for call in story.logs.calls:
        if call.method == "POST" and call.path.endswith("/conversations") and call.pair:
            known = histories.get((call.account or "", *call.pair), set())
            finding.hold(call.seed in known, f"{call.pair[1]} was begun with {len(call.seed)} messages of no request")


@invariant("I6", "each accepted message is posted once; twice only around a fault")
def posted_once(story: Story, finding: Finding) -> None:
    """Count the posts of each request that took effect."""
    for request in story.logs.requests:
        posts = story.posts.get(request.id, ())
        if request.accepted_at is not None:
            finding.hold(bool(posts), f"{request.id} was accepted and is not upstream")
        if len(posts) > 1:
            excuse = _repeated(story, min(posts[0].at, request.began), max(posts[-1].at, request.ended))
            finding.hold(False, f"{request.id} was posted {len(posts)} times", excuse=excuse)
    finding.figures["posts"] = sum(len(posts) for posts in story.posts.values())


def _repeated(story: Story, begin: float, end: float) -> bool:
    """Tell whether something can have had its effect twice: unrecorded, or held back on its way and done after all."""
    held_back = any(
        fault.name == "upstream black hole" or ("hang" in fault.detail and "before" in fault.detail)
        for fault in story.near(begin, end, Class.UPSTREAM)
    )
    return held_back or bool(story.near(begin, end, *NOT_RECORDED))


@invariant("I7", "what was answered before the next was sent is upstream before it")
def in_order(story: Story, finding: Finding) -> None:
    """Compare the order of the first posts with that of the requests of each conversation."""
    for requests in story.chats.values():
        for earlier, later in itertools.combinations(requests, 2):
            if earlier.accepted_at is None or earlier.accepted_at >= later.began:
                continue
            before, after = story.posts.get(earlier.id), story.posts.get(later.id)
            if before and after:
                finding.hold(before[0].at <= after[0].at, f"{later.id} went before {earlier.id}")


@invariant("I11", "one key's data never reaches another key's upstream calls")
def kept_apart(story: Story, finding: Finding) -> None:
    """Look at whose messages each call of a key holds, and whether it holds what only the webhook may know."""
    secrets = {request.id: _secret(request.webhook) for request in story.logs.requests}
    for call in story.logs.calls:
        for request_id in texts.ids_in([*([call.posted[1]] if call.posted else []), *(text for _, text in call.seed)]):
            request = story.requests.get(request_id)
            owner = story.logs.accounts[request.key] if request else None
            finding.hold(owner == call.account, f"{request_id} in a call of another key: {call.method} {call.path}")
            finding.hold(secrets.get(request_id, "-") not in call.body, f"the webhook of {request_id} went upstream")


def _secret(webhook: str) -> str:
    return webhook.partition("token=")[2].partition("&")[0] or "-"


@invariant("I15", "text is identical, code point for code point, on its way upstream")
def same_text(story: Story, finding: Finding) -> None:
    """Compare what was posted with what was sent."""
    for request_id, posts in story.posts.items():
        request = story.requests.get(request_id)
        for call in posts:
            same = request is not None and call.posted == (False, request.text)
            finding.hold(same, f"{request_id} was posted as {call.posted and call.posted[1][:TEXT]!r}")


@invariant("I19", "no 2xx while the store cannot store")
def nothing_accepted_without_a_store(story: Story, finding: Finding) -> None:
    """Look at the requests that were sent and answered while the store was away."""
    for fault, request, one in _sent_without_a_store(story):
        if one.ended_at < fault.ended:
            accepted = one.status is not None and 200 <= one.status < 300
            finding.hold(not accepted, f"{request.id} was accepted during {fault.name}")


@invariant("I19", "with the store away, every request is answered within 2 s", timed=True)
def answered_without_a_store(story: Story, finding: Finding) -> None:
    """Look at how long they took, but for those that a process got that was frozen itself."""
    for fault, request, one in _sent_without_a_store(story):
        if not story.near(one.sent_at, one.ended_at, Class.PROCESS, Class.DRAIN):
            seconds = min(one.ended_at, fault.ended) - one.sent_at
            finding.hold(seconds < ANSWER_SECONDS, f"{request.id} hung {seconds:.1f} s during {fault.name}")


def _sent_without_a_store(story: Story) -> Iterator[tuple[Fault, Request, Exchange]]:
    """Give what was sent while the store was away, each with the fault; its begin is noted before it is felt."""
    for fault in story.logs.faults:
        if fault.name in {"store refused", "store black hole", "CLIENT PAUSE", "DEBUG SLEEP"}:
            for request in story.logs.requests:
                for one in request.exchanges:
                    if fault.began + 0.2 <= one.sent_at <= fault.ended:
                        yield fault, request, one


@invariant("I20", "hostile requests get a 4xx; clients are refused only around a fault; no process ends by itself")
def refused_clearly(story: Story, finding: Finding) -> None:
    """Look at every answer that is no 2xx."""
    for hostile in story.logs.hostile:
        fine = hostile.status is not None and 400 <= hostile.status < 500
        near = story.near(hostile.sent_at, hostile.ended_at, *NOT_RECORDED)
        finding.hold(fine, f"{hostile.kind} got {hostile.status}", excuse=near and hostile.status in {None, 503})
    for request in story.logs.requests:
        for one in request.exchanges:
            accepted = one.status is not None and 200 <= one.status < 300
            what = f"{request.id} got {one.status} {one.error} from {one.replica} for no reason"
            finding.hold(accepted, what, excuse=not accepted and _reason(story, one))
    for crash in story.logs.crashes:
        finding.hold(False, crash)


def _reason(story: Story, one: Exchange) -> bool:
    """Tell whether a fault is a reason for this refusal."""
    match one.error:
        case "store_unavailable":
            kinds = (Class.STORE, Class.PROCESS)  # a frozen process wakes to calls that have timed out
            return bool(story.near(one.sent_at - RESUMED_SECONDS, one.ended_at, *kinds))
        case "draining":
            return bool(story.near(one.sent_at, one.ended_at, Class.DRAIN))
        case "internal_error":
            return False
        case _:  # who waits for a place that a dead process holds waits for its lease
            return bool(story.near(one.sent_at - story.logs.limits.turn, one.ended_at, *TROUBLE))


@invariant("I22", "SIGTERM: exit 0 within the grace period")
def ended_well(story: Story, finding: Finding) -> None:
    """Look at the ends of the processes that were asked to end."""
    for one in story.logs.exits:
        finding.hold(one.code == 0, f"replica {one.replica} ended with {one.code}")
        finding.hold(one.seconds <= story.logs.limits.grace + 2, f"replica {one.replica} took {one.seconds:.1f} s")


@invariant("I25", "an identical request at the same time is the same turn")
def joined(story: Story, finding: Finding) -> None:
    """Compare the ids that both senders of one request got."""
    for request in story.logs.requests:
        if request.twin:
            ids = {one.message_id for one in request.exchanges if one.status == 200}
            near = story.near(request.began, request.ended, *TROUBLE)
            finding.hold(len(ids) <= 1, f"{request.id} became {len(ids)} turns", excuse=near)
