"""Every upstream behind the same face: a scenario is written once, and runs over each of them."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pytest

from gateway.sandbox.chatbotkit.driver import ChatBotKitDriver
from gateway.store import Store
from tests.flows.conftest import World, running_world

Said = tuple[str, str]
"""Who said what: `bot` or `user`, and the text."""


class Side(Protocol):
    """What a scenario sees of an upstream, and how it has its way with it."""

    dialect: str
    posts: str
    """The path of the call that adds the user's message, as a glob."""
    creations: str
    """The path of the call that creates a conversation, as a glob."""

    async def script(self, text: str) -> None:
        """Have the next reply be this."""

    async def transcripts(self) -> dict[str, list[Said]]:
        """Give what every conversation holds, by its id."""

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation behind the gateway's back."""


class V3Side:
    """V3, which pushes its replies."""

    dialect = "v3"
    posts = "/api/conversations/*/messages"
    creations = "/api/conversations"

    def __init__(self, world: World) -> None:
        self._sandbox = world.sandbox

    async def script(self, text: str) -> None:
        await self._sandbox.script(text)

    async def transcripts(self) -> dict[str, list[Said]]:
        return {
            one["id"]: [("bot" if message["from_bot"] else "user", message["text"]) for message in one["messages"]]
            for one in await self._sandbox.conversations()
        }

    async def delete(self, conversation_id: str) -> None:
        await self._sandbox.delete(conversation_id)


class ChatBotKitSide:
    """ChatBotKit, whose replies are pulled."""

    dialect = "chatbotkit"
    posts = "/v1/conversation/*/send"
    creations = "/v1/conversation/create"

    def __init__(self, world: World) -> None:
        self._bots = ChatBotKitDriver(world.sandbox._http)

    async def script(self, text: str) -> None:
        await self._bots.script(text)

    async def transcripts(self) -> dict[str, list[Said]]:
        return {
            one["id"]: [(said["type"], said["text"]) for said in one["messages"] if said["type"] in {"user", "bot"}]
            for one in await self._bots.conversations()
        }

    async def delete(self, conversation_id: str) -> None:
        await self._bots.delete(conversation_id)


SIDES: Mapping[str, Callable[[World], Side]] = {"v3": V3Side, "chatbotkit": ChatBotKitSide}


@dataclass(frozen=True, slots=True)
class Gate:
    """A gateway before one upstream."""

    world: World
    side: Side

    async def transcript(self) -> list[Said]:
        """Give what the one conversation that there is holds."""
        [said] = (await self.side.transcripts()).values()
        return said

    async def delete_all(self) -> None:
        """Delete all conversations behind the gateway's back."""
        for conversation_id in await self.side.transcripts():
            await self.side.delete(conversation_id)

    async def post_count(self) -> int:
        """Tell how often a user's message was sent."""
        return len(await self.world.sandbox.calls(method="POST", path=self.side.posts))


@pytest.fixture(params=SIDES)
async def gate(request: pytest.FixtureRequest, store: Store, store_url: str) -> AsyncIterator[Gate]:
    """Run a gateway before each of the upstreams."""
    async with running_world(store_url, upstream=request.param) as world:
        yield Gate(world, SIDES[request.param](world))
