"""Pictures, settings and keys."""

import base64

import httpx

from gateway.sandbox.driver import Driver
from gateway.sandbox.v3 import pictures

BOT = "88d86507-8d6c-4fad-b6f6-15d4fd377c83"


async def test_a_data_url_is_decoded_and_served_back(api: httpx.AsyncClient, http: httpx.AsyncClient) -> None:
    picture = pictures.png("blue")
    data_url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    answer = await api.post("/api/content", json={"image_url": data_url, "bot_id": BOT, "public": True})
    assert answer.status_code == 200
    content = answer.json()["content"]
    assert set(content) == {"content_id", "url"}
    served = await http.get(content["url"])
    assert (served.status_code, served.headers["content-type"], served.content) == (200, "image/png", picture)
    assert "sandbox" in served.headers["content-security-policy"]
    answer = await api.delete(f"/api/content/{content['content_id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await http.get(content["url"])).status_code == 404
    assert (await api.delete(f"/api/content/{content['content_id']}")).status_code == 404


async def test_another_url_is_kept_as_it_is(api: httpx.AsyncClient) -> None:
    await api.post("/api/users", json={"id": "max"})
    url = "https://pictures.example/1.png?size=2"
    content = (await api.post("/api/content", json={"image_url": url, "user_id": "max"})).json()["content"]
    assert content["url"] == url


async def test_a_picture_of_an_unknown_user_is_refused(api: httpx.AsyncClient) -> None:
    body = {"image_url": "https://pictures.example/1.png", "user_id": "nobody"}
    assert (await api.post("/api/content", json=body)).status_code == 404


async def test_pictures_are_listed_by_owner(api: httpx.AsyncClient) -> None:
    await api.post("/api/users", json={"id": "max"})
    for number, owner in enumerate([{"bot_id": BOT}, {"user_id": "max"}]):
        await api.post("/api/content", json={"image_url": f"https://pictures.example/{number}.png"} | owner)

    async def listed(**query: str) -> list[str]:
        answer = await api.get("/api/content", params=query)
        return [content["url"][-5:] for content in answer.json()["content"]]

    assert await listed() == ["0.png", "1.png"]
    assert await listed(bot_id=BOT) == ["0.png"]
    assert await listed(user_id="max") == ["1.png"]


async def test_the_settings_of_the_account_are_patched_field_by_field(api: httpx.AsyncClient) -> None:
    empty = (await api.get("/api/config")).json()["config"]
    assert set(empty.values()) == {None}
    patch = {"language": "es", "timezone": "Europe/Madrid", "min_delay": 0.5, "max_delay": 60, "segment": False}
    answer = await api.patch("/api/config", json=patch)
    assert answer.json() == {"config": empty | patch}
    await api.patch("/api/config", json={"language": None})
    assert (await api.get("/api/config")).json() == {"config": empty | patch | {"language": None}}


async def test_a_key_opens_the_account_that_made_it_until_it_is_taken_away(
    api: httpx.AsyncClient, http: httpx.AsyncClient, sandbox: Driver
) -> None:
    await api.post("/api/users", json={"id": "max"})
    made = (await api.post("/api/api-keys", json={"name": "second"})).json()["api_key"]
    second = {"authorization": f"Bearer {made['key']}"}
    assert (await http.get("/api/users/max", headers=second)).status_code == 200
    (listed,) = (await api.get("/api/api-keys")).json()["api_keys"]
    assert (listed["id"], listed["name"]) == (made["id"], "second")
    assert made["key"] not in str(listed)
    assert (await api.delete(f"/api/api-keys/{made['id']}")).status_code == 204
    assert (await http.get("/api/users/max", headers=second)).status_code == 401
    assert (await api.delete(f"/api/api-keys/{made['id']}")).status_code == 404
