"""Pictures that clients upload for later turns: kept for a while, served to the upstream from unguessable URLs."""

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta

from gateway import auth, errors, keys
from gateway.store import Store
from mappings.turn import Picture

UPLOAD_PERIOD_SECONDS = 24 * 3600
MAX_UPLOADED_BYTES = 256 * 2**20
"""What one tenant may upload in a period: the store is everybody's."""

PATH = "/content/"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """The bytes of a picture and their type."""

    media_type: str
    data: bytes


class Pictures:
    """Keeps pictures by an id that only their own tenant can use. `base_url` is where the upstream reaches us."""

    def __init__(
        self,
        store: Store,
        tokens: auth.Tokens,
        *,
        base_url: str,
        time_to_live: timedelta,
        max_uploaded_bytes: int = MAX_UPLOADED_BYTES,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._base_url = base_url
        self._seconds = round(time_to_live.total_seconds())
        self._max_uploaded_bytes = max_uploaded_bytes

    async def keep(self, tenant: str, media_type: str, data: bytes) -> str:
        """Keep a picture and give its id; `TooManyUploads` when the tenant has had its share for today."""
        wait: int = await self._store.run(
            "charge_upload", [keys.uploads(tenant)], len(data), self._max_uploaded_bytes, UPLOAD_PERIOD_SECONDS
        )
        if wait:
            limit = self._max_uploaded_bytes
            raise errors.TooManyUploads(f"at most {limit} bytes of pictures are taken a day", retry_after_seconds=wait)
        picture_id = secrets.token_hex(16)
        content = base64.b64encode(data)
        await self._store.run(
            "keep_picture", [keys.PictureKeys(picture_id).picture], tenant, media_type, content, self._seconds
        )
        return picture_id

    async def stored_picture(self, image_id: str, tenant: str) -> Picture | None:
        """Tell where the upstream finds the picture of an id; None unless it is one of this tenant's that is kept."""
        if not _is_id(image_id):
            return None
        owner = await self._store.command("hget", keys.PictureKeys(image_id).picture, "tenant")
        return Picture(f"{self._base_url}{PATH}{self._tokens.sign(image_id)}") if owner == tenant else None

    async def read(self, token: str) -> StoredPicture:
        """Give the picture that a URL of ours names; `NotFound` for any other, whatever is wrong with it."""
        picture_id = self._tokens.verify(token)
        if picture_id is not None:
            key = keys.PictureKeys(picture_id).picture
            media_type, content = await self._store.command("hmget", key, ["type", "data"])
            if content is not None:
                return StoredPicture(media_type, base64.b64decode(content))
        raise errors.NotFound("no such picture")


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
