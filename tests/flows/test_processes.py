"""Several processes on one store, one of them killed: nothing is lost, made twice or sent astray."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway.relay.queue import Counts, Queue
from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault
from gateway.store import Store
from tests.flows import process_kit
from tests.flows.conftest import BOT, KEY
from tests.flows.process_kit import Receivers, Running
from tests.free_ports import free_port
from tests.tcp_proxy import TcpProxy

CONVERSATIONS = 200
WINDOWS = ({"min_delay": 3, "max_delay": 4}, {"min_delay": 8, "max_delay": 9}, {"min_delay": 1, "max_delay": 2})
"""Of each turn. The second one is hit by the kill: it is open for far longer than the upstream's answers are held up
and a client needs to resend on however busy a machine. Once its reply had left, the same request would be a new turn.
"""
TURNS = len(WINDOWS)

HOLD_UP_SECONDS = 0.7

DELIVERY_TIMEOUT_SECONDS = 5
"""Longer than webhooks are held up before the kill, also on a busy machine."""

UPSTREAM_TIMEOUT_SECONDS = 8
"""Longer than the sandbox ever takes for two hundred first messages at once: of a call that was given up, but carried
out after the look at the transcript, the message would be there twice."""

POSTS_AT_THE_KILL = 20
DELIVERIES_AT_THE_KILL = 20
"""Of both processes together: about half of them are the victim's."""

PATIENCE_SECONDS = 120
MESSAGES = "*/messages"


@dataclass
class Clients:
    """Two hundred users, each of whom speaks again once answered; they know two gateways, one of which dies."""

    http: httpx.AsyncClient
    receivers: Receivers
    survivor: Running
    victim: Running
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    unanswered: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, number: int) -> None:
        """Have the whole conversation of one user."""
        user = f"user-{number}"
        gateways = [self.survivor, self.victim] if number % 2 else [self.victim, self.survivor]
        history: list[dict[str, Any]] = []
        for turn in range(TURNS):
            request = {
                "bot_id": BOT,
                "user_id": user,
                "message": said(user, turn),
                "messages": history,
                "webhook": self.receivers.webhook(user),
                **WINDOWS[turn],
            }
            reply_id = await self._complete(request, gateways)
            self.acknowledged.setdefault(user, []).append(reply_id)
            if len(self.acknowledged) == CONVERSATIONS:
                self.enough.set()
            await self.receivers.until(user, reply_id)
            reply = next(one for one in self.receivers.got[user] if one.id == reply_id)
            history += [
                {"bot": False, "content": [said(user, turn)]},
                {"bot": True, "content": reply.completion},
            ]

    async def _complete(self, request: dict[str, Any], gateways: list[Running]) -> str:
        """Send a request until it is taken: at once at the other gateway when nobody answers, later when told so."""
        while True:
            answer = await self._send(request, gateways[0])
            if answer is None:
                gateways.reverse()
            elif answer.status_code == 200:
                reply_id: str = answer.json()["message_id"]
                return reply_id
            else:
                assert answer.status_code in {429, 503, 504}, answer.text
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))

    async def _send(self, request: dict[str, Any], gateway: Running) -> httpx.Response | None:
        try:
            return await self.http.post(
                f"{gateway.url}/v2/complete", json=request, headers={"Authorization": f"Bearer {KEY}"}
            )
        except httpx.TransportError:
            self.unanswered += 1
            return None

    async def kill_in_the_middle(self, sandbox: Driver) -> None:
        """Kill the victim while it waits for the upstream, which has the messages, and for webhooks, which have them.

        The upstream's answers and the webhooks' are held up until both are so.
        """
        await self.enough.wait()
        self.receivers.answering.clear()
        delivered = sum(map(len, self.receivers.got.values()))
        posted = (await sandbox.calls())[-1]["n"]
        held_up = RequestFault(
            method="POST", path=MESSAGES, when="after", action="hang", times=None, seconds=HOLD_UP_SECONDS
        )
        await sandbox.arm(held_up)
        await sandbox.calls(POSTS_AT_THE_KILL, path=MESSAGES, since=posted, finished=False)
        await self.receivers.until_count(delivered + DELIVERIES_AT_THE_KILL)
        await self.victim.kill()
        await sandbox.arm()
        self.receivers.answering.set()


def said(user: str, turn: int) -> str:
    return f"{user} says {turn}"


def gateway_of(
    port: int, store_url: str, sandbox_url: str, balancer: TcpProxy, directory: Path
) -> contextlib.AbstractAsyncContextManager[Running]:
    urls = {"redis_url": store_url, "v3_url": sandbox_url, "public_url": f"http://{balancer.address}"}
    seconds = {
        "delivery_timeout_seconds": DELIVERY_TIMEOUT_SECONDS,
        "upstream_timeout_seconds": UPSTREAM_TIMEOUT_SECONDS,
    }
    return process_kit.running(directory, port=port, **urls, **seconds)


async def test_with_one_of_two_processes_killed_every_reply_arrives_and_nothing_happens_twice(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    async with (
        process_kit.running_sandbox(tmp_path) as sandbox_url,
        process_kit.receiving() as receivers,
        TcpProxy(*(("127.0.0.1", port) for port in ports)) as balancer,
        gateway_of(ports[0], store_url, sandbox_url, balancer, tmp_path) as survivor,
        gateway_of(ports[1], store_url, sandbox_url, balancer, tmp_path) as victim,
        httpx.AsyncClient(timeout=30, trust_env=False, limits=httpx.Limits(max_connections=None)) as http,
        httpx.AsyncClient(base_url=sandbox_url, timeout=30, trust_env=False) as control,
    ):
        sandbox = Driver(control)
        clients = Clients(http, receivers, survivor, victim)
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            for number in range(CONVERSATIONS):
                group.create_task(clients.talk(number))
            group.create_task(clients.kill_in_the_middle(sandbox))

        assert victim.process.returncode == -9
        assert clients.unanswered >= 1
        users = {f"user-{number}" for number in range(CONVERSATIONS)}
        assert clients.acknowledged.keys() == users
        await sandbox.idle()
        conversations = {one["user_id"]: one for one in await sandbox.conversations()}
        creations = await sandbox.calls(path="/api/conversations", method="POST")
        assert Counter(call["json"]["user_id"] for call in creations) == Counter(users)
        assert conversations.keys() == users
        for user, conversation in conversations.items():
            messages = conversation["messages"]
            asked = [one["text"] for one in messages if not one["from_bot"]]
            assert asked == [said(user, turn) for turn in range(TURNS)]
            distinct = {one.id: one for one in receivers.got[user]}
            assert set(clients.acknowledged[user]) <= distinct.keys()
            assert all(distinct[one.id].body == one.body for one in receivers.got[user])
            answered = [one["text"] for one in messages if one["from_bot"]]
            assert [text for one in distinct.values() for text in one.completion] == answered
        assert await Queue(store).count() == Counts(pending=0, due=0, dead=0)
        assert survivor.stderr.read_text() == ""
        assert any(line.get("takeovers") for line in survivor.mapping_log())
