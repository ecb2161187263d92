"""Endpoints of conversations: made, listed, looked at, changed, deleted, exported."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers
from gateway.sandbox.chatbotkit import shapes, state, streams
from gateway.sandbox.chatbotkit.access import Access
from gateway.sandbox.chatbotkit.state import Conversation
from mappings.wire import chatbotkit as wire

_COLUMNS = ("id", "name", "description", "botId", "contactId", "taskId", "spaceId", "meta", "createdAt", "updatedAt")


class ConversationEndpoints:
    """What is done with a conversation as a whole."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> Iterator[Route]:
        """Yield the routes, to be put below the API's path."""
        yield Route("/create", self.create, methods=["POST"])
        yield Route("/list", self.list, methods=["GET"])
        yield Route("/export", self.export, methods=["GET"])
        yield Route("/{conversation_id}/fetch", self.fetch, methods=["GET"])
        yield Route("/{conversation_id}/update", self.update, methods=["POST"])
        yield Route("/{conversation_id}/delete", self.delete, methods=["POST"])

    async def create(self, request: Request) -> Response:
        """Create a conversation, with messages if some are given; nothing in it triggers a reply."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.CreateConversation)
        self._access.check_bot(wanted.bot_id)
        conversation = account.create(wanted)
        shown: dict[str, Any] = {"id": conversation.id}
        if wanted.messages is not None:
            shown["messages"] = [{"type": one.type, "text": one.text} for one in conversation.messages]
        return answers.show(shown)

    async def list(self, request: Request) -> Response:
        """List a page of the conversations that pass every filter."""
        found = self._page(request)
        if streams.wanted_format(request, wire.JSON, wire.JSONL) == wire.JSONL:
            return _lines(found)
        return answers.show(_shown(found))

    async def export(self, request: Request) -> Response:
        """Give a page of conversations in one of three formats."""
        found = self._page(request)
        match streams.wanted_format(request, wire.JSON, wire.JSONL, wire.CSV):
            case wire.JSONL:
                return _lines(found)
            case wire.CSV:
                return Response(_csv(found), media_type=wire.CSV)
            case _:
                return answers.show(_shown(found))

    async def fetch(self, request: Request) -> Response:
        """Show a conversation."""
        _, conversation = self._access.conversation(request)
        return answers.show(conversation.show())

    async def update(self, request: Request) -> Response:
        """Change what the body names; null clears it, `meta` is merged."""
        _, conversation = self._access.conversation(request)
        change = await self._access.body(request, shapes.UpdateConversation)
        self._access.check_bot(change.bot_id)
        conversation.update(change)
        return answers.show({"id": conversation.id})

    async def delete(self, request: Request) -> Response:
        """Delete a conversation with its messages."""
        account, conversation = self._access.conversation(request)
        await self._access.body(request, shapes.Nothing)
        del account.conversations[conversation.id]
        return answers.show({"id": conversation.id})

    def _page(self, request: Request) -> Sequence[Conversation]:
        account = self._access.account(request)
        query = self._access.conversations(request)
        after = None
        if query.cursor:
            after = account.numbers.get(query.cursor)
            if after is None:
                raise answers.Refused(400, "cursor: not one that a list has given")
        passing = [one for one in account.conversations.values() if state.passes(one, query)]
        return state.page(passing, query, after)


def _shown(found: Sequence[Conversation]) -> dict[str, Any]:
    """Show a page; its cursor is its last item's id, an empty page has none."""
    items = [conversation.show() for conversation in found]
    return {"items": items} | ({"cursor": items[-1]["id"]} if items else {})


def _lines(found: Sequence[Conversation]) -> Response:
    return Response(b"".join(streams.line("item", one.show()) for one in found), media_type=wire.JSONL)


def _csv(found: Sequence[Conversation]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    table.writeheader()
    for one in found:
        table.writerow(one.show() | {"meta": json.dumps(one.meta, ensure_ascii=False)})
    return text.getvalue()
