"""How a generation is told to whom: as one JSON object, as JSON lines or as server-sent events.

Two public descriptions of the API name the events differently. `openapi` lines tell tokens, messages, usage and one
`result`; the spelling of the `seed` has `send_result` and `receive_result` for `complete`, and for all others `result`
pieces that end in `done`. Server-sent events are known from the seed alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from gateway.sandbox import answers, faulty
from gateway.sandbox.chatbotkit.bots import Event, Generation
from mappings.wire import chatbotkit as wire

Spelling: TypeAlias = Literal["openapi", "seed"]
Action: TypeAlias = Literal["receive", "complete", "initiate"]
Told: TypeAlias = tuple[str, Mapping[str, Any]]

_FORMATS = (wire.JSON, wire.JSONL, wire.SSE, wire.CSV)


def wanted_format(request: Request, *offered: str) -> str:
    """Return the first of the offered media types that the request accepts; JSON when it names none of them."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((one for one in accepted if one in offered), wire.JSON)


def line(kind: str, data: Mapping[str, Any]) -> bytes:
    """Return one event as a line of JSON."""
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False).encode() + b"\n"


async def answer(
    request: Request,
    generation: Generation,
    *,
    action: Action,
    spelling: Spelling,
    sent: Mapping[str, Any] | None = None,
) -> Response:
    """Answer with what a generation makes, in the format that is asked for. `sent` is what was added before it."""
    media_type = wanted_format(request, wire.JSON, wire.JSONL, wire.SSE)
    if media_type == wire.JSON:
        return await _whole(request, generation, action)
    seed = spelling == "seed" or media_type == wire.SSE
    told = _seed(generation, action, sent) if seed else _openapi(generation, action)
    frame = _sse if media_type == wire.SSE else line
    return StreamingResponse(
        _framed(request, told, frame), media_type=media_type, headers={"cache-control": "no-cache"}
    )


async def _whole(request: Request, generation: Generation, action: Action) -> Response:
    listening = asyncio.ensure_future(_result(generation))
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({listening, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            raise ClientDisconnect
        event = listening.result()
    finally:
        listening.cancel()
        leaving.cancel()
    if event is None:
        return _Cut()
    if event.type != "result":
        raise answers.Refused(500, event.data.get("message", "The generation was aborted."))
    return answers.show(_documented(event.data, action))


async def _result(generation: Generation) -> Event | None:
    async for event in generation.events():
        if event.type in {"result", "error", "abort"}:
            return event
    return None


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _openapi(generation: Generation, action: Action) -> AsyncIterator[Told | None]:
    yield "completeBegin", {}
    async for event in generation.events():
        if event.type == "cut":
            yield None
            return
        yield event.type, _documented(event.data, action) if event.type == "result" else event.data
    yield "completeEnd", {}


async def _seed(generation: Generation, action: Action, sent: Mapping[str, Any] | None) -> AsyncIterator[Told | None]:
    if sent is not None:
        yield "send_result", sent
    async for event in generation.events():
        match event.type:
            case "cut":
                yield None
                return
            case "token" if action != "complete":
                yield "result", {"text": event.data["token"]}
            case "result":
                yield ("receive_result" if action == "complete" else "done"), _documented(event.data, action)
            case "token" | "error" | "abort":
                yield event.type, event.data
            case "message" | "usage":
                pass


def _documented(result: Mapping[str, Any], action: Action) -> Mapping[str, Any]:
    """Leave out the end where the description has none, unless it says what a client would want to know."""
    if action == "complete" or result["end"]["reason"] != "stop":
        return result
    return {name: value for name, value in result.items() if name != "end"}


async def _framed(request: Request, told: AsyncIterator[Told | None], frame: Any) -> AsyncIterator[bytes]:
    async for event in told:
        if event is None:
            request.scope["extensions"][faulty.TRANSPORT]["transport"].abort()
            await _disconnected(request)
            return
        yield frame(*event)


def _sse(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


class _Cut(Response):
    """The end of the connection in place of an answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 — nothing is sent
        scope["extensions"][faulty.TRANSPORT]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass
