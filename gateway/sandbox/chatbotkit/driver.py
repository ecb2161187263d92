"""Driving the emulator of ChatBotKit from a test or a demo."""

from typing import Any

import httpx

from gateway.sandbox.chatbotkit.bots import Reply
from gateway.sandbox.chatbotkit.control import ROOT


class ChatBotKitDriver:
    """What its control surface offers, as awaited calls. `http` has the sandbox's base URL."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def script(self, text: str | None = None, **details: Any) -> None:
        """Lay out a coming reply; `details` are the fields of `Reply`."""
        reply = Reply(text=text, **details)
        (await self._http.post(f"{ROOT}/replies", json=reply.model_dump(mode="json"))).raise_for_status()

    async def conversations(self) -> list[dict[str, Any]]:
        """Return every conversation in full, with its messages."""
        answer = (await self._http.get(f"{ROOT}/conversations")).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["conversations"]
        return found

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation behind the client's back."""
        (await self._http.delete(f"{ROOT}/conversations/{conversation_id}")).raise_for_status()
