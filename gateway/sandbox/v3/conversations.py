"""Endpoints of conversations and messages."""

from collections.abc import Iterator
from datetime import UTC, datetime

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers, faults
from gateway.sandbox.v3 import callbacks, replies, shapes
from gateway.sandbox.v3.access import Access
from gateway.sandbox.v3.speaker import Speaker, may_segment
from gateway.sandbox.v3.state import Account, Conversation, stored
from mappings.wire import v3


class ConversationEndpoints:
    """Everything below /api/conversations, and /api/messages."""

    def __init__(
        self, access: Access, speaker: Speaker, callback_faults: faults.Rules[callbacks.CallbackFault]
    ) -> None:
        self._access = access
        self._speaker = speaker
        self._callback_faults = callback_faults

    def routes(self) -> Iterator[Route]:
        """Yield the routes, to be put below the API's prefix."""
        one = "/api/conversations/{conversation_id}"
        yield Route("/api/conversations", self.create, methods=["POST"])
        yield Route("/api/conversations", self.search, methods=["GET"])
        yield Route(one, self.get, methods=["GET"])
        yield Route(one, self.patch, methods=["PATCH"])
        yield Route(f"{one}/messages", self.post_message, methods=["POST"])
        yield Route(f"{one}/memories", self.memories, methods=["GET"])
        yield Route(f"{one}/generate-response", self.generate_response, methods=["POST"])
        yield Route("/api/messages", self.send_message, methods=["POST"])

    async def create(self, request: Request) -> Response:
        """Create the pair's conversation, or answer with the one that is there."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.CreateConversation)
        conversation, _ = _find_or_create(account, wanted, create_user=wanted.create_user_if_not_exists)
        return answers.answer(v3.ConversationEnvelope(conversation=conversation.view()))

    async def search(self, request: Request) -> Response:
        """List the conversations that pass every filter, the most recently used first."""
        account = self._access.account(request)
        query = self._access.query(request, shapes.ConversationQuery)
        headers = [
            conversation.header(_find_text(conversation, query.message_content))
            for conversation in account.conversations.values()
            if _passes(conversation, query)
        ]
        headers.sort(key=lambda header: _last_sent_at(header.last_message), reverse=True)
        return answers.answer(v3.ConversationList(conversations=headers))

    async def get(self, request: Request) -> Response:
        """Show the transcript and the settings."""
        _, conversation = self._access.conversation(request)
        return answers.answer(
            v3.ConversationDetail(
                bot_id=conversation.bot_id,
                user_id=conversation.user_id,
                messages=conversation.messages,
                webhook=conversation.webhook,
                platform=conversation.platform,
                freeform=conversation.freeform,
                segment=conversation.segment,
                latest_summary=replies.summary(conversation.messages),
            )
        )

    async def patch(self, request: Request) -> Response:
        """Change the settings that the body names; null clears one."""
        _, conversation = self._access.conversation(request)
        patch = await self._access.body(request, shapes.PatchConversation)
        for name in patch.model_fields_set:
            setattr(conversation, name, getattr(patch, name))
        return answers.answer(v3.Success(success=True))

    async def post_message(self, request: Request) -> Response:
        """Add a message: 202 without a body; the bot's reply comes to the webhook."""
        account, conversation = self._access.conversation(request)
        posted = await self._access.body(request, shapes.PostMessage)
        message = conversation.add(stored(posted.message))
        if message.from_bot:  # it only extends the history
            return Response(status_code=202)
        home = self._access.home(request)
        early = self._callback_faults.take(lambda rule: rule.befalls("before_ack", conversation.id))
        if early is not None:
            speech = self._speaker.hear(account, conversation, message, home)
            await speech.called_back.wait()
            return Response(status_code=202)
        # The bot hears the message once the answer is out, so that no callback outruns the 202.
        hear = BackgroundTask(self._hear, account, conversation, message, home)
        return Response(status_code=202, background=hear)

    async def send_message(self, request: Request) -> Response:
        """Find or create the pair's conversation, then add the message."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.SendMessage)
        params = wanted.conversation_creation_params
        create_user = wanted.create_user_if_not_exists or params.create_user_if_not_exists
        conversation, is_new = _find_or_create(account, params, create_user=create_user)
        message = conversation.add(stored(wanted.message))
        answered = answers.answer(v3.MessageSent(conversation=conversation.view(), created_conversation=is_new))
        if not message.from_bot:
            home = self._access.home(request)
            answered.background = BackgroundTask(self._hear, account, conversation, message, home)
        return answered

    async def memories(self, request: Request) -> Response:
        """Show what the two know of each other."""
        _, conversation = self._access.conversation(request)
        return answers.answer(replies.memories(conversation.messages))

    async def generate_response(self, request: Request) -> Response:
        """Offer replies to the user's last messages, without adding one."""
        account, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.GenerateResponse)
        asked = [message.text for message in replies.last_asked(conversation.messages)]
        turn = conversation.user_turns
        candidates = [
            v3.Candidate(
                messages=[
                    v3.Message(text=text, from_bot=True, message_tone=replies.tone(variant))
                    for text in replies.compose(asked, variant, segmented=may_segment(account, conversation))
                ]
            )
            for variant in range(turn, turn + wanted.batch_size)
        ]
        return answers.answer(v3.GeneratedResponses(candidates=candidates))

    async def _hear(self, account: Account, conversation: Conversation, message: v3.Message, home: str) -> None:
        self._speaker.hear(account, conversation, message, home)


def _find_or_create(
    account: Account, wanted: shapes.CreateConversation, *, create_user: bool | None
) -> tuple[Conversation, bool]:
    if not create_user and wanted.user_id not in account.users:
        raise answers.Refused(404, "There is no such user; set create_user_if_not_exists to make one.")
    return account.create(wanted)


def _passes(conversation: Conversation, query: shapes.ConversationQuery) -> bool:
    count = len(conversation.messages)
    last = conversation.messages[-1] if conversation.messages else None
    return all(
        (
            query.bot_id in {None, conversation.bot_id},
            query.user_id in {None, conversation.user_id},
            query.conversation_id in {None, conversation.id},
            query.min_messages is None or count >= query.min_messages,
            query.max_messages is None or count <= query.max_messages,
            query.message_content is None or _find_text(conversation, query.message_content) is not None,
            query.min_last_message_date is None or (last and _sent_at(last) >= query.min_last_message_date),
            query.max_last_message_date is None or (last and _sent_at(last) <= query.max_last_message_date),
        )
    )


def _find_text(conversation: Conversation, content: str | None) -> v3.Message | None:
    """Return the newest message that contains the text, in either case."""
    if content is None:
        return None
    wanted = content.casefold()
    return next((m for m in reversed(conversation.messages) if wanted in m.text.casefold()), None)


def _last_sent_at(message: v3.Message | None) -> float:
    return float(message.sent_at or 0) if message else 0.0


def _sent_at(message: v3.Message) -> datetime:
    return datetime.fromtimestamp(float(message.sent_at or 0), UTC)
