"""V3 as an upstream: its calls, and what each of them means there."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

from gateway import errors, http
from gateway.upstreams import calling
from gateway.upstreams.base import OutcomeUnknown
from mappings import v3
from mappings.errors import MalformedAnswer
from mappings.turn import Message, Received, Turn

DIALECT = "v3"


class V3:
    """The upstream at `base_url`, which may carry a path prefix; shared by all turns of the process."""

    dialect = DIALECT

    def __init__(self, base_url: str, client: http.HttpClient) -> None:
        self.base_url = base_url
        self._client = client

    def session(self, key: str) -> "V3Session":
        """Begin a turn's dealings under the key."""
        return V3Session(self.base_url, self._client, key)

    def decode_callback(self, body: bytes, *, fallback_id: str) -> Received:
        """Read what V3 posted to a conversation's webhook."""
        return v3.decode_callback(body, fallback_id=fallback_id)


class V3Session(calling.Calls):
    """One turn's calls; see `base.Session` for what each method promises."""

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

    async def create(self, turn: Turn, webhook: str, now: datetime) -> str:
        """Create the conversation; V3 gives back the pair's first one if there is one already."""
        body = v3.encode_create(turn, webhook=webhook, now=now)
        answer = await self.call("create_conversation", "POST", "/api/conversations", body, writes=True)
        try:
            return v3.decode_created(answer.body)
        except MalformedAnswer as error:
            raise OutcomeUnknown(errors.UpstreamUnavailable(f"the upstream's answer is {error}")) from error

    async def post(self, conversation_id: str, text: str, now: datetime) -> None:
        """Add the message. V3 answers 202 without a body; anything that looks otherwise may not have come from it."""
        answer = await self.call(
            "post_message",
            "POST",
            f"{_path(conversation_id)}/messages",
            v3.encode_message(text, now=now),
            writes=True,
            conversation=True,
        )
        if answer.body.lstrip()[:1] not in {b"", b"{"}:
            raise OutcomeUnknown(errors.UpstreamUnavailable("the upstream's answer to the message is not JSON"))

    async def transcript(self, conversation_id: str) -> Sequence[Message]:
        """Read the conversation with all its messages."""
        answer = await self.call("read_conversation", "GET", _path(conversation_id), conversation=True)
        return calling.understood(lambda: v3.decode_transcript(answer.body))


def _path(conversation_id: str) -> str:
    return f"/api/conversations/{quote(conversation_id, safe='')}"
