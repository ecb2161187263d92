"""Replies that are pulled, across processes that die on the way."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver
from gateway.sandbox.driver import Driver
from gateway.store import Store
from tests.flows import process_kit
from tests.flows.conftest import BOT, KEY, running_world

RECEIVE_SECONDS = 20
LEASE_SECONDS = 2
RECEIVES = "*/receive"


async def complete(gateway: process_kit.Running, http: httpx.AsyncClient, webhook: str) -> dict[str, Any]:
    """Send a request that must be taken."""
    request = {"bot_id": BOT, "user_id": "u-1", "message": "hi", "messages": [], "webhook": webhook}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = await http.post(f"{gateway.url}/v2/complete", json=request, headers=headers)
    assert answer.status_code == 200, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


@pytest.mark.parametrize("survives", [False, True], ids=["the bot stops with its listener", "the bot goes on"])
async def test_a_process_that_is_killed_in_the_middle_of_a_receive_still_leaves_exactly_one_reply(
    store: Store, store_url: str, tmp_path: Path, survives: bool
) -> None:
    async with (
        process_kit.running_sandbox(tmp_path) as sandbox_url,
        httpx.AsyncClient(base_url=sandbox_url, timeout=60, trust_env=False) as http,
    ):
        sandbox, bots = Driver(http), ChatBotKitDriver(http)
        settings: dict[str, Any] = {
            "redis_url": store_url,
            "upstream": "chatbotkit",
            "chatbotkit_url": f"{sandbox_url}/v1",
            "pull_lease_seconds": LEASE_SECONDS,
        }
        await bots.script("The first.", seconds=RECEIVE_SECONDS, survives=survives)
        async with process_kit.running(tmp_path, **settings) as victim:
            accepted = await complete(victim, http, f"{sandbox_url}/inbox/a")
            await sandbox.calls(1, path=RECEIVES, finished=False)
            await victim.kill()
        async with process_kit.running(tmp_path, **settings) as heir:
            [delivery] = await sandbox.deliveries(1, seconds=40)
            await sandbox.idle(seconds=2 * RECEIVE_SECONDS)  # until the bot that goes on has ended, too
            pulled = [line for line in heir.mapping_log() if line["event"] == "reply.pulled"]
        assert [delivery] == await sandbox.deliveries()
    assert delivery["json"]["id"] == accepted["message_id"]
    assert len(delivery["json"]["completion"]) == 1
    assert [(line["outcome"], line["takeovers"], line["end_reason"]) for line in pulled] == [("heard", 1, "stop")]
    assert [call["call"] for call in pulled[0]["upstream_calls"]] == ["list_messages", "receive"]
    assert KEY not in json.dumps(pulled)


async def test_what_v3_is_not_told_is_told_to_another_upstream_all_the_same(store: Store, store_url: str) -> None:
    async with running_world(store_url, upstream="chatbotkit", v3_context="none") as world:
        answer = await world.complete(user_display_name="Max")
        [delivery] = await world.sandbox.deliveries(1)
        [created] = await world.sandbox.calls(path="*/conversation/create")
        [received] = await world.sandbox.calls(path=RECEIVES)
    assert delivery["json"]["id"] == answer.json()["message_id"]
    assert answer.headers["translation-losses"] == 'approximated=("user_display_name")'
    assert created["json"]["meta"]["v1_user_display_name"] == "Max"
    assert received["json"]["extensions"]["backstory"] == 'The user\'s name is "Max".'


async def test_a_process_that_only_relays_pulls_what_another_one_sent(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    async with (
        process_kit.running_sandbox(tmp_path) as sandbox_url,
        httpx.AsyncClient(base_url=sandbox_url, timeout=60, trust_env=False) as http,
    ):
        settings: dict[str, Any] = {
            "redis_url": store_url,
            "upstream": "chatbotkit",
            "chatbotkit_url": f"{sandbox_url}/v1",
        }
        async with (
            process_kit.running(tmp_path, relay="false", **settings) as front,
            process_kit.running(tmp_path, "-m", "gateway", "relay", **settings),
        ):
            accepted = await complete(front, http, f"{sandbox_url}/inbox/a")
            [delivery] = await Driver(http).deliveries(1)
            assert [line["event"] for line in front.mapping_log()] == ["turn.accepted"]
    assert delivery["json"]["id"] == accepted["message_id"]


async def test_a_drain_hands_a_long_receive_over_and_ends_in_time(store: Store, store_url: str, tmp_path: Path) -> None:
    async with (
        process_kit.running_sandbox(tmp_path) as sandbox_url,
        httpx.AsyncClient(base_url=sandbox_url, timeout=60, trust_env=False) as http,
    ):
        sandbox, bots = Driver(http), ChatBotKitDriver(http)
        settings: dict[str, Any] = {
            "redis_url": store_url,
            "upstream": "chatbotkit",
            "chatbotkit_url": f"{sandbox_url}/v1",
            "grace_seconds": 3,
            "pull_lease_seconds": 300,  # nobody could wait for it: it is handed over
        }
        await bots.script("The first.", seconds=600)
        async with process_kit.running(tmp_path, **settings) as draining:
            await complete(draining, http, f"{sandbox_url}/inbox/a")
            await sandbox.calls(1, path=RECEIVES, finished=False)
            assert await draining.terminate() == 0
            outcomes = [line["outcome"] for line in draining.mapping_log() if line["event"] == "reply.pulled"]
            assert outcomes == ["handed_back"]
        async with process_kit.running(tmp_path, **settings):
            assert len(await sandbox.deliveries(1)) == 1


async def test_a_conversation_that_has_grown_long_is_summed_up_and_goes_on(store: Store, store_url: str) -> None:
    async with running_world(store_url, upstream="chatbotkit", compact_after_messages=4) as world:
        bots = ChatBotKitDriver(world.sandbox._http)
        await bots.script("One.")
        history = [{"bot": False, "content": ["a"]}, {"bot": True, "content": ["b"]}]
        assert (await world.complete(message="c", messages=history)).status_code == 200
        await world.sandbox.calls(1, path="*/compact")
        await world.sandbox.deliveries(1)
        await bots.script("Two.")
        history += [{"bot": False, "content": ["c"]}, {"bot": True, "content": ["One."]}]
        assert (await world.complete(message="d", messages=history)).status_code == 200
        await world.sandbox.deliveries(2)
        [conversation] = await bots.conversations()
        said = [message["text"] for message in conversation["messages"] if message["type"] != "checkpoint"]
        assert said == ["a", "b", "c", "One.", "d", "Two."]
        assert [message["type"] for message in conversation["messages"]].count("checkpoint") == 1
        assert len(await world.sandbox.calls(path="*/compact")) == 1
