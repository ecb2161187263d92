"""Conversations as wholes, whichever upstream holds them: erased everywhere, restored from there."""

import asyncio
import functools
import json
from datetime import timedelta
from typing import Any

from gateway.relay.queue import Counts, Queue
from gateway.sandbox.faults import RequestFault
from gateway.store import Store
from tests.conformance.conftest import Gate
from tests.flows.conftest import BOT, KEY, SECRET
from tests.gateway.cli import cli_kit


async def command(gate: Gate, store_url: str, *arguments: str, key: str = KEY) -> tuple[int, Any, str]:
    """Call `gateway conversations ... --json`; it runs a loop of its own, so that it needs a thread."""
    environment = {
        "GATEWAY_REDIS_URL": store_url,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_UPSTREAM": gate.side.dialect,
        "GATEWAY_V3_URL": gate.world.sandbox_url,
        "GATEWAY_CHATBOTKIT_URL": f"{gate.world.sandbox_url}/v1",
        "GATEWAY_PUBLIC_URL": gate.world.url,
        "GATEWAY_API_KEY": key,
    }
    call = functools.partial(cli_kit.gateway, "conversations", *arguments, "--json", **environment)
    result = await asyncio.to_thread(call)
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


async def until(queue: Queue, expected: Counts) -> None:
    """Wait until the relay has come so far."""
    async with asyncio.timeout(10):
        while await queue.count() != expected:
            await asyncio.sleep(0.02)


async def test_all_that_is_known_of_a_user_is_erased(gate: Gate, store: Store, store_url: str) -> None:
    world = gate.world
    await world.complete(user_id="u-2")
    await world.sandbox.deliveries(1)
    kept = {key async for key in store.redis.scan_iter()}
    await world.sandbox.arm(RequestFault(path="/inbox/dead", status=410, times=None))
    await world.complete(message="one", webhook=f"{world.sandbox_url}/inbox/dead")
    queue = Queue(store)
    await until(queue, Counts(pending=0, due=0, dead=1))
    await world.complete(message="two", min_delay=50, max_delay=50)
    await until(queue, Counts(pending=1, due=0, dead=1))
    await world.sandbox.idle()  # a bot that speaks on is heard of again

    code, erased, stderr = await command(gate, store_url, "forget", BOT, "u-1", "--upstream")

    assert erased["keys"] > 0
    assert erased["dead_letters"] == 1
    assert await queue.count() == Counts(pending=0, due=0, dead=0)
    left = {key async for key in store.redis.scan_iter()} - kept
    assert {key.rpartition("}:")[2] for key in left} <= {"fence", "due", "dead", "pulls"}
    world.pass_time(timedelta(seconds=51))
    await world.complete(user_id="u-2", message="again")
    await world.sandbox.deliveries(2, path="/a")
    assert [delivery["path"] for delivery in await world.sandbox.deliveries()].count("/a") == 2  # both of u-2's
    if gate.side.dialect == "v3":  # which has no call for it
        assert (code, erased["upstream"]) == (1, None)
        assert "delete the user there" in stderr
    else:
        assert (code, erased["upstream"]) == (0, 1)
        assert len(await gate.side.transcripts()) == 1
        assert (await command(gate, store_url, "forget", BOT, "u-1", "--upstream"))[0] == 1


async def test_a_flushed_directory_is_restored_and_the_conversations_go_on(
    gate: Gate, store: Store, store_url: str
) -> None:
    for number in range(3):
        await gate.side.script(f"Hello {number}.")
        await gate.world.complete(user_id=f"u-{number}", message="hi")
        await gate.world.sandbox.deliveries(number + 1)
    await store.redis.flushall()
    assert (await command(gate, store_url, "show", BOT, "u-0"))[0] == 1

    code, done, _ = await command(gate, store_url, "rebuild")
    assert (code, done) == (0, {"restored": 3, "known": 0, "gone": 0})
    assert (await command(gate, store_url, "rebuild"))[1] == {"restored": 0, "known": 3, "gone": 0}
    assert (await command(gate, store_url, "show", BOT, "u-0"))[0] == 0

    since = len(await gate.world.sandbox.calls())
    history = [{"bot": False, "content": ["hi"]}, {"bot": True, "content": ["Hello 1."]}]
    await gate.side.script("And you?")
    assert (await gate.world.complete(user_id="u-1", message="Well.", messages=history)).status_code == 200
    await gate.world.sandbox.deliveries(4)
    posted, *_ = await gate.world.sandbox.calls(since=since, method="POST")
    assert posted["json"].get("text") == "Well." or posted["json"]["message"]["text"] == "Well."
    said = [("user", "hi"), ("bot", "Hello 1."), ("user", "Well."), ("bot", "And you?")]
    assert said in (await gate.side.transcripts()).values()


async def test_only_the_keys_own_conversations_are_restored(gate: Gate, store: Store, store_url: str) -> None:
    await gate.world.complete(key="one")
    await gate.world.complete(key="two")
    await gate.world.sandbox.deliveries(2)
    await store.redis.flushall()
    assert (await command(gate, store_url, "rebuild", key="one"))[1] == {"restored": 1, "known": 0, "gone": 0}
    assert (await command(gate, store_url, "show", BOT, "u-1", key="two"))[0] == 1


async def test_the_tenant_alone_does_not_open_the_upstream(gate: Gate, store_url: str) -> None:
    code, _, stderr = await command(gate, store_url, "forget", BOT, "u-1", "--upstream", "--tenant", "0" * 16)
    assert code == 2
    assert "API key" in stderr
