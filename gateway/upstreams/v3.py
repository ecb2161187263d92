"""V3 as an upstream: its calls, and what each of them means there."""

import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from gateway import errors, http
from gateway.upstreams import calling
from gateway.upstreams.base import Listed, OutcomeUnknown
from gateway.upstreams.pulling import Spoken
from mappings import fates, generation, v3
from mappings.context import Context
from mappings.errors import MalformedAnswer
from mappings.missed import Held
from mappings.turn import Message, Picture, Received, ReplySegment, Turn

DIALECT: Final = "v3"

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]+")


class V3:
    """The upstream at `base_url`, which may carry a path prefix; shared by all turns of the process."""

    dialect: fates.Upstream = DIALECT
    takes_user_messages = False
    keeps_what_it_speaks = False

    def __init__(self, base_url: str, client: http.HttpClient) -> None:
        self.base_url = base_url
        self._client = client

    def session(self, key: str) -> "V3Session":
        """Begin a turn's dealings under the key."""
        return V3Session(self.base_url, self._client, key)

    def upkeep(self, key: str) -> "V3Upkeep":
        """Begin to look after the conversations of the key."""
        return V3Upkeep(self.session(key))

    def decode_callback(self, body: bytes, *, fallback_id: str) -> Received:
        """Read what V3 posted to a conversation's webhook."""
        return v3.decode_callback(body, fallback_id=fallback_id)


class V3Session(calling.Calls):
    """One turn's calls; see `base.Session` and `pulling.Source` for what each method promises."""

    speaks_when_asked = False

    async def find(self, bot_id: str, user_id: str) -> str | None:
        """Look the pair up in the upstream's own list."""
        query = urlencode({"bot_id": bot_id, "user_id": user_id})
        answer = await self.call("list_conversations", "GET", f"/api/conversations?{query}")
        return calling.understood(lambda: v3.decode_found(answer.body, bot_id=bot_id, user_id=user_id))

    async def adopt(self, conversation_id: str, webhook: str) -> None:
        """PATCH the conversation's webhook; doing it twice does no harm."""
        await self.call(
            "patch_conversation",
            "PATCH",
            _path(conversation_id),
            v3.encode_webhook(webhook),
            conversation=True,
        )

    async def create(self, turn: Turn, webhook: str, now: datetime, context: Context) -> str:
        """Create the conversation; V3 gives back the pair's first one if there is one already."""
        body = v3.encode_create(turn, webhook=webhook, now=now, context=context)
        answer = await self.call("create_conversation", "POST", "/api/conversations", body, writes=True)
        try:
            return v3.decode_created(answer.body)
        except MalformedAnswer as error:
            raise OutcomeUnknown(errors.UpstreamUnavailable(f"the upstream's answer is {error}")) from error

    async def post(self, conversation_id: str, text: str, now: datetime, picture: Picture | None) -> None:
        """Add the user's message, which makes the bot answer."""
        await self._add("post_message", conversation_id, v3.encode_message(text, now=now, picture=picture))

    async def add(self, conversation_id: str, messages: Sequence[Message], now: datetime) -> None:
        """Add messages of the bot's; of the user's there is no silent way."""
        for message in messages:
            await self._add("add_message", conversation_id, v3.encode_bot_message(message, now=now))

    async def _add(self, name: str, conversation_id: str, body: bytes) -> None:
        path = f"{_path(conversation_id)}/messages"
        answer = await self.call(name, "POST", path, body, writes=True, conversation=True)
        # V3 answers 202 without a body; what looks otherwise may not have come from it.
        if answer.body.lstrip()[:1] not in {b"", b"{"}:
            raise OutcomeUnknown(errors.UpstreamUnavailable("the upstream's answer to the message is not JSON"))

    async def describe(self, conversation_id: str, context: Context) -> None:
        """PATCH what the conversation is told."""
        body = v3.encode_context(context)
        await self.call("patch_context", "PATCH", _path(conversation_id), body, conversation=True)

    async def describe_user(self, conversation_id: str, user_id: str, context: Context) -> None:  # noqa: ARG002 — V3 knows him by himself
        """PUT what is known of the user; POST where V3 does not know him."""
        body = v3.encode_user(user_id, context)
        try:
            await self.call("put_user", "PUT", f"/api/users/{quote(user_id, safe='')}", body)
        except errors.UpstreamRejected as error:
            if error.status != 404:
                raise
            await self.call("create_user", "POST", "/api/users", body)

    async def speak(self, conversation_id: str, turn: Turn) -> Sequence[ReplySegment]:  # noqa: ARG002 — V3 knows it
        """Have one candidate generated."""
        path = f"{_path(conversation_id)}/generate-response"
        answer = await self.call("generate_response", "POST", path, v3.encode_generate(), conversation=True)
        return calling.understood(lambda: v3.decode_generated(answer.body, ids=lambda: str(uuid.uuid4())))

    async def transcript(self, conversation_id: str) -> Sequence[Message]:
        """Read the conversation with all its messages."""
        answer = await self.call("read_conversation", "GET", _path(conversation_id), conversation=True)
        return calling.understood(lambda: v3.decode_transcript(answer.body))

    async def spoken(self, conversation_id: str, user_messages: int) -> Spoken:
        """Read what was said since the first of the user's last so many messages."""
        transcript = await self.transcript(conversation_id)
        users = [index for index, message in enumerate(transcript) if not message.from_bot]
        if not users:
            return Spoken((), waiting=False, last=None)
        first = users[-user_messages:][0]
        replies = [message for message in transcript[first:] if message.from_bot]
        return Spoken(replies, waiting=users[-1] == len(transcript) - 1, last=transcript[users[-1]].text)

    async def held(self, conversation_id: str) -> Sequence[Held]:
        """Read the conversation, each message with the ids that its callback may have borne."""
        transcript = await self.transcript(conversation_id)
        return [Held(message, v3.callback_ids(message, place)) for place, message in enumerate(transcript, 1)]

    async def hear(self, conversation_id: str, told: str) -> generation.Outcome:  # noqa: ARG002 — V3 speaks by itself
        """Hear nothing: V3's bots speak by themselves."""
        return generation.Failed("empty")

    async def compact(self, conversation_id: str) -> None:
        """Do nothing: V3 sums up by itself."""


class V3Upkeep:
    """All conversations of one key; see `base.Upkeep`."""

    def __init__(self, session: V3Session) -> None:
        self._session = session

    async def listed(self) -> Sequence[Listed]:
        """Read the whole list, which V3 gives in one answer."""
        answer = await self._session.call("list_conversations", "GET", "/api/conversations")
        found = calling.understood(lambda: v3.decode_list(answer.body))
        return [Listed(*one) for one in found]

    async def erase(self, bot_id: str, user_id: str) -> int:  # noqa: ARG002 — the shape of `base.Upkeep`
        """Refuse: V3 deletes users and bots, and no conversation by itself."""
        raise errors.NotSupported("V3 has no call that deletes a conversation: delete the user there, or the bot")


def _path(conversation_id: str) -> str:
    as_it_is = _UNRESERVED.fullmatch(conversation_id)  # nearly always, and quoting takes several times as long
    return f"/api/conversations/{conversation_id if as_it_is else quote(conversation_id, safe='')}"
