"""What the flows ask of any upstream, and how it says that it could not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from gateway import errors
from mappings import fates
from mappings.context import Context
from mappings.turn import Message, Picture, Received, ReplySegment, Turn
from mappings.wire import v1


class ConversationGone(Exception):
    """The upstream does not know the conversation (any more)."""


class OutcomeUnknown(Exception):
    """The call may have had its effect: look before doing it again. `outcome` is what it comes to if nobody can."""

    def __init__(self, outcome: errors.GatewayError) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Call(msgspec.Struct, frozen=True):
    """One call to the upstream, for the mapping log: `status` is None when no answer came."""

    name: str
    status: int | None
    milliseconds: float
    attempt: int


class Session(Protocol):
    """One turn's dealings with the upstream, under the caller's key.

    Every method may raise `UpstreamRejected` (its 4xx), `UpstreamUnavailable` (surely nothing happened, or an answer
    that is not its protocol), `UpstreamTimeout`; those that write also `OutcomeUnknown`, those that name a
    conversation also `ConversationGone`. Nothing is repeated that may have had its effect.
    """

    calls: list[Call]

    async def find(self, bot_id: str, user_id: str) -> str | None:
        """Give the id of the pair's conversation, if there is one."""

    async def adopt(self, conversation_id: str, webhook: str) -> None:
        """Point an existing conversation's replies here."""

    async def create(self, turn: Turn, webhook: str, now: datetime, context: Context) -> str:
        """Create the pair's conversation with the history that the client holds, and give its id."""

    async def post(self, conversation_id: str, text: str, now: datetime, picture: Picture | None) -> None:
        """Add the user's message, which makes the bot answer."""

    async def add(self, conversation_id: str, messages: Sequence[Message], now: datetime) -> None:
        """Add messages in their order that make nobody answer."""

    async def describe(self, conversation_id: str, context: Context) -> None:
        """Tell an existing conversation what it is to know; doing it twice does no harm."""

    async def describe_user(self, conversation_id: str, user_id: str, context: Context) -> None:
        """Tell what is known of the user, whom the upstream may not know yet; doing it twice does no harm."""

    async def speak(self, conversation_id: str, turn: Turn) -> Sequence[ReplySegment]:
        """Ask what the bot says of itself now; whether that is part of the conversation then, `Upstream` tells."""

    async def transcript(self, conversation_id: str) -> Sequence[Message]:
        """Read what the upstream holds, oldest first."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation as the upstream lists it, under V1's names of its bot and its user."""

    id: str
    bot_id: str
    user_id: str


class Upkeep(Protocol):
    """What is done with an upstream's conversations as wholes, under one client's key; raises what `Session` raises."""

    async def listed(self) -> Sequence[Listed]:
        """Give all conversations of a known bot and user, the newest first."""

    async def erase(self, bot_id: str, user_id: str) -> int:
        """Delete every conversation of the pair with all its messages, and tell how many there were.

        Raises `NotSupported` where the upstream has no such call.
        """


class AssetSource(Protocol):
    """Where bots and pictures are made, under the caller's key. Raises `NotSupported` where there are none."""

    async def check_key(self, key: str) -> None:
        """Raise `UpstreamRejected` when the upstream does not take the key."""

    async def create_bot(self, key: str, bot: v1.CreateBot) -> v1.Created:
        """Create a bot and give its id."""

    async def add_bot_picture(self, key: str, bot_id: str, media_type: str, data: bytes) -> v1.ContentCreated:
        """Put a picture into a bot's vault and give its id and address."""


class Upstream(Protocol):
    """One stateful API."""

    dialect: fates.Upstream
    base_url: str
    takes_user_messages: bool
    """Whether `add` takes messages of the user's."""
    keeps_what_it_speaks: bool
    """Whether what `speak` gives is part of the conversation, and need not be added to it."""

    def session(self, key: str) -> Session:
        """Begin a turn's dealings under the key."""

    def upkeep(self, key: str) -> Upkeep:
        """Begin to look after the conversations of the key."""

    def decode_callback(self, body: bytes, *, fallback_id: str) -> Received:
        """Read what the upstream posted to a callback URL; raises `MalformedAnswer`."""
