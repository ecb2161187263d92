"""Fixtures of the tests of the emulated conversation API."""

import json
from typing import Any

import httpx
import pytest

from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver

ROOT = "/api/v1/conversation"


class Client:
    """A client of the conversation API that fails loudly."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, path: str, **body: Any) -> Any:
        """Make a call that must succeed, and give its JSON."""
        answer = await self.http.post(f"{ROOT}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, path: str, **query: Any) -> Any:
        """Make a call that must succeed, and give its JSON."""
        answer = await self.http.get(f"{ROOT}/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create(self, **fields: Any) -> str:
        """Create a conversation and give its id."""
        made: str = (await self.post("create", **{"botId": "b-1"} | fields))["id"]
        return made

    async def messages(self, conversation_id: str) -> list[tuple[str, str]]:
        """Give a conversation's messages by type and text, oldest first."""
        page = await self.get(f"{conversation_id}/message/list", order="asc")
        return [(one["type"], one["text"]) for one in page["items"]]

    async def lines(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Make a call that is answered by a stream of JSON lines."""
        answer = await self.http.post(f"{ROOT}/{path}", json=body, headers={"accept": "application/jsonl"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jsonl")
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def client(api: httpx.AsyncClient) -> Client:
    """Give a client with a key."""
    return Client(api)


@pytest.fixture
def bots(http: httpx.AsyncClient) -> ChatBotKitDriver:
    """Give the emulator's control surface."""
    return ChatBotKitDriver(http)
