"""One V1 request, followed from the client's hand to the client's webhook by what both its sides have seen."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from mappings import fates, parity, receipt

API_KEY = "demo-key"
PATIENCE_SECONDS = 30

LATEST_SECONDS = 1.0
"""How long after its window a reply still counts as in it: it has to travel."""

# The shape of a real production request, with neutral small talk. The window opens once the sandbox's bot, which types
# for about three seconds, has said all: so one can see that its segments wait for their moment together.
REQUEST: dict[str, Any] = {
    "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83",
    "user_id": "306066b7-e47a-405b-8726-ccec362858ac",
    "conversation_id": "chat-57-10628047-21400194",
    "message": "Hola",
    "messages": [
        {"bot": True, "content": ["¡Hola! Soy Angela.", "¿Qué tal tu día?"]},
        {"bot": True, "content": ["Aquí hace sol, por fin."]},
    ],
    "min_delay": 5.0,
    "max_delay": 8.0,
    "language": "es",
    "platform": "Qkkie",
    "timezone": None,
    "user_kv_pairs": {"age": 30},
    "degrade_grammar": 1.0,
    "enable_protections": True,
    "question_mode": "enabled",
    "user_display_name": "Max",
    "bot_display_name": "Angela",
    "prompt": None,
    "segment": None,
}
WEBHOOK_PATH = "/inbox/chat/reply?token=s3cr%2Bt~42&chat=57"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: who did what, when (milliseconds from the request), and its details."""

    at_milliseconds: float
    who: str
    what: str
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class Story:
    """One request from the client's hand to the client's webhook.

    `fields` are the request's, by what became of them; `losses` is what the answer named as lost.
    """

    request: dict[str, Any]
    upstream: str = "V3"
    acknowledgement: dict[str, Any] = field(default_factory=dict)
    losses: str | None = None
    plan: str = ""
    conversation_id: str = ""
    drawn_seconds: float = 0.0
    fields: dict[str, list[str]] = field(default_factory=dict)
    upstream_calls: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    delivery: dict[str, Any] | None = None
    delivered_after_seconds: float | None = None
    arrived_in_window: bool = False
    events: list[Event] = field(default_factory=list)


class MappingLog:
    """Where the gateway's log goes during the demo: kept, so that the story can be told from it."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        """Take what the logger writes: whole lines of JSON."""
        self.lines.extend(json.loads(line) for line in text.splitlines() if line)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def find(self, event: str) -> Iterator[dict[str, Any]]:
        """Give the lines of one event."""
        return (line for line in self.lines if line.get("event") == event)


class Sandbox:
    """The sandbox's journals: what it was called with, what it called, what its inbox got, from now on."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client
        self._seen: dict[str, int] = {}

    async def mark(self) -> None:
        """Take all that has happened so far as known."""
        for name, path in (
            ("calls", "/sandbox/calls"),
            ("callbacks", "/sandbox/callbacks"),
            ("deliveries", "/inbox.json"),
        ):
            self._seen[name] = (await self._client.get(self._url + path)).json()["last"]

    async def calls(self) -> list[dict[str, Any]]:
        """Give the API calls that came."""
        return await self._entries("calls", f"/sandbox/calls?since={self._seen['calls']}")

    async def callbacks(self) -> AsyncIterator[dict[str, Any]]:
        """Give the callbacks as they go out, without end."""
        while True:
            path = f"/sandbox/callbacks/wait?since={self._seen['callbacks']}&timeout={PATIENCE_SECONDS}"
            for callback in await self._entries("callbacks", path):
                self._seen["callbacks"] = callback["n"]
                yield callback

    async def receives(self) -> AsyncIterator[dict[str, Any]]:
        """Give the calls that let the bot speak as they end, without end."""
        while True:
            path = f"/sandbox/calls/wait?since={self._seen['calls']}&path=*/receive&timeout={PATIENCE_SECONDS}"
            for call in await self._entries("calls", path):
                self._seen["calls"] = call["n"]
                yield call

    async def delivery(self) -> dict[str, Any] | None:
        """Wait for the inbox's next delivery; None when none comes within `PATIENCE_SECONDS`."""
        path = f"/inbox/wait?after={self._seen['deliveries']}&timeout={PATIENCE_SECONDS}"
        return next(iter(await self._entries("deliveries", path)), None)

    async def _entries(self, name: str, path: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = (await self._client.get(self._url + path)).json()[name]
        return entries


class Narrator:
    """Puts what happened into the story, and tells it."""

    def __init__(self, story: Story, tell: Callable[[Event], None]) -> None:
        self.story = story
        self.began = time.time()
        self._tell = tell

    def note(self, who: str, what: str, at: float | str, *details: str) -> None:
        """Note one thing that happened at a moment: Unix seconds, or as the journals write it."""
        event = Event(round(self.since(at) * 1000, 1), who, what, details)
        self.story.events.append(event)
        self._tell(event)

    def note_call(self, call: dict[str, Any]) -> None:
        """Note a call of the gateway's to the upstream."""
        self.story.upstream_calls.append(call)
        details = _describe_body(call, self.story.upstream)
        who = "gateway → V3" if self.story.upstream == "V3" else f"→ {self.story.upstream}"
        self.note(who, _describe_call(call), call["at"], *details)

    def since(self, at: float | str) -> float:
        """Give the seconds from the beginning to a moment."""
        return (datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at) - self.began


async def follow(
    log: MappingLog,
    gateway_url: str,
    sandbox_url: str,
    *,
    tell: Callable[[Event], None],
    upstream: fates.Upstream = "v3",
) -> Story:
    """Send the request and follow it until its reply is in the inbox; each event is told as it comes."""
    story = Story(REQUEST | {"webhook": sandbox_url + WEBHOOK_PATH}, upstream=parity.TITLES[upstream])
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS + 5, trust_env=False) as client:
        sandbox = Sandbox(sandbox_url, client)
        await sandbox.mark()
        narrator = Narrator(story, tell)
        narrator.note("client → gateway", "POST /v2/complete", narrator.began, *_describe_request(story.request))
        answer = await client.post(
            f"{gateway_url}/v2/complete", json=story.request, headers={"Authorization": f"Bearer {API_KEY}"}
        )
        answered = time.time()
        for call in await sandbox.calls():
            if not call["path"].endswith("/receive"):  # told when it has ended
                narrator.note_call(call)
        _note_answer(narrator, answer, answered)
        accepted = next(log.find("turn.accepted"), None)
        if answer.status_code == 200 and accepted:
            _note_translation(narrator, accepted, answered)
            await _follow_reply(narrator, sandbox, pushed=upstream == "v3")
    return story


def _note_answer(narrator: Narrator, answer: httpx.Response, at: float) -> None:
    story = narrator.story
    story.acknowledgement = {"status": answer.status_code, "body": answer.json()}
    story.losses = answer.headers.get(receipt.HEADER)
    details = [_spaced(answer.text)] + ([f"{receipt.HEADER}: {story.losses}"] if story.losses else [])
    narrator.note("gateway → client", f"{answer.status_code} {answer.reason_phrase}", at, *details)


def _note_translation(narrator: Narrator, accepted: dict[str, Any], at: float) -> None:
    story = narrator.story
    story.plan = accepted["plan"]
    story.conversation_id = accepted["upstream"]["conversation_id"]
    story.drawn_seconds = accepted["window"]["drawn"]
    story.fields = {fate: names for fate, names in accepted["fields"].items() if isinstance(names, list)}
    fates = (f"{fate + ':':13} {', '.join(names)}" for fate, names in story.fields.items() if names)
    narrator.note("gateway", "what becomes of the request's fields", at, *fates)
    window = f"{story.request['min_delay']:g} to {story.request['max_delay']:g} s"
    narrator.note("gateway", f"draws {story.drawn_seconds:.2f} s from the window of {window}", at)


async def _follow_reply(narrator: Narrator, sandbox: Sandbox, *, pushed: bool) -> None:
    story = narrator.story

    async def hear() -> None:
        if not pushed:
            async for call in sandbox.receives():
                narrator.note_call(call)
        async for callback in sandbox.callbacks():
            story.callbacks.append(callback)
            text = _quoted(callback["json"]["message"]["text"])
            narrator.note("V3 → gateway", f"callback {len(story.callbacks)}: {text}", callback["at"])

    hearing = asyncio.create_task(hear())
    try:
        story.delivery = await sandbox.delivery()
    finally:
        hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hearing
    if story.delivery:
        at = story.delivery["received_at"]
        after = narrator.since(at)
        story.delivered_after_seconds = round(after, 3)
        story.arrived_in_window = story.request["min_delay"] <= after <= story.request["max_delay"] + LATEST_SECONDS
        narrator.note("gateway → webhook", f"POST {_webhook_of(story.delivery)}", at, _spaced(story.delivery["body"]))


def _describe_request(request: dict[str, Any]) -> tuple[str, ...]:
    history = request["messages"]
    segments = sum(len(item["content"]) for item in history)
    window = f"{request['min_delay']:g} to {request['max_delay']:g} s"
    return (
        f"bot {request['bot_id']}",
        f"user {request['user_id']}",
        f"says {_quoted(request['message'])}, after a history of {len(history)} items with {segments} segments",
        f"wants the reply {window} from now, at {request['webhook']}",
    )


def _describe_call(call: dict[str, Any]) -> str:
    path = _shortened(call["path"]) + ("?…" if call["query"] else "")
    return f"{call['method']} {path} → {call['status']} in {call['milliseconds']:.1f} ms"


def _describe_body(call: dict[str, Any], upstream: str = "V3") -> tuple[str, ...]:
    """Say what a call to the upstream is for, in as many lines as that takes."""
    return tuple(_purposes(call, upstream))


def _purposes(call: dict[str, Any], upstream: str) -> Iterator[str]:
    match call["method"], call["json"]:
        case "GET", _:
            yield f"looks for what {upstream} has of this bot and user"
        case _, {"with_messages": messages, **rest}:
            said = (f"{'bot' if one['from_bot'] else 'user'} {_quoted(one['text'])}" for one in messages)
            yield f"creates the conversation with the client's history: {', '.join(said)}"
            yield from _describe_rest(rest)
        case _, {"messages": messages}:
            said = (f"{one['type']} {_quoted(one['text'])}" for one in messages)
            yield f"creates the conversation with the client's history: {', '.join(said)}"
        case _, {"message": {"text": text}} | {"text": text}:
            yield f"adds the user's new message {_quoted(text)}"
        case _, {"extensions": {"backstory": backstory}}:
            yield "lets the bot speak, and tells it for this call only:"
            yield from backstory.splitlines()
        case _, {**body}:
            yield from _describe_rest(body)
        case _:
            pass


def _describe_rest(body: Mapping[Any, Any]) -> Iterator[str]:
    if "webhook" in body:
        yield f"callbacks to {_shortened(body['webhook'])}"
    told = ", ".join(
        name for name in body if name in {"attributes", "freeform", "meta", "platform", "segment", "username"}
    )
    if told:
        yield f"says what V1 was told of the chat, in {told}"


def _webhook_of(delivery: dict[str, Any]) -> str:
    return f"/inbox{delivery['path']}" + (f"?{delivery['query']}" if delivery["query"] else "")


def _shortened(path: str) -> str:
    """Leave of long names in a path as much as tells them apart."""
    return re.sub(r"(/[\w-]{8})[\w-]{16,}", r"\1…", path)


def _spaced(body: str) -> str:
    """Give JSON with the spaces at which lines may end."""
    return json.dumps(json.loads(body), ensure_ascii=False)


def _quoted(text: str) -> str:
    return f"«{text}»"
