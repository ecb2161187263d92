"""What the server refuses, and how it says so."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.sandbox import SandboxSettings, serve
from gateway.sandbox.driver import Driver
from gateway.sandbox.v3 import shapes
from mappings.wire import v3

Create = Callable[..., Awaitable[str]]

BOT = "88d86507-8d6c-4fad-b6f6-15d4fd377c83"
CREATE = {"bot_id": BOT, "user_id": "max", "create_user_if_not_exists": True}
MESSAGE = {"text": "Hola", "from_bot": False}
TINY_PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    "wrong",
    [
        {"bot_id": "bot-456"},
        {"bot_id": None},
        {"bot_id": 7},
        {"user_id": ""},
        {"user_id": 10628047},
        {"create_user_if_not_exists": "true"},
        {"webhook": "ftp://a.example"},
        {"webhook": "not a url"},
        {"webhook": "https://a.example/with space"},
        {"webhook": "https://a.example:99999/"},
        {"webhook": "https:///nowhere"},
        {"segment": 1},
        {"platform": 5},
        {"with_messages": {}},
        {"with_messages": [{"text": "Hola"}]},
        {"with_messages": [MESSAGE | {"from_bot": 0}]},
        {"with_messages": [MESSAGE | {"content": "x"}]},
        {"surprise": 1},
    ],
)
async def test_a_wrong_creation_is_422_and_creates_nothing(
    api: httpx.AsyncClient, sandbox: Driver, wrong: dict[str, Any]
) -> None:
    answer = await api.post("/api/conversations", json=CREATE | wrong)
    assert answer.status_code == 422
    assert list(answer.json()) == ["message"]
    assert next(iter(wrong)) in answer.json()["message"]
    assert await sandbox.conversations() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": None},
        {"text": 1},
        {"from_bot": "false"},
        {"from_bot": None},
        {"sent_at": "1640995205"},
        {"sent_at": True},
        {"sent_at": -1},
        {"sent_at": "2022-01-01T00:00:00Z"},
        {"id": "7"},
        {"attached_media": {}},
        {"attached_media": "https://a.example/1.png"},
        {"attached_media": {"url": "1.png"}},
        {"message_tone": "Friendly"},
        {"moderation": None},
    ],
)
async def test_a_wrong_message_is_422_and_adds_nothing(
    create: Create, api: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    conversation_id = await create()
    path = f"/api/conversations/{conversation_id}"
    answer = await api.post(f"{path}/messages", json={"message": MESSAGE | wrong})
    assert answer.status_code == 422
    assert f"message.{next(iter(wrong))}" in answer.json()["message"]
    answer = await api.post(f"{path}/messages", json=MESSAGE)
    assert answer.status_code == 422
    assert (await api.get(path)).json()["messages"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"message": {"text": "\\ud800", "from_bot": false}}',
        b'{"message": {"text": "\xff", "from_bot": false}}',
        b'{"message": {"text": "x", "from_bot": false, "sent_at": NaN}}',
        b'{"message": {"text": "x", "from_bot": false, "sent_at": 1e999}}',
        b"[" * 100_000,
    ],
)
async def test_a_body_that_is_no_json_object_is_422(create: Create, api: httpx.AsyncClient, body: bytes) -> None:
    conversation_id = await create()
    headers = {"content-type": "application/json"}
    answer = await api.post(f"/api/conversations/{conversation_id}/messages", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["message"]


async def test_json_must_be_announced_as_json(create: Create, api: httpx.AsyncClient) -> None:
    path = f"/api/conversations/{await create()}/messages"
    body = json.dumps({"message": MESSAGE | {"from_bot": True}})
    assert (await api.post(path, content=body)).status_code == 422
    assert (await api.post(path, content=body, headers={"content-type": "text/plain"})).status_code == 422
    headers = {"content-type": "application/json; charset=utf-8"}
    assert (await api.post(path, content=body, headers=headers)).status_code == 202


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/conversations", {"bot_id": "bot-456"}),
        ("/api/conversations", {"min_messages": "few"}),
        ("/api/conversations", {"max_messages": "-1"}),
        ("/api/conversations", {"min_last_message_date": "yesterday"}),
        ("/api/users", {"limit": "101"}),
        ("/api/users", {"limit": "0"}),
        ("/api/users", {"offset": "-1"}),
        ("/api/users", {"sort_by": "age"}),
        ("/api/users", {"sort_desc": "maybe"}),
    ],
)
async def test_a_wrong_query_is_422(api: httpx.AsyncClient, path: str, query: dict[str, str]) -> None:
    answer = await api.get(path, params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/users", {"id": ""}),
        ("POST", "/api/users", {"attributes": [{"name": "age", "value": 30}]}),
        ("POST", "/api/users", {"attributes": {"age": "30"}}),
        ("POST", "/api/bots", {}),
        ("POST", "/api/bots", {"name": "Angela", "attributes": [{"name": "age"}]}),
        ("POST", "/api/content", {"image_url": TINY_PNG}),
        ("POST", "/api/content", {"image_url": TINY_PNG, "bot_id": BOT, "user_id": "max"}),
        ("POST", "/api/content", {"image_url": "data:text/html;base64,PGI+", "bot_id": BOT}),
        ("POST", "/api/content", {"image_url": "data:image/png;base64,***", "bot_id": BOT}),
        ("POST", "/api/content", {"image_url": "/1.png", "bot_id": BOT}),
        ("PATCH", "/api/config", {"language": "nl"}),
        ("PATCH", "/api/config", {"min_delay": "30"}),
        ("PATCH", "/api/config", {"max_delay": -1}),
        ("PATCH", "/api/config", {"colour": "blue"}),
        ("POST", "/api/api-keys", {"name": 1}),
    ],
)
async def test_every_body_is_checked(api: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]) -> None:
    answer = await api.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["message"]


@pytest.mark.parametrize("batch_size", [0, 11, "1", 1.5, None])
async def test_a_batch_has_a_size_within_bounds(create: Create, api: httpx.AsyncClient, batch_size: object) -> None:
    path = f"/api/conversations/{await create()}/generate-response"
    assert (await api.post(path, json={"batch_size": batch_size})).status_code == 422


async def test_a_refusal_does_not_quote_the_text_of_a_message(create: Create, api: httpx.AsyncClient) -> None:
    path = f"/api/conversations/{await create()}/messages"
    body = {"message": {"text": ["a private line"], "from_bot": "a private flag"}}
    answer = await api.post(path, json=body)
    assert answer.status_code == 422
    assert "private" not in answer.text


async def test_a_refusal_names_some_problems_and_counts_the_rest(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/conversations", json=CREATE | {"with_messages": [{}] * 4})
    message = answer.json()["message"]
    assert message.startswith("with_messages.0.text: Field required; with_messages.0.from_bot: Field required; ")
    assert message.endswith("; and 3 more")


async def test_unknown_paths_and_methods_are_answered_with_a_message(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/nothing")
    assert (answer.status_code, list(answer.json())) == (404, ["message"])
    answer = await api.delete("/api/conversations")
    assert (answer.status_code, list(answer.json())) == (405, ["message"])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "key-one")],
        [("authorization", "Basic key-one")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer one two")],
        [("authorization", "Bearer one"), ("authorization", "Bearer two")],
    ],
)
async def test_without_a_key_the_answer_is_401(http: httpx.AsyncClient, headers: list[tuple[str, str]]) -> None:
    answer = await http.get("/api/conversations", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["message"]
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_key_is_checked_before_the_body(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/conversations", content=b"{")).status_code == 401


async def test_one_key_sees_nothing_of_another(create: Create, api: httpx.AsyncClient, base_url: str) -> None:
    conversation_id = await create()
    await api.patch("/api/config", json={"language": "es"})
    other_key = {"authorization": "bearer key-two"}
    async with httpx.AsyncClient(base_url=base_url, headers=other_key, trust_env=False) as other:
        assert (await other.get(f"/api/conversations/{conversation_id}")).status_code == 404
        assert (await other.get("/api/conversations")).json() == {"conversations": []}
        assert (await other.get("/api/users")).json()["total_count"] == 0
        assert (await other.get("/api/bots")).json() == {"bots": []}
        assert (await other.get("/api/config")).json()["config"]["language"] is None
        created = await other.post("/api/conversations", json=CREATE)
        assert created.json()["conversation"]["id"] != conversation_id


@pytest.fixture(scope="module")
async def strict_url() -> AsyncIterator[str]:
    settings = SandboxSettings(
        keys=frozenset({"let-in"}), require_sent_at=True, any_bot_id=True, prefix="/v3", max_body_bytes=1000
    )
    async with serve(settings) as base_url:
        yield base_url


@pytest.fixture
async def strict(strict_url: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": "Bearer let-in"}
    async with httpx.AsyncClient(base_url=f"{strict_url}/v3", headers=headers, trust_env=False) as client:
        yield client


async def test_keys_can_be_restricted(strict: httpx.AsyncClient) -> None:
    assert (await strict.get("/api/bots")).status_code == 200
    assert (await strict.get("/api/bots", headers={"authorization": "Bearer other"})).status_code == 401


async def test_a_prefix_stands_before_every_route(strict: httpx.AsyncClient, strict_url: str) -> None:
    assert (await strict.get(f"{strict_url}/api/bots")).status_code == 404
    assert (await strict.get(f"{strict_url}/v3/api/bots")).status_code == 200
    calls = (await strict.get(f"{strict_url}/sandbox/calls")).json()["calls"]
    assert {call["path"].split("/bots")[0] for call in calls if call["method"] == "GET"} == {"/v3/api"}


async def test_a_deployment_can_require_sent_at(strict: httpx.AsyncClient) -> None:
    wanted = CREATE | {"with_messages": [MESSAGE]}
    answer = await strict.post("/api/conversations", json=wanted)
    assert answer.status_code == 422
    assert "sent_at" in answer.json()["message"]
    wanted = CREATE | {"with_messages": [MESSAGE | {"sent_at": 1640995205}]}
    assert (await strict.post("/api/conversations", json=wanted)).status_code == 200


async def test_a_deployment_can_take_any_bot_id(strict: httpx.AsyncClient) -> None:
    answer = await strict.post("/api/conversations", json=CREATE | {"bot_id": "bot-456"})
    assert answer.json()["conversation"]["bot_id"] == "bot-456"


async def test_a_body_that_is_too_large_is_413(strict: httpx.AsyncClient) -> None:
    answer = await strict.post("/api/bots", json={"name": "x" * 1000})
    assert answer.status_code == 413
    assert answer.json()["message"]

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    answer = await strict.post("/api/bots", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("strict_shape", "lenient_shape", "output_only"),
    [
        (shapes.CreateConversation, v3.CreateConversation, set()),
        (shapes.PatchConversation, v3.PatchConversation, set()),
        (shapes.SendMessage, v3.SendMessage, set()),
        (shapes.NewMessage, v3.Message, {"message_tone", "moderation"}),
        (shapes.NewUser, v3.User, set()),
        (shapes.NewBot, v3.Bot, {"id"}),
        (shapes.NewContent, v3.CreateContent, set()),
        (shapes.PatchConfig, v3.Config, set()),
        (shapes.GenerateResponse, v3.GenerateResponse, set()),
    ],
)
def test_server_and_client_name_the_same_fields(
    strict_shape: type[shapes.Strict], lenient_shape: type[v3.Shape], output_only: set[str]
) -> None:
    assert set(strict_shape.model_fields) == set(lenient_shape.model_fields) - output_only
