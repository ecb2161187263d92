"""V3's bots and pictures, under the same rules as its conversations: nothing is repeated that may have been done."""

from collections.abc import Callable
from typing import TypeVar

from gateway import errors
from gateway.upstreams.base import OutcomeUnknown
from gateway.upstreams.v3 import V3
from mappings import assets
from mappings.errors import MalformedAnswer
from mappings.wire import v1

T = TypeVar("T")


class V3Assets:
    """Makes bots and pictures at the upstream; `key` is the caller's. Raises what `base.Session` says for reading."""

    def __init__(self, upstream: V3) -> None:
        self._upstream = upstream

    async def check_key(self, key: str) -> None:
        """Raise `UpstreamRejected` when the upstream does not take the key; one without the route cannot tell."""
        try:
            await self._upstream.session(key).call("read_config", "GET", "/api/config")
        except errors.UpstreamRejected as error:
            if error.status not in {404, 405}:
                raise

    async def create_bot(self, key: str, bot: v1.CreateBot) -> v1.Created:
        """Create a bot and give its id."""
        return await self._create(key, "create_bot", "/api/bots", assets.encode_bot(bot), assets.decode_bot)

    async def add_bot_picture(self, key: str, bot_id: str, media_type: str, data: bytes) -> v1.ContentCreated:
        """Put a picture into a bot's vault and give its id and address."""
        body = assets.encode_bot_picture(bot_id, media_type, data)
        return await self._create(key, "create_content", "/api/content", body, assets.decode_content)

    async def _create(self, key: str, name: str, path: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        try:
            answer = await self._upstream.session(key).call(name, "POST", path, body, writes=True)
            return decode(answer.body)
        except OutcomeUnknown as unknown:  # only the client can know whether it wants a second one
            raise unknown.outcome from unknown
        except MalformedAnswer as error:
            raise errors.UpstreamUnavailable(f"the upstream's answer is {error}") from error
