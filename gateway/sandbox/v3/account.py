"""Endpoints of pictures, of the account's settings and of its keys."""

import uuid
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers
from gateway.sandbox.v3 import shapes
from gateway.sandbox.v3.access import Access
from gateway.sandbox.v3.state import ApiKey, Picture
from mappings.wire import v3


class AccountEndpoints:
    """Everything below /api/content, /api/config and /api/api-keys."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> Iterator[Route]:
        """Yield the routes, to be put below the API's prefix."""
        yield Route("/api/content", self.list_content, methods=["GET"])
        yield Route("/api/content", self.create_content, methods=["POST"])
        yield Route("/api/content/{content_id}", self.delete_content, methods=["DELETE"])
        yield Route("/api/config", self.get_config, methods=["GET"])
        yield Route("/api/config", self.patch_config, methods=["PATCH"])
        yield Route("/api/api-keys", self.list_keys, methods=["GET"])
        yield Route("/api/api-keys", self.create_key, methods=["POST"])
        yield Route("/api/api-keys/{key_id}", self.delete_key, methods=["DELETE"])

    async def list_content(self, request: Request) -> Response:
        """List the pictures of a bot, of a user, or all."""
        account = self._access.account(request)
        query = self._access.query(request, shapes.ContentQuery)
        return answers.answer(
            v3.ContentList(
                content=[
                    _content(picture)
                    for picture in account.pictures.values()
                    if query.bot_id in {None, picture.bot_id} and query.user_id in {None, picture.user_id}
                ]
            )
        )

    async def create_content(self, request: Request) -> Response:
        """Keep a picture: the bytes of a data URL, or the address of any other, which is not fetched."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.NewContent)
        if wanted.user_id is not None and wanted.user_id not in account.users:
            raise answers.Refused(404, "There is no such user.")
        picture_id = str(uuid.uuid4())
        media_type, data = shapes.decode_data_url(wanted.image_url) or (None, None)
        home = self._access.home(request)
        account.pictures[picture_id] = Picture(
            id=picture_id,
            url=wanted.image_url if data is None else f"{home}/pictures/{picture_id}",
            bot_id=wanted.bot_id,
            user_id=wanted.user_id,
            media_type=media_type,
            data=data,
            public=bool(wanted.public),
        )
        return answers.answer(v3.ContentEnvelope(content=_content(account.pictures[picture_id])))

    async def delete_content(self, request: Request) -> Response:
        """Delete a picture."""
        account = self._access.account(request)
        if account.pictures.pop(request.path_params["content_id"], None) is None:
            raise answers.Refused(404, "There is no such content.")
        return Response(status_code=204)

    async def get_config(self, request: Request) -> Response:
        """Show the account's settings."""
        return answers.answer(v3.ConfigEnvelope(config=self._access.account(request).config))

    async def patch_config(self, request: Request) -> Response:
        """Change the settings that the body names; null clears one."""
        account = self._access.account(request)
        patch = await self._access.body(request, shapes.PatchConfig)
        changed = {name: getattr(patch, name) for name in patch.model_fields_set}
        account.config = account.config.model_copy(update=changed)
        return answers.answer(v3.ConfigEnvelope(config=account.config))

    async def list_keys(self, request: Request) -> Response:
        """List the keys that were made through the API, without their secrets."""
        keys = self._access.account(request).api_keys.values()
        return answers.show({"api_keys": [_shown(key) for key in keys]})

    async def create_key(self, request: Request) -> Response:
        """Make a key; only this answer has its secret."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.NewApiKey)
        key = self._access.accounts.issue(account, wanted.name)
        return answers.show({"api_key": _shown(key) | {"key": key.key}})

    async def delete_key(self, request: Request) -> Response:
        """Take a key away."""
        account = self._access.account(request)
        if not self._access.accounts.revoke(account, request.path_params["key_id"]):
            raise answers.Refused(404, "There is no such key.")
        return Response(status_code=204)


# An uploaded SVG may hold scripts.
_INERT = {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}


class PictureEndpoints:
    """Pictures for browsers and receivers of webhooks: no key, their addresses cannot be guessed."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route("/pictures/{picture_id}", self.get, methods=["GET"])

    async def get(self, request: Request) -> Response:
        """Serve the bytes of a picture."""
        picture_id = request.path_params["picture_id"].removesuffix(".png")
        for account in self._access.accounts.all():
            picture = account.pictures.get(picture_id)
            if picture is not None and picture.data is not None:
                return Response(picture.data, media_type=picture.media_type, headers=_INERT)
        raise answers.Refused(404, "There is no such picture.")


def _content(picture: Picture) -> v3.Content:
    return v3.Content(content_id=picture.id, url=picture.url)


def _shown(key: ApiKey) -> dict[str, str | None]:
    return {"id": key.id, "name": key.name, "created_at": key.created_at.isoformat()}
