"""Conversations as a whole, over a real socket."""

import csv
import io
import json
from typing import Any

import httpx
import pytest

from tests.gateway.sandbox.chatbotkit.conftest import ROOT, Client


@pytest.mark.parametrize("root", ["/api/v1/conversation", "/v1/conversation"])
async def test_the_same_routes_stand_under_both_paths(api: httpx.AsyncClient, root: str) -> None:
    made = await api.post(f"{root}/create", json={"botId": "b-1", "name": "a talk"})
    seen = await api.get(f"{ROOT}/{made.json()['id']}/fetch")
    assert (seen.json()["botId"], seen.json()["name"]) == ("b-1", "a talk")
    assert seen.json()["createdAt"] <= seen.json()["updatedAt"]


async def test_a_conversation_is_created_with_its_messages_in_their_order(client: Client) -> None:
    messages = [{"type": "bot", "text": "Hi!"}, {"type": "user", "text": "Hello."}]
    made = await client.post("create", botId="b-1", messages=messages)
    assert made["messages"] == messages
    assert await client.messages(made["id"]) == [("bot", "Hi!"), ("user", "Hello.")]


async def test_more_than_a_hundred_messages_are_refused_at_once(client: Client) -> None:
    messages = [{"type": "user", "text": str(n)} for n in range(101)]
    answer = await client.http.post(f"{ROOT}/create", json={"messages": messages})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert (await client.get("list"))["items"] == []


async def test_an_update_merges_meta_and_null_clears(client: Client) -> None:
    made = await client.create(name="one", contactId="c-1", meta={"a": 1, "b": 2})
    assert await client.post(f"{made}/update", contactId=None, meta={"b": 3, "c": {"d": 4}}) == {"id": made}
    seen = await client.get(f"{made}/fetch")
    assert seen["meta"] == {"a": 1, "b": 3, "c": {"d": 4}}
    assert (seen["name"], "contactId" in seen) == ("one", False)


async def test_a_deleted_conversation_is_gone(client: Client) -> None:
    made = await client.create()
    assert await client.post(f"{made}/delete") == {"id": made}
    answer = await client.http.get(f"{ROOT}/{made}/fetch")
    assert answer.status_code == 404
    assert answer.json() == {"message": "There is no such conversation.", "code": "NOT_FOUND"}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_follow_each_other_by_cursor_also_when_what_it_names_was_deleted(
    client: Client, order: str
) -> None:
    made = [await client.create(name=str(n)) for n in range(5)]
    expected = made if order == "asc" else made[::-1]
    first = await client.get("list", take=2, order=order)
    await client.post(f"{expected[1]}/delete")
    second = await client.get("list", take=2, order=order, cursor=first["cursor"])
    third = await client.get("list", take=2, order=order, cursor=second["cursor"])
    last = await client.get("list", take=2, order=order, cursor=third["cursor"])
    pages = [[one["id"] for one in page["items"]] for page in (first, second, third, last)]
    assert pages == [expected[:2], expected[2:4], expected[4:], []]
    assert "cursor" not in last


async def test_the_newest_come_first_unless_told_otherwise(client: Client) -> None:
    made = [await client.create() for _ in range(3)]
    assert [one["id"] for one in (await client.get("list"))["items"]] == made[::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"botId": "b-2"}, ["two"]),
        ({"contactId": "c-1"}, ["one", "two"]),
        ({"taskId": "t-1"}, []),
        ({"meta[user]": "max"}, ["one"]),
        ({"meta.user": "max"}, ["one"]),
        ({"meta[user]": "max", "meta[age]": "30"}, ["one"]),
        ({"meta[age]": "30"}, ["one", "two"]),
        ({"meta[on]": "true"}, ["two"]),
        ({"meta[none]": ""}, []),
    ],
)
async def test_filters_must_all_hold(client: Client, query: dict[str, str], found: list[str]) -> None:
    await client.create(name="one", contactId="c-1", meta={"user": "max", "age": 30})
    await client.create(name="two", botId="b-2", contactId="c-1", meta={"age": "30", "on": True})
    listed = await client.get("list", order="asc", **query)
    assert [one["name"] for one in listed["items"]] == found
    exported = await client.get("export", order="asc", **query)
    assert exported["items"] == listed["items"]


@pytest.mark.parametrize("path", ["list", "export"])
async def test_lists_come_as_lines_too(client: Client, path: str) -> None:
    made = [await client.create() for _ in range(2)]
    answer = await client.http.get(f"{ROOT}/{path}?order=asc", headers={"accept": "application/jsonl"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["type"], line["data"]["id"]) for line in lines] == [("item", made[0]), ("item", made[1])]


async def test_an_export_comes_as_a_table_too(client: Client) -> None:
    await client.create(name='with, "quotes"\nand lines', meta={"user": "max"})
    answer = await client.http.get(f"{ROOT}/export", headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["name"], json.loads(row["meta"]), row["botId"]) == (
        'with, "quotes"\nand lines',
        {"user": "max"},
        "b-1",
    )


async def test_accounts_see_their_own_only(client: Client, http: httpx.AsyncClient) -> None:
    made = await client.create()
    headers = {"authorization": "Bearer key-two"}
    assert (await http.get(f"{ROOT}/{made}/fetch", headers=headers)).status_code == 404
    assert (await http.get(f"{ROOT}/list", headers=headers)).json() == {"items": []}


async def test_without_a_key_nobody_gets_in(http: httpx.AsyncClient, sandbox: object) -> None:
    answer = await http.get(f"{ROOT}/list")
    assert answer.status_code == 401
    assert answer.json() == {"message": "Not authenticated", "code": "NOT_AUTHENTICATED"}


@pytest.mark.parametrize(
    "body",
    [
        {"botid": "b-1"},
        {"botId": 1},
        {"botId": ""},
        {"botId": "b-1", "backstory": "be kind"},
        {"meta": "none"},
        {"messages": [{"type": "robot", "text": "hi"}]},
        {"messages": [{"type": "user"}]},
        {"messages": [{"type": "user", "text": None}]},
        ["b-1"],
    ],
)
async def test_wrong_shapes_are_refused(client: Client, body: Any) -> None:
    answer = await client.http.post(f"{ROOT}/create", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


async def test_a_body_that_is_no_json_is_refused(client: Client) -> None:
    answer = await client.http.post(f"{ROOT}/create", content="{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    answer = await client.http.post(f"{ROOT}/create", content="{}", headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("query", ["take=0", "take=101", "take=x", "order=up", "cursor=none"])
@pytest.mark.parametrize("path", ["list", "export"])
async def test_wrong_queries_are_refused(client: Client, path: str, query: str) -> None:
    answer = await client.http.get(f"{ROOT}/{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


async def test_every_write_is_a_post_and_unknown_actions_are_not_found(client: Client) -> None:
    made = await client.create()
    wrong = await client.http.patch(f"{ROOT}/{made}/update", json={})
    assert (wrong.status_code, wrong.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    unknown = await client.http.post(f"{ROOT}/{made}/rename", json={})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
