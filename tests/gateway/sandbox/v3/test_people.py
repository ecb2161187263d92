"""Users and bots."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

Create = Callable[..., Awaitable[str]]


async def test_a_user_is_created_read_replaced_and_deleted(api: httpx.AsyncClient) -> None:
    user = {
        "id": "max/57",
        "username": "Max",
        "attributes": [{"name": "age", "value": "30"}],
        "freeform": "Likes tea.",
    }
    answer = await api.post("/api/users", json=user)
    assert (answer.status_code, answer.json()) == (200, {"user": user})
    assert (await api.get("/api/users/max%2F57")).json() == {"user": user}
    answer = await api.put("/api/users/max%2F57", json={"username": "Maxi"})
    replaced: dict[str, Any] = {"id": "max/57", "username": "Maxi", "attributes": [], "freeform": None}
    assert answer.json() == {"user": replaced}
    answer = await api.delete("/api/users/max%2F57")
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE", "PUT"):
        answer = await api.request(method, "/api/users/max%2F57", json={})
        assert answer.status_code == 404
        assert answer.json()["message"]


async def test_a_user_without_an_id_gets_one(api: httpx.AsyncClient) -> None:
    user = (await api.post("/api/users", json={"username": "Max"})).json()["user"]
    assert str(uuid.UUID(user["id"])) == user["id"]


async def test_an_id_is_taken_once_and_never_changes(api: httpx.AsyncClient) -> None:
    await api.post("/api/users", json={"id": "max", "username": "Max"})
    assert (await api.post("/api/users", json={"id": "max", "username": "Moritz"})).status_code == 409
    assert (await api.put("/api/users/max", json={"id": "moritz"})).status_code == 422
    assert (await api.put("/api/users/max", json={"id": "max"})).status_code == 200


async def test_users_are_paged_searched_and_sorted(api: httpx.AsyncClient) -> None:
    for user_id, username in [("u1", "Carla"), ("u2", "anna"), ("x3", "Bob")]:
        await api.post("/api/users", json={"id": user_id, "username": username})

    async def listed(**query: str | int) -> list[str]:
        return [user["id"] for user in (await api.get("/api/users", params=query)).json()["users"]]

    assert await listed() == ["u1", "u2", "x3"]
    assert await listed(search_id="U") == ["u1", "u2"]
    assert await listed(search_username="ANN") == ["u2"]
    assert await listed(sort_by="username") == ["x3", "u1", "u2"]
    assert await listed(sort_by="id", sort_desc="true") == ["x3", "u2", "u1"]
    page = (await api.get("/api/users", params={"limit": 2})).json()
    assert [user["id"] for user in page.pop("users")] == ["u1", "u2"]
    assert page == {"has_more": True, "limit": 2, "offset": 0, "total_count": 3}
    page = (await api.get("/api/users", params={"limit": 2, "offset": 2})).json()
    assert [user["id"] for user in page.pop("users")] == ["x3"]
    assert page == {"has_more": False, "limit": 2, "offset": 2, "total_count": 3}


async def test_a_bot_is_created_read_replaced_and_deleted(api: httpx.AsyncClient) -> None:
    wanted = {"name": "Angela", "freeform": "Kind.", "attributes": [{"name": "city", "value": "Madrid"}]}
    answer = await api.post("/api/bots", json=wanted)
    bot = answer.json()["bot"]
    assert answer.status_code == 200
    assert bot == wanted | {"id": bot["id"]}
    path = f"/api/bots/{uuid.UUID(bot['id'])}"
    assert (await api.get(path)).json() == {"bot": bot}
    assert (await api.get("/api/bots")).json() == {"bots": [bot]}
    answer = await api.put(path, json={"name": "Angie"})
    assert answer.json()["bot"] == {"id": bot["id"], "name": "Angie", "freeform": None, "attributes": []}
    answer = await api.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE", "PUT"):
        answer = await api.request(method, path, json={"name": "Angela"})
        assert answer.status_code == 404
        assert answer.json()["message"]


async def test_a_conversation_brings_its_bot_and_its_user_into_being(
    create: Create, api: httpx.AsyncClient, bot_id: str
) -> None:
    await create("max")
    assert (await api.get("/api/users/max")).json()["user"]["id"] == "max"
    assert (await api.get(f"/api/bots/{bot_id}")).json()["bot"]["id"] == bot_id


async def test_with_a_user_or_a_bot_go_their_conversations(create: Create, api: httpx.AsyncClient, bot_id: str) -> None:
    of_max, of_eva = await create("max"), await create("eva")
    await api.delete("/api/users/max")
    assert (await api.get(f"/api/conversations/{of_max}")).status_code == 404
    assert (await api.get(f"/api/conversations/{of_eva}")).status_code == 200
    await api.delete(f"/api/bots/{bot_id}")
    assert (await api.get(f"/api/conversations/{of_eva}")).status_code == 404
