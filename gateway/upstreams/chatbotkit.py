"""ChatBotKit as an upstream: its calls, and what each of them means there.

It calls nobody back: a message is sent, and the bot speaks when it is asked to, in the answer to that call. So replies
are pulled (`relay.puller`), and adopting a conversation needs no call.

A history of more messages than one call takes is added in batches behind the creation. Until it is whole the
conversation's `meta` says so: one that was left unfinished is nobody's, and whoever comes upon it deletes it.
"""

import functools
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote

from gateway import errors, http
from gateway.upstreams import calling
from gateway.upstreams.base import Call, ConversationGone, Listed, OutcomeUnknown
from gateway.upstreams.pulling import Spoken
from mappings import chatbotkit, context, fates, generation, reconcile
from mappings.errors import MalformedAnswer
from mappings.missed import Held
from mappings.turn import Message, Picture, Received, ReplySegment, Turn
from mappings.wire import chatbotkit as wire

DIALECT: Final = "chatbotkit"

MAX_PAGES = 50
"""Pages of a list that are read at most, newest first: what is known of a conversation is its end."""

ACCEPT = f"{wire.JSONL}, {wire.SSE};q=0.9, {wire.JSON};q=0.8"


class ChatBotKit:
    """The upstream whose routes stand below `base_url`, a version of the API; shared by all turns of the process.

    `generations` makes the calls that let a bot speak: its deadline is as long as a generation may take. `bots` gives
    ChatBotKit's bot for V1's; one that it lacks goes as it is.
    """

    dialect: fates.Upstream = DIALECT
    takes_user_messages = True
    keeps_what_it_speaks = True

    def __init__(
        self, base_url: str, client: http.HttpClient, *, generations: http.HttpClient, bots: Mapping[str, str]
    ) -> None:
        self.base_url = base_url
        self._client = client
        self._generations = generations
        self._bots = bots

    def session(self, key: str) -> "ChatBotKitSession":
        """Begin a turn's dealings under the key."""
        return ChatBotKitSession(self.base_url, self._client, key, generations=self._generations, bots=self._bots)

    def upkeep(self, key: str) -> "ChatBotKitUpkeep":
        """Begin to look after the conversations of the key."""
        return ChatBotKitUpkeep(self.session(key))

    def decode_callback(self, body: bytes, *, fallback_id: str) -> Received:  # noqa: ARG002 — the shape of `Upstream`
        """Refuse: nobody was given a URL to call."""
        raise MalformedAnswer("ChatBotKit calls nobody back")

    def told(self, turn: Turn, picture: Picture | None) -> str:
        """Give what the bot is to be told for the turn's reply only."""
        return chatbotkit.backstory(context.carry(turn.request), picture=picture)


class ChatBotKitSession(calling.Calls):
    """One turn's or one puller's calls; see `base.Session` and `pulling.Source` for what each method promises."""

    speaks_when_asked = True

    def __init__(
        self,
        base_url: str,
        client: http.HttpClient,
        key: str,
        *,
        generations: http.HttpClient,
        bots: Mapping[str, str],
    ) -> None:
        super().__init__(base_url, client, key)
        self._generations = generations
        self._bots = bots

    async def find(self, bot_id: str, user_id: str) -> str | None:
        """Look the pair up in the upstream's own list, by V1's ids in `meta`; delete what was left unfinished."""
        answer = await self.call(
            "list_conversations", "GET", f"/conversation/list?{chatbotkit.encode_find(bot_id, user_id)}"
        )
        found = calling.understood(lambda: chatbotkit.decode_found(answer.body, bot_id=bot_id, user_id=user_id))
        for unfinished in found.unfinished:
            await self.delete(unfinished)
        return found.id

    async def adopt(self, conversation_id: str, webhook: str) -> None:
        """Do nothing: replies are pulled from wherever they are."""

    async def create(self, turn: Turn, webhook: str, now: datetime, carried: context.Context) -> str:  # noqa: ARG002 — it calls nobody back
        """Create the conversation with the history, in as many calls as that takes."""
        bot_id = self._bots.get(turn.bot_id, turn.bot_id)
        body = chatbotkit.encode_create(turn, bot_id=bot_id, context=carried)
        answer = await self.call("create_conversation", "POST", "/conversation/create", body, writes=True)
        try:
            created = chatbotkit.decode_created(answer.body)
        except MalformedAnswer as error:
            raise OutcomeUnknown(errors.UpstreamUnavailable(f"the upstream's answer is {error}")) from error
        batches = list(chatbotkit.encode_history(turn))
        for batch in batches:
            await self._write("create_messages", created, "message/batch/create", batch)
        if batches:
            await self._write("update_conversation", created, "update", chatbotkit.encode_whole())
        return created

    async def post(self, conversation_id: str, text: str, now: datetime, picture: Picture | None) -> None:  # noqa: ARG002 — dated upstream; the picture is told beside it
        """Send the message; the bot does not answer yet."""
        answer = await self._write("send_message", conversation_id, "send", chatbotkit.encode_send(text))
        try:
            chatbotkit.decode_created(answer.body)
        except MalformedAnswer as error:
            raise OutcomeUnknown(errors.UpstreamUnavailable(f"the upstream's answer is {error}")) from error

    async def add(self, conversation_id: str, messages: Sequence[Message], now: datetime) -> None:  # noqa: ARG002 — dated upstream
        """Add messages of either side in their order; nothing answers them. Each batch is added whole or not at all."""
        for batch in chatbotkit.encode_batches(messages):
            await self._write("create_messages", conversation_id, "message/batch/create", batch)

    async def transcript(self, conversation_id: str) -> Sequence[Message]:
        """Read what was said, oldest first; of a very long conversation its end."""
        newest_first = [message async for message in self._newest_first(conversation_id)]
        return newest_first[::-1]

    async def spoken(self, conversation_id: str, user_messages: int) -> Spoken:
        """Read what was said since the first of the user's last so many messages."""
        replies: list[Message] = []
        users: list[Message] = []
        answering = 0  # what the bot said before the first of them replies to nobody
        waiting = False
        async for message in self._newest_first(conversation_id):
            if message.from_bot:
                replies.append(message)
                continue
            waiting = waiting or not (users or replies)
            users.append(message)
            answering = len(replies)
            if len(users) == user_messages:
                break
        return Spoken(replies[:answering][::-1], waiting, users[0].text if users else None)

    async def held(self, conversation_id: str) -> Sequence[Held]:
        """Read what was said; that nothing calls back from here, nothing can be missed."""
        return [
            Held(message, frozenset(filter(None, [message.id]))) for message in await self.transcript(conversation_id)
        ]

    async def hear(self, conversation_id: str, told: str) -> generation.Outcome:
        """Let the bot speak from where the conversation stands."""
        return await self._listen("receive", conversation_id, chatbotkit.encode_receive(told))

    async def complete(self, conversation_id: str, text: str, told: str) -> generation.Outcome:
        """Send the message and let the bot answer, in one call."""
        return await self._listen("complete", conversation_id, chatbotkit.encode_complete(text, told))

    async def initiate(self, conversation_id: str, turn: Turn, told: str) -> generation.Outcome:
        """Let the bot speak first."""
        return await self._listen("initiate", conversation_id, chatbotkit.encode_initiate(turn, told))

    async def describe(self, conversation_id: str, carried: context.Context) -> None:
        """Do nothing: the context is told with each reply that is asked for."""

    async def describe_user(self, conversation_id: str, user_id: str, carried: context.Context) -> None:  # noqa: ARG002 — they are the conversation's here
        """Note the user's facts with the conversation."""
        await self.update(conversation_id, carried)

    async def speak(self, conversation_id: str, turn: Turn) -> Sequence[ReplySegment]:
        """Let the bot speak first; what it says is part of the conversation."""
        told = chatbotkit.backstory(context.carry(turn.request), picture=context.picture(turn.request))
        match await self.initiate(conversation_id, turn, told):
            case generation.Heard(text, message_id):
                return [ReplySegment(message_id or str(uuid.uuid4()), text)]
            case generation.Failed(kind):
                raise errors.UpstreamUnavailable(f"the bot did not speak: {kind}")

    async def update(self, conversation_id: str, known: context.Context) -> None:
        """Note the user's facts anew; doing it twice does no harm."""
        body = chatbotkit.encode_update(known)
        await self.call("update_conversation", "POST", _path(conversation_id, "update"), body, conversation=True)

    async def compact(self, conversation_id: str) -> None:
        """Have a long conversation summed up; where there is nothing to sum up, nothing happens."""
        path = _path(conversation_id, "compact")
        await self.call("compact_conversation", "POST", path, chatbotkit.NOTHING, conversation=True)

    async def delete(self, conversation_id: str) -> None:
        """Delete the conversation with all its messages; one that is gone already is deleted."""
        path = _path(conversation_id, "delete")
        try:
            await self.call("delete_conversation", "POST", path, chatbotkit.NOTHING, conversation=True)
        except ConversationGone:
            return

    async def _write(self, name: str, conversation_id: str, action: str, body: bytes) -> http.Answer:
        return await self.call(name, "POST", _path(conversation_id, action), body, writes=True, conversation=True)

    async def _newest_first(self, conversation_id: str) -> AsyncIterator[Message]:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            query = chatbotkit.encode_page(cursor, order="desc")
            path = f"{_path(conversation_id, 'message/list')}?{query}"
            answer = await self.call("list_messages", "GET", path, conversation=True)
            page, cursor = calling.understood(functools.partial(chatbotkit.decode_messages, answer.body))
            for message in page:
                yield message
            if cursor is None:
                return

    async def _listen(self, action: str, conversation_id: str, body: bytes) -> generation.Outcome:
        began = time.perf_counter()
        status: int | None = None
        url = self._base_url + _path(conversation_id, action)
        try:
            async with self._generations.stream(
                "POST", url, headers=self._headers | {"Accept": ACCEPT}, content=body
            ) as answer:
                status = answer.status
                if not 200 <= status < 300:
                    refusal = b"".join([chunk async for chunk in answer.chunks()])
                    whole = http.Answer(status, answer.headers, refusal, time.perf_counter() - began)
                    calling.judge(whole, writes=True, conversation=True)
                listener = generation.Listener(answer.headers.get("Content-Type", ""))
                async for chunk in answer.chunks():
                    listener.feed(chunk)
                    if listener.outcome is not None:
                        break
                return listener.close()
        except http.NotSent as error:
            raise errors.UpstreamUnavailable(f"the upstream cannot be reached: {error}") from error
        except http.MaybeSent as error:
            raise OutcomeUnknown(calling.failure(error)) from error
        except calling.NotTaken as refused:
            raise refused.outcome from refused
        finally:
            self.calls.append(Call(action, status, (time.perf_counter() - began) * 1000, 1))


class ChatBotKitUpkeep:
    """All conversations of one key; see `base.Upkeep`."""

    def __init__(self, session: ChatBotKitSession) -> None:
        self._session = session

    async def listed(self) -> Sequence[Listed]:
        """Read the export, page by page, as lines; those that are not V1's have no such names in their `meta`."""
        return [Listed(one.id, one.bot_id, one.user_id) async for one in self._export() if not one.is_unfinished]

    async def erase(self, bot_id: str, user_id: str) -> int:
        """Delete the pair's conversations, also those that were left for another history or never became whole."""
        theirs = [
            one.id
            async for one in self._export()
            if one.bot_id == bot_id and reconcile.base_user_id(one.user_id) == user_id
        ]
        for conversation_id in theirs:
            await self._session.delete(conversation_id)
        return len(theirs)

    async def _export(self) -> AsyncIterator[chatbotkit.Exported]:
        cursor: str | None = None
        while True:
            path = f"/conversation/export?{chatbotkit.encode_page(cursor, order='desc')}"
            answer = await self._session.call("export_conversations", "GET", path, accept=wire.JSONL)
            page = calling.understood(functools.partial(chatbotkit.decode_export, answer.body))
            for one in page.conversations:
                yield one
            if page.cursor is None:
                return
            cursor = page.cursor


def _path(conversation_id: str, action: str) -> str:
    return f"/conversation/{quote(conversation_id, safe='')}/{action}"
