"""How the reply to a message comes: the upstream calls back with it, or it must be pulled.

The flow that sends a message says so before and after, whichever it is.
"""

from datetime import timedelta
from typing import Protocol

import msgspec

from gateway import auth, keys
from gateway.open_turns import Recovery
from gateway.relay.pulls import Brief, Expected, Pulls
from gateway.store import times
from mappings.turn import Picture, Turn

MAX_KEPT = 4096
"""Conversations of which is kept what was sealed for them, 400 bytes each."""


class Sending(msgspec.Struct, frozen=True):
    """One message that is sent: whose turn it is, its picture and its digest, and under which key of the upstream's.

    `meta` names the turn's people for the log, as the store keeps it.
    """

    conversation: keys.ConversationKeys
    turn_id: str
    turn: Turn
    picture: Picture | None
    key: str
    message: str
    meta: bytes


class Replies(Protocol):
    """What is said to it may be said again; it raises `StoreUnavailable`."""

    def callback_url(self, conversation: keys.ConversationKeys) -> str:
        """Give the URL at which the upstream is to call back; empty where it calls nobody."""

    def recovery(self, sending: Sending) -> Recovery | None:
        """Say how the reply is looked for if the upstream never calls; None where it is pulled anyway."""

    async def prepare(self, sending: Sending, upstream_id: str, patience: timedelta) -> None:
        """Hear that the message is about to be sent; its sender will say within `patience` that it was."""

    async def ask(self, sending: Sending, upstream_id: str, *, found: bool) -> None:
        """Hear that the upstream has it: it has just taken it, or was `found` to hold it already."""


class Pushed:
    """The upstream is given a URL to call; when it has not called `after` so long, its transcript is looked at."""

    def __init__(self, dialect: str, base_url: str, tokens: auth.Tokens, pulls: Pulls, after: timedelta) -> None:
        self._prefix = f"{base_url}/callbacks/{dialect}/"
        self._tokens = tokens
        self._pulls = pulls
        self._after_ms = times.milliseconds(after)
        self._kept: dict[str, Recovery] = {}

    def callback_url(self, conversation: keys.ConversationKeys) -> str:
        """Give the conversation's URL, which nobody can guess."""
        return self._prefix + self._tokens.sign(conversation.digest)

    def recovery(self, sending: Sending) -> Recovery:
        """Keep the client's key, sealed, for as long as the turn is open.

        A conversation is one client key's, so that what was sealed for it serves its next turns.
        """
        name = sending.conversation.digest
        recovery = self._kept.get(name)
        if recovery is None:
            recovery = Recovery(self._after_ms, self._pulls.seal(sending.conversation, Brief(sending.key)))
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = recovery
        return recovery

    async def prepare(self, sending: Sending, upstream_id: str, patience: timedelta) -> None:
        """Wait to be called."""

    async def ask(self, sending: Sending, upstream_id: str, *, found: bool) -> None:
        """Wait to be called."""


class Telling(Protocol):
    """An upstream that is told more when its bot is to speak."""

    def told(self, turn: Turn, picture: Picture | None) -> str:
        """Give what the bot is to be told for the turn's reply only."""


class Pulled:
    """The reply is pulled by whichever process comes to it."""

    def __init__(self, pulls: Pulls, upstream: Telling) -> None:
        self._pulls = pulls
        self._upstream = upstream

    def callback_url(self, conversation: keys.ConversationKeys) -> str:  # noqa: ARG002 — the shape of `Replies`
        """Give none."""
        return ""

    def recovery(self, sending: Sending) -> None:
        """Need none."""

    async def prepare(self, sending: Sending, upstream_id: str, patience: timedelta) -> None:
        """Note that the message may be upstream from now on, whoever dies."""
        await self._pulls.prepare(sending.conversation, self._expected(sending, upstream_id), patience=patience)

    async def ask(self, sending: Sending, upstream_id: str, *, found: bool) -> None:
        """Have the reply pulled now; the bot may have answered what was there already."""
        await self._pulls.ask(sending.conversation, self._expected(sending, upstream_id), found=found)

    def _expected(self, sending: Sending, upstream_id: str) -> Expected:
        brief = Brief(sending.key, self._upstream.told(sending.turn, sending.picture))
        return Expected(sending.turn_id, upstream_id, sending.message, sending.meta, brief)
