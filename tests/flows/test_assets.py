"""V1's other routes: bots, pictures of bots, pictures of users."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway import auth, pictures
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.pictures import png
from tests.flows import raw_http
from tests.flows.conftest import BOT, KEY, SECRET, World, running_world
from tests.flows.raw_http import head, post
from tests.flows.test_face import refused

PICTURE = png("a user's picture")
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 16
KEYED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def world(store_url: str) -> AsyncIterator[World]:
    async with running_world(store_url, max_picture_bytes=1024) as running:
        await running.gateway.store.redis.flushall()
        yield running


async def upload(world: World, data: bytes = PICTURE, kind: str = "image/png", key: str = KEY) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    return await world.http.post(f"{world.url}/v2/user_content", content=data, headers=headers)


def form(*parts: tuple[str, bytes], end: bytes = b"--\r\n", boundary: str = "b0undary") -> tuple[bytes, str]:
    """Give a form and its type; a part is its headers and its bytes."""
    body = b"".join(f"--{boundary}\r\n{headers}\r\n\r\n".encode() + data + b"\r\n" for headers, data in parts)
    return body + f"--{boundary}".encode() + end, f"multipart/form-data; boundary={boundary}"


CONTENT = 'Content-Disposition: form-data; name="content"; filename="a.png"\r\nContent-Type: image/png'


async def send_form(world: World, body: bytes, kind: str, query: str = f"?bot_id={BOT}") -> raw_http.Answer:
    headers = [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return await raw_http.ask(world.url, head(f"/v2/content{query}", *headers), body)


# Bots


async def test_a_bot_is_created_with_its_facts_as_texts(world: World) -> None:
    bot = {
        "name": "Angela",
        "freeform_personality": "Kind,\nand curious 🐙",
        "kv_pairs": {"age": "35", "height": 1.7, "tall": True, "children": 2, "pet": None, "": "no name"},
        "new_field": [1],
    }
    answer = await world.http.post(f"{world.url}/v2/bot", json=bot, headers=KEYED)
    assert answer.status_code == 200
    assert answer.headers["translation-losses"] == 'dropped=("new_field")'
    [call] = await world.sandbox.calls()
    assert (call["method"], call["path"]) == ("POST", "/api/bots")
    assert call["json"] == {
        "name": "Angela",
        "freeform": "Kind,\nand curious 🐙",
        "attributes": [
            {"name": "age", "value": "35"},
            {"name": "height", "value": "1.7"},
            {"name": "tall", "value": "true"},
            {"name": "children", "value": "2"},
        ],
    }
    listed = await world.http.get(f"{world.sandbox_url}/api/bots", headers=KEYED)
    assert [one["id"] for one in listed.json()["bots"]] == [answer.json()["id"]]


async def test_a_bot_may_have_a_name_alone(world: World) -> None:
    bot = {"name": "A", "kv_pairs": None, "new_field": None}
    strictly = KEYED | {"Prefer": "handling=strict"}
    answer = await world.http.post(f"{world.url}/v2/bot", json=bot, headers=strictly)
    assert answer.status_code == 200
    assert "translation-losses" not in answer.headers
    [call] = await world.sandbox.calls()
    assert call["json"] == {"name": "A"}


async def test_who_wants_no_loss_gets_a_refusal_instead(world: World) -> None:
    sent = post(b'{"name": "A", "new_field": 1}', "Prefer: handling=strict", target="/v2/bot")
    refused(await raw_http.ask(world.url, sent), 400, "bad_request", "new_field")
    assert await world.sandbox.calls() == []


@pytest.mark.parametrize(
    ("bot", "status"),
    [({}, 400), ({"name": 1}, 400), ({"name": "A", "kv_pairs": {"a": []}}, 400), ({"name": ""}, 422), ([], 400)],
)
async def test_what_is_no_bot_is_not_sent(world: World, bot: Any, status: int) -> None:
    answer = await raw_http.ask(world.url, post(json.dumps(bot).encode(), target="/v2/bot"))
    refused(answer, status, "bad_request" if status == 400 else "unprocessable")
    assert await world.sandbox.calls() == []


@pytest.mark.parametrize(
    ("fault", "status", "code", "calls"),
    [
        (RequestFault(status=500), 502, "bad_gateway", 1),
        (RequestFault(status=401), 401, "upstream_rejected", 1),
        (RequestFault(status=429, times=1), 200, "", 2),
        (RequestFault(status=200, body="html"), 502, "bad_gateway", 1),
        (RequestFault(status=200, body="truncated"), 502, "bad_gateway", 1),
        (RequestFault(action="drop", when="after"), 502, "bad_gateway", 1),
    ],
)
async def test_a_bot_is_asked_for_again_only_if_it_was_surely_not_made(
    world: World, fault: RequestFault, status: int, code: str, calls: int
) -> None:
    await world.sandbox.arm(fault)
    answer = await world.http.post(f"{world.url}/v2/bot", json={"name": "A"}, headers=KEYED)
    assert (answer.status_code, answer.json().get("error", "")) == (status, code)
    assert len(await world.sandbox.calls()) == calls


# Pictures of bots


async def test_a_picture_goes_to_the_bots_vault_as_a_data_url(world: World) -> None:
    made = await world.http.post(f"{world.url}/v2/bot", json={"name": "A"}, headers=KEYED)
    bot_id = made.json()["id"]
    files = {"content": ("face.jpg", PICTURE, "image/jpeg")}  # called so by its sender; it is none
    answer = await world.http.post(f"{world.url}/v2/content?bot_id={bot_id}", files=files, headers=KEYED)
    assert answer.status_code == 200
    _, call = await world.sandbox.calls()
    assert (call["method"], call["path"]) == ("POST", "/api/content")
    expected = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    assert call["json"] == {"image_url": expected, "bot_id": bot_id}
    assert (await world.http.get(answer.json()["url"])).content == PICTURE


async def test_other_parts_of_the_form_are_passed_over(world: World) -> None:
    body, kind = form(("Content-Disposition: form-data; name=note", b"x" * 100), (CONTENT, PICTURE), ("X-Any: y", b""))
    assert (await send_form(world, body, kind)).status == 200


FORMS = {
    "another type": (b"{}", "application/json", 415),
    "no boundary": (form((CONTENT, PICTURE))[0], "multipart/form-data", 400),
    "an endless boundary": (*form((CONTENT, PICTURE), boundary="b" * 1000), 400),
    "another boundary": (form((CONTENT, PICTURE))[0], "multipart/form-data; boundary=other", 400),
    "nothing": (b"", "multipart/form-data; boundary=b0undary", 400),
    "no such part": (*form(("Content-Disposition: form-data; name=file", PICTURE)), 400),
    "a part that is no field": (*form(("Content-Disposition: attachment; name=content", PICTURE)), 400),
    "two of them": (*form((CONTENT, PICTURE), (CONTENT, PICTURE)), 400),
    "cut off": (*form((CONTENT, PICTURE), end=b""), 400),
    "a header without an end": (*form(("X-Long: " + "x" * 30_000, PICTURE)), 400),
    "a hundred headers": (*form(("\r\n".join(["X: y"] * 100), PICTURE)), 400),
    "an empty file": (*form((CONTENT, b"")), 422),
    "a text": (*form((CONTENT, b"hello")), 422),
    "a drawing that may hold scripts": (*form((CONTENT, b"<svg xmlns='http://www.w3.org/2000/svg'/>")), 422),
    "a large file": (*form((CONTENT, PICTURE + b"\0" * 1024)), 413),
    "a large form": (*form(("Content-Disposition: form-data; name=x", b"\0" * 70_000), (CONTENT, PICTURE)), 413),
}


@pytest.mark.parametrize(("body", "kind", "status"), FORMS.values(), ids=FORMS.keys())
async def test_what_is_no_form_with_a_picture_is_not_sent(world: World, body: bytes, kind: str, status: int) -> None:
    codes = {400: "bad_request", 413: "payload_too_large", 415: "unsupported_media_type", 422: "unprocessable"}
    refused(await send_form(world, body, kind), status, codes[status])
    assert await world.sandbox.calls() == []


@pytest.mark.parametrize("query", ["", "?bot_id=", "?bot=x", f"?bot_id={'x' * 513}"])
async def test_a_picture_needs_its_bot(world: World, query: str) -> None:
    refused(await send_form(world, *form((CONTENT, PICTURE)), query=query), 400, "bad_request", "bot_id")
    assert await world.sandbox.calls() == []


async def test_a_bot_that_the_upstream_refuses_is_the_clients_to_hear_of(world: World) -> None:
    answer = await send_form(world, *form((CONTENT, PICTURE)), query="?bot_id=bot-456")
    refused(answer, 422, "upstream_rejected", "UUID")


# Pictures of users


async def test_a_users_picture_is_kept_and_served_where_only_its_tenant_can_say(world: World) -> None:
    answer = await upload(world)
    assert answer.status_code == 200
    image_id = answer.json()["id"]
    tenant = auth.Authenticator([SECRET.encode()], {}).authenticate(f"Bearer {KEY}").tenant
    found = await world.gateway.pictures.stored_picture(image_id, tenant)
    assert found is not None
    assert found.content_id is None
    assert found.url.startswith(f"{world.url}/content/")

    served = await world.http.get(found.url)

    assert (served.status_code, served.content) == (200, PICTURE)
    assert served.headers["content-type"] == "image/png"
    assert served.headers["x-content-type-options"] == "nosniff"
    assert image_id not in found.url
    assert await world.gateway.pictures.stored_picture(image_id, "0" * 16) is None
    for unknown in ("0" * 32, image_id.upper(), image_id[:-1], "", "*", "x" * 32):
        assert await world.gateway.pictures.stored_picture(unknown, tenant) is None


async def test_a_picture_is_served_as_what_it_is_not_as_what_it_is_called(world: World) -> None:
    image_id = (await upload(world, JPEG, "image/png")).json()["id"]
    token = auth.Tokens([SECRET.encode()], b"content").sign(image_id)
    assert (await world.http.get(f"{world.url}/content/{token}")).headers["content-type"] == "image/jpeg"


async def test_only_urls_of_ours_are_served(world: World) -> None:
    image_id = (await upload(world)).json()["id"]
    content, callback = (auth.Tokens([SECRET.encode()], purpose) for purpose in (b"content", b"callback"))
    stranger = auth.Tokens([b"another-secret-of-someone"], b"content")
    for token in (callback.sign(image_id), stranger.sign(image_id), content.sign("0" * 32), image_id, "x", "x" * 5000):
        answer = await raw_http.ask(world.url, head(f"/content/{token}", method="GET"), method="GET")
        refused(answer, 404, "not_found", "no such picture")
    refused(await raw_http.ask(world.url, head("/content/", method="GET"), method="GET"), 404, "not_found")


async def test_a_picture_goes_with_its_time(world: World) -> None:
    image_id = (await upload(world)).json()["id"]
    store = world.gateway.store.redis
    [key] = await store.keys(f"gw:*:picture:{image_id}")
    assert 0 < await store.ttl(key) <= timedelta(days=7).total_seconds()
    await store.delete(key)
    token = auth.Tokens([SECRET.encode()], b"content").sign(image_id)
    assert (await world.http.get(f"{world.url}/content/{token}")).status_code == 404


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (PICTURE, "text/html", 415),
        (PICTURE, "image/svg+xml", 415),
        (PICTURE, "", 415),
        (b"", "image/png", 422),
        (b"<html>", "image/png", 422),
        (PICTURE + b"\0" * 1024, "image/png", 413),
    ],
)
async def test_what_is_no_picture_is_not_kept(world: World, data: bytes, kind: str, status: int) -> None:
    answer = await upload(world, data, kind)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "message", "request_id"})
    assert await world.gateway.store.redis.keys("gw:*picture*") == []


async def test_nothing_is_kept_for_a_key_that_the_upstream_does_not_take(world: World) -> None:
    await world.sandbox.arm(RequestFault(status=401))
    assert (await upload(world)).status_code == 401
    assert await world.gateway.store.redis.keys("gw:*") == []


async def test_an_upstream_without_the_route_cannot_tell(world: World) -> None:
    await world.sandbox.arm(RequestFault(status=404))
    assert (await upload(world)).status_code == 200


async def test_a_tenant_has_a_share_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.gateway.pictures, "_max_uploaded_bytes", 2 * len(PICTURE))
    assert [(await upload(world)).status_code for _ in range(2)] == [200, 200]
    third = await upload(world)
    assert (third.status_code, third.json()["error"]) == (429, "too_many_requests")
    assert 0 < int(third.headers["retry-after"]) <= pictures.UPLOAD_PERIOD_SECONDS
    assert (await upload(world, key="client-key-2")).status_code == 200


async def test_no_key_no_asset(world: World) -> None:
    for target in ("/v2/bot", "/v2/content", "/v2/user_content"):
        refused(await raw_http.ask(world.url, head(target, "Content-Length: 0", key=None)), 401, "unauthorized")
    assert await world.sandbox.calls() == []
