"""Which upstream the settings name, with all that stands behind its face: clients, assets, and who has its replies."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway import auth, http, mapping_log
from gateway.relay.puller import Bounds, Puller
from gateway.relay.pulls import Pulls
from gateway.relay.queue import Queue
from gateway.replies import Pulled, Pushed, Replies
from gateway.sealed import Sealer
from gateway.settings import PREFIX, ConfigurationError, Settings
from gateway.store import Store
from gateway.upstreams.base import AssetSource, Upstream
from gateway.upstreams.chatbotkit import ChatBotKit
from gateway.upstreams.chatbotkit_assets import ChatBotKitAssets
from gateway.upstreams.v3 import V3
from gateway.upstreams.v3_assets import V3Assets
from mappings.wire import chatbotkit

MAX_ANSWER_BYTES = 64 * 2**20
"""A transcript of ten thousand messages of several kilobytes each is the largest answer that is read."""

GENERATION_MARGIN_SECONDS = 30
"""How much longer than a generation may take its call is waited for."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The upstream and what goes with it; `puller` has replies that must be fetched, or that no callback brought."""

    upstream: Upstream
    assets: AssetSource
    replies: Replies
    puller: Puller


def base_url(settings: Settings) -> str:
    """Give the base URL of the upstream; empty where the settings name none."""
    return settings.chatbotkit_url if settings.upstream == "chatbotkit" else settings.v3_url


def require_upstream(settings: Settings) -> None:
    """Raise `ConfigurationError` unless the settings say where the upstream is."""
    if not base_url(settings):
        raise ConfigurationError(f"{PREFIX}{settings.upstream.upper()}_URL: required, the base URL of the upstream")


@contextlib.asynccontextmanager
async def connect(settings: Settings, store: Store, queue: Queue, secrets: Sequence[bytes]) -> AsyncIterator[Connected]:
    """Open the clients of the upstream; nothing is called before it is used."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(settings.upstream_timeout_seconds))
        pulls = Pulls(store, Sealer(secrets))
        if settings.upstream == "v3":
            v3 = V3(settings.v3_url, client)
            pushed = Pushed(
                v3.dialect,
                settings.callback_base_url,
                auth.Tokens(secrets),
                pulls,
                after=timedelta(seconds=settings.reply_timeout_seconds),
            )
            yield Connected(v3, V3Assets(v3), pushed, Puller(pulls, queue, v3, observer=mapping_log))
            return
        seconds = chatbotkit.LONGEST_GENERATION_SECONDS + GENERATION_MARGIN_SECONDS
        generations = await stack.enter_async_context(_client(seconds))
        upstream = ChatBotKit(settings.chatbotkit_url, client, generations=generations, bots=settings.load_bot_map())
        puller = Puller(
            pulls,
            queue,
            upstream,
            observer=mapping_log,
            bounds=Bounds(
                lease=timedelta(seconds=settings.pull_lease_seconds), compact_after=settings.compact_after_messages
            ),
        )
        yield Connected(upstream, ChatBotKitAssets(), Pulled(pulls, upstream), puller)


def _client(seconds: float) -> contextlib.AbstractAsyncContextManager[http.HttpClient]:
    return http.client(timeout_seconds=seconds, max_answer_bytes=MAX_ANSWER_BYTES, peer="upstream")
