"""What is said in a conversation, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.sandbox import SandboxSettings, serve
from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver
from gateway.sandbox.driver import Driver
from tests.gateway.sandbox.chatbotkit.conftest import ROOT, Client


@pytest.fixture(scope="module")
async def seed_url() -> AsyncIterator[str]:
    """Serve a sandbox whose streams follow the seed's spelling, and which knows one bot."""
    settings = SandboxSettings(chatbotkit_events="seed", chatbotkit_bots=frozenset({"b-1"})).fast()
    async with serve(settings) as base_url:
        yield base_url


@pytest.fixture
async def seed(seed_url: str) -> AsyncIterator[Client]:
    """Give a client of that sandbox."""
    headers = {"authorization": "Bearer key-one"}
    async with httpx.AsyncClient(base_url=seed_url, headers=headers, timeout=30, trust_env=False) as http:
        await Driver(http).reset()
        yield Client(http)


async def sse(client: Client, path: str, **body: Any) -> list[tuple[str, Any]]:
    """Make a call that is answered by server-sent events."""
    answer = await client.http.post(f"{ROOT}/{path}", json=body, headers={"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame.split("\n") for frame in answer.text.split("\n\n") if frame]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in frames]


async def test_sending_adds_a_message_and_no_reply(client: Client) -> None:
    made = await client.create()
    entity = {"type": "name", "begin": 0, "end": 3, "text": "Max"}
    sent = await client.post(f"{made}/send", text="Max here.", entities=[entity])
    assert sent["entities"] == [entity]
    assert await client.messages(made) == [("user", "Max here.")]
    [line] = await client.lines(f"{made}/send", text="Again.")
    assert (line["type"], line["data"]["entities"]) == ("result", [])


async def test_receiving_adds_the_bots_message(client: Client) -> None:
    made = await client.create()
    await client.post(f"{made}/send", text="Hello?")
    reply = await client.post(f"{made}/receive")
    assert await client.messages(made) == [("user", "Hello?"), ("bot", reply["text"])]
    assert "Hello?" in reply["text"]
    assert reply["usage"]["token"] > 0
    assert "end" not in reply


async def test_receiving_as_lines_tells_tokens_before_the_result(client: Client) -> None:
    made = await client.create()
    await client.post(f"{made}/send", text="Hello?")
    lines = await client.lines(f"{made}/receive")
    kinds = [line["type"] for line in lines]
    assert kinds == ["completeBegin", *["token"] * (len(kinds) - 5), "message", "usage", "result", "completeEnd"]
    result = next(line["data"] for line in lines if line["type"] == "result")
    assert "".join(line["data"]["token"] for line in lines if line["type"] == "token") == result["text"]


@pytest.mark.parametrize("action", ["receive", "initiate"])
async def test_server_sent_events_bring_pieces_and_then_done(client: Client, action: str) -> None:
    made = await client.create()
    events = await sse(client, f"{made}/{action}", **({"text": "Say hello."} if action == "initiate" else {}))
    assert {kind for kind, _ in events[:-1]} == {"result"}
    assert events[-1][0] == "done"
    assert "".join(data["text"] for _, data in events[:-1]) == events[-1][1]["text"]
    assert (await client.messages(made))[-1] == ("bot", events[-1][1]["text"])


async def test_completing_says_and_hears_in_one_call(client: Client) -> None:
    made = await client.create()
    reply = await client.post(f"{made}/complete", text="Hello?", extensions={"backstory": "You like tea."})
    assert reply["end"] == {"reason": "stop"}
    assert await client.messages(made) == [("user", "Hello?"), ("bot", reply["text"])]
    assert "backstory" not in await client.get(f"{made}/fetch")


async def test_completing_without_a_text_goes_on_from_the_present_state(client: Client) -> None:
    made = await client.create()
    await client.post(f"{made}/send", text="Hello?")
    reply = await client.post(f"{made}/complete")
    assert await client.messages(made) == [("user", "Hello?"), ("bot", reply["text"])]


async def test_the_seeds_spelling_names_the_stages(seed: Client) -> None:
    made = await seed.create()
    lines = await seed.lines(f"{made}/complete", text="Hello?")
    assert (lines[0]["type"], lines[0]["data"]["text"]) == ("send_result", "Hello?")
    assert (lines[-1]["type"], lines[-1]["data"]["end"]) == ("receive_result", {"reason": "stop"})
    lines = await seed.lines(f"{made}/receive")
    assert {line["type"] for line in lines[:-1]} == {"result"}
    assert (lines[-1]["type"], set(lines[-1]["data"])) == ("done", {"id", "text", "usage"})
    [line] = await seed.lines(f"{made}/send", text="Bye.")
    assert line["type"] == "send_result"


async def test_a_bot_that_is_not_there_is_refused(seed: Client) -> None:
    answer = await seed.http.post(f"{ROOT}/create", json={"botId": "b-2"})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    made = await seed.create()
    answer = await seed.http.post(f"{ROOT}/{made}/update", json={"botId": "b-2"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("needs", "limits", "reason"),
    [
        ({}, {"iterations": 1}, "stop"),
        ({"iterations": 3}, {"iterations": 2}, "iteration"),
        ({"calls": 1}, {"calls": 0}, "iteration"),
        ({"continuations": 2}, {"continuations": 1}, "length"),
        ({"end": "activity"}, {"iterations": 5, "continuations": 5, "calls": 5}, "activity"),
    ],
)
async def test_limits_end_a_generation_early(
    client: Client, bots: ChatBotKitDriver, needs: dict[str, Any], limits: dict[str, int], reason: str
) -> None:
    made = await client.create()
    await bots.script("So far.", **needs)
    reply = await client.post(f"{made}/complete", text="Go on.", limits=limits)
    assert (reply["text"], reply["end"]["reason"]) == ("So far.", reason)


@pytest.mark.parametrize("kind", ["error", "abort"])
async def test_a_broken_generation_ends_its_stream_and_stores_nothing(
    client: Client, bots: ChatBotKitDriver, kind: str
) -> None:
    made = await client.create()
    await bots.script("One two three four.", breaks=kind, after_tokens=2)
    lines = await client.lines(f"{made}/receive")
    assert [line["type"] for line in lines] == ["completeBegin", "token", "token", kind, "completeEnd"]
    await bots.script(breaks=kind)
    answer = await client.http.post(f"{ROOT}/{made}/receive", json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert await client.messages(made) == []


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl", "text/event-stream"])
async def test_a_generation_can_be_cut_off(client: Client, bots: ChatBotKitDriver, accept: str) -> None:
    made = await client.create()
    await bots.script("One two.", breaks="cut", after_tokens=1)
    with pytest.raises(httpx.TransportError):
        await client.http.post(f"{ROOT}/{made}/receive", json={}, headers={"accept": accept})
    assert await client.messages(made) == []


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
@pytest.mark.parametrize("survives", [True, False])
async def test_whoever_leaves_ends_the_generation_unless_it_survives(
    client: Client, bots: ChatBotKitDriver, sandbox: Driver, accept: str, survives: bool
) -> None:
    made = await client.create()
    await bots.script("One two three.", seconds=0.6 if survives else 60, survives=survives)
    since = len(await sandbox.calls())
    listening = asyncio.ensure_future(client.http.post(f"{ROOT}/{made}/receive", json={}, headers={"accept": accept}))
    await sandbox.calls(1, path="*/receive", since=since, finished=False)
    listening.cancel()
    await sandbox.idle()
    assert await client.messages(made) == ([("bot", "One two three.")] if survives else [])


async def test_a_bot_speaks_first_about_a_context(client: Client) -> None:
    made = await client.create()
    reply = await client.post(f"{made}/initiate", text="It is Monday.", entities=[{"begin": 6, "end": 12}])
    assert "It is Monday." in reply["text"]
    assert await client.messages(made) == [("context", "It is Monday."), ("bot", reply["text"])]


async def test_a_batch_keeps_its_order_and_triggers_no_reply(client: Client, sandbox: Driver) -> None:
    made = await client.create()
    items = [{"type": "bot" if n % 2 else "user", "text": str(n)} for n in range(100)]
    added = await client.post(f"{made}/message/batch/create", items=items)
    assert len({one["id"] for one in added["items"]}) == 100
    await sandbox.idle()
    assert await client.messages(made) == [(one["type"], one["text"]) for one in items]


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "user", "text": str(n)} for n in range(101)],
        [{"type": "user", "text": "one"}, {"type": "user"}],
        [{"type": "user", "text": "one", "id": "x"}, {"type": "user", "text": "two", "id": "x"}],
        [{"type": "user", "text": "one"}, {"type": "user", "text": "two", "id": "taken"}],
        [],
    ],
)
async def test_a_batch_is_added_whole_or_not_at_all(client: Client, items: list[dict[str, Any]]) -> None:
    made = await client.create()
    taken = {"type": "bot", "text": "Hi!", "id": "taken"}
    assert (await client.post(f"{made}/message/batch/create", items=[taken]))["items"] == [{"id": "taken"}]
    answer = await client.http.post(f"{ROOT}/{made}/message/batch/create", json={"items": items})
    assert answer.status_code in {400, 409}
    assert await client.messages(made) == [("bot", "Hi!")]


async def test_single_messages_of_any_type_are_added(client: Client) -> None:
    made = await client.create()
    for kind in ("context", "instruction", "tool_request", "reasoning"):
        await client.post(f"{made}/message/create", type=kind, text=f"a {kind}", meta={"n": 1})
    assert [kind for kind, _ in await client.messages(made)] == ["context", "instruction", "tool_request", "reasoning"]


async def test_messages_are_paged(client: Client) -> None:
    made = await client.create(messages=[{"type": "user", "text": str(n)} for n in range(5)])
    path = f"{made}/message/list"
    newest = await client.get(path, take=2)
    assert [one["text"] for one in newest["items"]] == ["4", "3"]
    older = await client.get(path, take=2, cursor=newest["cursor"])
    assert [one["text"] for one in older["items"]] == ["2", "1"]
    answer = await client.http.get(f"{ROOT}/{path}?order=asc&take=2", headers={"accept": "application/jsonl"})
    assert [json.loads(line)["data"]["text"] for line in answer.text.splitlines()] == ["0", "1"]
    assert (await client.http.get(f"{ROOT}/{path}?cursor=none")).status_code == 400


async def test_compacting_makes_a_checkpoint_when_there_is_something_to_compact(client: Client) -> None:
    made = await client.create(messages=[{"type": "user", "text": "Hi!"}])
    assert await client.post(f"{made}/compact") == {"id": made}
    await client.post(f"{made}/receive")
    first = await client.post(f"{made}/compact")
    newest = (await client.get(f"{made}/message/list", take=1))["items"][0]
    assert (newest["id"], newest["type"]) == (first["id"], "checkpoint")
    assert (await client.http.post(f"{ROOT}/{made}/compact")).json() == {"id": made}


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("send", {}),
        ("send", {"text": 1}),
        ("send", {"text": "x", "limits": {}}),
        ("receive", {"text": "x"}),
        ("receive", {"functions": [{"name": "not a name", "description": "", "parameters": {}}]}),
        ("receive", {"extensions": {"mood": "good"}}),
        ("complete", {"limits": {"iterations": -1}}),
        ("initiate", {}),
        ("initiate", {"text": "x", "entities": [{"begin": 0}]}),
        ("message/create", {"type": "user"}),
        ("delete", {"really": True}),
    ],
)
async def test_wrong_shapes_are_refused_and_change_nothing(client: Client, action: str, body: Any) -> None:
    made = await client.create()
    answer = await client.http.post(f"{ROOT}/{made}/{action}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert await client.messages(made) == []


@pytest.mark.parametrize("action", ["send", "receive", "complete", "initiate", "compact", "message/batch/create"])
async def test_an_unknown_conversation_is_not_found(client: Client, action: str) -> None:
    answer = await client.http.post(f"{ROOT}/none/{action}", json={"text": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_the_control_surface_shows_deletes_and_resets(
    client: Client, bots: ChatBotKitDriver, sandbox: Driver
) -> None:
    first, second = await client.create(), await client.create(messages=[{"type": "user", "text": "Hi!"}])
    shown = await bots.conversations()
    assert [(one["id"], len(one["messages"])) for one in shown] == [(first, 0), (second, 1)]
    await bots.delete(first)
    assert [one["id"] for one in await bots.conversations()] == [second]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await bots.delete(first)
    await bots.script("Later.")
    await sandbox.reset()
    assert await bots.conversations() == []
    made = await client.create()
    assert (await client.post(f"{made}/receive"))["text"] != "Later."


async def test_scripted_replies_of_one_conversation_wait_for_it(client: Client, bots: ChatBotKitDriver) -> None:
    first, second = await client.create(), await client.create()
    await bots.script("To the second.", conversation_id=second)
    assert (await client.post(f"{first}/receive"))["text"] != "To the second."
    assert (await client.post(f"{second}/receive"))["text"] == "To the second."


async def test_calls_are_recorded_and_faults_strike_under_both_paths(client: Client, sandbox: Driver) -> None:
    from gateway.sandbox.faults import RequestFault

    await sandbox.arm(RequestFault(path="/v1/conversation/list", status=503))
    assert (await client.http.get("/v1/conversation/list")).status_code == 503
    [call] = await sandbox.calls(1)
    assert (call["path"], call["fault"]) == ("/v1/conversation/list", "503 json before effect")
