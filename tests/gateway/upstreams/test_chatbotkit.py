"""ChatBotKit as an upstream, against its emulator over real sockets."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from gateway import errors, http, sandbox
from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver
from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault
from gateway.upstreams.base import ConversationGone, OutcomeUnknown
from gateway.upstreams.chatbotkit import ChatBotKit, ChatBotKitSession
from mappings import context, v1
from mappings.errors import MalformedAnswer
from mappings.generation import Failed, Heard
from mappings.turn import Message, Turn

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """An emulator, and the upstream that calls it."""

    sandbox: Driver
    bots: ChatBotKitDriver
    upstream: ChatBotKit
    session: ChatBotKitSession

    async def messages(self) -> list[tuple[str, str]]:
        """Give the messages of the one conversation that there is."""
        [conversation] = await self.bots.conversations()
        return [(message["type"], message["text"]) for message in conversation["messages"]]


@contextlib.asynccontextmanager
async def serving(settings: sandbox.SandboxSettings) -> AsyncIterator[World]:
    """Serve an emulator, and call it."""
    async with (
        sandbox.serve(settings.fast()) as url,
        http.client(timeout_seconds=5, max_answer_bytes=2**24) as client,
        http.client(timeout_seconds=60, max_answer_bytes=2**24) as generations,
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as control,
    ):
        upstream = ChatBotKit(f"{url}/v1", client, generations=generations, bots={"b": "cbk-b"})
        yield World(Driver(control), ChatBotKitDriver(control), upstream, upstream.session("key-one"))


@pytest.fixture(params=["openapi", "seed"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Give an emulator that follows either of the public descriptions."""
    async with serving(sandbox.SandboxSettings(chatbotkit_events=request.param)) as serves:
        yield serves


@pytest.fixture
async def one() -> AsyncIterator[World]:
    """Give an emulator, for what does not depend on the spelling of streams."""
    async with serving(sandbox.SandboxSettings(chatbotkit_bots=frozenset({"cbk-b", "b2"}))) as serves:
        yield serves


def turn(history: int = 0, **fields: Any) -> Turn:
    """Give a turn with a history of so many texts, the user and the bot by turns."""
    messages = [{"bot": bool(n % 2), "content": [f"text {n}"]} for n in range(history)]
    request = {"bot_id": "b", "user_id": "u", "message": "hi", "messages": messages} | fields
    return v1.decode_request(json.dumps(request).encode())


async def test_a_conversation_is_created_under_its_bot_and_found_again_by_its_pair(one: World) -> None:
    assert await one.session.find("b", "u") is None
    first = turn(2, user_display_name="Max")
    made = await one.session.create(first, "", NOW, context.carry(first.request))
    [conversation] = await one.bots.conversations()
    assert (conversation["id"], conversation["botId"]) == (made, "cbk-b")
    assert conversation["meta"] == {"v1_bot_id": "b", "v1_user_id": "u", "v1_user_display_name": "Max"}
    await one.session.create(turn(bot_id="b2"), "", NOW, context.Context())
    assert await one.session.find("b", "u") == made
    assert await one.upstream.session("key-two").find("b", "u") is None
    assert [(call.name, call.status) for call in one.session.calls] == [
        ("list_conversations", 200),
        ("create_conversation", 200),
        ("create_conversation", 200),
        ("list_conversations", 200),
    ]


async def test_a_history_of_350_items_arrives_whole_and_in_order(one: World) -> None:
    made = await one.session.create(turn(350), "", NOW, context.Context())
    expected = [("bot" if n % 2 else "user", f"text {n}") for n in range(350)]
    assert await one.messages() == expected
    assert [message.text for message in await one.session.transcript(made)] == [text for _, text in expected]
    assert await one.session.find("b", "u") == made


async def test_a_history_that_was_broken_off_is_never_taken_for_whole(one: World) -> None:
    await one.sandbox.arm(RequestFault(path="*/batch/create", skip=1, status=500))
    with pytest.raises(OutcomeUnknown):
        await one.session.create(turn(350), "", NOW, context.Context())
    [left] = await one.bots.conversations()
    assert len(left["messages"]) == 100
    assert await one.session.find("b", "u") is None
    assert await one.bots.conversations() == []
    await one.session.create(turn(350), "", NOW, context.Context())
    assert len(await one.messages()) == 350


async def test_sending_lets_nobody_speak_until_the_bot_is_asked_to(world: World) -> None:
    made = await world.session.create(turn(), "", NOW, context.Context())
    await world.session.post(made, "Hello?", NOW, None)
    assert await world.messages() == [("user", "Hello?")]
    heard = await world.session.hear(made, "Be kind.")
    [_, (speaker, text)] = await world.messages()
    [conversation] = await world.bots.conversations()
    assert isinstance(heard, Heard)
    assert (speaker, text, heard.id) == ("bot", heard.text, conversation["messages"][1]["id"])
    [call] = await world.sandbox.calls(path="*/receive")
    assert call["json"] == {"extensions": {"backstory": "Be kind."}}


async def test_one_call_says_and_hears(world: World) -> None:
    made = await world.session.create(turn(), "", NOW, context.Context())
    heard = await world.session.complete(made, "Hello?", "")
    assert isinstance(heard, Heard)
    assert await world.messages() == [("user", "Hello?"), ("bot", heard.text)]


async def test_the_bot_speaks_first_when_it_is_asked_to(world: World) -> None:
    made = await world.session.create(turn(), "", NOW, context.Context())
    heard = await world.session.initiate(made, turn(message=None), "It is Monday.")
    assert isinstance(heard, Heard)
    [(kind, told), said] = await world.messages()
    assert (kind, "It is Monday." in told, said) == ("context", True, ("bot", heard.text))


@pytest.mark.parametrize("kind", ["error", "abort"])
async def test_a_generation_that_breaks_is_told_as_a_failure(world: World, kind: str) -> None:
    made = await world.session.create(turn(), "", NOW, context.Context())
    await world.bots.script("One two three.", breaks=kind, after_tokens=1)
    failed = await world.session.hear(made, "")
    assert isinstance(failed, Failed)
    assert failed.kind == kind


@pytest.mark.parametrize("reason", ["length", "activity", "iteration"])
async def test_why_it_ended_is_told(world: World, reason: str) -> None:
    made = await world.session.create(turn(), "", NOW, context.Context())
    await world.bots.script("So far", end=reason)
    heard = await world.session.hear(made, "")
    assert isinstance(heard, Heard)
    assert (heard.text, heard.reason) == ("So far", reason)


async def test_a_connection_that_is_cut_leaves_the_outcome_open(one: World) -> None:
    made = await one.session.create(turn(), "", NOW, context.Context())
    await one.bots.script("One two three.", breaks="cut", after_tokens=1)
    with pytest.raises(OutcomeUnknown):
        await one.session.hear(made, "")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (RequestFault(path="*/receive", status=404), ConversationGone),
        (RequestFault(path="*/receive", status=403), errors.UpstreamRejected),
        (RequestFault(path="*/receive", status=429, headers={"Retry-After": "9"}), errors.UpstreamRejected),
        (RequestFault(path="*/receive", status=500), OutcomeUnknown),
        (RequestFault(path="*/receive", status=503, headers={"Retry-After": "9"}), errors.UpstreamUnavailable),
        (RequestFault(path="*/receive", action="drop"), OutcomeUnknown),
    ],
)
async def test_refusals_and_failures_of_a_generation_are_told_apart(
    one: World, fault: RequestFault, expected: type[Exception]
) -> None:
    made = await one.session.create(turn(), "", NOW, context.Context())
    await one.sandbox.arm(fault)
    with pytest.raises(expected) as raised:
        await one.session.hear(made, "")
    if fault.headers:
        assert isinstance(raised.value, errors.GatewayError)
        assert raised.value.retry_after_seconds == 9
    assert one.session.calls[-1].name == "receive"


async def test_nobody_listening_cannot_be_asked(one: World) -> None:
    session = ChatBotKit("http://127.0.0.1:9", one.session._client, generations=one.session._generations, bots={})
    with pytest.raises(errors.UpstreamUnavailable):
        await session.session("key-one").hear("c-1", "")


async def test_messages_of_either_side_are_added_in_silence(one: World) -> None:
    made = await one.session.create(turn(), "", NOW, context.Context())
    await one.session.add(made, [Message(bool(n % 2), str(n)) for n in range(120)], NOW)
    assert await one.messages() == [("bot" if n % 2 else "user", str(n)) for n in range(120)]


@pytest.mark.parametrize(
    ("said", "users", "replies", "waiting", "last"),
    [
        ([], 1, [], False, None),
        (["b:history"], 1, [], False, None),
        (["b:history", "u:one"], 1, [], True, "one"),
        (["b:history", "u:one"], 2, [], True, "one"),
        (["b:history", "u:one", "b:x", "b:y"], 1, ["x", "y"], False, "one"),
        (["u:one", "b:x", "u:two"], 1, [], True, "two"),
        (["u:one", "b:x", "u:two"], 2, ["x"], True, "two"),
        (["u:one", "b:x", "u:two", "b:y"], 2, ["x", "y"], False, "two"),
    ],
)
async def test_what_was_said_since_the_users_last_messages_is_read(
    one: World, said: list[str], users: int, replies: list[str], waiting: bool, last: str | None
) -> None:
    made = await one.session.create(turn(), "", NOW, context.Context())
    await one.session.add(made, [Message(text[0] == "b", text[2:]) for text in said], NOW)
    spoken = await one.session.spoken(made, users)
    assert [reply.text for reply in spoken.replies] == replies
    assert (spoken.waiting, spoken.last) == (waiting, last)


async def test_the_users_facts_are_noted_beside_what_is_there(one: World) -> None:
    made = await one.session.create(
        turn(user_display_name="Max", user_kv_pairs={"age": 30}), "", NOW, context.Context()
    )
    await one.session.update(made, context.carry(turn(user_kv_pairs={"age": 31}).request))
    [conversation] = await one.bots.conversations()
    assert conversation["meta"] == {
        "v1_bot_id": "b",
        "v1_user_id": "u",
        "v1_user_display_name": None,
        "v1_user_kv_pairs": {"age": "31"},
        "v1_user_freeform": None,
    }


async def test_a_conversation_is_compacted_and_deleted(one: World) -> None:
    made = await one.session.create(turn(4), "", NOW, context.Context())
    await one.session.compact(made)
    assert (await one.messages())[-1][0] == "checkpoint"
    assert len(await one.session.transcript(made)) == 4
    await one.session.delete(made)
    await one.session.delete(made)
    assert await one.bots.conversations() == []
    with pytest.raises(ConversationGone):
        await one.session.transcript(made)
    with pytest.raises(ConversationGone):
        await one.session.post(made, "hi", NOW, None)


async def test_a_refusal_is_told_in_the_vendors_words(one: World) -> None:
    with pytest.raises(errors.UpstreamRejected, match="There is no such bot") as raised:
        await one.session.create(turn(bot_id="b3"), "", NOW, context.Context())
    assert raised.value.status == 400


@pytest.mark.parametrize("action", ["create", "send"])
async def test_an_answer_that_is_none_leaves_the_outcome_open(one: World, action: str) -> None:
    made = await one.session.create(turn(), "", NOW, context.Context())
    await one.sandbox.arm(RequestFault(path=f"*/{action}", when="after", status=200, body="html"))
    with pytest.raises(OutcomeUnknown):
        await (
            one.session.create(turn(), "", NOW, context.Context())
            if action == "create"
            else one.session.post(made, "hi", NOW, None)
        )


async def test_nobody_is_expected_to_call_back(one: World) -> None:
    await one.session.adopt("c-1", "https://gateway.example/callbacks")
    assert one.session.calls == []
    with pytest.raises(MalformedAnswer):
        one.upstream.decode_callback(b"{}", fallback_id="x")


async def test_what_the_bot_is_to_be_told_comes_from_the_request(one: World) -> None:
    assert one.upstream.told(turn(language="es"), None) == "Write in Spanish (es)."


async def test_all_of_a_pairs_conversations_are_erased_over_all_pages(one: World) -> None:
    for number in range(101):
        await one.session.create(turn(user_id=f"u{number}"), "", NOW, context.Context())
    await one.session.create(turn(user_id="u7~r0123abcd"), "", NOW, context.Context())  # left for another history
    await one.session.create(turn(user_id="u7", bot_id="b2"), "", NOW, context.Context())
    upkeep = one.upstream.upkeep("key-one")
    assert len(await upkeep.listed()) == 103
    assert await upkeep.erase("b", "u7") == 2
    assert await upkeep.erase("b", "u7") == 0
    assert len(await one.bots.conversations()) == 101
