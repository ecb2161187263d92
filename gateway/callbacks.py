"""Receive a callback: know whose it is, take its segment once, let the relay know when the reply falls due."""

import uuid
from typing import Literal, TypeAlias

from gateway import auth, errors, keys, metrics
from gateway.relay.queue import Queue
from gateway.upstreams import base
from mappings.errors import MalformedAnswer

Taken: TypeAlias = Literal["opened", "folded", "answered", "duplicate", "orphan", "ignored"]
"""What became of a callback that was taken."""


class Callbacks:
    """Flow 2, for upstreams that push their replies."""

    def __init__(self, *, upstream: base.Upstream, tokens: auth.Tokens, queue: Queue) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._queue = queue

    async def receive(self, token: str, body: bytes) -> Taken:
        """Take one callback. A forged one changes nothing and learns nothing: `NotFound`, whatever is wrong with it."""
        digest = self._tokens.verify(token)
        if digest is None:
            raise self._refused("forged", errors.NotFound("no such callback"))
        try:
            received = self._upstream.decode_callback(body, fallback_id=str(uuid.uuid4()))
        except MalformedAnswer as error:
            raise self._refused("unreadable", errors.OutOfRange(str(error))) from error
        if received.segment is None:  # "messages received in this conversation" allows for the user's own
            return self._taken("ignored")
        folded = await self._queue.fold(keys.ConversationKeys(digest), received.conversation_id, received.segment)
        match folded.outcome:
            case "foreign":
                raise self._refused("foreign", errors.NotFound("no such callback"))
            case "full":
                raise self._refused("full", errors.TooManyTurns("too many callbacks of an unknown conversation"))
            case taken:
                return self._taken(taken)

    def _taken(self, outcome: Taken) -> Taken:
        metrics.SEGMENTS(outcome=outcome).inc()
        return outcome

    def _refused(self, outcome: str, error: errors.GatewayError) -> errors.GatewayError:
        metrics.SEGMENTS(outcome=outcome).inc()
        return error
