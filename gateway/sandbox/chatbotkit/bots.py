"""The bots: each generation runs by itself and tells, event by event, what it makes."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.sandbox import journal, tasks
from gateway.sandbox.chatbotkit import shapes
from gateway.sandbox.chatbotkit.state import Conversation, Message
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.v3 import replies
from mappings.wire import chatbotkit as wire

MODEL = "sandbox"

_MAX_SCRIPTED = 10_000
_TOKEN = re.compile(r"\s*\S+|\s+$")


class Reply(BaseModel):
    """A reply that a test laid out beforehand, for one conversation or for whichever is next."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation_id: str | None = None
    text: str | None = None
    """None: what the bot would have said anyway."""
    seconds: float | None = Field(default=None, ge=0, le=wire.LONGEST_GENERATION_SECONDS)
    """How long the whole generation takes; None: as long as a first segment takes to come."""
    end: wire.EndReason = "stop"
    breaks: Literal["error", "abort", "cut"] | None = None
    """The generation ends by an event, or by the end of the connection, and no message comes of it."""
    after_tokens: int = Field(default=0, ge=0)
    """How many tokens come before it breaks."""
    survives: bool = False
    """Whether it goes on, and its message is stored, when nobody listens any more."""
    iterations: int = Field(default=1, ge=1)
    continuations: int = Field(default=0, ge=0)
    calls: int = Field(default=0, ge=0)
    """What it takes to come to its end; below a request's limits it ends early."""

    def end_within(self, limits: shapes.Limits | None) -> wire.EndReason:
        """Return why the generation ends under a request's limits."""
        if limits is None:
            return self.end
        if any(
            limit is not None and limit < needed
            for limit, needed in ((limits.iterations, self.iterations), (limits.calls, self.calls))
        ):
            return "iteration"
        if limits.continuations is not None and limits.continuations < self.continuations:
            return "length"
        return self.end


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a generation tells. `cut` is not told: the connection ends instead."""

    type: Literal["token", "message", "usage", "result", "error", "abort", "cut"]
    data: dict[str, Any]


class Generation:
    """One generation under way: listened to until it ends, or abandoned."""

    def __init__(self, *, survives: bool) -> None:
        self._survives = survives
        self._told: asyncio.Queue[Event | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    def tell(self, event: Event | None) -> None:
        """Tell the next event; None says that there is no more."""
        self._told.put_nowait(event)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what is told until it ends; who stops listening before abandons it."""
        try:
            while (event := await self._told.get()) is not None:
                yield event
        finally:
            if self.task is not None and not self._survives:
                self.task.cancel()


class Bots:
    """Generates for all bots."""

    def __init__(self, settings: SandboxSettings, background: tasks.Tasks, pulse: journal.Pulse) -> None:
        self._settings = settings
        self._background = background
        self._pulse = pulse
        self._replies: deque[Reply] = deque(maxlen=_MAX_SCRIPTED)

    def script(self, reply: Reply) -> None:
        """Lay out a reply; replies are used up in the order in which they were laid out."""
        self._replies.append(reply)

    def clear(self) -> None:
        """Forget what was laid out."""
        self._replies.clear()

    def begin(self, conversation: Conversation, limits: shapes.Limits | None = None) -> Generation:
        """Begin to generate the conversation's next message."""
        reply = self._next(conversation)
        generation = Generation(survives=reply.survives)
        generation.task = self._background.start(self._run(conversation, reply, limits, generation))
        return generation

    def _next(self, conversation: Conversation) -> Reply:
        for reply in self._replies:
            if reply.conversation_id in {None, conversation.id}:
                self._replies.remove(reply)
                return reply
        return Reply()

    async def _run(
        self, conversation: Conversation, reply: Reply, limits: shapes.Limits | None, generation: Generation
    ) -> None:
        try:
            text = _compose(conversation) if reply.text is None else reply.text
            tokens = _TOKEN.findall(text)
            default = self._settings.first_segment_after.total_seconds()
            pause = (default if reply.seconds is None else reply.seconds) / max(len(tokens), 1)
            for position, token in enumerate(tokens):
                if reply.breaks and position >= reply.after_tokens:
                    break
                await self._pulse.until(lambda: False, pause)
                generation.tell(Event("token", {"token": token}))
            if reply.breaks:
                told = {"error": {"message": "This failure was asked for."}, "abort": {"reason": "asked for"}}
                generation.tell(Event(reply.breaks, told.get(reply.breaks, {})))
                return
            message = conversation.add("bot", text)
            read, written = _weight(conversation.messages[:-1]), len(tokens)
            usage = {"model": MODEL, "inputTokensUsed": read, "outputTokensUsed": written}
            generation.tell(Event("message", {"type": message.type, "text": text}))
            generation.tell(Event("usage", usage))
            result = {"id": message.id, "text": text, "usage": {"token": read + written}}
            generation.tell(Event("result", result | {"end": {"reason": reply.end_within(limits)}}))
        finally:
            generation.tell(None)


def _compose(conversation: Conversation) -> str:
    said = conversation.since_last("bot")
    asked = [message.text for message in said if message.type in {"user", "context"}]
    turn = sum(message.type == "user" for message in conversation.messages)
    return " ".join(replies.compose(asked, turn))


def _weight(messages: Sequence[Message]) -> int:
    return sum(len(_TOKEN.findall(message.text)) for message in messages)
