"""Routes that are served past ASGI: requests are met and answered as at the edge, with nothing in between."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect

from gateway import edge, errors, metrics
from gateway.exchange import Answer, Exchange

STATE_KEY: Final = "direct_routes"
"""Where the lifespan's state holds the `Routes`."""

Endpoint: TypeAlias = Callable[[Exchange, str], Awaitable[Answer]]
"""Takes a request and its id; raises as any endpoint does."""

Serve: TypeAlias = Callable[[Exchange], Coroutine[Any, Any, None]]

Routes: TypeAlias = dict[tuple[bytes, bytes], Serve]
"""What serves a request, by method and target as they are written in its first line.

A target that ends in a slash stands for all that have one more segment, of letters, digits, `-`, `.`, `_` and `~`.
"""

_SEGMENT = re.compile(rb"[A-Za-z0-9._~-]+")

log = structlog.get_logger(__name__)


def find(routes: Routes, method: bytes, target: bytes) -> Serve | None:
    """Find what serves a request; None where that is not done past ASGI."""
    parent, slash, segment = target.rpartition(b"/")
    if segment and (serve := routes.get((method, target))):
        return serve
    return routes.get((method, parent + slash)) if _SEGMENT.fullmatch(segment) else None


class Route:
    """One route; `serving` are the tasks whose end the process awaits."""

    def __init__(self, method: str, path: str, endpoint: Endpoint, serving: set[asyncio.Task[object]]) -> None:
        self._endpoint = endpoint
        self._serving = serving
        self._labels = {"http_request_method": method, "http_route": path}
        self._durations: dict[int, Histogram] = {}
        """By the answer's status."""

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request, as a task of its own."""
        begin = time.perf_counter()
        if task := asyncio.current_task():
            self._serving.add(task)
        request_id = edge.name_of_request(exchange.headers.getlist("x-request-id"))
        structlog.contextvars.bind_contextvars(request_id=request_id)  # for the task's life
        metrics.SERVER_ACTIVE_REQUESTS.inc()
        status = 499
        try:
            answer = await self._answer(exchange, request_id)
            status = answer.status
            if exchange.flow.write_paused:
                await exchange.readable()
            exchange.answer(answer, request_id)
        except ClientDisconnect:
            pass  # the client hung up: there is nobody to answer
        except asyncio.CancelledError:  # the server's grace period is over: this task ends here in any case
            if status == 499:
                cut = edge.cut()
                status = cut.status
                exchange.answer(edge.refusal(cut, request_id), request_id)
        except Exception as error:
            log.error("request.failed", exc_info=error)  # noqa: TRY400 — as at the edge
            exchange.transport.close()  # the answer could not be written
        finally:
            metrics.SERVER_ACTIVE_REQUESTS.dec()
            (self._durations.get(status) or self._duration(status)).observe(time.perf_counter() - begin)
            if task:
                self._serving.discard(task)

    async def _answer(self, exchange: Exchange, request_id: str) -> Answer:
        try:
            return await self._endpoint(exchange, request_id)
        except errors.GatewayError as error:
            return edge.refusal(error, request_id)
        except ClientDisconnect:
            raise
        except Exception as error:
            log.error("request.failed", exc_info=error)  # noqa: TRY400 — as at the edge
            return edge.refusal(edge.failure(), request_id)

    def _duration(self, status: int) -> Histogram:
        series = metrics.SERVER_REQUEST_DURATION(**self._labels, http_response_status_code=status)
        self._durations[status] = series
        return series
