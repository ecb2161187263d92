"""Endpoints of messages: said, heard, added in bulk, listed, compacted."""

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers
from gateway.sandbox.chatbotkit import shapes, state, streams
from gateway.sandbox.chatbotkit.access import Access
from gateway.sandbox.chatbotkit.bots import Bots
from gateway.sandbox.chatbotkit.state import Message
from mappings.wire import chatbotkit as wire

_LEAST_COMPACTED = 2
_QUOTED_CHARACTERS = 200


class MessageEndpoints:
    """What is said in a conversation."""

    def __init__(self, access: Access, bots: Bots, spelling: streams.Spelling) -> None:
        self._access = access
        self._bots = bots
        self._spelling = spelling

    def routes(self) -> Iterator[Route]:
        """Yield the routes, to be put below the API's path."""
        yield Route("/{conversation_id}/send", self.send, methods=["POST"])
        yield Route("/{conversation_id}/receive", self.receive, methods=["POST"])
        yield Route("/{conversation_id}/complete", self.complete, methods=["POST"])
        yield Route("/{conversation_id}/initiate", self.initiate, methods=["POST"])
        yield Route("/{conversation_id}/compact", self.compact, methods=["POST"])
        yield Route("/{conversation_id}/message/create", self.create, methods=["POST"])
        yield Route("/{conversation_id}/message/batch/create", self.create_batch, methods=["POST"])
        yield Route("/{conversation_id}/message/list", self.list, methods=["GET"])

    async def send(self, request: Request) -> Response:
        """Add the user's message, without a reply."""
        _, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.Send)
        message = conversation.add("user", wanted.text)
        sent = {"id": message.id, "entities": _entities(wanted.entities)}
        if streams.wanted_format(request, wire.JSON, wire.JSONL) == wire.JSONL:
            kind = "send_result" if self._spelling == "seed" else "result"
            return Response(streams.line(kind, sent), media_type=wire.JSONL)
        return answers.show(sent)

    async def receive(self, request: Request) -> Response:
        """Let the bot speak, from where the conversation stands."""
        _, conversation = self._access.conversation(request)
        await self._access.body(request, shapes.Receive)
        generation = self._bots.begin(conversation)
        return await streams.answer(request, generation, action="receive", spelling=self._spelling)

    async def complete(self, request: Request) -> Response:
        """Add the user's message, if there is one, and let the bot speak."""
        _, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.Complete)
        sent = None
        if wanted.text is not None:
            message = conversation.add("user", wanted.text)
            entities = _entities(wanted.entities)
            sent = {"id": message.id, "text": message.text, "entities": entities, "usage": {"token": 0}}
        generation = self._bots.begin(conversation, wanted.limits)
        return await streams.answer(request, generation, action="complete", spelling=self._spelling, sent=sent)

    async def initiate(self, request: Request) -> Response:
        """Let the bot speak first, about a context."""
        _, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.Initiate)
        conversation.add("context", wanted.text)
        generation = self._bots.begin(conversation)
        return await streams.answer(request, generation, action="initiate", spelling=self._spelling)

    async def compact(self, request: Request) -> Response:
        """Sum up what was said since the last checkpoint in a new one, unless there is too little of it."""
        _, conversation = self._access.conversation(request)
        await self._access.body(request, shapes.Nothing)
        said = [one for one in conversation.since_last("checkpoint") if one.type in {"user", "bot"}]
        if len(said) < _LEAST_COMPACTED:
            return answers.show({"id": conversation.id})
        beginning = said[0].text[:_QUOTED_CHARACTERS]
        checkpoint = conversation.add("checkpoint", f"{len(said)} messages that began with “{beginning}”.")
        return answers.show({"id": checkpoint.id})

    async def create(self, request: Request) -> Response:
        """Add one message of any type, without a reply."""
        _, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.NewMessage)
        message = conversation.add(wanted.type, wanted.text, wanted.meta)
        return answers.show({"id": message.id, "entities": _entities(wanted.entities)})

    async def create_batch(self, request: Request) -> Response:
        """Add messages in their order, all or none, without a reply."""
        _, conversation = self._access.conversation(request)
        wanted = await self._access.body(request, shapes.BatchCreate)
        ids = [item.id for item in wanted.items if item.id is not None]
        if len(set(ids)) < len(ids) or not {message.id for message in conversation.messages}.isdisjoint(ids):
            raise answers.Refused(409, "items: an id is there already")
        added = [conversation.add(item.type, item.text, item.meta, item.id) for item in wanted.items]
        return answers.show({"items": [{"id": message.id} for message in added]})

    async def list(self, request: Request) -> Response:
        """List a page of the messages."""
        _, conversation = self._access.conversation(request)
        query = self._access.page(request)
        numbers = {message.id: message.n for message in conversation.messages}
        if query.cursor and query.cursor not in numbers:
            raise answers.Refused(400, "cursor: not one that a list has given")
        found = state.page(conversation.messages, query, numbers.get(query.cursor or ""))
        if streams.wanted_format(request, wire.JSON, wire.JSONL) == wire.JSONL:
            lines = b"".join(streams.line("item", message.show()) for message in found)
            return Response(lines, media_type=wire.JSONL)
        return answers.show(_shown(found))


def _shown(found: Sequence[Message]) -> dict[str, Any]:
    items = [message.show() for message in found]
    return {"items": items} | ({"cursor": items[-1]["id"]} if items else {})


def _entities(known: Sequence[shapes.Entity] | None) -> Sequence[dict[str, Any]]:
    """Show the entities that the caller knew of; the emulated service finds none by itself."""
    return [entity.model_dump(exclude_none=True) for entity in known or []]
