"""What operators do over HTTP: dead letters, breakers, and what the directory knows of a conversation.

It is for whoever holds `ADMIN_TOKEN`. Where none is set, it is for this machine alone: the peer's address must be
loopback, and nothing may suggest that the request came from further away, by a proxy or by a page in a browser.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from gateway import errors, keys
from gateway.bodies import Bodies
from gateway.directory import Directory
from gateway.relay import breakers, dead_letters
from gateway.relay.dead_letters import Filter
from gateway.relay.delivery import Reason
from gateway.store import Store

PREVIEWED = 5
MOST_LISTED = 500

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via", "origin", "sec-fetch-site")
"""Headers that a proxy or a browser adds, and no tool of an operator."""

_Text = Annotated[str, Field(min_length=1, max_length=512)]

Endpoint = Callable[[Request], Awaitable[Response]]
Model = TypeVar("Model", bound=BaseModel)


class Asked(BaseModel):
    """Which dead letters are meant, as a query or a body says it; unknown names are refused, since they are typos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: _Text | None = None
    host: _Text | None = None
    reason: Reason | None = None
    bot_id: _Text | None = None
    user_id: _Text | None = None
    died_until: pydantic.AwareDatetime | None = None

    def filter(self) -> Filter:
        """Give the filter; an empty one means all."""
        return Filter(
            tenant=self.tenant,
            host=self.host,
            reason=self.reason,
            bot_id=self.bot_id,
            user_id=self.user_id,
            died_until=self.died_until,
        )


class Listing(Asked):
    """The query of a list: of those that are meant, the newest `limit`."""

    limit: int = Field(50, ge=1, le=MOST_LISTED)


class Redrive(Asked):
    """The body of a redrive: a filter, or `all`; `dry_run` only shows what it would send."""

    all: bool = False
    dry_run: bool = False


class Conversation(BaseModel):
    """The query that names a conversation; the tenant by its digest, as logs show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(pattern=r"^[0-9a-f]{16}$")
    bot_id: _Text
    user_id: _Text


class Admin:
    """The operators' endpoints. `token` may be empty; `dialect` and `base_url` are of the upstream."""

    def __init__(self, *, store: Store, token: str, bodies: Bodies, dialect: str, base_url: str) -> None:
        self._store = store
        self._token = token.encode()
        self._bodies = bodies
        self._dialect = dialect
        self._base_url = base_url

    def routes(self) -> list[Mount]:
        """Give the routes, in a mount of their own: they are no part of what clients are told."""
        endpoints: list[tuple[str, str, Endpoint]] = [
            ("GET", "/dead-letters", self.list_dead_letters),
            ("POST", "/dead-letters/redrive", self.redrive_many),
            ("GET", "/dead-letters/{reply_id}", self.show_dead_letter),
            ("POST", "/dead-letters/{reply_id}/redrive", self.redrive_one),
            ("GET", "/breakers", self.list_breakers),
            ("GET", "/conversations", self.show_conversation),
            ("DELETE", "/conversations", self.forget_conversation),
        ]
        routes = [Route(path, self._for_operators(endpoint), methods=[method]) for method, path, endpoint in endpoints]
        return [Mount("/admin", app=Router(routes, redirect_slashes=False))]

    async def list_dead_letters(self, request: Request) -> Response:
        """GET /admin/dead-letters: count those that are meant, and tell of the newest."""
        asked = _read(Listing, request.query_params)
        found = await dead_letters.find(self._store, asked.filter(), asked.limit)
        return _json(count=found.count, dead_letters=[dead_letters.describe(letter) for letter in found.newest])

    async def show_dead_letter(self, request: Request) -> Response:
        """GET /admin/dead-letters/ID: tell of one."""
        letter = await dead_letters.show(self._store, request.path_params["reply_id"])
        if letter is None:
            raise errors.NotFound("no such dead letter")
        return _json(**dead_letters.describe(letter))

    async def redrive_one(self, request: Request) -> Response:
        """POST /admin/dead-letters/ID/redrive: send one again."""
        redriven = await dead_letters.redrive(self._store, [request.path_params["reply_id"]])
        if not redriven:
            raise errors.NotFound("no such dead letter")
        return _json(found=1, redriven=1)

    async def redrive_many(self, request: Request) -> Response:
        """POST /admin/dead-letters/redrive: send those that agree with a filter, or all; or show what would be sent."""
        asked = _read(Redrive, await self._bodies.read_json(request))
        wanted = asked.filter()
        if asked.all == (wanted != dead_letters.EVERYTHING):
            raise errors.OutOfRange('give a filter, or {"all": true}')
        if asked.dry_run:
            found = await dead_letters.find(self._store, wanted, PREVIEWED)
            told = [dead_letters.describe(letter) for letter in found.newest]
            return _json(found=found.count, redriven=0, dead_letters=told)
        redriven = await dead_letters.redrive_all(self._store, wanted)
        return _json(found=redriven, redriven=redriven)

    async def list_breakers(self, _request: Request) -> Response:
        """GET /admin/breakers: tell of those that are not closed."""
        found = await breakers.read(self._store)
        return _json(
            breakers=[
                {
                    "tenant": one.tenant,
                    "host": one.host,
                    "state": one.state,
                    "failures": one.failures,
                    "open_until": _instant(one.open_until),
                }
                for one in sorted(found, key=lambda one: (one.tenant, one.host))
            ]
        )

    async def show_conversation(self, request: Request) -> Response:
        """GET /admin/conversations: tell which upstream conversation the directory holds for a pair."""
        fields = await Directory(self._store).show(self._conversation(request))
        if not fields:
            raise errors.NotFound("the directory knows no such conversation")
        return _json(conversation_id=fields.get("id"))

    async def forget_conversation(self, request: Request) -> Response:
        """DELETE /admin/conversations: let the next turn look upstream again; replies on their way still leave."""
        if not await Directory(self._store).erase(self._conversation(request)):
            raise errors.NotFound("the directory knows no such conversation")
        return _json(forgotten=True)

    def _conversation(self, request: Request) -> keys.ConversationKeys:
        asked = _read(Conversation, request.query_params)
        return keys.ConversationKeys(
            keys.conversation_digest(
                dialect=self._dialect,
                base_url=self._base_url,
                tenant=asked.tenant,
                bot_id=asked.bot_id,
                user_id=asked.user_id,
            )
        )

    def _for_operators(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            self._admit(request)
            return await endpoint(request)

        return guarded

    def _admit(self, request: Request) -> None:
        if self._token:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            genuine = hmac.compare_digest(given.strip().encode(), self._token)
            if scheme.lower() != "bearer" or not genuine:
                raise errors.Unauthorized("Authorization: `Bearer` and the admin token are required")
        elif not _is_from_here(request):
            raise errors.Forbidden("set ADMIN_TOKEN to ask this from another machine")


def _is_from_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        host = urlsplit("//" + request.headers.get("host", "")).hostname or ""
    except ValueError:
        return False
    # A name that an attacker points at this machine would make a browser here his messenger.
    return _is_loopback(request.client.host) and _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback


def _read(model: type[Model], given: Mapping[str, str] | bytes) -> Model:
    try:
        return model.model_validate_json(given or b"{}") if isinstance(given, bytes) else model.model_validate(given)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise errors.OutOfRange("; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults)) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _json(**content: Any) -> Response:
    return JSONResponse(content)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
