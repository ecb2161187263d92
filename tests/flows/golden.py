"""Stories told through the real gateway, and what of them is written down: everything that crossed a wire.

A story's hosts and ids are stable names. On the way in `https://chat.example.com` becomes the sandbox's inbox; on the
way out ports, ids, tokens and times become names again, so that two runs of one story give the same records.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict

from gateway import logs
from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver
from gateway.sandbox.v3.pictures import png
from tests.flows.conftest import KEY, World

CLIENT, GATEWAY, UPSTREAM = "https://chat.example.com", "https://gateway.example.com", "https://upstream.example.com"

HEADERS = ("retry-after", "translation-losses")
"""What an answer's head says beside its status, as far as it concerns the translation."""

MAX_SECONDS = 120
"""How far a time of this run may be from now."""

TIMES = frozenset({"sent_at", "timestamp"})

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TOKEN = re.compile(r"(/callbacks/v3/|/content/)[\w.~-]+")
_DERIVED = re.compile(r"~r[0-9a-f]{8}\b")


class Step(BaseModel):
    """One step of a story: one of its verbs, with what belongs to it.

    `send` is a request's body, or the file that holds it, as seen from the story's directory; the bot answers it with
    the segments in `reply`. `upload` is what a user's picture shows. `pass_seconds` moves the relay's clock, `webhooks`
    waits until the client has got as many in all.
    """

    model_config = ConfigDict(extra="forbid")

    send: dict[str, Any] | str | None = None
    headers: dict[str, str] = {}
    reply: list[str] = []
    upload: str | None = None
    pass_seconds: int | None = None
    webhooks: int | None = None


class Story(BaseModel):
    """A case: what it shows, the settings of its gateway, and its steps."""

    model_config = ConfigDict(extra="forbid")

    about: str
    upstream: Literal["v3", "chatbotkit"] = "v3"
    settings: dict[str, Any] = {}
    steps: list[Step]


class Lines(list[dict[str, Any]]):
    """The lines of the process's log, as they are written."""

    def write(self, text: str) -> None:
        """Take one line."""
        self.append(json.loads(text))

    def flush(self) -> None:
        """Hold nothing back."""


@dataclass
class Teller:
    """Tells one story in one world; `files` holds the requests that its steps name."""

    world: World
    story: Story
    files: Mapping[str, Any]
    answers: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    seen: int = 0
    """Replies that have come from the upstream so far."""

    async def tell(self) -> dict[str, Any]:
        """Give the records of the story, by the names of their files."""
        log = Lines()
        logs.configure(stream=log)
        try:
            for step in self.story.steps:
                await self._take(step, log)
            await self.world.settled()
        finally:
            logs.configure()
        names = await self._names()
        records = {
            "answers": self.answers,
            "upstream_calls": [_call(one) for one in await self.world.sandbox.calls()],
            "callbacks": [_callback(one) for one in await self.world.sandbox.callbacks()],
            "webhooks": [_webhook(one) for one in await self.world.sandbox.deliveries()],
            "mapping_log": [_line(one) for one in log if one["event"].startswith("turn.")],
        }
        return {name: names.of(record) for name, record in records.items() if record}

    async def _take(self, step: Step, log: Sequence[Mapping[str, Any]]) -> None:
        if step.upload is not None:
            answer = await self._post("/v2/user_content", png(step.upload), {"Content-Type": "image/png"})
            self.pictures.append(answer.json()["id"])
        if step.send is not None:
            await self._send(step, log)
        if step.pass_seconds is not None:
            self.world.pass_time(timedelta(seconds=step.pass_seconds))
        if step.webhooks is not None:
            await self.world.sandbox.deliveries(step.webhooks)
            await self.world.settled()

    async def _send(self, step: Step, log: Sequence[Mapping[str, Any]]) -> None:
        request = self.files[step.send] if isinstance(step.send, str) else step.send
        if step.reply and self.story.upstream == "v3":
            await self.world.sandbox.script(*step.reply)
        for text in step.reply if self.story.upstream == "chatbotkit" else ():
            await ChatBotKitDriver(self.world.sandbox._http).script(text)
        body = json.dumps(request, ensure_ascii=False).replace(CLIENT, f"{self.world.sandbox_url}/inbox")
        for number, picture in enumerate(self.pictures, 1):
            body = body.replace(f"<picture {number}>", picture)
        await self._post("/v2/complete", body.encode(), {"Content-Type": "application/json", **step.headers})
        self.seen += len(step.reply)
        if self.story.upstream == "v3":
            await self.world.sandbox.callbacks(self.seen)
            await self.world.sandbox.idle()
        else:
            async with asyncio.timeout(10):
                while sum(line["event"] == "reply.pulled" for line in log) < self.seen:
                    await asyncio.sleep(0.01)

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        answer = await self.world.http.post(
            self.world.url + path, content=body, headers={"Authorization": f"Bearer {KEY}", **headers}
        )
        said = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        self.answers.append(
            {"status": answer.status_code, **({"headers": said} if said else {}), "body": answer.json()}
        )
        return answer

    async def _names(self) -> "Names":
        if self.story.upstream == "v3":
            conversations = await self.world.sandbox.conversations()
        else:
            conversations = await ChatBotKitDriver(self.world.sandbox._http).conversations()
        turns = dict.fromkeys(body["message_id"] for one in self.answers if "message_id" in (body := one["body"]))
        messages = [said["id"] for one in conversations for said in one["messages"] if said["id"] is not None]
        held = json.dumps([step.model_dump() for step in self.story.steps]) + json.dumps(dict(self.files))
        hosts = {
            f"{self.world.sandbox_url}/inbox": CLIENT,
            self.world.url: GATEWAY,
            self.world.sandbox_url: UPSTREAM,
        }
        return Names(
            hosts
            | dict(_numbered("turn", turns))
            | dict(_numbered("conversation", [one["id"] for one in conversations]))
            | dict(_numbered("picture", self.pictures))
            | dict(_numbered("message", messages)),
            frozenset(_UUID.findall(held)),
        )


class Names:
    """Stable names for what differs from run to run. `known` are by value; `kept` are the ids of the story itself."""

    def __init__(self, known: Mapping[str, str], kept: frozenset[str]) -> None:
        self._known = dict(known)
        self._kept = kept

    def of(self, value: Any) -> Any:
        """Give the value with names in it. Times of one body are told by their distance to its last one."""
        return self._name(value, max(_times(value), default=0)) if isinstance(value, dict) else self._each(value)

    def _each(self, values: Any) -> Any:
        return [self.of(value) for value in values]

    def _name(self, value: Any, now: float) -> Any:
        match value:
            case dict():
                return {
                    key: _time(item, now) if key in TIMES and item is not None else self._name(item, now)
                    for key, item in value.items()
                }
            case list():
                return [self._name(item, now) for item in value]
            case str():
                return self._text(value)
            case _:
                return value

    def _text(self, text: str) -> str:
        for value, name in self._known.items():
            text = text.replace(value, name)
        text = _TOKEN.sub(r"\1<token>", text)
        text = _DERIVED.sub("~r<digest>", text)
        return _UUID.sub(self._id, text)

    def _id(self, found: re.Match[str]) -> str:
        if found[0] in self._kept:
            return found[0]
        number = 1 + sum(name.startswith("<id ") for name in self._known.values())
        return self._known.setdefault(found[0], f"<id {number}>")


def _numbered(kind: str, values: Any) -> Iterator[tuple[str, str]]:
    return ((value, f"<{kind} {number}>") for number, value in enumerate(values, 1))


def _times(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _times(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in TIMES and item is not None:
                assert abs(item - time.time()) < MAX_SECONDS, f"{key}: {item} is no time of this run"
                yield item
            else:
                yield from _times(item)


def _time(value: float, now: float) -> str:
    return "<now>" if value == now else f"<now - {now - value:g} s>"


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    query = f"?{call['query']}" if call["query"] else ""
    body = {} if call["json"] is None else {"body": call["json"]}
    return {"call": f"{call['method']} {call['path']}{query}", **body, "status": call["status"]}


def _callback(callback: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": callback["url"],
        "body": callback["json"],
        "answered": [attempt["status"] for attempt in callback["attempts"]],
    }


def _webhook(delivery: Mapping[str, Any]) -> dict[str, Any]:
    query = f"?{delivery['query']}" if delivery["query"] else ""
    return {"url": CLIENT + delivery["path"] + query, "body": delivery["json"]}


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the mapping log says of the history: its verdict, what was done, and what was lost."""
    told = {name: line[name] for name in ("event", "plan", "verdict", "reconciled")}
    return told | ({"error": line["error"]} if "error" in line else {})
