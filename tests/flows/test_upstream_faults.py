"""An upstream that answers wrongly, late or not at all, and input that is hostile: nothing is lost or posted twice."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.relay.queue import Counts, Queue
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.store import Store
from tests.flows.conftest import BOT, KEY, World, running_world

LIST = {"method": "GET", "path": "/api/conversations"}
CREATE = {"method": "POST", "path": "/api/conversations"}
POST = {"method": "POST", "path": "*/messages"}
READ = {"method": "GET", "path": "/api/conversations/*"}

WRONG: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502 by a proxy": {"status": 502, "body": "html"},
    "503 without a word": {"status": 503, "body": "empty"},
    "HTML that says it went well": {"status": 200, "body": "html"},
    "a truncated answer": {"status": 200, "body": "truncated"},
    "an answer beyond all measure": {"status": 200, "body": "huge", "size": 65 * 2**20},
    "a cut connection": {"action": "drop"},
    "no answer in time": {"action": "hang", "seconds": 60},
}
"""What comes back instead of an answer."""

EVERY_FAULT = [pytest.param(fault, id=name) for name, fault in WRONG.items()]
UPSTREAM_FAILURES = {502: "bad_gateway", 504: "gateway_timeout"}


@pytest.fixture
async def world(store: Store, store_url: str) -> AsyncIterator[World]:
    """Run a gateway that does not wait long for its upstream, over an empty store."""
    async with running_world(store_url, upstream_timeout_seconds=1) as running:
        yield running


async def said(world: World) -> list[str]:
    """Give what users said, in all conversations that the upstream holds."""
    conversations = await world.sandbox.conversations()
    return [one["text"] for conversation in conversations for one in conversation["messages"] if not one["from_bot"]]


async def delivered_once(world: World, message_id: str) -> None:
    """Hold that exactly this reply reaches the client."""
    await world.sandbox.deliveries(1)
    await world.sandbox.idle()
    await nothing_waits(world)
    assert [one["json"]["id"] for one in await world.sandbox.deliveries()] == [message_id]


async def nothing_waits(world: World) -> None:
    """Wait until no reply is pending."""
    queue = Queue(world.gateway.store)
    while (await queue.count()).pending:
        world.pass_time(timedelta(seconds=1))
        await world.sandbox.idle()


def refused(answer: httpx.Response, status: int, error: str) -> None:
    """Hold that an answer is a refusal in V1's shape."""
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json().keys() == {"error", "message", "request_id"}


# The message


async def test_a_turn_whose_reply_is_delivered_before_the_upstreams_answer_is_accepted(world: World) -> None:
    await world.sandbox.arm(RequestFault(**POST, when="after", action="hang", seconds=60))
    answer = await world.complete()
    assert answer.status_code == 200
    assert await said(world) == ["hi"]
    await delivered_once(world, answer.json()["message_id"])


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_message_whose_fate_is_unknown_is_looked_for_before_it_is_posted_again(
    world: World, fault: dict[str, Any], when: Any
) -> None:
    await world.sandbox.arm(RequestFault(**POST, when=when, **fault))
    answer = await world.complete(min_delay=100, max_delay=100)
    assert answer.status_code == 200
    posts = await world.sandbox.calls(path=POST["path"], method="POST")
    assert len(posts) == (1 if when == "after" else 2)
    assert await said(world) == ["hi"]
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    world.pass_time(timedelta(seconds=101))
    await delivered_once(world, answer.json()["message_id"])


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_message_that_nobody_can_look_for_is_settled_by_the_clients_retry(
    world: World, fault: dict[str, Any], when: Any
) -> None:
    late: dict[str, Any] = {"min_delay": 100, "max_delay": 100}
    await world.sandbox.arm(RequestFault(**POST, when=when, **fault), RequestFault(**READ, times=None))
    failed = await world.complete(**late)
    if failed.status_code != 200:  # else the reply came meanwhile, and told
        refused(failed, failed.status_code, UPSTREAM_FAILURES[failed.status_code])
    await world.sandbox.arm()
    retried = await world.complete(**late)
    assert retried.status_code == 200
    assert await said(world) == ["hi"]
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    world.pass_time(timedelta(seconds=101))
    await delivered_once(world, retried.json()["message_id"])


async def test_the_transcript_alone_settles_a_message_whose_reply_never_comes(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    await world.sandbox.arm(RequestFault(**POST, when="after"), RequestFault(**READ, times=None))
    refused(await world.complete(), 502, "bad_gateway")
    await world.sandbox.arm()
    assert (await world.complete()).status_code == 200
    assert await said(world) == ["hi"]


async def test_an_upstream_that_is_down_for_good_refuses_the_turn_and_takes_it_later(world: World) -> None:
    await world.sandbox.arm(RequestFault(times=None, status=502, body="html"))
    refused(await world.complete(), 502, "bad_gateway")
    assert await said(world) == []
    assert await world.gateway.store.redis.dbsize() == 0
    await world.sandbox.arm()
    answer = await world.complete()
    assert answer.status_code == 200
    assert await said(world) == ["hi"]
    await delivered_once(world, answer.json()["message_id"])


async def test_a_busy_upstream_is_asked_again_when_it_said_so(world: World) -> None:
    await world.sandbox.arm(RequestFault(**POST, status=503, headers={"Retry-After": "0"}, times=2))
    assert (await world.complete()).status_code == 200
    assert [call["status"] for call in await world.sandbox.calls(path=POST["path"], method="POST")] == [503, 503, 202]
    assert await said(world) == ["hi"]


# Refusals


@pytest.mark.parametrize("status", [400, 401, 403, 409, 422])
@pytest.mark.parametrize("where", [LIST, CREATE, POST], ids=["list", "create", "post"])
async def test_a_refusal_is_the_clients_to_see_and_is_not_repeated(
    world: World, where: dict[str, str], status: int
) -> None:
    await world.sandbox.arm(RequestFault(**where, status=status, times=None))
    answer = await world.complete()
    refused(answer, status, "upstream_rejected")
    assert "This fault was asked for." in answer.json()["message"]
    calls = await world.sandbox.calls()
    assert [call["status"] for call in calls].count(status) == 1
    assert await said(world) == []
    await world.sandbox.arm()
    assert (await world.complete()).status_code == 200
    assert await said(world) == ["hi"]


@pytest.mark.parametrize("where", [LIST, CREATE, POST], ids=["list", "create", "post"])
async def test_an_upstream_that_wants_a_long_pause_gets_it_from_the_client(world: World, where: dict[str, str]) -> None:
    await world.sandbox.arm(RequestFault(**where, status=429, headers={"Retry-After": "30"}, times=None))
    answer = await world.complete()
    refused(answer, 429, "upstream_rejected")
    assert answer.headers["Retry-After"] == "30"
    assert [call["status"] for call in await world.sandbox.calls()].count(429) == 1
    assert await said(world) == []


@pytest.mark.parametrize(
    "where",
    [pytest.param(LIST, id="list"), pytest.param(CREATE, id="create"), pytest.param(POST, id="post")],
)
async def test_an_upstream_without_the_routes_is_a_bad_gateway(world: World, where: dict[str, str]) -> None:
    await world.sandbox.arm(RequestFault(**where, status=404, times=None))
    answer = await world.complete()
    refused(answer, answer.status_code, {404: "upstream_rejected", 502: "bad_gateway"}[answer.status_code])
    assert await said(world) == []
    await world.sandbox.arm()
    assert (await world.complete()).status_code == 200
    assert await said(world) == ["hi"]


# The conversation

HISTORY = [{"bot": False, "content": ["hello"]}, {"bot": True, "content": ["good day", "how are you?"]}]


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_creation_whose_fate_is_unknown_makes_one_conversation_with_the_history(
    world: World, fault: dict[str, Any], when: Any
) -> None:
    await world.sandbox.arm(RequestFault(**CREATE, when=when, **fault))
    answer = await world.complete(messages=HISTORY)
    assert answer.status_code == 200
    [conversation] = await world.sandbox.conversations()
    assert [one["text"] for one in conversation["messages"][:4]] == ["hello", "good day", "how are you?", "hi"]
    await delivered_once(world, answer.json()["message_id"])


@pytest.mark.parametrize("fault", EVERY_FAULT)
async def test_a_list_that_cannot_be_read_refuses_the_turn_and_leaves_nothing(
    world: World, fault: dict[str, Any]
) -> None:
    await world.sandbox.arm(RequestFault(**LIST, times=None, **fault))
    answer = await world.complete()
    refused(answer, answer.status_code, UPSTREAM_FAILURES[answer.status_code])
    assert {call["method"] for call in await world.sandbox.calls()} == {"GET"}
    await world.sandbox.arm()
    assert (await world.complete()).status_code == 200
    assert await said(world) == ["hi"]


async def test_a_conversation_that_fails_because_it_is_gone_is_created_again_with_the_history(world: World) -> None:
    await world.complete(user_id="u-9")
    await world.sandbox.deliveries(1)
    [old] = await world.sandbox.conversations()
    await world.sandbox.delete(old["id"])
    await world.sandbox.arm(RequestFault(**POST, status=500))

    answer = await world.complete(user_id="u-9", message="again", messages=HISTORY)

    assert answer.status_code == 200
    [new] = await world.sandbox.conversations()
    assert new["id"] != old["id"]
    assert [one["text"] for one in new["messages"][:4]] == ["hello", "good day", "how are you?", "again"]
    await world.sandbox.deliveries(2)


async def test_a_callback_for_a_conversation_that_was_replaced_changes_nothing(world: World, store: Store) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    [old] = await world.sandbox.conversations()
    await world.sandbox.delete(old["id"])
    await world.complete(message="two")
    await world.sandbox.deliveries(2)
    await world.sandbox.idle()
    await nothing_waits(world)
    before = await everything(store)
    late = await world.http.post(old["webhook"], json=callback(old["id"], "too late"))
    refused(late, 404, "not_found")
    assert await everything(store) == before


# The callbacks


def callback(conversation_id: str, text: str, **message: Any) -> dict[str, Any]:
    return {"conversation_id": conversation_id, "message": {"text": text, "from_bot": True, **message}}


async def everything(store: Store) -> dict[str, bytes]:
    """Give all that the store holds, byte for byte."""
    return {key: await store.redis.dump(key) async for key in store.redis.scan_iter(count=1000)}


async def test_a_reply_that_outruns_its_messages_answer_is_delivered_once(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="before_ack"))
    answer = await world.complete()
    assert answer.status_code == 200
    await delivered_once(world, answer.json()["message_id"])


async def test_a_reply_whose_messages_answer_never_comes_is_delivered_and_the_retry_posts_nothing(
    world: World,
) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="before_ack"))
    await world.sandbox.arm(RequestFault(**POST, when="after", action="drop"), RequestFault(**READ, times=None))
    refused(await world.complete(), 502, "bad_gateway")  # what came may be a late segment of an earlier reply
    await world.sandbox.deliveries(1)
    await world.sandbox.arm()
    answer = await world.complete()
    assert answer.status_code == 200
    assert await said(world) == ["hi"]
    await delivered_once(world, answer.json()["message_id"])


async def test_callbacks_that_say_the_least_are_enough(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="minimal", times=None))
    await world.sandbox.script("one", "two")
    await world.complete()
    [delivery] = await world.sandbox.deliveries(1)
    assert delivery["json"]["completion"] == ["one", "two"]


async def test_the_users_own_messages_are_ignored_when_they_come_back(world: World, store: Store) -> None:
    answer = await world.complete(min_delay=50, max_delay=50)
    await world.sandbox.callbacks(1)
    await world.sandbox.idle()
    [conversation] = await world.sandbox.conversations()
    before = await everything(store)
    echo = callback(conversation["id"], "hi", from_bot=False)
    assert (await world.http.post(conversation["webhook"], json=echo)).status_code == 200
    assert await everything(store) == before
    world.pass_time(timedelta(seconds=51))
    await delivered_once(world, answer.json()["message_id"])


async def test_a_callback_is_taken_alike_past_asgi_and_by_way_of_it(world: World) -> None:
    await world.sandbox.arm_callbacks(CallbackFault(kind="lost", times=None))
    accepted = await world.complete(min_delay=50, max_delay=50)
    [conversation] = await world.sandbox.conversations()
    answers = []
    for name, end in (("one", ""), ("two", "?")):
        told = callback(conversation["id"], f"part {name}", id=name)
        answers.append(await world.http.post(conversation["webhook"] + end, json=told))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json() for answer in answers] == [{"status": "ok"}] * 2
    assert len({tuple(answer.headers) for answer in answers}) == 1
    world.pass_time(timedelta(seconds=51))
    await delivered_once(world, accepted.json()["message_id"])
    [delivery] = await world.sandbox.deliveries()
    assert delivery["json"]["completion"] == ["part one", "part two"]


async def test_forged_callbacks_are_all_answered_alike_and_change_nothing(world: World, store: Store) -> None:
    await world.complete(user_id="a", min_delay=50, max_delay=50)
    await world.complete(user_id="b", min_delay=50, max_delay=50)
    await world.sandbox.callbacks(2)
    await world.sandbox.idle()
    one, other = await world.sandbox.conversations()
    base, _, token = one["webhook"].rpartition("/")
    swapped = token[:-1] + ("A" if token[-1] != "A" else "E")
    forged = [f"{base}/{bad}" for bad in (swapped, token[:-1], token + "A", "A" * 43, token[::-1], "x", "%00")]
    before = await everything(store)
    answers = [await world.http.post(url, json=callback(one["id"], "gotcha")) for url in forged]
    answers.append(await world.http.post(other["webhook"], json=callback(one["id"], "gotcha")))
    answers.append(await world.http.post(forged[0], content=b"not JSON"))
    for answer in answers:
        refused(answer, 404, "not_found")
    assert len({answer.json()["message"] for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.keys())) for answer in answers}) == 1
    assert await everything(store) == before


# Bad input


@pytest.fixture(scope="module")
async def refusing(store_url: str) -> AsyncIterator[World]:
    """Run one gateway for all tests of this kind: what they send leaves nothing."""
    async with running_world(store_url) as running:
        yield running


GOOD = {"bot_id": BOT, "user_id": "u-1", "message": "hi", "webhook": "http://127.0.0.1:9/"}
BAD: dict[str, tuple[int, Any]] = {
    "no JSON": (400, b"{"),
    "no object": (400, []),
    "nothing": (400, b""),
    "NaN": (400, json.dumps(GOOD).encode().replace(b'"hi"', b"NaN")),
    "deeply nested": (400, b"[" * 100_000),
    "a lone surrogate": (400, json.dumps(GOOD).encode().replace(b'"hi"', b'"\\ud800"')),
    "not UTF-8": (400, json.dumps(GOOD).encode().replace(b'"hi"', b'"\xff"')),
    "a number as bot": (400, GOOD | {"bot_id": 7}),
    "a list as message": (400, GOOD | {"message": ["hi"]}),
    "a history of texts": (400, GOOD | {"messages": ["hi"]}),
    "no bot": (400, {name: value for name, value in GOOD.items() if name != "bot_id"}),
    "neither user nor conversation": (400, {name: value for name, value in GOOD.items() if name != "user_id"}),
    "a negative delay": (422, GOOD | {"min_delay": -1}),
    "crossed delays": (422, GOOD | {"min_delay": 3, "max_delay": 2}),
    "an endless delay": (422, GOOD | {"max_delay": 10**9}),
    "a webhook that is no URL": (422, GOOD | {"webhook": "here"}),
    "a webhook of another scheme": (422, GOOD | {"webhook": "ftp://127.0.0.1/"}),
    "a webhook without a host": (422, GOOD | {"webhook": "http:///path"}),
    "a private webhook": (422, GOOD | {"webhook": "http://10.0.0.1/"}),
    "a webhook at the metadata service": (422, GOOD | {"webhook": "http://169.254.169.254/latest"}),
    "a private webhook in disguise": (422, GOOD | {"webhook": "http://0xa000001/"}),
    "a private IPv6 webhook": (422, GOOD | {"webhook": "http://[fd00::1]/"}),
}


@pytest.mark.parametrize(("status", "body"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_refused_with_nothing_posted_and_nothing_stored(
    refusing: World, store: Store, status: int, body: Any
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    answer = await refusing.http.post(f"{refusing.url}/v2/complete", content=content, headers=headers)
    refused(answer, status, {400: "bad_request", 422: "unprocessable"}[status])
    assert await refusing.sandbox.calls() == []
    assert await store.redis.dbsize() == 0


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Basic abc", "Bearer two words", b"Bearer k\xc3\xa9y"], ids=repr
)
async def test_a_key_that_is_none_is_refused_with_nothing_posted_and_nothing_stored(
    refusing: World, store: Store, authorization: Any
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await refusing.http.post(f"{refusing.url}/v2/complete", json=GOOD, headers=headers)
    refused(answer, 401, "unauthorized")
    assert await refusing.sandbox.calls() == []
    assert await store.redis.dbsize() == 0


async def test_a_body_over_the_limit_is_refused_with_nothing_posted_and_nothing_stored(
    store: Store, store_url: str
) -> None:
    async with running_world(store_url, max_body_bytes=2048) as world:
        refused(await world.complete(message="x" * 4096), 413, "payload_too_large")
        assert await world.sandbox.calls() == []
        assert await store.redis.dbsize() == 0


# The store forgets


async def test_with_the_store_flushed_between_turns_the_conversation_is_adopted_and_the_reply_arrives(
    world: World, store: Store
) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    await nothing_waits(world)
    [before] = await world.sandbox.conversations()
    await store.redis.flushall()

    answer = await world.complete(message="two", messages=[{"bot": False, "content": ["one"]}])

    assert answer.status_code == 200
    [conversation] = await world.sandbox.conversations()
    assert conversation["id"] == before["id"]
    assert await said(world) == ["one", "two"]
    _, second = await world.sandbox.deliveries(2)
    assert second["json"]["id"] == answer.json()["message_id"]


async def test_a_reply_to_a_turn_that_the_store_has_forgotten_comes_with_the_next_turn(
    world: World, store: Store
) -> None:
    await world.complete(message="one")
    await world.sandbox.deliveries(1)
    await nothing_waits(world)
    [conversation] = await world.sandbox.conversations()
    await store.redis.flushall()
    seen = len(await world.sandbox.callbacks())
    await world.sandbox.bot_says(conversation["id"], "by the way")
    await world.sandbox.callbacks(1, since=seen)
    assert await world.sandbox.deliveries(since=1) == []  # nobody knows where to

    await world.complete(message="two")
    await world.sandbox.callbacks(2, since=seen)
    await world.sandbox.idle()
    await nothing_waits(world)

    [again] = await world.sandbox.conversations()
    bot = [one["text"] for one in again["messages"] if one["from_bot"]]
    told = [text for one in await world.sandbox.deliveries() for text in one["json"]["completion"]]
    assert sorted(told) == sorted(bot)
    assert await Queue(store).count() == Counts(pending=0, due=0, dead=0)
