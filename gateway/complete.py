"""POST /v2/complete: read the request, take the turn, and render V1's answer to it."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

from starlette.requests import ClientDisconnect

from gateway import auth, destinations, errors, exchange, mapping_log
from gateway.answers import Answers
from gateway.bodies import Bodies
from gateway.exchange import Answer
from gateway.fingerprints import Fingerprints
from gateway.pictures import Pictures
from gateway.posting import Incoming
from gateway.relay.pressure import Pressure
from gateway.trace import TurnTrace
from gateway.turns import Turns
from mappings import context, receipt, v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.prefixes import Prefixes
from mappings.turn import Completion, Turn

IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
"""What a client may call its request, white space and quotation marks around it aside."""


class Complete:
    """The endpoint."""

    def __init__(
        self,
        *,
        authenticator: auth.Authenticator,
        fingerprints: Fingerprints,
        turns: Turns,
        answers: Answers,
        bodies: Bodies,
        pictures: Pictures,
        pressure: Pressure,
        webhook_allow: destinations.Networks,
    ) -> None:
        self._authenticator = authenticator
        self._fingerprints = fingerprints
        self._prefixes = Prefixes(fingerprints.of)
        self._turns = turns
        self._answers = answers
        self._bodies = bodies
        self._pictures = pictures
        self._pressure = pressure
        self._webhook_allow = webhook_allow

    async def __call__(self, request: exchange.Incoming, request_id: str) -> Answer:
        """POST /v2/complete: take the turn; acknowledge it, or wait for its answer where it has no webhook."""
        begin = time.perf_counter()
        trace = TurnTrace(request_id)
        found: receipt.Outcomes | None = None
        try:
            incoming = await self._read(request, trace)
            found = self._outcomes(trace, incoming)
            if incoming.strict and (refusal := receipt.strict_refusal(found)):
                raise errors.ClientError(refusal)
            self._pressure.take(incoming.caller.tenant)
            turn_id = await self._turns.accept(incoming, trace)
        except errors.GatewayError as error:
            mapping_log.turn_refused(
                trace, error, time.perf_counter() - begin, dialect=self._turns.dialect, fields=found
            )
            raise
        if trace.context_refused or trace.diverged:
            found = self._outcomes(trace, incoming)
        mapping_log.turn_accepted(trace, time.perf_counter() - begin, dialect=self._turns.dialect, fields=found)
        headers = {receipt.HEADER: found.header} if found.header else {}
        if incoming.webhook is not None:
            if await exchange.has_hung_up(request):  # his next try must not say it twice
                await self._turns.remember(incoming, turn_id)
            return Answer(v1.encode_accepted(incoming.turn, turn_id), headers=headers)
        completion = await self._answer(request, incoming, turn_id)
        body = v1.encode_completion(incoming.turn, completion, delay=trace.delay or timedelta(0), now=datetime.now(UTC))
        return Answer(body, headers=headers)

    async def _read(self, request: exchange.Incoming, trace: TurnTrace) -> Incoming:
        trace.caller = caller = self._authenticator.authenticate(request.headers.get("authorization"))
        key = idempotency_key(request)
        body = await self._bodies.read_json(request)
        trace.turn = turn = self._decode(body)
        stored = None
        if turn.request.image_id and not turn.request.image_url:
            stored = await self._pictures.stored_picture(turn.request.image_id, caller.tenant)
        picture = context.picture(turn.request, stored=stored)
        text = turn.message
        if text is None and picture is not None:
            text = ""
        if text is None and v1.opening(turn.request) is None:
            raise errors.OutOfRange(v1.MESSAGE_REQUIRED)
        if turn.webhook is not None:
            try:
                destinations.check_url(turn.webhook, self._webhook_allow)
            except destinations.RefusedDestination as error:
                raise errors.OutOfRange(f"webhook: {error}") from error
        fingerprint = self._fingerprints.of(body)
        preferences = request.headers.getlist("prefer")
        strict = bool(preferences) and receipt.is_strict(", ".join(preferences))
        return Incoming(turn, turn.webhook, text, picture, caller, fingerprint, key, strict)

    def _decode(self, body: bytes) -> Turn:
        """Read a V1 request, its faults as the caller's errors."""
        try:
            return self._prefixes.decode_request(body)
        except MalformedRequest as error:
            raise errors.ClientError(str(error)) from error
        except ValueOutOfRange as error:
            raise errors.OutOfRange(str(error)) from error

    def _outcomes(self, trace: TurnTrace, incoming: Incoming) -> receipt.Outcomes:
        mode = "none" if trace.context_refused else self._turns.rules.context
        return receipt.outcomes(
            incoming.turn,
            mode=mode,
            upstream=self._turns.dialect,
            stored=incoming.picture,
            diverged=trace.diverged,
        )

    async def _answer(self, request: exchange.Incoming, incoming: Incoming, turn_id: str) -> Completion:
        """Wait for the answer for as long as the client does; `ClientDisconnect` when it hangs up."""
        conversation = self._turns.conversation_of(incoming)
        waiting = asyncio.ensure_future(self._answers.wait(conversation, turn_id))
        leaving = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise ClientDisconnect
        finally:
            for task in (waiting, leaving):
                task.cancel()
            await asyncio.wait({waiting, leaving})


def idempotency_key(request: exchange.Incoming) -> str | None:
    """Read the `Idempotency-Key` header: the client's own name for the request, None where it gives none."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    key = given[0].strip().strip('"')
    if len(given) > 1 or not IDEMPOTENCY_KEY.fullmatch(key):
        raise errors.ClientError("Idempotency-Key: must be one value of 1 to 255 visible characters")
    return key


async def _hang_up(request: exchange.Incoming) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
