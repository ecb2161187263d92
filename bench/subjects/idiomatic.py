"""The front half of a turn as a careful Python team would write it first: each border with its usual library.

starlette on uvicorn, a pydantic model for every shape, httpx's client, redis-py. It does less than the gateway: no
deduplication, no verdict on the history, no order of turns, no mapping log, no metrics.
"""

import hashlib
import os
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pydantic
import redis.asyncio as redis
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

TURN_TTL_SECONDS = 86400


class HistoryItem(pydantic.BaseModel):
    """One turn of one speaker."""

    bot: bool
    content: list[str]


class CompleteRequest(pydantic.BaseModel):
    """What a V1 client sends."""

    model_config = pydantic.ConfigDict(extra="allow")

    bot_id: str
    user_id: str | None = None
    conversation_id: str | None = None
    message: str
    messages: list[HistoryItem] = []
    webhook: str
    min_delay: float | None = None
    max_delay: float | None = None


class NewMessage(pydantic.BaseModel):
    """What V3 takes."""

    text: str
    from_bot: bool
    sent_at: int


class PostMessage(pydantic.BaseModel):
    """Body of the post to V3."""

    message: NewMessage


class Accepted(pydantic.BaseModel):
    """The acknowledgement."""

    status: str
    conversation_id: str | None
    bot_id: str
    message_id: str


async def complete(request: Request) -> JSONResponse:
    """POST /v2/complete."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise HTTPException(401, "Authorization: required")
    try:
        wanted = CompleteRequest.model_validate_json(await request.body())
    except pydantic.ValidationError as error:
        raise HTTPException(400, str(error)) from None
    user = wanted.user_id or wanted.conversation_id
    low = wanted.min_delay or 0.0
    high = wanted.max_delay or low
    if user is None or low > high:
        raise HTTPException(422, "user_id: required, and min_delay at most max_delay")

    store: redis.Redis = request.app.state.redis
    turn_id = str(uuid.uuid4())
    tenant = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    conversation = f"python:conv:{tenant}:{wanted.bot_id}:{user}"
    turn: dict[Any, Any] = {
        "conversation": conversation,
        "webhook": wanted.webhook,
        "due": time.time() + random.uniform(low, high),
        "request": turn_id,
    }
    async with store.pipeline(transaction=False) as pipeline:
        pipeline.get(conversation)
        pipeline.hset(f"python:turn:{turn_id}", mapping=turn)
        pipeline.expire(f"python:turn:{turn_id}", TURN_TTL_SECONDS)
        upstream, *_ = await pipeline.execute()
    if upstream is None:
        raise HTTPException(404, "no such conversation")

    message = PostMessage(message=NewMessage(text=wanted.message, from_bot=False, sent_at=int(time.time())))
    answer = await request.app.state.v3.post(
        f"/api/conversations/{upstream}/messages",
        headers={"Authorization": f"Bearer {key}"},
        json=message.model_dump(),
    )
    if answer.is_error:
        raise HTTPException(502, f"the upstream answered {answer.status_code}")
    accepted = Accepted(
        status="accepted", conversation_id=wanted.conversation_id, bot_id=wanted.bot_id, message_id=turn_id
    )
    return JSONResponse(accepted.model_dump())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the clients."""
    app.state.redis = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{os.environ['V3_PORT']}", timeout=20) as client:
        app.state.v3 = client
        yield
    await app.state.redis.aclose()


app = Starlette(routes=[Route("/v2/complete", complete, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False)
