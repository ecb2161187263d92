"""Receive a callback: know whose it is, take its segment once, let the relay know when the reply falls due."""

import uuid
from typing import Literal, TypeAlias

import structlog

from gateway import auth, errors, keys, metrics
from gateway.relay.queue import Queue
from gateway.upstreams import base
from mappings.errors import MalformedAnswer

Taken: TypeAlias = Literal["opened", "folded", "duplicate", "orphan", "ignored"]

log = structlog.get_logger(__name__)


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
            raise errors.NotFound("no such callback")
        try:
            received = self._upstream.decode_callback(body, fallback_id=str(uuid.uuid4()))
        except MalformedAnswer as error:
            raise errors.OutOfRange(str(error)) from error
        if received.segment is None:  # "messages received in this conversation" allows for the user's own
            return "ignored"
        folded = await self._queue.fold(keys.ConversationKeys(digest), received.conversation_id, received.segment)
        metrics.SEGMENTS.labels(folded.outcome).inc()
        log.debug(
            "segment.received", outcome=folded.outcome, reply_id=folded.reply_id, message_id=received.segment.message_id
        )
        if folded.outcome == "foreign":
            raise errors.NotFound("no such callback")
        return folded.outcome
