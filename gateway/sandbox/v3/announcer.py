"""Telling a conversation's webhook what was said, with the faults that a test asks for."""

from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.sandbox import faults
from gateway.sandbox.v3 import callbacks
from gateway.sandbox.v3.state import Account, Conversation
from mappings.wire import v3


def news(conversation: Conversation, message: v3.Message) -> v3.MessageCreated:
    """Return the callback's content for the message that was just added."""
    return v3.MessageCreated(
        event=v3.MESSAGE_CREATED,
        conversation_id=conversation.id,
        bot_id=conversation.bot_id,
        user_id=conversation.user_id,
        message=message,
        conversation_messages_count=len(conversation.messages),
    )


class Announcer:
    """Calls the webhooks, one callback of a conversation after the other."""

    def __init__(self, sender: callbacks.Sender, rules: faults.Rules[callbacks.CallbackFault]) -> None:
        self._sender = sender
        self._rules = rules

    def befalls(self, kind: callbacks.FaultKind, conversation: Conversation) -> bool:
        """Tell whether a fault strikes now, and use it up."""
        return self._rules.take(lambda rule: rule.befalls(kind, conversation.id)) is not None

    async def announce(self, account: Account, conversation: Conversation, told: Sequence[v3.MessageCreated]) -> None:
        """Send callbacks to the conversation's webhook, or else to the account's, or else to none."""
        for content in told:
            async with conversation.delivering:
                url = conversation.webhook or account.config.webhook
                if url is not None:
                    await self._send(conversation, url, content)

    async def _send(self, conversation: Conversation, url: str, content: v3.MessageCreated) -> None:
        shown = _minimal(content) if self.befalls("minimal", conversation) else content

        def callback() -> callbacks.Callback:
            return callbacks.Callback(
                at=datetime.now(UTC),
                conversation_id=conversation.id,
                message_id=content.message.id,
                url=url,
                body=shown.body(),
            )

        if self.befalls("lost", conversation):
            self._sender.lose(callback())
            return
        await self._sender.send(callback())
        if self.befalls("duplicate", conversation):
            await self._sender.send(callback())


def _minimal(content: v3.MessageCreated) -> v3.MessageCreated:
    message = v3.Message(text=content.message.text, from_bot=content.message.from_bot)
    return v3.MessageCreated(conversation_id=content.conversation_id, message=message)
