"""The middleware that carries out the faults."""

import json
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.sandbox import faults, journal

TRANSPORT = "gateway.sandbox.transport"
"""The ASGI extension by which the sandbox's server hands out the connection, so that it can be cut."""

_FAULT = "gateway.sandbox.fault"
_HTML = b"<html><head><title>%d</title></head><body><h1>%d</h1><hr>a proxy in between</body></html>\r\n"
_CHUNK = 64 * 1024


def fault_of(scope: Scope) -> faults.RequestFault | None:
    """Return the fault that befalls this request."""
    fault: faults.RequestFault | None = scope.get(_FAULT)
    return fault


class FaultyMiddleware:
    """Lets requests suffer what the rules say, except those, by method and path, that are spared."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: faults.Rules[faults.RequestFault],
        pulse: journal.Pulse,
        spared: Callable[[str, str], bool],
    ) -> None:
        self._app = app
        self._rules = rules
        self._pulse = pulse
        self._spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or self._spared(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        fault = self._rules.take(lambda rule: rule.matches(scope["method"], scope["path"]))
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope[_FAULT] = fault
        if fault.when == "before":
            if fault.action == "hang":
                await self._hang(fault)
                await self._app(scope, receive, send)
            else:
                await self._spoil(fault, scope, receive, send)
            return
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self._app(scope, receive, keep)
        if fault.action == "hang":
            await self._hang(fault)
            for message in kept:
                await send(message)
        else:
            await self._spoil(fault, scope, receive, send)

    async def _hang(self, fault: faults.RequestFault) -> None:
        await self._pulse.until(lambda: False, fault.seconds)

    async def _spoil(self, fault: faults.RequestFault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.action == "drop":
            await _cut(scope, receive, gently=False)
            return
        media_type, length, chunks = _body(fault)
        announced = 2 * length if fault.body == "truncated" else length  # twice: more than will ever come
        headers = [(b"content-type", media_type), (b"content-length", str(announced).encode())]
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fault.headers.items()]
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if fault.body == "truncated":
            await _cut(scope, receive, gently=True)
        else:
            await send({"type": "http.response.body", "body": b""})


def _body(fault: faults.RequestFault) -> tuple[bytes, int, Iterator[bytes]]:
    match "empty" if fault.status in {204, 304} else fault.body:
        case "json":
            body = json.dumps({"message": "This fault was asked for."}).encode()
            return b"application/json", len(body), iter([body])
        case "truncated":
            body = b'{"conversation": {"id": "'
            return b"application/json", len(body), iter([body])
        case "html":
            body = _HTML % (fault.status, fault.status)
            return b"text/html", len(body), iter([body])
        case "empty":
            return b"application/json", 0, iter([])
        case "huge":
            whole, rest = divmod(fault.size, _CHUNK)
            return b"text/plain", fault.size, (b"x" * n for n in [*([_CHUNK] * whole), rest] if n)


async def _cut(scope: Scope, receive: Receive, *, gently: bool) -> None:
    """Close the connection: at once, or after what was already sent."""
    transport = scope["extensions"][TRANSPORT]["transport"]
    if gently:
        transport.close()
    else:
        transport.abort()
    # The server holds an application for broken that returns without an answer before it knows of the end.
    while (await receive())["type"] != "http.disconnect":
        pass
