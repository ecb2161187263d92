"""The endpoints of bots and pictures: V1's other routes, and the pictures that the upstream fetches from here."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import auth, bodies, errors, exchange, forms
from gateway.bodies import Bodies
from gateway.pictures import PATH, Pictures
from gateway.upstreams.base import AssetSource
from mappings import assets, receipt, v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.wire import v1 as wire

_INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",
    "Referrer-Policy": "no-referrer",
}
"""What comes from a stranger is a picture to a browser and nothing else."""


class Assets:
    """The endpoints over the upstream and the kept pictures; `max_picture_bytes` bounds a picture."""

    def __init__(
        self,
        *,
        authenticator: auth.Authenticator,
        bodies: Bodies,
        pictures: Pictures,
        upstream: AssetSource,
        max_picture_bytes: int,
    ) -> None:
        self._authenticator = authenticator
        self._bodies = bodies
        self._pictures = pictures
        self._upstream = upstream
        self._max_picture_bytes = max_picture_bytes

    def routes(self) -> Iterator[Route]:
        """Give the routes."""
        yield Route("/v2/bot", self.create_bot, methods=["POST"])
        yield Route("/v2/content", self.create_content, methods=["POST"])
        yield Route("/v2/user_content", self.keep_user_content, methods=["POST"])
        yield Route(PATH + "{token}", self.picture, methods=["GET"])

    async def create_bot(self, request: Request) -> Response:
        """POST /v2/bot: create a bot at the upstream."""
        caller = self._caller(request)
        body = await self._bodies.read_json(request)
        try:
            bot = v1.decode_bot(body)
        except MalformedRequest as error:
            raise errors.ClientError(str(error)) from error
        except ValueOutOfRange as error:
            raise errors.OutOfRange(str(error)) from error
        found = assets.outcomes(bot)
        refusal = receipt.strict_refusal(found) if receipt.is_strict(request.headers.get("prefer")) else None
        if refusal is not None:
            raise errors.ClientError(refusal)
        response = _created(await self._upstream.create_bot(caller.upstream_key, bot))
        if told := receipt.encode_receipt(found):
            response.headers[receipt.HEADER] = told
        return response

    async def create_content(self, request: Request) -> Response:
        """POST /v2/content?bot_id=...: put a form's picture into a bot's vault at the upstream."""
        caller = self._caller(request)
        bot_id = request.query_params.get("bot_id", "")
        if not 0 < len(bot_id) <= v1.MAX_ID_CHARACTERS:
            raise errors.ClientError("bot_id: required, in the query")
        data = await forms.read_file(
            self._bodies.stream(request, max_bytes=self._max_picture_bytes + forms.OVERHEAD_BYTES),
            request.headers.get("content-type", ""),
            field="content",
            max_bytes=self._max_picture_bytes,
        )
        media_type = _type_of(data)
        return _created(await self._upstream.add_bot_picture(caller.upstream_key, bot_id, media_type, data))

    async def keep_user_content(self, request: Request) -> Response:
        """POST /v2/user_content: keep a picture until a turn names it.

        The upstream is asked about the key first: nothing else here would, and the gateway is no place for strangers'
        pictures.
        """
        caller = self._caller(request)
        bodies.media_type(request, assets.PICTURE_TYPES)
        data = await self._bodies.read(request, max_bytes=self._max_picture_bytes)
        media_type = _type_of(data)
        await self._upstream.check_key(caller.upstream_key)
        return _created(wire.Created(await self._pictures.keep(caller.tenant, media_type, data)))

    async def picture(self, request: Request) -> Response:
        """GET /content/{token}: the bytes of a kept picture, for whoever was given its URL."""
        picture = await self._pictures.read(request.path_params["token"])
        return Response(picture.data, media_type=picture.media_type, headers=_INERT)

    def _caller(self, request: Request) -> auth.Caller:
        return self._authenticator.authenticate(request.headers.get("authorization"))


def _type_of(data: bytes) -> str:
    media_type = assets.picture_type(data)
    if media_type is None:
        raise errors.OutOfRange(f"the content is not a picture of {', '.join(assets.PICTURE_TYPES)}")
    return media_type


def _created(created: wire.Created | wire.ContentCreated) -> Response:
    return Response(v1.encode_created(created), media_type=exchange.JSON)
