"""The composition root: the one place where the store, the clients and the flows are made and joined."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from gateway import (
    auth,
    destinations,
    dialects,
    direct,
    draining,
    edge,
    embedded,
    errors,
    http,
    logs,
    mapping_log,
    openapi,
    store,
)
from gateway.admin import Admin
from gateway.answers import Answers
from gateway.api import Api
from gateway.assets import Assets
from gateway.bodies import Bodies
from gateway.callbacks import Callbacks
from gateway.complete import Complete
from gateway.dialects import Connected
from gateway.directory import Directory
from gateway.draining import Drain
from gateway.fingerprints import Fingerprints
from gateway.open_turns import OpenTurns
from gateway.operations import Operations
from gateway.pictures import Pictures
from gateway.posting import Rules
from gateway.protocol import Limits
from gateway.relay import gauges, signatures
from gateway.relay.pressure import Pressure
from gateway.relay.puller import Puller
from gateway.relay.queue import Queue
from gateway.relay.receiver import Receiver
from gateway.relay.worker import Worker
from gateway.settings import PREFIX, ConfigurationError, Settings
from gateway.store import Store
from gateway.turns import CALLS_PER_TURN, LEASE_MARGIN, Turns
from gateway.upstreams.base import Upstream
from mappings import reconcile

MAX_WEBHOOK_ANSWER_BYTES = 64 * 2**10


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[tuple[Store, tuple[bytes, ...]]]:
    """Open the store, embedded if no URL is given, and give the secrets that go with it."""
    async with contextlib.AsyncExitStack() as stack:
        secrets = settings.secrets
        url = settings.redis_url
        if not url:
            linger = draining.time_for_last_words(timedelta(seconds=settings.grace_seconds)).total_seconds()
            url = await stack.enter_async_context(embedded.start(settings.data_dir, linger_seconds=linger))
            secrets = secrets or (auth.secret_in(settings.data_dir).encode(),)
        yield await stack.enter_async_context(store.connect(url)), secrets


@dataclasses.dataclass(frozen=True, slots=True)
class Relay:
    """What has replies and delivers them: the store with its secrets, the queue in it, the upstream, the workers."""

    store: Store
    secrets: tuple[bytes, ...]
    networks: destinations.Networks
    queue: Queue
    pressure: Pressure
    connected: Connected
    worker: Worker


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """What runs: the endpoints, the relay's workers of this process, and the store under both."""

    api: Api
    answers: Answers
    assets: Assets
    pictures: Pictures
    worker: Worker
    puller: Puller
    store: Store
    upstream: Upstream


@contextlib.asynccontextmanager
async def open_relay(settings: Settings, drain: Drain, *, works: bool) -> AsyncIterator[Relay]:
    """Open the store and the relay over it; `works`: this process delivers, and does not leave it to others.

    The relay stops when the drain begins, while requests are still finished: what they leave in the store from then on
    is for other processes, or for this one after its restart.
    """
    networks = destinations.Networks(settings.webhook_allow)
    async with contextlib.AsyncExitStack() as stack:
        opened, secrets = await stack.enter_async_context(open_store(settings))
        client = await stack.enter_async_context(
            http.client(
                timeout_seconds=settings.delivery_timeout_seconds,
                max_answer_bytes=MAX_WEBHOOK_ANSWER_BYTES,
                guard=networks,
                peer="webhook",
            )
        )
        queue = Queue(opened, settle=timedelta(seconds=settings.settle_seconds))
        signer = _signer(settings, secrets)
        worker = Worker(queue, Receiver(client, signer).post, settings, observer=mapping_log)
        connected = await stack.enter_async_context(dialects.connect(settings, opened, queue, secrets))
        pressure = Pressure(most=settings.max_pending_replies, most_of_tenant=settings.max_pending_replies_per_tenant)
        await stack.enter_async_context(gauges.sampling(queue, pressure=pressure))
        workers: list[Worker | Puller] = [worker, connected.puller]
        async with _relaying(workers, drain) if works else contextlib.nullcontext():
            yield Relay(opened, secrets, networks, queue, pressure, connected, worker)


def _signer(settings: Settings, secrets: Sequence[bytes]) -> signatures.Signer:
    table = settings.load_webhook_secrets()
    tenant_of = auth.Authenticator(secrets, {}).tenant_of
    try:
        tenants = {name: tenant_of(name) for name in table if not signatures.is_tenant(name)}
    except errors.Unauthorized as error:
        raise ConfigurationError(f"{PREFIX}WEBHOOK_SECRETS: a name is neither an API key nor a tenant") from error
    return signatures.Signer(signatures.read_secrets(table, tenants))


@contextlib.asynccontextmanager
async def _relaying(workers: Sequence[Worker | Puller], drain: Drain) -> AsyncIterator[None]:
    async def stop() -> None:
        await drain.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain.left().total_seconds()):
                await asyncio.gather(*(worker.stop(drain.left_for_work()) for worker in workers))

    for worker in workers:
        worker.start()
    stopping = asyncio.create_task(stop(), name="relay-stop")
    try:
        yield
    finally:
        drain.begin()
        await stopping


@contextlib.asynccontextmanager
async def open_gateway(settings: Settings, drain: Drain) -> AsyncIterator[Gateway]:
    """Make everything of one process, run its relay, and take it down in the order in which nothing is lost."""
    dialects.require_upstream(settings)
    key_map = settings.load_key_map()
    call_timeout = timedelta(seconds=settings.upstream_timeout_seconds)
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay(settings, drain, works=settings.relay))
        upstream = relay.connected.upstream
        tokens = auth.Tokens(relay.secrets)
        authenticator = auth.Authenticator(relay.secrets, key_map)
        bodies = Bodies(settings.max_body_bytes, settings.body_timeout_seconds)
        pictures = Pictures(
            relay.store,
            auth.Tokens(relay.secrets, purpose=b"content"),
            base_url=settings.callback_base_url,
            time_to_live=timedelta(seconds=settings.picture_ttl_seconds),
        )
        assets = Assets(
            authenticator=authenticator,
            bodies=bodies,
            pictures=pictures,
            upstream=relay.connected.assets,
            max_picture_bytes=settings.max_picture_bytes,
        )
        answers = Answers(relay.store, drain, timedelta(seconds=settings.answer_timeout_seconds))
        stack.push_async_callback(answers.close)
        turns = Turns(
            upstream=upstream,
            open_turns=OpenTurns(relay.store, lease=CALLS_PER_TURN * call_timeout + LEASE_MARGIN),
            directory=Directory(relay.store),
            queue=relay.queue,
            replies=relay.connected.replies,
            call_timeout=call_timeout,
            settle=timedelta(seconds=settings.settle_seconds),
            rules=Rules(
                reconcile.Policy(settings.history_ahead, settings.history_forked, upstream.takes_user_messages),
                settings.v3_context if upstream.dialect == "v3" else "full",
            ),
        )
        api = Api(
            dialect=upstream.dialect,
            complete=Complete(
                authenticator=authenticator,
                fingerprints=Fingerprints(relay.secrets[0]),
                turns=turns,
                answers=answers,
                bodies=bodies,
                pictures=pictures,
                pressure=relay.pressure,
                webhook_allow=relay.networks,
            ),
            callbacks=Callbacks(upstream=upstream, tokens=tokens, queue=relay.queue),
            bodies=bodies,
        )
        yield Gateway(api, answers, assets, pictures, relay.worker, relay.connected.puller, relay.store, upstream)


@dataclasses.dataclass(frozen=True, slots=True)
class Assembly:
    """What an application serves: its routes, the store that its readiness depends on, its parts by name."""

    routes: Sequence[BaseRoute]
    store: Store
    parts: Mapping[str, object]
    direct_routes: Callable[[set[asyncio.Task[object]]], direct.Routes] = lambda _serving: {}


Assemble: TypeAlias = Callable[[Settings, Drain], contextlib.AbstractAsyncContextManager[Assembly]]


def create_app(settings: Settings, *, configure_logs: Callable[[], None] | None = None) -> edge.Edge:
    """Give the gateway as an ASGI application; everything it needs is opened by its lifespan.

    `configure_logs` replaces the configuration of logging by the settings.
    """
    return _application(settings, _gateway, configure_logs)


def create_relay_app(settings: Settings) -> edge.Edge:
    """Give the relay alone as an ASGI application, which serves only what operators ask."""
    return _application(settings, _relay, None)


@contextlib.asynccontextmanager
async def _gateway(settings: Settings, drain: Drain) -> AsyncIterator[Assembly]:
    async with open_gateway(settings, drain) as gateway:
        faces = [*gateway.api.routes(), *gateway.assets.routes()]
        routes = [*faces, *_admin(settings, gateway.store).routes()]
        yield Assembly(routes, gateway.store, {"gateway": gateway}, gateway.api.direct_routes)


@contextlib.asynccontextmanager
async def _relay(settings: Settings, drain: Drain) -> AsyncIterator[Assembly]:
    async with open_relay(settings, drain, works=True) as relay:
        yield Assembly(_admin(settings, relay.store).routes(), relay.store, {"relay": relay})


def _admin(settings: Settings, opened: Store) -> Admin:
    return Admin(
        store=opened,
        token=settings.admin_token.get_secret_value(),
        bodies=Bodies(settings.max_body_bytes, settings.body_timeout_seconds),
        dialect=settings.upstream,
        base_url=dialects.base_url(settings),
    )


def _application(settings: Settings, assemble: Assemble, configure_logs: Callable[[], None] | None) -> edge.Edge:
    grace = timedelta(seconds=settings.grace_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        if configure_logs is None:
            logs.configure(settings.log_level, settings.log_format)
        else:
            configure_logs()
        drain = Drain(grace)
        async with assemble(settings, drain) as assembly:
            routes = [*assembly.routes, *Operations(assembly.store, drain).routes()]
            app.router.routes.extend([*routes, openapi.route(routes)])
            for name, part in assembly.parts.items():
                setattr(app.state, name, part)
            with draining.on_signals(drain, grace):
                limits = Limits(head_seconds=settings.head_timeout_seconds).as_state()
                yield {**limits, direct.STATE_KEY: assembly.direct_routes(outermost.serving)}
            drain.begin()
            await outermost.finish(drain.left())

    app = Starlette(lifespan=lifespan, exception_handlers=dict(edge.HANDLERS))
    app.router.redirect_slashes = False  # a client that followed would show its key wherever Host says
    outermost = edge.Edge(app)
    return outermost
