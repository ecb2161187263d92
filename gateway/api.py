"""The endpoints that the other sides call: V1's clients, and the upstream with its replies."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import direct
from gateway.bodies import Bodies
from gateway.callbacks import Callbacks
from gateway.complete import Complete
from gateway.exchange import Answer, Incoming, last_segment

COMPLETE: Final = "/v2/complete"

Endpoint: TypeAlias = Callable[[Incoming, str], Awaitable[Answer]]
"""Takes a request, whichever way it came, and its id."""


class Api:
    """The endpoints over the flows; `dialect` names the upstream whose callbacks are taken."""

    def __init__(self, *, dialect: str, complete: Complete, callbacks: Callbacks, bodies: Bodies) -> None:
        self._complete = complete
        self._callbacks = callbacks
        self._bodies = bodies
        self._endpoints: dict[str, Endpoint] = {
            COMPLETE: complete,
            f"/callbacks/{dialect}/{{token}}": self._callback,
        }

    def routes(self) -> list[Route]:
        """Give the routes."""
        return [Route(path, _as_asgi(endpoint), methods=["POST"]) for path, endpoint in self._endpoints.items()]

    def direct_routes(self, serving: set[asyncio.Task[object]]) -> direct.Routes:
        """Give the same routes, to be served past ASGI where the server can; their tasks are in `serving`."""
        return {
            (b"POST", path.removesuffix("{token}").encode()): direct.Route("POST", path, endpoint, serving).serve
            for path, endpoint in self._endpoints.items()
        }

    async def _callback(self, request: Incoming, _request_id: str) -> Answer:
        """POST /callbacks/{dialect}/{token}: take one segment of a reply."""
        body = await self._bodies.read(request)
        await self._callbacks.receive(last_segment(request), body)
        return Answer(b'{"status":"ok"}')


def _as_asgi(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return (await endpoint(request, request.state.request_id)).as_response()

    return serve
