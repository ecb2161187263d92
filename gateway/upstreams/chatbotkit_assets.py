"""V1's routes of bots and pictures where the upstream is ChatBotKit: it is called for conversations only."""

# ruff: noqa: ARG002 — the shape of `base.AssetSource`

from typing import NoReturn

from gateway import errors
from mappings.wire import v1


class ChatBotKitAssets:
    """Refuses, in V1's shape: its bots are made in its own portal, and its messages hold no pictures."""

    async def check_key(self, key: str) -> None:
        """Refuse to keep a picture that no message could name."""
        _refuse("pictures")

    async def create_bot(self, key: str, bot: v1.CreateBot) -> v1.Created:
        """Refuse to create a bot."""
        _refuse("bots")

    async def add_bot_picture(self, key: str, bot_id: str, media_type: str, data: bytes) -> v1.ContentCreated:
        """Refuse to keep a picture of a bot."""
        _refuse("pictures")


def _refuse(what: str) -> NoReturn:
    raise errors.NotSupported(f"the upstream takes no {what} by this API")
