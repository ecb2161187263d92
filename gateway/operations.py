"""What operators ask of a process: whether it lives, whether to send it requests, and its metrics."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import errors, metrics
from gateway.draining import Drain
from gateway.store import Store

RETRY_AFTER_DRAIN_SECONDS = 2

_FINE = b'{"status":"ok"}'


class Operations:
    """The endpoints that every process has, whatever else it serves."""

    def __init__(self, store: Store, drain: Drain) -> None:
        self._store = store
        self._drain = drain

    def routes(self) -> list[Route]:
        """Give the routes."""
        return [
            Route("/livez", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def live(self, _request: Request) -> Response:
        """GET /livez: the process answers."""
        return Response(_FINE, media_type="application/json")

    async def ready(self, _request: Request) -> Response:
        """GET /readyz: it can do its work: the store answers, and no drain has begun."""
        if self._drain.began:
            raise errors.Draining("this process is draining", retry_after_seconds=RETRY_AFTER_DRAIN_SECONDS)
        await self._store.ping()
        return Response(_FINE, media_type="application/json")

    async def metrics(self, _request: Request) -> Response:
        """GET /metrics, for Prometheus; over all workers of this server."""
        body, media_type = metrics.render()
        return Response(body, headers={"Content-Type": media_type})
