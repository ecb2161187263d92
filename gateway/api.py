"""The endpoints that the other sides call: V1's clients, and the upstream with its replies."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import direct
from gateway.bodies import Bodies
from gateway.callbacks import Callbacks
from gateway.complete import Complete
from gateway.exchange import JSON

COMPLETE: Final = "/v2/complete"


class Api:
    """The endpoints over the flows."""

    def __init__(self, *, complete: Complete, callbacks: Callbacks, bodies: Bodies) -> None:
        self._complete = complete
        self._callbacks = callbacks
        self._bodies = bodies

    def routes(self, dialect: str) -> list[Route]:
        """Give the routes; `dialect` names the upstream whose callbacks are taken."""
        return [
            Route(COMPLETE, self.complete, methods=["POST"]),
            Route(f"/callbacks/{dialect}/{{token}}", self.callback, methods=["POST"]),
        ]

    def direct_routes(self, serving: set[asyncio.Task[object]]) -> direct.Routes:
        """Give the routes that are served past ASGI where the server can; their tasks are in `serving`."""
        return {(b"POST", COMPLETE.encode()): direct.Route("POST", COMPLETE, self._complete, serving).serve}

    async def complete(self, request: Request) -> Response:
        """POST /v2/complete: take the turn; acknowledge it, or wait for its answer where it has no webhook."""
        return (await self._complete(request, request.state.request_id)).as_response()

    async def callback(self, request: Request) -> Response:
        """POST /callbacks/{dialect}/{token}: take one segment of a reply."""
        body = await self._bodies.read(request)
        await self._callbacks.receive(request.path_params["token"], body)
        return Response(b'{"status":"ok"}', media_type=JSON)
