"""The composition root: the one place where the store, the clients and the flows are made and joined."""

import asyncio
import contextlib
import dataclasses
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from types import FrameType

import structlog
from starlette.applications import Starlette

from gateway import auth, destinations, edge, embedded, http, logs, mapping_log, store
from gateway.api import Api
from gateway.callbacks import Callbacks
from gateway.directory import Directory
from gateway.open_turns import OpenTurns
from gateway.relay.queue import Queue
from gateway.relay.receiver import Receiver
from gateway.relay.worker import Worker
from gateway.settings import PREFIX, ConfigurationError, Settings
from gateway.store import Store
from gateway.turns import CALLS_PER_TURN, LEASE_MARGIN, Turns
from gateway.upstreams.base import Upstream
from gateway.upstreams.v3 import V3

MAX_UPSTREAM_ANSWER_BYTES = 64 * 2**20
"""A transcript of ten thousand messages of several kilobytes each is the largest answer that is read."""

MAX_WEBHOOK_ANSWER_BYTES = 64 * 2**10

DRAIN_PAUSE_SECONDS = 1.0
"""From readyz's first 503 to the end of listening: what load balancers need to send nobody here any more."""

log = structlog.get_logger(__name__)


def require_upstream(settings: Settings) -> None:
    """Raise `ConfigurationError` unless the settings say where the upstream is."""
    if not settings.v3_url:
        raise ConfigurationError(f"{PREFIX}V3_URL: required, the base URL of the upstream")


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[tuple[Store, tuple[bytes, ...]]]:
    """Open the store, embedded if no URL is given, and give the secrets that go with it."""
    async with contextlib.AsyncExitStack() as stack:
        secrets = settings.secrets
        url = settings.redis_url
        if not url:
            url = await stack.enter_async_context(embedded.start(settings.data_dir))
            secrets = secrets or (auth.secret_in(settings.data_dir).encode(),)
        yield await stack.enter_async_context(store.connect(url)), secrets


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """What runs: the endpoints, the relay's worker of this process, and the store under both."""

    api: Api
    worker: Worker
    store: Store
    upstream: Upstream


@contextlib.asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Make everything of one process, run its relay, and take it down in the order in which nothing is lost."""
    require_upstream(settings)
    key_map = settings.load_key_map()
    networks = destinations.Networks(settings.webhook_allow)
    call_timeout = timedelta(seconds=settings.upstream_timeout_seconds)
    async with contextlib.AsyncExitStack() as stack:
        opened, secrets = await stack.enter_async_context(open_store(settings))
        upstream_client = await stack.enter_async_context(
            http.client(
                timeout_seconds=settings.upstream_timeout_seconds,
                max_answer_bytes=MAX_UPSTREAM_ANSWER_BYTES,
            )
        )
        webhook_client = await stack.enter_async_context(
            http.client(
                timeout_seconds=settings.delivery_timeout_seconds,
                max_answer_bytes=MAX_WEBHOOK_ANSWER_BYTES,
                guard=networks,
            )
        )
        upstream = V3(settings.v3_url, upstream_client)
        tokens = auth.Tokens(secrets)
        settle = timedelta(seconds=settings.settle_seconds)
        queue = Queue(opened, settle=settle)
        worker = Worker(queue, Receiver(webhook_client).post, settings, observer=mapping_log)
        api = Api(
            authenticator=auth.Authenticator(secrets, key_map),
            turns=Turns(
                upstream=upstream,
                open_turns=OpenTurns(opened, lease=CALLS_PER_TURN * call_timeout + LEASE_MARGIN),
                directory=Directory(opened),
                queue=queue,
                tokens=tokens,
                callback_base_url=settings.callback_base_url,
                call_timeout=call_timeout,
                settle=settle,
            ),
            callbacks=Callbacks(upstream=upstream, tokens=tokens, queue=queue),
            store=opened,
            webhook_allow=networks,
            max_body_bytes=settings.max_body_bytes,
        )
        worker.start()
        try:
            yield Gateway(api, worker, opened, upstream)
        finally:
            await worker.stop(timedelta(seconds=settings.grace_seconds))


def create_app(settings: Settings, *, configure_logs: Callable[[], None] | None = None) -> edge.Edge:
    """Give the ASGI application; everything it needs is opened by its lifespan.

    `configure_logs` replaces the configuration of logging by the settings.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if configure_logs is None:
            logs.configure(settings.log_level, settings.log_format)
        else:
            configure_logs()
        async with open_gateway(settings) as gateway:
            app.router.routes.extend(gateway.api.routes(gateway.upstream.dialect))
            app.state.gateway = gateway
            with _draining_on_sigterm(gateway.api):
                yield

    app = Starlette(lifespan=lifespan, exception_handlers=dict(edge.HANDLERS))
    return edge.Edge(app)


@contextlib.contextmanager
def _draining_on_sigterm(api: Api) -> Iterator[None]:
    """Turn SIGTERM into a drain: readyz fails first, then, once nobody sends new requests, the server stops.

    The server's own handler is called after the pause. Where the server has none (it runs inside another program),
    nothing is changed.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop):
        yield
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        api.draining = True
        loop.call_soon_threadsafe(loop.call_later, DRAIN_PAUSE_SECONDS, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)
