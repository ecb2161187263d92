"""The bots: they answer, segment by segment, and can be interrupted between two segments."""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.sandbox import tasks
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.v3 import announcer, pictures, replies
from gateway.sandbox.v3.state import Account, Conversation, Picture
from mappings.wire import v3

_MAX_SCRIPTED = 10_000


@dataclass(slots=True)
class Speech:
    """One reply that is being spoken."""

    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    called_back: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first callback was delivered, or it is certain that there will be none."""

    async def pause(self, seconds: float) -> bool:
        """Wait for so long, or until the user interrupts; tell whether the speech may go on."""
        try:
            async with asyncio.timeout(seconds):
                await self.interrupted.wait()
        except TimeoutError:
            pass
        return not self.interrupted.is_set()


@dataclass(frozen=True, slots=True)
class Script:
    """A reply that a test laid out beforehand, for one conversation or for whichever is next."""

    segments: Sequence[replies.Segment]
    conversation_id: str | None = None


class Speaker:
    """Speaks for all bots."""

    def __init__(
        self,
        settings: SandboxSettings,
        announces: announcer.Announcer,
        background: tasks.Tasks,
    ) -> None:
        self._settings = settings
        self._announcer = announces
        self._background = background
        self._speeches: dict[str, Speech] = {}
        self._scripts: deque[Script] = deque(maxlen=_MAX_SCRIPTED)

    def script(self, script: Script) -> None:
        """Lay out a reply; replies are used up in the order in which they were laid out."""
        self._scripts.append(script)

    def is_speaking(self, conversation: Conversation) -> bool:
        """Tell whether a reply is under way."""
        return conversation.id in self._speeches

    def hear(self, account: Account, conversation: Conversation, message: v3.Message, home: str) -> Speech:
        """Take note of a user's message that was just added: it interrupts the bot, and is answered.

        The next reply answers everything that no whole reply has answered yet. `home` is this server's base
        URL.
        """
        conversation.unanswered.append(message)
        self.interrupt(conversation)
        speech = self._speeches[conversation.id] = Speech()
        self._background.start(self._reply(account, conversation, speech, home))
        if self._settings.echo_user_messages:
            news = announcer.news(conversation, message)
            self._background.start(self._announcer.announce(account, conversation, [news]))
        return speech

    def say(self, account: Account, conversation: Conversation, segments: Sequence[replies.Segment]) -> None:
        """Let the bot speak unasked, after what it may be saying just now."""
        self._background.start(self._speak(account, conversation, segments, Speech(), answered=0))

    def interrupt(self, conversation: Conversation) -> None:
        """Stop the running reply before its next segment."""
        if (speech := self._speeches.get(conversation.id)) is not None:
            speech.interrupted.set()

    def clear(self) -> None:
        """Forget all speeches and scripts; the work itself is ended by who owns the background."""
        self._speeches.clear()
        self._scripts.clear()

    async def _reply(self, account: Account, conversation: Conversation, speech: Speech, home: str) -> None:
        try:
            thinking = self._settings.first_segment_after.total_seconds()
            if await speech.pause(max(thinking, float(account.config.min_delay or 0))):
                asked = tuple(conversation.unanswered)
                segments = self._scripted(conversation) or self._composed(account, conversation, asked, home)
                await self._speak(account, conversation, segments, speech, answered=len(asked))
        finally:
            speech.called_back.set()
            if self._speeches.get(conversation.id) is speech:
                del self._speeches[conversation.id]

    def _scripted(self, conversation: Conversation) -> Sequence[replies.Segment] | None:
        for script in self._scripts:
            if script.conversation_id in {None, conversation.id}:
                self._scripts.remove(script)
                return script.segments
        return None

    def _composed(
        self, account: Account, conversation: Conversation, asked: Sequence[v3.Message], home: str
    ) -> list[replies.Segment]:
        turn = conversation.user_turns
        texts = replies.compose([message.text for message in asked], turn, segmented=may_segment(account, conversation))
        segments = [replies.Segment(text=text, message_tone=replies.tone(turn)) for text in texts]
        if replies.wants_picture(asked):
            media = _draw(account, conversation, home)
            segments[-1] = segments[-1].model_copy(update={"attached_media": media})
        return segments

    async def _speak(
        self,
        account: Account,
        conversation: Conversation,
        segments: Sequence[replies.Segment],
        speech: Speech,
        *,
        answered: int,
    ) -> None:
        last = next((message.sent_at for message in reversed(conversation.messages) if message.from_bot), None)
        began = max(int(time.time()), int(last or 0))  # it never says something before what it has said
        due: list[v3.MessageCreated] = []
        for position, segment in enumerate(segments):
            if position and not await speech.pause(self._settings.segment_interval.total_seconds()):
                break
            message = conversation.add(
                v3.Message(
                    id=str(uuid.uuid4()),
                    text=segment.text,
                    from_bot=True,
                    # Whole seconds that differ within a reply, as they do at a typist's pace.
                    sent_at=max(int(time.time()), began + position),
                    message_tone=segment.message_tone,
                    moderation=segment.moderation,
                    attached_media=segment.attached_media,
                )
            )
            due.insert(0, announcer.news(conversation, message))
            is_last = position == len(segments) - 1
            if is_last:
                del conversation.unanswered[:answered]
            if is_last or not self._announcer.befalls("reorder", conversation):
                await self._announcer.announce(account, conversation, due)
                due = []
                speech.called_back.set()
        await self._announcer.announce(account, conversation, due)


def may_segment(account: Account, conversation: Conversation) -> bool:
    """Tell whether a bot may answer in several messages: the conversation says, else the account, else yes."""
    return (conversation.segment if conversation.segment is not None else account.config.segment) is not False


def _draw(account: Account, conversation: Conversation, home: str) -> v3.AttachedMedia:
    picture_id = str(uuid.uuid4())
    url = f"{home}/pictures/{picture_id}.png"
    account.pictures[picture_id] = Picture(
        id=picture_id,
        url=url,
        bot_id=conversation.bot_id,
        media_type="image/png",
        data=pictures.png(conversation.id),
    )
    return v3.AttachedMedia(url=url, content_id=picture_id)
