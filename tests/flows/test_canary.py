"""Planted secrets are looked for in all that a gateway writes: its output at DEBUG, its metrics, every value in Redis.

A real process goes through successes, retries, failures, refusals and dead letters meanwhile. What the store must hold
to do its work is listed place by place in `ALLOWED`; everything else that is found anywhere is a leak.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from gateway import sandbox
from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault
from gateway.store import Store
from tests.flows import process_kit
from tests.flows.conftest import BOT
from tests.flows.process_kit import Running

WEBHOOK_SECRET = b"canary-webhook-secret-0123456789"
SECRETS = {
    "api key": "canary-api-key",
    "mapped key": "canary-mapped-key",
    "refused key": "canary-refused-key",
    "wrong scheme": "canary-wrong-scheme",
    "secret": "canary-secret-of-the-gateway",
    "admin token": "canary-admin-token",
    "wrong admin token": "canary-wrong-admin-token",
    "webhook secret": WEBHOOK_SECRET.decode(),
    "webhook secret as given": base64.b64encode(WEBHOOK_SECRET).decode().rstrip("="),
    "webhook path": "canary-webhook-path",
    "webhook query": "canary-webhook-query",
    "webhook password": "canary-webhook-password",
    "message": "canary message",
    "history": "canary history",
    "reply": "canary reply",
    "name": "canary name",
    "fact": "canary fact",
    "route": "canary-of-a-route",
    "forged": "canary forged reply",
}

ALLOWED = {
    "webhook path": {("conv", ""), ("turn", "webhook"), ("reply", "")},
    "webhook query": {("conv", ""), ("turn", "webhook"), ("reply", "")},
    "reply": {("reply", "")},
}
"""By secret: the kinds of keys and fields that hold it, since a reply that waits must be delivered, to its webhook."""

Places = set[tuple[str, str]]


class Scan:
    """Looks through a whole Redis, and remembers where it has found which secret."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.from_url(url)  # bytes, as they are
        self.found: dict[str, Places] = {}
        self.keys: set[bytes] = set()

    async def look(self) -> None:
        async for key in self._client.scan_iter(count=1000):
            self.keys.add(key)
            kind = key.decode().split(":")[2]
            self._note(kind, "name of the key", key)
            for field, value in await self._values(key):
                self._note(kind, field.decode(errors="replace").partition(":")[0], field + b"\n" + value)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _values(self, key: bytes) -> list[tuple[bytes, bytes]]:
        match (await self._client.type(key)).decode():
            case "string":
                return [(b"", await self._client.get(key))]
            case "hash":
                return list((await self._client.hgetall(key)).items())
            case "list":
                return [(b"", value) for value in await self._client.lrange(key, 0, -1)]
            case "zset":
                return [(b"", value) for value in await self._client.zrange(key, 0, -1)]
            case "set":
                return [(b"", value) for value in await self._client.smembers(key)]
            case gone_or_unknown:
                assert gone_or_unknown == "none"
                return []

    def _note(self, kind: str, field: str, value: bytes) -> None:
        for name in leaks(value.decode(errors="replace")):
            self.found.setdefault(name, set()).add((kind, field))


def leaks(text: str) -> list[str]:
    """Name the secrets that a text holds."""
    return [name for name, secret in SECRETS.items() if secret in text]


@dataclass(frozen=True, slots=True)
class Play:
    """The scenes, on one gateway; after each request the store is looked through."""

    gateway: Running
    sandbox_url: str
    driver: Driver
    client: httpx.AsyncClient
    scan: Scan

    async def complete(self, user: str, authorization: str = f"Bearer {SECRETS['api key']}", **changes: Any) -> int:
        request = {
            "bot_id": BOT,
            "user_id": user,
            "message": SECRETS["message"],
            "messages": [{"bot": False, "content": [SECRETS["history"]]}],
            "webhook": f"{self.sandbox_url}/inbox/{SECRETS['webhook path']}?token={SECRETS['webhook query']}",
            "user_display_name": SECRETS["name"],
            "user_kv_pairs": {"fact": SECRETS["fact"]},
        }
        headers = {"Authorization": authorization}
        answer = await self.client.post(f"{self.gateway.url}/v2/complete", json=request | changes, headers=headers)
        await self.scan.look()
        return answer.status_code

    async def ask(self, path: str, authorization: str) -> httpx.Response:
        return await self.client.get(self.gateway.url + path, headers={"Authorization": f"Bearer {authorization}"})

    async def succeed_and_wait(self) -> None:
        """Deliver one reply, and let another wait."""
        await self.driver.script(SECRETS["reply"])
        assert await self.complete("success") == 200
        [delivery] = await self.driver.deliveries(1)
        assert {"webhook-id", "webhook-signature"} <= {name for name, _ in delivery["headers"]}
        await self.driver.script(SECRETS["reply"])
        assert await self.complete("waits", min_delay=600, max_delay=600) == 200
        await self.driver.callbacks(2)
        await self.driver.idle()
        await self.scan.look()

    async def die(self) -> str:
        """Let a reply become a dead letter; give what operators are told of it."""
        await self.driver.arm(RequestFault(path="/inbox/*", status=500, times=None))
        await self.driver.script(SECRETS["reply"])
        assert await self.complete("dies") == 200
        token = SECRETS["admin token"]
        async with asyncio.timeout(20):
            while not (listed := await self.ask("/admin/dead-letters", token)).json()["count"]:
                await self.scan.look()
        [letter] = listed.json()["dead_letters"]
        shown = await self.ask(f"/admin/dead-letters/{letter['id']}", token)
        assert shown.json()["reason"] == "attempts"
        await self.scan.look()
        return listed.text + shown.text

    async def fail_upstream(self) -> None:
        """Let the upstream fail before and after the effect, and refuse."""
        faults = (
            RequestFault(path="*/messages", body="html", status=500, times=3),
            RequestFault(path="*/messages", action="drop", when="after", times=1),
            RequestFault(path="*/api/*", status=422, times=9),
        )
        for number, fault in enumerate(faults):
            await self.driver.arm(fault)
            await self.driver.script(SECRETS["reply"])  # left to itself, the bot would say the message again
            assert await self.complete(f"upstream-{number}") in {200, 422, 502, 504}
        await self.driver.arm()

    async def be_refused(self) -> None:
        """Ask for what is refused, by each part of the gateway that refuses."""
        assert await self.complete("u", f"Bearer {SECRETS['refused key']}") == 401
        assert await self.complete("u", f"Basic {SECRETS['wrong scheme']}") == 401
        for webhook in (
            f"http://me:{SECRETS['webhook password']}@hooks.example/",
            f"http://10.0.0.1/{SECRETS['webhook path']}?{SECRETS['webhook query']}",
            f"ftp://there/?{SECRETS['webhook query']}",
        ):
            assert await self.complete("u", webhook=webhook) == 422
        headers = {"Authorization": f"Bearer {SECRETS['api key']}", "Content-Type": "application/json"}
        broken = f'{{"message": "{SECRETS["message"]}'
        posted = await self.client.post(f"{self.gateway.url}/v2/complete", content=broken, headers=headers)
        assert posted.status_code == 400
        assert (await self.ask(f"/{SECRETS['route']}?{SECRETS['route']}", SECRETS["api key"])).status_code == 404
        forged = f"{self.gateway.url}/callbacks/v3/{'a' * 43}"
        assert (await self.client.post(forged, json={"message": {"text": SECRETS["forged"]}})).status_code == 404
        assert (await self.ask("/admin/breakers", SECRETS["wrong admin token"])).status_code == 401
        await self.scan.look()


@contextlib.asynccontextmanager
async def playing(directory: Path, store_url: str) -> AsyncIterator[Play]:
    """Run a gateway at DEBUG with every secret that it can have, between a sandbox and a client."""
    key_map, webhook_secrets = directory / "keys.json", directory / "secrets.json"
    key_map.write_text(json.dumps({SECRETS["api key"]: SECRETS["mapped key"]}))
    given = "whsec_" + base64.b64encode(WEBHOOK_SECRET).decode()
    webhook_secrets.write_text(json.dumps({SECRETS["api key"]: given}))
    wishes = sandbox.SandboxSettings(keys=frozenset({SECRETS["mapped key"]})).fast()  # no other key is let in
    async with (
        sandbox.serve(wishes) as sandbox_url,
        process_kit.running(
            directory,
            redis_url=store_url,
            v3_url=sandbox_url,
            secret=SECRETS["secret"],
            admin_token=SECRETS["admin token"],
            key_map=key_map,
            webhook_secrets=webhook_secrets,
            delivery_max_attempts=2,
            log_level="DEBUG",
        ) as gateway,
        httpx.AsyncClient(base_url=sandbox_url, timeout=60, trust_env=False) as control,
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        contextlib.aclosing(Scan(store_url)) as scan,
    ):
        yield Play(gateway, sandbox_url, Driver(control), client, scan)


async def test_no_planted_secret_is_found_where_it_must_not_be(tmp_path: Path, store: Store, store_url: str) -> None:
    async with playing(tmp_path, store_url) as play:
        await play.succeed_and_wait()
        told = await play.die()
        await play.fail_upstream()
        await play.be_refused()
        metrics = (await play.client.get(f"{play.gateway.url}/metrics")).text
        assert await play.gateway.terminate() == 0
        await play.scan.look()

    assert leaks(play.gateway.stdout.read_text() + play.gateway.stderr.read_text()) == []
    assert leaks(metrics) == []
    assert leaks(told) == []
    assert play.scan.found == ALLOWED  # no more; and no less, or the scan finds nothing

    # All kinds of things have happened.
    outcomes = {line["outcome"] for line in play.gateway.mapping_log()}
    assert outcomes == {"accepted", "refused", "delivered", "retry", "dead"}
    assert {b"conv", b"turn", b"reply", b"outbox", b"due"} <= {key.split(b":")[2] for key in play.scan.keys}
