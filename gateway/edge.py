"""What every request meets first and every answer last: its id, its metrics, and errors in V1's shape."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway import errors, ids, metrics
from gateway.exchange import Answer
from mappings import v1

REQUEST_ID_HEADER = b"x-request-id"
RETRY_AFTER_CUT_SECONDS = 1
"""Another process serves the retry, if there is one; this one's place takes longer to be filled."""

_ACCEPTABLE_ID = re.compile(r"[!-~]{1,128}")

log = structlog.get_logger(__name__)


class Edge:
    """The outermost ASGI layer: gives each request an id, counts it, and answers what nothing below has answered."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.serving: set[asyncio.Task[object]] = set()
        """The tasks of requests, those that come past ASGI among them."""

    async def finish(self, patience: timedelta) -> None:
        """Wait until no request is served any more, at most so long: those that the server has cut still clear up."""
        if self.serving:
            await asyncio.wait(self.serving, timeout=patience.total_seconds())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan and other scopes pass through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if task := asyncio.current_task():
            self.serving.add(task)
            task.add_done_callback(self.serving.discard)
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.perf_counter()
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        request_id = name_of_request(value.decode("latin-1") for name, value in headers if name == REQUEST_ID_HEADER)
        expects = any(name == b"expect" for name, _ in headers)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def receive_expected() -> Message:
            nonlocal expects
            expects = False  # the server says "100 Continue" now
            return await receive()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id.encode())]
                if expects:  # nobody can tell whether the body still comes: the next request must not be taken for it
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        metrics.SERVER_ACTIVE_REQUESTS.inc()
        try:
            await self.app(scope, receive_expected, send_with_id)
        except ClientDisconnect:
            status = status or 499  # the client hung up: there is nobody to answer
        except asyncio.CancelledError:  # the server's grace period is over: this task ends here in any case
            if not status:
                await refusal(cut(), request_id).as_response()(scope, receive, send_with_id)
        except Exception as error:
            log.error("request.failed", exc_info=error)  # noqa: TRY400 — the error has travelled through layers
        finally:
            metrics.SERVER_ACTIVE_REQUESTS.dec()
            structlog.contextvars.unbind_contextvars("request_id")
            metrics.SERVER_REQUEST_DURATION(
                http_request_method=scope["method"],
                http_route=getattr(scope.get("route"), "path", ""),
                http_response_status_code=status,
            ).observe(time.perf_counter() - begin)


async def fail(request: Request, _error: Exception) -> Response:
    """Answer for a defect of ours, in V1's shape and without a word about it; the error goes on to the log."""
    return refusal(failure(), request.state.request_id).as_response()


async def refuse(request: Request, error: Exception) -> Response:
    """Answer an expected error in V1's shape: the one place where errors of the framework become ours."""
    allowed = {}
    match error:
        case errors.GatewayError():
            ours = error
        case HTTPException(status_code=404):
            ours = errors.NotFound(f"no route {request.url.path}")
        case HTTPException(status_code=405):
            allowed = {"Allow": (error.headers or {}).get("Allow", "")}
            ours = errors.MethodNotAllowed(f"{request.method} is not served here; use {allowed['Allow']}")
        case HTTPException():
            kinds = {413: errors.PayloadTooLarge, 415: errors.UnsupportedMediaType}
            ours = kinds.get(error.status_code, errors.ClientError)(error.detail)
        case _:
            raise error
    response = refusal(ours, request.state.request_id).as_response()
    response.headers.update(allowed)
    return response


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Exception: fail,
    errors.GatewayError: refuse,
    HTTPException: refuse,
}


def refusal(error: errors.GatewayError, request_id: str) -> Answer:
    """Give the answer to a request that is not served."""
    headers = {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.UnsupportedCoding):
        headers["Accept-Encoding"] = "identity"  # tells it from a wrong type: RFC 9110, section 15.5.16
    return Answer(v1.encode_error(error.code, error.message, request_id), error.status, headers)


def failure() -> errors.GatewayError:
    """Give what a client hears of a defect of ours: nothing about it."""
    return errors.GatewayError("the gateway failed")


def cut() -> errors.GatewayError:
    """Give what a client hears whose request is not finished when the grace period is over."""
    return errors.Draining("this process is stopping", retry_after_seconds=RETRY_AFTER_CUT_SECONDS)


def name_of_request(given: Iterable[str]) -> str:
    """Give a request's id: the client's own, the first that is one, else a new one."""
    for name in given:
        if _ACCEPTABLE_ID.fullmatch(name):
            return name
    return ids.new()
