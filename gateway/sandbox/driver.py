"""Driving a sandbox from a test or a demo: its control surface as awaited calls.

Every wait ends by itself: what does not come within `seconds` is a TimeoutError that tells what came instead.
"""

from typing import Any

import httpx
from pydantic import BaseModel

from gateway.sandbox import faults
from gateway.sandbox.v3 import callbacks, replies

_SECONDS = 10.0


class Driver:
    """The control surface of one sandbox. `http` has its base URL, and a read timeout above the longest wait."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def reset(self) -> None:
        """Forget all data, faults and records."""
        await self._call("POST", "/sandbox/reset")

    async def arm(self, *rules: faults.RequestFault) -> None:
        """Replace the faults of requests to the API and to the inbox."""
        await self._call("PUT", "/sandbox/faults", faults.RequestFaults(rules=list(rules)))

    async def arm_callbacks(self, *rules: callbacks.CallbackFault) -> None:
        """Replace the faults of callbacks."""
        await self._call("PUT", "/sandbox/callback-faults", callbacks.CallbackFaults(rules=list(rules)))

    async def script(self, *segments: str | replies.Segment, conversation_id: str | None = None) -> None:
        """Lay out the segments of a coming reply: of one conversation, or of the next that asks."""
        await self._call("POST", "/sandbox/replies", _Lines(segments=list(segments), conversation_id=conversation_id))

    async def bot_says(self, conversation_id: str, *segments: str | replies.Segment) -> None:
        """Let a bot speak unasked."""
        path = f"/sandbox/conversations/{conversation_id}/bot-message"
        await self._call("POST", path, _Lines(segments=list(segments)))

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation behind the client's back."""
        await self._call("DELETE", f"/sandbox/conversations/{conversation_id}")

    async def conversations(self) -> list[dict[str, Any]]:
        """Return every conversation in full."""
        return self._list(await self._call("GET", "/sandbox/conversations"), "conversations")

    async def calls(
        self,
        count: int = 0,
        *,
        path: str = "*",
        method: str | None = None,
        since: int = 0,
        finished: bool = True,
        seconds: float = _SECONDS,
    ) -> list[dict[str, Any]]:
        """Return the API calls to a path, a glob, once `count` of them are finished (or have come in)."""
        query: dict[str, Any] = {"path": path, "since": since} | ({"method": method} if method else {})
        if count:
            query["finished"] = finished
        return await self._wait("/sandbox/calls", "calls", query, count, seconds)

    async def callbacks(
        self, count: int = 0, *, conversation_id: str | None = None, since: int = 0, seconds: float = _SECONDS
    ) -> list[dict[str, Any]]:
        """Return the callbacks, once the fate of `count` of them is known."""
        query: dict[str, Any] = {"since": since} | ({"conversation_id": conversation_id} if conversation_id else {})
        return await self._wait("/sandbox/callbacks", "callbacks", query, count, seconds)

    async def deliveries(
        self, count: int = 0, *, path: str = "", since: int = 0, seconds: float = _SECONDS
    ) -> list[dict[str, Any]]:
        """Return what the inbox got on paths that begin with `path`, once it is `count` deliveries."""
        query: dict[str, Any] = {"path": path, "since": since}
        if not count:
            return self._list(await self._call("GET", "/inbox.json", query=query), "deliveries")
        return await self._wait("/inbox", "deliveries", query, count, seconds)

    async def idle(self, seconds: float = _SECONDS) -> None:
        """Wait until no reply and no callback is under way."""
        answer = await self._call("GET", "/sandbox/idle", query={"timeout": seconds})
        if not answer.json()["idle"]:
            raise TimeoutError("the bots are still speaking")

    async def _wait(
        self, path: str, name: str, query: dict[str, Any], count: int, seconds: float
    ) -> list[dict[str, Any]]:
        if count:
            answer = await self._call("GET", f"{path}/wait", query=query | {"count": count, "timeout": seconds})
        else:
            answer = await self._call("GET", path, query=query)
        return _enough(self._list(answer, name), count)

    async def _call(
        self, method: str, path: str, body: BaseModel | None = None, *, query: dict[str, Any] | None = None
    ) -> httpx.Response:
        content = None if body is None else body.model_dump(mode="json", exclude_unset=True)
        answer = await self._http.request(method, path, json=content, params=query)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    @staticmethod
    def _list(answer: httpx.Response, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = answer.json()[name]
        return found


class _Lines(BaseModel):
    segments: list[str | replies.Segment]
    conversation_id: str | None = None


def _enough(found: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    if len(found) < count:
        raise TimeoutError(f"{len(found)} came instead of {count}: {found}")
    return found
