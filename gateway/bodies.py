"""Bodies of requests, read with bounds: how many bytes, how long, and of which type."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from starlette.requests import ClientDisconnect

from gateway import errors
from gateway.deadlines import Within
from gateway.exchange import JSON, Exchange, Incoming


class Bodies:
    """Reads what clients send: at most `max_bytes`, whole within `timeout_seconds`."""

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def read_json(self, request: Incoming) -> bytes:
        """Read a body that says that it is JSON, or says nothing; whether it is, is not looked at."""
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
            raise errors.UnsupportedMediaType(f"Content-Type: {kind} is not taken, send {JSON}")
        return await self.read(request)

    async def read(self, request: Incoming, *, max_bytes: int | None = None) -> bytes:
        """Read a body of any type; `max_bytes` can lower the limit, not raise it."""
        limit = self._limit(request, max_bytes)
        if isinstance(request, Exchange) and (body := request.take_body()) is not None:  # as it mostly is
            if len(body) > limit:
                raise _too_large(limit)
            return body
        pieces, size, more = [], 0, True
        try:
            with Within(self._timeout_seconds):
                while more:
                    piece, more = await _receive(request)
                    size += len(piece)
                    if size > limit:
                        raise _too_large(limit)
                    pieces.append(piece)
        except TimeoutError:
            raise self._late() from None
        return b"".join(pieces)

    async def stream(self, request: Incoming, *, max_bytes: int | None = None) -> AsyncIterator[bytes]:
        """Give a body as it arrives; one that announces its length is refused before it is read.

        Raises `PayloadTooLarge`, `RequestTimeout` and, for a compressed body, `UnsupportedCoding`: nothing says that
        V1 took any, and inflating is how a small request becomes a large one.
        """
        limit = self._limit(request, max_bytes)
        size, more = 0, True
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        while more:
            try:
                async with asyncio.timeout_at(deadline):
                    piece, more = await _receive(request)
            except TimeoutError:
                raise self._late() from None
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if piece:
                yield piece

    def _limit(self, request: Incoming, max_bytes: int | None) -> int:
        """Give how many bytes are taken, unless the headers already say that the body is not."""
        limit = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise errors.UnsupportedCoding("Content-Encoding: send the body as it is, not compressed")
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise errors.PayloadTooLarge(f"the body has {announced} bytes, at most {limit} are taken")
        return limit

    def _late(self) -> errors.RequestTimeout:
        return errors.RequestTimeout(f"the body did not come within {self._timeout_seconds:g} seconds")


async def _receive(request: Incoming) -> tuple[bytes, bool]:
    """Give the next piece of a body, and whether more follow; `ClientDisconnect` when they never will."""
    message: Mapping[str, Any] = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    piece: bytes = message.get("body", b"")
    return piece, message.get("more_body", False)


def _too_large(limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"the body has more than the {limit} bytes that are taken")


def media_type(request: Incoming, taken: Collection[str]) -> str:
    """Give the body's media type, in lower case without parameters; `UnsupportedMediaType` for others than `taken`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in taken:
        raise errors.UnsupportedMediaType(f"Content-Type: {kind or 'required'}; send one of {', '.join(sorted(taken))}")
    return kind
