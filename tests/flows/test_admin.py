"""What operators do over HTTP, on a whole gateway; and that nobody else does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway import auth
from gateway.relay.breakers import THRESHOLD
from gateway.sandbox.faults import RequestFault
from gateway.store import Store
from tests.flows.conftest import BOT, KEY, SECRET, World, running_world

TOKEN = "the-admins-token-4711"
SECRETS = ("t0ken", "hello dead")


@pytest.fixture
async def world(store_url: str, store: Store) -> AsyncIterator[World]:  # `store`: an empty one
    """Run a gateway that gives a reply up after one attempt."""
    async with running_world(store_url, delivery_max_attempts=1) as running:
        yield running


async def ask(world: World, method: str, path: str, **options: Any) -> httpx.Response:
    return await world.http.request(method, f"{world.url}/admin{path}", **options)


async def dead(world: World, *users: str) -> list[str]:
    """Let one reply to each user become a dead letter; give their ids, as they died."""
    ids = []
    for user in users:
        known = (await ask(world, "GET", "/dead-letters")).json()["count"]
        await world.sandbox.script("hello dead")
        await world.sandbox.arm(RequestFault(path="/inbox/*", status=500))
        answer = await world.complete(user_id=user, webhook=f"{world.sandbox_url}/inbox/dead?t0ken=1")
        ids.append(answer.json()["message_id"])
        while (await ask(world, "GET", "/dead-letters")).json()["count"] == known:
            pass
    return ids


async def test_dead_letters_are_listed_newest_first_found_by_who_and_shown_without_secrets(world: World) -> None:
    first, second = await dead(world, "u-1", "u-2")
    listed = await ask(world, "GET", "/dead-letters")
    assert listed.json()["count"] == 2
    assert [letter["id"] for letter in listed.json()["dead_letters"]] == [second, first]
    limited = (await ask(world, "GET", "/dead-letters?limit=1")).json()
    assert (limited["count"], len(limited["dead_letters"])) == (2, 1)
    found = (await ask(world, "GET", f"/dead-letters?user_id=u-1&bot_id={BOT}&reason=attempts")).json()
    assert [letter["id"] for letter in found["dead_letters"]] == [first]
    assert (await ask(world, "GET", "/dead-letters?reason=gone")).json() == {"count": 0, "dead_letters": []}
    shown = await ask(world, "GET", f"/dead-letters/{first}")
    assert {name: shown.json()[name] for name in ("id", "reason", "status", "user_id")} == {
        "id": first,
        "reason": "attempts",
        "status": 500,
        "user_id": "u-1",
    }
    assert not [secret for secret in SECRETS if secret in listed.text + shown.text]


async def test_a_redrive_sends_one_or_those_of_a_filter_or_all_and_shows_them_first(world: World) -> None:
    ids = await dead(world, "u-1", "u-2", "u-2", "u-3")
    preview = (await ask(world, "POST", "/dead-letters/redrive", json={"user_id": "u-2", "dry_run": True})).json()
    assert (preview["found"], preview["redriven"]) == (2, 0)
    assert [letter["id"] for letter in preview["dead_letters"]] == [ids[2], ids[1]]

    assert (await ask(world, "POST", f"/dead-letters/{ids[0]}/redrive")).json() == {"found": 1, "redriven": 1}
    assert (await ask(world, "POST", f"/dead-letters/{ids[0]}/redrive")).status_code == 404
    by_filter = await ask(world, "POST", "/dead-letters/redrive", json={"user_id": "u-2"})
    assert by_filter.json() == {"found": 2, "redriven": 2}
    everything = await ask(world, "POST", "/dead-letters/redrive", json={"all": True})
    assert everything.json() == {"found": 1, "redriven": 1}

    world.gateway.worker.wake()
    delivered = await world.sandbox.deliveries(4)
    assert sorted(one["json"]["id"] for one in delivered) == sorted(ids)
    assert (await ask(world, "GET", "/dead-letters")).json()["count"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/dead-letters/redrive", {}, 422),
        ("POST", "/dead-letters/redrive", {"dry_run": True}, 422),
        ("POST", "/dead-letters/redrive", {"all": True, "user_id": "u"}, 422),
        ("POST", "/dead-letters/redrive", {"usr_id": "u"}, 422),
        ("POST", "/dead-letters/redrive", [], 422),
        ("GET", "/dead-letters?limit=0", None, 422),
        ("GET", "/dead-letters?reason=bored", None, 422),
        ("GET", "/dead-letters?died_until=yesterday", None, 422),
        ("GET", "/dead-letters/nobody", None, 404),
        ("GET", "/conversations", None, 422),
        ("GET", "/conversations?tenant=0011223344556677&bot_id=b&user_id=u", None, 404),
        ("DELETE", "/conversations?tenant=0011223344556677&bot_id=b&user_id=u", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/breakers", None, 405),
    ],
)
async def test_what_cannot_be_done_is_said_in_the_clients_shape(
    world: World, method: str, path: str, body: object, status: int
) -> None:
    answer = await ask(world, method, path, **({} if body is None else {"json": body}))
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message", "request_id"}


async def test_a_conversation_is_shown_and_forgotten(world: World) -> None:
    await world.complete()
    [conversation] = await world.sandbox.conversations()
    tenant = auth.Authenticator([SECRET.encode()], {}).tenant_of(KEY)
    pair = {"tenant": tenant, "bot_id": BOT, "user_id": "u-1"}
    shown = await ask(world, "GET", "/conversations", params=pair)
    assert shown.json() == {"conversation_id": conversation["id"]}
    assert (await ask(world, "DELETE", "/conversations", params=pair)).json() == {"forgotten": True}
    assert (await ask(world, "GET", "/conversations", params=pair)).status_code == 404


async def test_an_open_breaker_is_shown(world: World) -> None:
    assert (await ask(world, "GET", "/breakers")).json() == {"breakers": []}
    await dead(world, *(f"u-{number}" for number in range(THRESHOLD)))
    while not (shown := (await ask(world, "GET", "/breakers")).json()["breakers"]):
        pass
    [breaker] = shown
    assert (breaker["host"], breaker["failures"]) == (httpx.URL(world.sandbox_url).netloc.decode(), THRESHOLD)
    assert breaker["state"] in {"open", "half_open"}


# Who may ask


async def test_with_a_token_only_who_has_it_may_ask(store_url: str) -> None:
    async with running_world(store_url, admin_token=TOKEN) as world:
        for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe4\xf6"):
            refused = await ask(world, "GET", "/breakers", headers={"Authorization": given.encode("latin-1")})
            assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
            assert TOKEN not in refused.text
        assert (await ask(world, "GET", "/breakers", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "http://evil.example"},
        {"Host": "rebound.example"},
        {"Host": "[::1"},
    ],
)
async def test_without_a_token_what_comes_by_a_proxy_or_a_browser_is_refused(
    world: World, headers: dict[str, str]
) -> None:
    assert (await ask(world, "GET", "/breakers", headers=headers)).status_code in {400, 403}
