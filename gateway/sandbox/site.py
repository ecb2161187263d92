"""Endpoints of the pages, and of the liveness probe."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.sandbox import pages
from gateway.sandbox.v3.state import Conversation
from gateway.sandbox.world import World


class SiteEndpoints:
    """What a person looks at."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route("/", self.overview, methods=["GET"])
        yield Route("/livez", self.livez, methods=["GET"])
        yield Route("/inbox", self.inbox, methods=["GET"])
        yield Route("/conversations", self.conversations, methods=["GET"])
        yield Route("/conversations/{conversation_id}", self.conversation, methods=["GET"])
        yield Route("/calls", self.calls, methods=["GET"])

    async def livez(self, _request: Request) -> Response:
        """Say that the process serves."""
        return PlainTextResponse("ok\n")

    async def overview(self, request: Request) -> Response:
        """Show where everything is, and what happened last."""
        world = self._world
        content = pages.overview(
            world.access.home(request) + world.settings.prefix,
            self._conversations(),
            world.deliveries.since()[::-1],
            world.calls.since()[::-1],
            request.app.routes,
        )
        return pages.respond("Overview", content)

    async def inbox(self, _request: Request) -> Response:
        """Show the newest deliveries."""
        content = pages.inbox_page(self._world.deliveries.since()[::-1])
        return pages.respond("Inbox", content, current="/inbox")

    async def conversations(self, _request: Request) -> Response:
        """List the conversations of all accounts, the newest first."""
        content = pages.conversation_list(self._conversations())
        return pages.respond("Conversations", content, current="/conversations")

    async def conversation(self, request: Request) -> Response:
        """Show one conversation."""
        found = self._world.access.accounts.conversation(request.path_params["conversation_id"])
        if found is None:
            return pages.respond("Not found", "<p>There is no such conversation.</p>", status=404)
        _, conversation = found
        content = pages.conversation_page(conversation, speaking=self._world.speaker.is_speaking(conversation))
        return pages.respond("Conversation", content, current="/conversations")

    async def calls(self, _request: Request) -> Response:
        """Show the newest API calls."""
        return pages.respond("Calls", pages.call_list(self._world.calls.since()[::-1]), current="/calls")

    def _conversations(self) -> list[Conversation]:
        return [
            conversation
            for account in self._world.access.accounts.all()
            for conversation in account.conversations.values()
        ][::-1]
