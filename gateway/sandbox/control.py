"""The control surface, /sandbox/...: faults, records to look at and to wait for, scripted replies.

It has no authentication: a sandbox belongs on a machine or a network of one's own.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers, calls, faults
from gateway.sandbox.v3 import callbacks, replies
from gateway.sandbox.v3.speaker import Script
from gateway.sandbox.v3.state import Account, Conversation
from gateway.sandbox.world import World

ROOT = "/sandbox"
_MAX_BODY_BYTES = 2**20

Seconds = Annotated[float, Field(ge=0, le=60)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Lines(_Strict):
    """What a bot is to say: one text or object per segment."""

    segments: Annotated[list[str | replies.Segment], Field(min_length=1, max_length=100)]

    def spoken(self) -> list[replies.Segment]:
        """Return the segments as objects."""
        return [replies.Segment(text=line) if isinstance(line, str) else line for line in self.segments]


class ScriptedReply(Lines):
    """The reply to a coming message: of one conversation, or of the next that asks."""

    conversation_id: str | None = None


class CallQuery(_Strict):
    """Which calls: above number `since`, of a method, to a path that a glob matches."""

    since: Annotated[int, Field(ge=0)] = 0
    method: str | None = None
    path: str = "*"

    def matches(self, call: calls.Call) -> bool:
        """Tell whether a call is meant."""
        return faults.is_meant(self.method or "*", self.path, call.method, call.path)


class CallWait(CallQuery):
    """The same, once `count` of them are finished (or have come in), after `timeout` seconds at the latest."""

    count: Annotated[int, Field(ge=1)] = 1
    finished: bool = True
    timeout: Seconds = 10.0

    def matches(self, call: calls.Call) -> bool:
        """Tell whether a call is one that is waited for."""
        return (call.finished or not self.finished) and super().matches(call)


class CallbackQuery(_Strict):
    """Which callbacks: above number `since`, of a conversation, in a state."""

    since: Annotated[int, Field(ge=0)] = 0
    conversation_id: str | None = None
    state: str | None = None

    def matches(self, callback: callbacks.Callback) -> bool:
        """Tell whether a callback is meant."""
        return self.conversation_id in {None, callback.conversation_id} and self.state in {None, callback.state}


class CallbackWait(CallbackQuery):
    """The same, once the fate of `count` of them is known, after `timeout` seconds at the latest."""

    count: Annotated[int, Field(ge=1)] = 1
    timeout: Seconds = 10.0

    def matches(self, callback: callbacks.Callback) -> bool:
        """Tell whether a callback is one that is waited for."""
        return callback.state != "sending" and super().matches(callback)


class IdleWait(_Strict):
    """How long to wait for silence."""

    timeout: Seconds = 10.0


class ControlEndpoints:
    """Everything below /sandbox."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(f"{ROOT}/reset", self.reset, methods=["POST"])
        yield Route(f"{ROOT}/faults", self.faults, methods=["GET", "PUT", "DELETE"])
        yield Route(f"{ROOT}/callback-faults", self.callback_faults, methods=["GET", "PUT", "DELETE"])
        yield Route(f"{ROOT}/replies", self.script, methods=["POST"])
        yield Route(f"{ROOT}/calls", self.calls, methods=["GET"])
        yield Route(f"{ROOT}/calls/wait", self.wait_for_calls, methods=["GET"])
        yield Route(f"{ROOT}/callbacks", self.callbacks, methods=["GET"])
        yield Route(f"{ROOT}/callbacks/wait", self.wait_for_callbacks, methods=["GET"])
        yield Route(f"{ROOT}/idle", self.idle, methods=["GET"])
        yield Route(f"{ROOT}/conversations", self.conversations, methods=["GET"])
        yield Route(f"{ROOT}/conversations/{{conversation_id}}", self.conversation, methods=["GET"])
        yield Route(f"{ROOT}/conversations/{{conversation_id}}", self.delete_conversation, methods=["DELETE"])
        yield Route(f"{ROOT}/conversations/{{conversation_id}}/bot-message", self.bot_message, methods=["POST"])

    async def reset(self, _request: Request) -> Response:
        """Forget everything: data, faults, records; replies that are under way end."""
        await self._world.reset()
        return Response(status_code=204)

    async def faults(self, request: Request) -> Response:
        """Show, replace or clear the faults of requests, to the API and to the inbox alike."""
        if request.method == "PUT":
            self._world.request_faults.arm((await _read(request, faults.RequestFaults)).rules)
        elif request.method == "DELETE":
            self._world.request_faults.arm([])
        return answers.show({"rules": self._world.request_faults.report()})

    async def callback_faults(self, request: Request) -> Response:
        """Show, replace or clear the faults of callbacks."""
        if request.method == "PUT":
            self._world.callback_faults.arm((await _read(request, callbacks.CallbackFaults)).rules)
        elif request.method == "DELETE":
            self._world.callback_faults.arm([])
        return answers.show({"rules": self._world.callback_faults.report()})

    async def script(self, request: Request) -> Response:
        """Lay out a coming reply."""
        wanted = await _read(request, ScriptedReply)
        self._world.speaker.script(Script(wanted.spoken(), wanted.conversation_id))
        return Response(status_code=204)

    async def calls(self, request: Request) -> Response:
        """Show the API calls, oldest first."""
        query = answers.read_query(request, CallQuery)
        found = self._world.calls.since(query.since, query.matches)
        return answers.show({"calls": [call.show() for call in found], "last": self._world.calls.last})

    async def wait_for_calls(self, request: Request) -> Response:
        """Show the API calls once there are enough of them."""
        query = answers.read_query(request, CallWait)
        found = await self._world.calls.wait(query.since, query.matches, count=query.count, seconds=query.timeout)
        return answers.show({"calls": [call.show() for call in found], "last": self._world.calls.last})

    async def callbacks(self, request: Request) -> Response:
        """Show the calls of webhooks, oldest first."""
        query = answers.read_query(request, CallbackQuery)
        found = self._world.callbacks.since(query.since, query.matches)
        return answers.show({"callbacks": [one.show() for one in found], "last": self._world.callbacks.last})

    async def wait_for_callbacks(self, request: Request) -> Response:
        """Show the calls of webhooks once enough of them are delivered, given up or lost."""
        query = answers.read_query(request, CallbackWait)
        found = await self._world.callbacks.wait(query.since, query.matches, count=query.count, seconds=query.timeout)
        return answers.show({"callbacks": [one.show() for one in found], "last": self._world.callbacks.last})

    async def idle(self, request: Request) -> Response:
        """Tell whether no reply and no callback is under way, once that is so."""
        query = answers.read_query(request, IdleWait)
        background = self._world.background
        is_idle = await self._world.pulse.until(lambda: not len(background), query.timeout)
        return answers.show({"idle": is_idle})

    async def conversations(self, _request: Request) -> Response:
        """Show the conversations of all accounts in full."""
        accounts = self._world.access.accounts.all()
        return answers.show(
            {
                "conversations": [
                    self._show(conversation) for account in accounts for conversation in account.conversations.values()
                ]
            }
        )

    async def conversation(self, request: Request) -> Response:
        """Show one conversation in full."""
        _, conversation = self._find(request)
        return answers.show(self._show(conversation))

    async def delete_conversation(self, request: Request) -> Response:
        """Delete a conversation behind the client's back."""
        account, conversation = self._find(request)
        self._world.speaker.interrupt(conversation)
        account.forget(conversation)
        return Response(status_code=204)

    async def bot_message(self, request: Request) -> Response:
        """Let the bot speak unasked."""
        account, conversation = self._find(request)
        wanted = await _read(request, Lines)
        self._world.speaker.say(account, conversation, wanted.spoken())
        return Response(status_code=202)

    def _find(self, request: Request) -> tuple[Account, Conversation]:
        found = self._world.access.accounts.conversation(request.path_params["conversation_id"])
        if found is None:
            raise answers.Refused(404, "There is no such conversation.")
        return found

    def _show(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "id": conversation.id,
            "account": conversation.account,
            "bot_id": conversation.bot_id,
            "user_id": conversation.user_id,
            "webhook": conversation.webhook,
            "platform": conversation.platform,
            "freeform": conversation.freeform,
            "segment": conversation.segment,
            "messages": [message.model_dump(mode="json") for message in conversation.messages],
            "unanswered": len(conversation.unanswered),
            "speaking": self._world.speaker.is_speaking(conversation),
        }


async def _read(request: Request, shape: type[answers.M]) -> answers.M:
    return await answers.read_json(request, shape, limit=_MAX_BODY_BYTES)
