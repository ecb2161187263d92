"""The endpoints: parse, call a flow, render. The V1 face, the upstream's callbacks, and what operators ask."""

import hashlib
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import auth, bodies, destinations, errors, mapping_log, metrics
from gateway.bodies import Bodies
from gateway.callbacks import Callbacks
from gateway.store import Store
from gateway.turns import Incoming, Turns, TurnTrace
from mappings import v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Turn

RETRY_AFTER_DRAIN_SECONDS = 2


class Api:
    """The endpoints over the flows. `draining` is set from the SIGTERM on."""

    def __init__(
        self,
        *,
        authenticator: auth.Authenticator,
        turns: Turns,
        callbacks: Callbacks,
        store: Store,
        webhook_allow: destinations.Networks,
        bodies: Bodies,
    ) -> None:
        self._authenticator = authenticator
        self._turns = turns
        self._callbacks = callbacks
        self._store = store
        self._webhook_allow = webhook_allow
        self._bodies = bodies
        self.draining = False

    def routes(self, dialect: str) -> list[Route]:
        """Give the routes; `dialect` names the upstream whose callbacks are taken."""
        return [
            Route("/v2/complete", self.complete, methods=["POST"]),
            Route(f"/callbacks/{dialect}/{{token}}", self.callback, methods=["POST"]),
            Route("/livez", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def complete(self, request: Request) -> Response:
        """POST /v2/complete: take the turn and acknowledge it; the reply goes to its webhook."""
        begin = time.perf_counter()
        trace = TurnTrace(request.state.request_id)
        try:
            turn = await self._take(request, trace)
        except errors.GatewayError as error:
            mapping_log.turn_refused(trace, error, time.perf_counter() - begin)
            raise
        mapping_log.turn_accepted(trace, time.perf_counter() - begin)
        return Response(v1.encode_accepted(turn, trace.turn_id or ""), media_type=bodies.JSON)

    async def _take(self, request: Request, trace: TurnTrace) -> Turn:
        trace.caller = caller = self._authenticator.authenticate(request.headers.get("authorization"))
        body = await self._bodies.read_json(request)
        trace.turn = turn = decode(body)
        if turn.webhook is None:
            raise errors.OutOfRange("webhook: required")
        if turn.message is None:
            raise errors.OutOfRange("message: required")
        try:
            destinations.check_url(turn.webhook, self._webhook_allow)
        except destinations.RefusedDestination as error:
            raise errors.OutOfRange(f"webhook: {error}") from error
        fingerprint = hashlib.blake2b(body, digest_size=16).hexdigest()
        await self._turns.accept(Incoming(turn, turn.webhook, turn.message, caller, fingerprint), trace)
        return turn

    async def callback(self, request: Request) -> Response:
        """POST /callbacks/{dialect}/{token}: take one segment of a reply."""
        body = await self._bodies.read(request)
        await self._callbacks.receive(request.path_params["token"], body)
        return Response(b'{"status":"ok"}', media_type=bodies.JSON)

    async def live(self, _request: Request) -> Response:
        """GET /livez: the process answers."""
        return Response(b'{"status":"ok"}', media_type=bodies.JSON)

    async def ready(self, _request: Request) -> Response:
        """GET /readyz: it can take turns: the store answers, and no drain has begun."""
        if self.draining:
            raise errors.Draining("this process is draining", retry_after_seconds=RETRY_AFTER_DRAIN_SECONDS)
        await self._store.ping()
        return Response(b'{"status":"ok"}', media_type=bodies.JSON)

    async def metrics(self, _request: Request) -> Response:
        """GET /metrics, for Prometheus; over all workers of this server."""
        body, media_type = metrics.render()
        return Response(body, headers={"Content-Type": media_type})


def decode(body: bytes) -> Turn:
    """Read a V1 request, its faults as the caller's errors."""
    try:
        return v1.decode_request(body)
    except MalformedRequest as error:
        raise errors.ClientError(str(error)) from error
    except ValueOutOfRange as error:
        raise errors.OutOfRange(str(error)) from error
