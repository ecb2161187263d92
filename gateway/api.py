"""The endpoints: parse, call a flow, render. The V1 face and the upstream's callbacks."""

import hashlib
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import auth, bodies, destinations, errors, mapping_log
from gateway.bodies import Bodies
from gateway.callbacks import Callbacks
from gateway.relay.pressure import Pressure
from gateway.turns import Incoming, Turns, TurnTrace
from mappings import v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.turn import Turn


class Api:
    """The endpoints over the flows."""

    def __init__(
        self,
        *,
        authenticator: auth.Authenticator,
        turns: Turns,
        callbacks: Callbacks,
        webhook_allow: destinations.Networks,
        bodies: Bodies,
        pressure: Pressure,
    ) -> None:
        self._authenticator = authenticator
        self._turns = turns
        self._callbacks = callbacks
        self._webhook_allow = webhook_allow
        self._bodies = bodies
        self._pressure = pressure

    def routes(self, dialect: str) -> list[Route]:
        """Give the routes; `dialect` names the upstream whose callbacks are taken."""
        return [
            Route("/v2/complete", self.complete, methods=["POST"]),
            Route(f"/callbacks/{dialect}/{{token}}", self.callback, methods=["POST"]),
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
        self._pressure.take(caller.tenant)
        await self._turns.accept(Incoming(turn, turn.webhook, turn.message, caller, fingerprint), trace)
        return turn

    async def callback(self, request: Request) -> Response:
        """POST /callbacks/{dialect}/{token}: take one segment of a reply."""
        body = await self._bodies.read(request)
        await self._callbacks.receive(request.path_params["token"], body)
        return Response(b'{"status":"ok"}', media_type=bodies.JSON)


def decode(body: bytes) -> Turn:
    """Read a V1 request, its faults as the caller's errors."""
    try:
        return v1.decode_request(body)
    except MalformedRequest as error:
        raise errors.ClientError(str(error)) from error
    except ValueOutOfRange as error:
        raise errors.OutOfRange(str(error)) from error
