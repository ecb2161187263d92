"""What operators see and do: readiness, metrics, request ids, drains, a relay of its own, logs that tell no secrets."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import sandbox
from gateway.open_turns import OpenTurns
from gateway.relay.queue import Counts, Queue
from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault
from gateway.store import Store
from tests.flows import process_kit
from tests.flows.conftest import BOT, KEY, World
from tests.flows.process_kit import Running

RELAY = ("-m", "gateway", "relay")
MESSAGES = "*/messages"
LONG_SECONDS = 30
"""Longer than any drain of these tests."""


@contextlib.asynccontextmanager
async def sandboxed() -> AsyncIterator[tuple[str, Driver]]:
    async with (
        sandbox.serve(sandbox.SandboxSettings().fast()) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as control,
    ):
        yield url, Driver(control)


async def complete(
    gateway: Running, sandbox_url: str, key: str = KEY, headers: dict[str, str] | None = None, **changes: Any
) -> httpx.Response:
    request = {"bot_id": BOT, "user_id": "u-1", "message": "hi", "webhook": f"{sandbox_url}/inbox/a"} | changes
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.post(
            f"{gateway.url}/v2/complete",
            json=request,
            headers={"Authorization": f"Bearer {key}", **(headers or {})},
        )


async def get(gateway: Running, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        return await client.get(gateway.url + path)


async def until_readyz(gateway: Running, status: int) -> httpx.Response:
    async with asyncio.timeout(10):
        while (answer := await get(gateway, "/readyz")).status_code != status:
            await asyncio.sleep(process_kit.POLL_SECONDS)
    return answer


def counted(exposition: str, name: str, **labels: str) -> float:
    """Sum the series of a counter that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_a_process_that_can_work_says_so(world: World) -> None:
    for path in ("/livez", "/readyz"):
        answer = await world.http.get(world.url + path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_requests_id_is_the_clients_own_or_a_new_one(world: World) -> None:
    async def answered(given: str | None, path: str = "/livez") -> str:
        headers = {} if given is None else {"X-Request-Id": given}
        answer = await world.http.get(world.url + path, headers=headers)
        if answer.status_code >= 400:
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
        return answer.headers["X-Request-Id"]

    assert await answered("client-id-1") == "client-id-1"
    assert await answered("client-id-2", "/nowhere") == "client-id-2"
    made = [await answered(given) for given in (None, None, "has a space", "x" * 129)]
    assert len(set(made)) == 4
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in made)


async def test_a_defect_of_the_gateway_is_answered_in_the_clients_shape(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_arguments: object) -> None:
        raise ValueError("a defect that names secrets")

    monkeypatch.setattr(OpenTurns, "enter", broken)
    answer = await world.complete()
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert "secrets" not in answer.text


async def test_without_its_store_a_process_is_alive_but_not_ready_and_takes_no_turn(tmp_path: Path) -> None:
    async with (
        sandboxed() as (sandbox_url, driver),
        process_kit.running(tmp_path, v3_url=sandbox_url) as gateway,
    ):
        [store_pid] = [line["pid"] for line in gateway.lines() if line["event"] == "store.started"]
        os.kill(store_pid, signal.SIGSTOP)
        try:
            away = await until_readyz(gateway, 503)
            refused = await complete(gateway, sandbox_url)
            live = await get(gateway, "/livez")
        finally:
            os.kill(store_pid, signal.SIGCONT)
        assert live.status_code == 200
        for answer in (away, refused):
            assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
        assert await driver.calls() == []
        await until_readyz(gateway, 200)
        assert (await complete(gateway, sandbox_url)).status_code == 200
        await driver.deliveries(1)
        assert await gateway.terminate() == 0


async def test_metrics_are_sums_over_the_workers_of_one_socket(tmp_path: Path) -> None:
    turns = 12
    async with (
        sandboxed() as (sandbox_url, driver),
        process_kit.running(tmp_path, v3_url=sandbox_url, workers=2) as gateway,
    ):
        answers = await asyncio.gather(
            *(complete(gateway, sandbox_url, user_id=f"u-{number}") for number in range(turns))
        )
        assert [answer.status_code for answer in answers] == [200] * turns
        await driver.deliveries(turns)
        for _ in range(8):  # over a new connection each: either worker answers
            shown = (await get(gateway, "/metrics")).text
            assert counted(shown, "gateway_turns_total", outcome="accepted") == turns
            assert counted(shown, "gateway_segments_total", outcome="opened") == turns
            assert counted(shown, "http_server_request_duration_seconds_count", http_route="/v2/complete") == turns
        if sys.platform == "linux":
            assert listening(int(gateway.url.rpartition(":")[2])) == 1
        assert await gateway.terminate() == 0
        workers = [line for line in gateway.lines() if line["event"] == "Application startup complete."]
        assert len(workers) == 2


def listening(port: int) -> int:
    """Count the sockets that listen on a port (Linux)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_lets_requests_finish_after_readiness_has_failed(tmp_path: Path, workers: int) -> None:
    async with (
        sandboxed() as (sandbox_url, driver),
        process_kit.running(tmp_path, v3_url=sandbox_url, workers=workers, upstream_timeout_seconds=10) as gateway,
    ):
        await driver.arm(RequestFault(method="POST", path=MESSAGES, action="hang", seconds=2))
        under_way = asyncio.create_task(complete(gateway, sandbox_url))
        await driver.calls(1, path=MESSAGES, finished=False)
        gateway.process.terminate()
        draining = await until_readyz(gateway, 503)
        assert draining.json()["error"] == "draining"
        assert int(draining.headers["Retry-After"]) >= 1
        assert not under_way.done()
        assert (await under_way).status_code == 200
        async with asyncio.timeout(process_kit.GRACE_SECONDS):
            assert await gateway.process.wait() == 0
        assert gateway.stderr.read_text() == ""


async def test_a_request_that_outlasts_the_grace_period_is_cut_and_its_turn_is_settled_by_the_clients_retry(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    late: dict[str, Any] = {"min_delay": 60, "max_delay": 60}  # the turn is still open when its client asks again
    patience: dict[str, Any] = {"redis_url": store_url, "grace_seconds": 2, "upstream_timeout_seconds": 10}
    async with sandboxed() as (sandbox_url, driver):
        await driver.arm(RequestFault(method="POST", path=MESSAGES, when="after", action="hang", seconds=LONG_SECONDS))
        async with process_kit.running(tmp_path, v3_url=sandbox_url, **patience) as gateway:
            under_way = asyncio.create_task(complete(gateway, sandbox_url, **late))
            await driver.calls(1, path=MESSAGES, finished=False)
            assert await gateway.terminate() == 0
            cut = await under_way
        assert (cut.status_code, cut.json()["error"]) == (503, "draining")
        assert int(cut.headers["Retry-After"]) >= 1
        port = int(gateway.url.rpartition(":")[2])
        async with process_kit.running(tmp_path, port=port, v3_url=sandbox_url, **patience) as gateway:
            joined = await complete(gateway, sandbox_url, **late)
            assert joined.status_code == 200
        [told] = gateway.mapping_log()
        assert (told["turn_id"], told["verdict"]) == (joined.json()["message_id"], "duplicate")
        assert await Queue(store).count() == Counts(pending=1, due=0, dead=0)
        [conversation] = await driver.conversations()
        assert [one["text"] for one in conversation["messages"] if not one["from_bot"]] == ["hi"]


async def test_a_drained_process_hands_its_claims_back_so_that_others_need_not_wait_for_its_leases(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    patient: dict[str, Any] = {"redis_url": store_url, "delivery_timeout_seconds": LONG_SECONDS, "grace_seconds": 2}
    async with sandboxed() as (sandbox_url, driver):
        await driver.arm(RequestFault(path="/inbox/*", action="hang", seconds=LONG_SECONDS))
        async with process_kit.running(tmp_path, v3_url=sandbox_url, **patient) as gateway:
            accepted = await complete(gateway, sandbox_url)
            async with asyncio.timeout(10):  # until its delivery is under way
                while await Queue(store).count() != Counts(pending=1, due=0, dead=0) or not await fault_used(driver):
                    await asyncio.sleep(process_kit.POLL_SECONDS)
            assert await gateway.terminate() == 0
        assert await Queue(store).count() == Counts(pending=1, due=1, dead=0)
        await driver.arm()
        async with process_kit.running(tmp_path, *RELAY, **patient):
            [delivery] = await driver.deliveries(1)
        assert delivery["json"]["id"] == accepted.json()["message_id"]


async def fault_used(driver: Driver) -> bool:
    rules = (await driver._http.get("/sandbox/faults")).json()["rules"]
    return all(rule["used"] for rule in rules)


async def test_a_gateway_without_relay_leaves_deliveries_to_the_relay_beside_it(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    async with (
        sandboxed() as (sandbox_url, driver),
        process_kit.running(
            tmp_path, *process_kit.SERVE, "--no-relay", redis_url=store_url, v3_url=sandbox_url
        ) as gateway,
    ):
        accepted = await complete(gateway, sandbox_url)
        assert accepted.status_code == 200
        async with asyncio.timeout(10):
            while await Queue(store).count() != Counts(pending=1, due=1, dead=0):
                await asyncio.sleep(process_kit.POLL_SECONDS)
        assert await driver.deliveries() == []
        async with process_kit.running(tmp_path, *RELAY, redis_url=store_url) as relay:
            [delivery] = await driver.deliveries(1)
            assert delivery["json"]["id"] == accepted.json()["message_id"]
            assert (await get(relay, "/livez")).status_code == 200
            unserved = await complete(relay, sandbox_url)
            assert (unserved.status_code, unserved.json()["error"]) == (404, "not_found")
            shown = (await get(relay, "/metrics")).text
            assert counted(shown, "gateway_delivery_attempts_total", outcome="delivered") == 1
            assert await relay.terminate() == 0
        assert [line["event"] for line in relay.mapping_log()] == ["delivery.attempted"]
        assert [line["event"] for line in gateway.mapping_log()] == ["turn.accepted"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_cannot_start_exits_with_1_and_says_why(tmp_path: Path, workers: int) -> None:
    not_a_directory = tmp_path / "file"
    not_a_directory.write_text("")
    started = await process_kit.start(tmp_path, data_dir=not_a_directory, v3_url="http://127.0.0.1:1", workers=workers)
    async with asyncio.timeout(process_kit.START_SECONDS):
        assert await started.process.wait() == 1
    assert str(not_a_directory) in started.stdout.read_text() + started.stderr.read_text()


CANARIES = {
    "key": "canary-of-the-key-4711",
    "message": "canary of the message",
    "history": "canary of the history",
    "reply": "canary of the reply",
    "query": "canary-of-the-query",
    "path": "canary-of-the-path",
    "name": "canary of the name",
    "fact": "canary of a fact",
    "password": "canary-of-the-password",
}


async def test_no_line_at_any_level_tells_a_text_a_key_or_a_webhook(tmp_path: Path) -> None:
    async with (
        sandboxed() as (sandbox_url, driver),
        process_kit.running(tmp_path, v3_url=sandbox_url, log_level="DEBUG") as gateway,
    ):
        hidden: dict[str, Any] = {
            "key": CANARIES["key"],
            "message": CANARIES["message"],
            "messages": [{"bot": False, "content": [CANARIES["history"]]}],
            "webhook": f"{sandbox_url}/inbox/{CANARIES['path']}?token={CANARIES['query']}",
            "user_display_name": CANARIES["name"],
            "user_kv_pairs": {"fact": CANARIES["fact"]},
        }
        await driver.script(CANARIES["reply"])
        assert (await complete(gateway, sandbox_url, **hidden)).status_code == 200
        await driver.deliveries(1)

        await driver.arm(RequestFault(path="/inbox/*"), RequestFault(path=MESSAGES, body="html", times=2))
        failed = await complete(gateway, sandbox_url, **hidden | {"user_id": "u-2"})
        assert failed.status_code == 502
        again = await complete(gateway, sandbox_url, **hidden | {"user_id": "u-3"})
        assert again.status_code == 200
        await driver.deliveries(2)
        for webhook in ("http://10.0.0.1/", "ftp://there/", f"http://me:{CANARIES['password']}@10.0.0.1/"):
            refused = await complete(gateway, sandbox_url, **hidden | {"webhook": f"{webhook}{CANARIES['path']}"})
            assert refused.status_code == 422
        async with httpx.AsyncClient(trust_env=False) as client:
            broken = f'{{"message": "{CANARIES["message"]}"'
            headers = {"Authorization": f"Bearer {CANARIES['key']}", "Content-Type": "application/json"}
            assert (await client.post(f"{gateway.url}/v2/complete", content=broken, headers=headers)).status_code == 400
            forged = f"{gateway.url}/callbacks/v3/{'a' * 43}"
            assert (await client.post(forged, json={"message": CANARIES["reply"]})).status_code == 404
        assert await gateway.terminate() == 0

    output = gateway.stdout.read_text() + gateway.stderr.read_text()
    assert [name for name, canary in CANARIES.items() if canary in output] == []
    told = [(line["event"], line["outcome"]) for line in gateway.mapping_log()]
    assert told.count(("turn.accepted", "accepted")) == 2
    assert told.count(("turn.refused", "refused")) == 5
    assert ("delivery.attempted", "delivered") in told
    assert ("delivery.attempted", "retry") in told


async def test_a_client_that_waits_for_its_answer_is_sent_elsewhere_by_a_drain_and_gets_it_there(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    async with sandboxed() as (sandbox_url, driver):
        settings: dict[str, Any] = {"redis_url": store_url, "v3_url": sandbox_url, "grace_seconds": 4}
        async with (
            process_kit.running(tmp_path, **settings) as survivor,
            process_kit.running(tmp_path, **settings, public_url=survivor.url) as gateway,
        ):
            await driver.arm_callbacks(CallbackFault(kind="lost", times=None))
            waiting = asyncio.create_task(complete(gateway, sandbox_url, webhook=None))
            await driver.callbacks(1)
            await driver.idle()
            await driver.arm_callbacks()
            assert await gateway.terminate() == 0
            sent_away = await waiting
            assert (sent_away.status_code, sent_away.json()["error"]) == (503, "draining")
            assert int(sent_away.headers["Retry-After"]) >= 1
            again = asyncio.create_task(complete(survivor, sandbox_url, webhook=None))
            [conversation] = await driver.conversations()
            await driver.bot_says(conversation["id"], "Here I am")
            found = ["You said “hi”.", "That was message 1 of our chat."]  # nobody had called back with them
            assert (await again).json()["completion"] == [*found, "Here I am"]
            assert len(await driver.calls(path=MESSAGES)) == 1
