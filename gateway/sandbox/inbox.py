"""The webhook inbox: keeps what is posted to it, byte for byte, and lets others look and wait."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers, faulty, journal
from gateway.sandbox.settings import SandboxSettings

_ROOT = "/inbox"
_METHODS = ("POST", "PUT")


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One request that came in. `path` and `query` are as they were sent, without the leading /inbox."""

    n: int = 0
    received_at: datetime
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    answered: str
    """The status, or the fault that was asked for."""

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        return len(self.body) + 1024

    @property
    def text(self) -> str | None:
        """Its body as text, None if it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return None

    def show(self) -> dict[str, Any]:
        """Return it for JSON: the body as text, or in base64 if it is not UTF-8, and parsed if it is JSON."""
        text = self.text
        return {
            "n": self.n,
            "received_at": self.received_at.isoformat(),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": text,
            "body_base64": base64.b64encode(self.body).decode() if text is None else None,
            "json": answers.parse(self.body),
            "answered": self.answered,
        }


def is_delivery(method: str, path: str) -> bool:
    """Tell whether a request is one that the inbox keeps."""
    return method in _METHODS and (path == _ROOT or path.startswith(f"{_ROOT}/"))


class InboxQuery(BaseModel):
    """What to look at: deliveries above number `since`, to a path that begins with `path`."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[int, Field(ge=0)] = 0
    path: str = ""

    def matches(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is meant."""
        return delivery.path.startswith(self.path)


class WaitQuery(InboxQuery):
    """What to wait for: `count` deliveries above number `after`, for `timeout` seconds at most."""

    after: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] = 1
    timeout: Annotated[float, Field(ge=0, le=60)] = 10.0


class InboxEndpoints:
    """Everything below /inbox but its page."""

    def __init__(self, deliveries: journal.Journal[Delivery], settings: SandboxSettings) -> None:
        self._deliveries = deliveries
        self._max_body_bytes = settings.max_delivery_bytes

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(f"{_ROOT}.json", self.index, methods=["GET"])
        yield Route(f"{_ROOT}/wait", self.wait, methods=["GET"])
        yield Route(_ROOT, self.clear, methods=["DELETE"])
        yield Route(_ROOT, self.receive, methods=_METHODS)
        yield Route(f"{_ROOT}/{{path:path}}", self.receive, methods=_METHODS)

    async def receive(self, request: Request) -> Response:
        """Keep a delivery."""
        body = await answers.read_bytes(request, self._max_body_bytes)
        fault = faulty.fault_of(request.scope)
        raw_path = request.scope["raw_path"].decode("latin-1")
        delivery = self._deliveries.add(
            Delivery(
                received_at=datetime.now(UTC),
                method=request.method,
                path=raw_path.removeprefix(_ROOT) or "/",
                query=request.scope["query_string"].decode("latin-1"),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                body=body,
                answered=fault.label() if fault else "200",
            )
        )
        return answers.show({"received": delivery.n})

    async def index(self, request: Request) -> Response:
        """Show deliveries as JSON, oldest first."""
        query = answers.read_query(request, InboxQuery)
        return self._show(self._deliveries.since(query.since, query.matches))

    async def wait(self, request: Request) -> Response:
        """Show deliveries as JSON once there are enough, or when the time is over, whichever comes first."""
        query = answers.read_query(request, WaitQuery)
        found = await self._deliveries.wait(
            max(query.after, query.since), query.matches, count=query.count, seconds=query.timeout
        )
        return self._show(found)

    async def clear(self, _request: Request) -> Response:
        """Forget all deliveries."""
        self._deliveries.clear()
        return Response(status_code=204)

    def _show(self, deliveries: list[Delivery]) -> Response:
        return answers.show(
            {
                "deliveries": [delivery.show() for delivery in deliveries],
                "last": self._deliveries.last,
            }
        )
