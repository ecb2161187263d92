"""Reads the upstream's log while it grows: its journals are bounded, and what is deleted there is gone."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from gateway.sandbox.driver import Driver
from tests.chaos.records import Call, Callback, Conversation, Spoken

PAUSE_SECONDS = 1.0

Raw = dict[str, Any]


class Collector:
    """The upstream's calls, callbacks and conversations, each as it was last seen."""

    def __init__(self, sandbox: Driver) -> None:
        self._sandbox = sandbox
        self._calls: dict[int, Raw] = {}
        self._callbacks: dict[int, Raw] = {}
        self._conversations: dict[str, Raw] = {}

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self) -> None:
        """Take what is new, and once more what had not ended."""
        for found, read in ((self._calls, self._sandbox.calls), (self._callbacks, self._sandbox.callbacks)):
            fresh = await read(since=_complete_until(found))
            found.update((item["n"], item) for item in fresh)

    async def look_at_conversations(self) -> None:
        """Take all conversations as they are now; those that are gone stay as they were."""
        self._conversations.update((item["id"], item) for item in await self._sandbox.conversations())

    @property
    def calls(self) -> Sequence[Call]:
        """All calls, in the order in which they came."""
        return [_call(self._calls[number]) for number in sorted(self._calls)]

    @property
    def callbacks(self) -> Sequence[Callback]:
        """All callbacks, in the order in which they were first sent."""
        return [_callback(self._callbacks[number]) for number in sorted(self._callbacks)]

    @property
    def conversations(self) -> Sequence[Conversation]:
        """All conversations that there were."""
        return [
            Conversation(
                id=item["id"],
                account=item["account"],
                bot=item["bot_id"],
                user=item["user_id"],
                messages=tuple(Spoken(one["id"], one["from_bot"], one["text"]) for one in item["messages"]),
            )
            for item in self._conversations.values()
        ]

    def webhook_of(self, conversation_id: str) -> str | None:
        """Give the callback URL that the gateway has given to a conversation."""
        return self._conversations.get(conversation_id, {}).get("webhook")


def _complete_until(found: dict[int, Raw]) -> int:
    """Give the number up to which everything has ended."""
    open_numbers = [number for number, item in found.items() if not _has_ended(item)]
    return min(open_numbers, default=max(found, default=0) + 1) - 1


def _has_ended(item: Raw) -> bool:
    ended: bool = item["finished"] if "finished" in item else item["state"] != "sending"
    return ended


def _call(raw: Raw) -> Call:
    body = raw["json"] if isinstance(raw["json"], dict) else {}
    message = body.get("message")
    pair = (body["bot_id"], body["user_id"]) if "bot_id" in body and "user_id" in body else None
    if raw["query"]:
        query = parse_qs(raw["query"])
        pair = (query.get("bot_id", [""])[0], query.get("user_id", [""])[0])
    return Call(
        at=_seconds(raw["at"]),
        method=raw["method"],
        path=raw["path"],
        account=raw["account"],
        status=raw["status"],
        fault=raw["fault"],
        pair=pair,
        posted=(message["from_bot"], message["text"]) if isinstance(message, dict) else None,
        seed=tuple((one["from_bot"], one["text"]) for one in body.get("with_messages") or ()),
        body=raw["body"] + json.dumps(raw["headers"]),
    )


def _callback(raw: Raw) -> Callback:
    attempts = raw["attempts"]
    acknowledged_at = None
    if raw["state"] == "delivered":
        acknowledged_at = _seconds(attempts[-1]["at"]) + attempts[-1]["milliseconds"] / 1000
    return Callback(
        conversation=raw["conversation_id"],
        message_id=raw["message_id"] or "",
        text=raw["json"]["message"]["text"],
        state=raw["state"],
        first_at=_seconds(attempts[0]["at"]) if attempts else _seconds(raw["at"]),
        acknowledged_at=acknowledged_at,
    )


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
