"""`gateway demo`: store, sandbox and gateway together, and the story of one V1 request, told with its timings."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import httpx

from gateway import app, logs, sandbox, server, settings

API_KEY = "demo-key"
WINDOW_SECONDS = (3.0, 5.0)
PATIENCE_SECONDS = 30

# The shape of a real production request, with neutral small talk.
REQUEST: dict[str, Any] = {
    "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83",
    "user_id": "306066b7-e47a-405b-8726-ccec362858ac",
    "conversation_id": "chat-57-10628047-21400194",
    "message": "Hola",
    "messages": [
        {"bot": True, "content": ["¡Hola! Soy Angela.", "¿Qué tal tu día?"]},
        {"bot": True, "content": ["Aquí hace sol, por fin."]},
    ],
    "min_delay": WINDOW_SECONDS[0],
    "max_delay": WINDOW_SECONDS[1],
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
    """One request from the client's hand to the client's webhook."""

    request: dict[str, Any]
    acknowledgement: dict[str, Any] = field(default_factory=dict)
    plan: str = ""
    conversation_id: str = ""
    drawn_seconds: float = 0.0
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


async def run(*, once: bool, as_json: bool, port: int, sandbox_port: int) -> bool:
    """Tell the story, then stay up until interrupted unless it is only `once`; tell whether the reply came in time."""
    log = MappingLog()
    async with _everything(log, port, sandbox_port) as (gateway_url, sandbox_url):
        if not as_json:
            click.echo(_introduction(gateway_url, sandbox_url))
        story = await tell(log, gateway_url, sandbox_url, live=not as_json)
        if as_json:
            click.echo(json.dumps(asdict(story), ensure_ascii=False, indent=2))
        else:
            click.echo(_conclusion(story))
        if not once:
            click.echo(_invitation(gateway_url, sandbox_url), err=as_json)
            await asyncio.Event().wait()
    return story.arrived_in_window


@contextlib.asynccontextmanager
async def _everything(log: MappingLog, port: int, sandbox_port: int) -> AsyncIterator[tuple[str, str]]:
    async with contextlib.AsyncExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        pace = sandbox.SandboxSettings()
        sandbox_url = await stack.enter_async_context(sandbox.serve(pace, port=sandbox_port))
        effective = settings.load(
            v3_url=sandbox_url,
            public_url=f"http://127.0.0.1:{port}",
            port=port,
            redis_url="",
            data_dir=data_dir,
            webhook_allow="127.0.0.0/8",
            log_format="json",
            log_level="INFO",
        )
        application = app.create_app(effective, configure_logs=lambda: logs.configure("INFO", "json", stream=log))
        yield await stack.enter_async_context(server.running(application, port=port)), sandbox_url


async def tell(log: MappingLog, gateway_url: str, sandbox_url: str, *, live: bool) -> Story:
    """Send the request and follow it until its reply is in the inbox; `live` prints each event as it comes."""
    request = REQUEST | {"webhook": sandbox_url + WEBHOOK_PATH}
    story = Story(request)
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS + 5, trust_env=False) as client:
        seen = {name: await _last(client, url) for name, url in _journals(sandbox_url).items()}
        began = time.time()

        def happened(who: str, what: str, at: float | str, *details: str) -> None:
            moment = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at
            event = Event(round((moment - began) * 1000, 1), who, what, details)
            story.events.append(event)
            if live:
                click.echo(_line(event))

        happened("client", "POST /v2/complete", began, *_describe_request(request))
        answer = await client.post(
            f"{gateway_url}/v2/complete", json=request, headers={"Authorization": f"Bearer {API_KEY}"}
        )
        answered = time.time()
        story.acknowledgement = {"status": answer.status_code, "body": answer.json()}
        for call in await _entries(client, f"{sandbox_url}/sandbox/calls?since={seen['calls']}", "calls"):
            story.upstream_calls.append(call)
            happened("gateway → V3", _describe_call(call), call["at"], *_describe_call_body(call))
        happened("gateway → client", f"{answer.status_code} {answer.text}", answered)
        accepted = next(log.find("turn.accepted"), None)
        if answer.status_code != 200 or accepted is None:
            return story
        story.plan = accepted["plan"]
        story.conversation_id = accepted["upstream"]["conversation_id"]
        story.drawn_seconds = accepted["window"]["drawn"]
        low, high = request["min_delay"], request["max_delay"]
        happened("gateway", f"draws a delay of {story.drawn_seconds:.2f} s from {low:g} to {high:g} s", answered)

        inbox = asyncio.create_task(_wait(client, f"{sandbox_url}/inbox/wait?after={seen['inbox']}", "deliveries"))
        taken = seen["callbacks"]
        while not inbox.done():
            entries = await _entries(
                client, f"{sandbox_url}/sandbox/callbacks/wait?since={taken}&timeout=0.5", "callbacks"
            )
            for callback in entries:
                taken = callback["n"]
                story.callbacks.append(callback)
                text = callback["json"]["message"]["text"]
                happened("V3 → gateway", f"callback {len(story.callbacks)}: {text!r}", callback["at"])
        for delivery in await inbox:
            story.delivery = delivery
            at = datetime.fromisoformat(delivery["received_at"]).timestamp()
            story.delivered_after_seconds = round(at - began, 3)
            story.arrived_in_window = low <= at - began <= high + 1
            happened("gateway → webhook", f"POST {_webhook_of(delivery)}", at, delivery["body"])
    return story


def _journals(sandbox_url: str) -> dict[str, str]:
    return {
        "calls": f"{sandbox_url}/sandbox/calls",
        "callbacks": f"{sandbox_url}/sandbox/callbacks",
        "inbox": f"{sandbox_url}/inbox.json",
    }


async def _last(client: httpx.AsyncClient, url: str) -> int:
    number: int = (await client.get(url)).json()["last"]
    return number


async def _entries(client: httpx.AsyncClient, url: str, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await client.get(url)).json()[name]
    return entries


async def _wait(client: httpx.AsyncClient, url: str, name: str) -> list[dict[str, Any]]:
    return await _entries(client, f"{url}&timeout={PATIENCE_SECONDS}", name)


def _describe_request(request: dict[str, Any]) -> tuple[str, ...]:
    segments = sum(len(item["content"]) for item in request["messages"])
    return (
        f"bot {request['bot_id']}, user {request['user_id']}",
        f"message {request['message']!r}, history of {len(request['messages'])} items with {segments} segments",
        f"reply wanted at {request['webhook']}",
        f"between {request['min_delay']:g} and {request['max_delay']:g} s from now",
    )


def _describe_call(call: dict[str, Any]) -> str:
    path = call["path"] + ("?…" if call["query"] else "")
    return f"{call['method']} {path} → {call['status']} in {call['milliseconds']:.1f} ms"


def _describe_call_body(call: dict[str, Any]) -> tuple[str, ...]:
    body = call["json"]
    match body:
        case {"with_messages": messages}:
            texts = ", ".join(f"{'bot' if message['from_bot'] else 'user'} {message['text']!r}" for message in messages)
            return (f"creates the conversation with the client's history: {texts}", f"callbacks to {body['webhook']}")
        case {"message": message}:
            return (f"adds the user's new message {message['text']!r}",)
        case {"webhook": webhook}:
            return (f"callbacks to {webhook}",)
        case _ if call["method"] == "GET":
            return ("looks for a conversation of this bot and user",)
        case _:
            return ()


def _webhook_of(delivery: dict[str, Any]) -> str:
    return f"/inbox{delivery['path']}" + (f"?{delivery['query']}" if delivery["query"] else "")


def _line(event: Event) -> str:
    stamp = click.style(f"{event.at_milliseconds / 1000:8.3f} s", fg="bright_black")
    lines = [f"{stamp}  {click.style(f'{event.who:18}', fg='cyan')} {event.what}"]
    lines += [" " * 31 + click.style(detail, fg="bright_black") for detail in event.details]
    return "\n".join(lines)


def _introduction(gateway_url: str, sandbox_url: str) -> str:
    return (
        f"The gateway is at {gateway_url}, the sandbox (V3 and the webhook inbox) at {sandbox_url}, "
        "the store is embedded.\nOne request of a V1 client, end to end:\n"
    )


def _conclusion(story: Story) -> str:
    low, high = story.request["min_delay"], story.request["max_delay"]
    if story.delivery is None:
        return click.style(f"\nNo reply came within {PATIENCE_SECONDS} s.", fg="red")
    came = f"{story.delivered_after_seconds:.2f} s after the request"
    told = f"\nThe reply came {came}; its window was {low:g} to {high:g} s."
    return click.style(told, fg="green" if story.arrived_in_window else "red")


def _invitation(gateway_url: str, sandbox_url: str) -> str:
    return (
        f"\nIt stays up for more (Ctrl-C ends it):\n"
        f"  the inbox          {sandbox_url}/inbox\n"
        f"  what V3 holds      {sandbox_url}/conversations\n"
        f"  another request    curl {gateway_url}/v2/complete -H 'Authorization: Bearer {API_KEY}' "
        "-H 'Content-Type: application/json' \\\n"
        f"""                       -d '{{"bot_id": "{REQUEST["bot_id"]}", "user_id": "you", "message": "Hi", """
        f""""webhook": "{sandbox_url}/inbox/mine", "min_delay": 1, "max_delay": 2}}'"""
    )
