"""HTTP/1.1 as the gateway speaks it: uvicorn's, with bounds on time and memory, and refusals in V1's shape.

Routes that are direct get their requests past ASGI, as an `Exchange`.

By itself uvicorn waits for ever for the rest of a head or of an unwanted body, keeps as much of a head as is sent,
takes a request without a Host or with two, and lets trailers appear among the headers that are being read.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway import direct, edge, errors, ids, metrics
from gateway import exchange as exchanges
from gateway.exchange import Exchange, Headers

STATE_KEY: Final = "http_limits"
"""Where the lifespan's state holds the `Limits`."""

DRAIN_SECONDS: Final = 5.0
"""For the rest of a body that is not wanted, and for a refused client to read why: closing at once could lose that."""

_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})

READ_SECONDS: Final = 30.0
"""For a client to take a piece of its answer; an answer that nobody reads would be kept for ever."""

Phase: TypeAlias = Literal["idle", "head", "body", "refused"]
"""What the client is sending: nothing, a head, a body, or what is no longer listened to."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How long a head may take and how much may come without being part of a body: head, chunk sizes, trailers."""

    head_seconds: float = 10.0
    head_bytes: int = 64 * 1024
    headers: int = 100

    def as_state(self) -> Mapping[str, Any]:
        """Give what a lifespan yields for the protocol to find."""
        return {STATE_KEY: self}


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits: Limits = app_state.get(STATE_KEY) or Limits()
        self._direct: direct.Routes = app_state.get(direct.STATE_KEY) or {}
        self._phase: Phase = "idle"
        self._held = 0
        """Bytes since the last that were part of a body: what the parser may hold back."""
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None
        """When the last answer went out; None while the client asks or waits."""
        self._serving: RequestResponseCycle | None = None
        self._fault: errors.GatewayError | None = None
        self._is_old = False
        """Whether the request is of HTTP/1.0."""
        self._is_offered_another = False
        """From the end of a head with an upgrade until the body's own parser stands where the head's stopped."""

    # What the connection does

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        """Give a new client as long for its first byte as for the rest of the head."""
        super().connection_made(transport)
        self._arm(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._disarm()
        self._disarm_writing()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._serving is not None:  # the parent tells only the newest of several requests sent at once
            self._serving.disconnected = True
            self._serving.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and see to it that what is neither answered nor whole has a deadline."""
        if self._phase == "refused":
            return
        self._held += len(data)
        self._idle_since = None
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(self._fault or errors.ClientError(f"the request is no HTTP/1.1: {error}"))
        if self._held > self._limits.head_bytes and self._phase in {"head", "body"}:
            self._refuse(self._too_large())
        elif self._deadline is None and self._waits_for_head:
            self._arm(self._limits.head_seconds)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Give a client that does not read its answer a deadline."""
        super().pause_writing()
        self._write_deadline = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        self._disarm_writing()
        super().resume_writing()

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                return self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self.parser = self._parser_of_body()
                data = data[offer.args[0] :]

    def _parser_of_body(self) -> httptools.HttpRequestParser:
        """Go on with HTTP/1.1 where the client offers another protocol, as Java's does in every first request.

        The parser gives up behind the head of such a request, body or not. This one is told the framing of the body
        and stands where the other one stopped.
        """
        parser = httptools.HttpRequestParser(self)
        framing = [b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING]
        parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        return parser

    # What the parser finds

    def on_message_begin(self) -> None:
        """Begin a request; the parser of a body alone says so too."""
        if not self._is_offered_another:
            self._phase = "head"
            self.url, self.headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the target."""
        if self._phase == "head":
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers must not become headers."""
        if self._phase == "head":
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Look at the whole head, and let the application begin."""
        if self._is_offered_another:
            self._is_offered_another = False
            return
        self._fault = self._fault_of_head()
        if self._fault is not None:
            raise self._fault  # the parser stops with an error of its own
        self._disarm()
        self._is_offered_another = self.parser.should_upgrade()
        serve = direct.find(self._direct, self.parser.get_method(), self.url)
        if serve is None or self._is_offered_another or "expect" in (headers := Headers(self.headers)):
            self._begin_asgi()
        else:
            self._begin_exchange(serve, headers)
        self._phase, self._held = "body", 0

    def _begin_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()  # makes the scope
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _begin_exchange(self, serve: direct.Serve, headers: Headers) -> None:
        earlier: RequestResponseCycle | None = self.cycle
        self.cycle = exchange = Exchange(
            serve,
            headers,
            transport=self.transport,
            flow=self.flow,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            keep_alive=not self._is_old and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.target = self.url
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(exchange, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, which the application bounds."""
        self._held = 0
        cycle = self.cycle
        if isinstance(cycle, Exchange):
            cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; there may be another one behind it."""
        if self._is_offered_another:
            return
        self._phase, self._held = "idle", 0
        self._disarm()
        super().on_message_complete()

    # What the application has done

    def on_response_complete(self) -> None:
        """Give the rest of a body that was not read a moment to come, so that the connection can be used again."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()
            if self._idle_timer is None:
                self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)
        if self._phase == "body":
            self._arm(DRAIN_SECONDS)

    def _look_whether_idle(self) -> None:
        """Close the connection if it has been idle for long; the parent's timer for each request would cost 3 µs."""
        self._idle_timer = None
        if self._idle_since is not None:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
            else:
                self._hang_up()

    @property
    def _waits_for_head(self) -> bool:
        """Whether a head is under way; line breaks before a request line begin none, but are a part of it."""
        return self._phase == "head" or (self._phase == "idle" and not self._is_busy)

    @property
    def _is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is not None and not cycle.response_complete

    def _fault_of_head(self) -> errors.GatewayError | None:
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        size = len(self.url) + sum(map(len, itertools.chain.from_iterable(self.headers))) + 4 * len(names)
        if size > self._limits.head_bytes or len(names) > self._limits.headers:
            return self._too_large()
        self._is_old = self.parser.get_http_version() == "1.0"
        if hosts > 1 or (hosts == 0 and not self._is_old):
            return errors.ClientError(f"Host: {'given more than once' if hosts else 'required'}")
        # HTTP/1.0 has none: others may see another end of the body
        if self._is_old and b"transfer-encoding" in names:
            return errors.ClientError("Transfer-Encoding: not a part of HTTP/1.0")
        return None

    def _too_large(self) -> errors.GatewayError:
        limits = self._limits
        return errors.HeadersTooLarge(
            f"at most {limits.headers} headers and {limits.head_bytes} bytes of them are taken"
        )

    def _refuse(self, error: errors.GatewayError) -> None:
        """Answer with the error, if no other answer is owed on this connection, and listen no more."""
        whole, self._phase = self._phase != "body", "refused"
        if self._is_busy and whole:
            self._disarm()
            self.cycle.keep_alive = False  # the answers to earlier requests come first, and then the end
            return
        if not whole:
            answered = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if answered:
                self.transport.close()
                return
        if not self.transport.is_closing():
            response = edge.refusal(error, request_id := ids.new())
            metrics.UNREADABLE_REQUESTS(status=response.status).inc()
            self.transport.write(exchanges.encode(response, request_id))
            self.transport.write_eof()
            self._arm(DRAIN_SECONDS)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _disarm_writing(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._phase == "head":
            self._refuse(errors.RequestTimeout(f"the head did not come within {self._limits.head_seconds:g} seconds"))
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self.transport.close()
        if self._write_deadline is None:  # an answer that is never read would keep even a closed connection
            self._write_deadline = self.loop.call_later(READ_SECONDS, self.transport.abort)
