"""The sandbox as one ASGI application: the emulated APIs, the inbox, the pages and the control surface."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from gateway.sandbox import answers, calls, control, faulty, inbox, site
from gateway.sandbox.chatbotkit.app import PATHS
from gateway.sandbox.chatbotkit.control import ControlEndpoints as ChatBotKitControlEndpoints
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.v3.account import AccountEndpoints, PictureEndpoints
from gateway.sandbox.v3.conversations import ConversationEndpoints
from gateway.sandbox.v3.people import PeopleEndpoints
from gateway.sandbox.world import World


def create_app(settings: SandboxSettings | None = None) -> Starlette:
    """Return a sandbox of its own; `app.state.world` is what it is made of.

    To cut connections, as some faults do, it needs the server of `gateway.sandbox.server`.
    """
    world = World(settings or SandboxSettings())

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await world.open()
        try:
            yield
        finally:
            await world.close()

    prefix = world.settings.prefix
    apis = (f"{prefix}/api/", *(f"{prefix}{path}/" for path in PATHS))
    chatbotkit = world.chatbotkit.create_app()

    def spared(method: str, path: str) -> bool:
        """Tell what faults never befall: all but the APIs and deliveries to the inbox."""
        return not (path.startswith(apis) or inbox.is_delivery(method, path))

    app = Starlette(
        routes=[
            *control.ControlEndpoints(world).routes(),
            *ChatBotKitControlEndpoints(world.chatbotkit.accounts, world.chatbotkit.bots).routes(),
            *site.SiteEndpoints(world).routes(),
            *inbox.InboxEndpoints(world.deliveries, world.settings).routes(),
            *PictureEndpoints(world.access).routes(),
            *(_below(prefix, route) for route in _api(world)),
            *(Mount(f"{prefix}{path}", chatbotkit) for path in PATHS),
        ],
        middleware=[
            Middleware(
                calls.CallLogMiddleware,
                calls=world.calls,
                apis=apis,
                max_body_bytes=world.settings.max_body_bytes,
            ),
            Middleware(faulty.FaultyMiddleware, rules=world.request_faults, pulse=world.pulse, spared=spared),
        ],
        exception_handlers=_HANDLERS,
        lifespan=lifespan,
    )
    app.state.world = world
    return app


def _api(world: World) -> list[Route]:
    return [
        *ConversationEndpoints(world.access, world.speaker, world.callback_faults).routes(),
        *PeopleEndpoints(world.access, world.speaker).routes(),
        *AccountEndpoints(world.access).routes(),
    ]


def _below(prefix: str, route: Route) -> Route:
    return Route(f"{prefix}{route.path}", route.endpoint, methods=sorted(route.methods or ()))


def _nobody_listens(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)


_HANDLERS: dict[Any, Any] = {  # each handler takes its own kind of exception, which the type of the argument cannot say
    answers.Refused: answers.show_refusal,
    HTTPException: answers.show_http_error,
    ClientDisconnect: _nobody_listens,
}
