"""The endpoints that the other sides call: V1's clients, and the upstream with its replies."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.bodies import JSON, Bodies
from gateway.callbacks import Callbacks
from gateway.complete import Complete


class Api:
    """The endpoints over the flows."""

    def __init__(self, *, complete: Complete, callbacks: Callbacks, bodies: Bodies) -> None:
        self._complete = complete
        self._callbacks = callbacks
        self._bodies = bodies

    def routes(self, dialect: str) -> list[Route]:
        """Give the routes; `dialect` names the upstream whose callbacks are taken."""
        return [
            Route("/v2/complete", self.complete, methods=["POST"]),
            Route(f"/callbacks/{dialect}/{{token}}", self.callback, methods=["POST"]),
        ]

    async def complete(self, request: Request) -> Response:
        """POST /v2/complete: take the turn; acknowledge it, or wait for its answer where it has no webhook."""
        return await self._complete(request)

    async def callback(self, request: Request) -> Response:
        """POST /callbacks/{dialect}/{token}: take one segment of a reply."""
        body = await self._bodies.read(request)
        await self._callbacks.receive(request.path_params["token"], body)
        return Response(b'{"status":"ok"}', media_type=JSON)
