"""The emulator's control surface, /sandbox/chatbotkit/...: replies laid out, and a look at what it holds."""

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers
from gateway.sandbox.chatbotkit.bots import Bots, Reply
from gateway.sandbox.chatbotkit.state import Accounts, Conversation

ROOT = "/sandbox/chatbotkit"

_MAX_BODY_BYTES = 2**20


class ControlEndpoints:
    """Everything below /sandbox/chatbotkit. Like the rest of the control surface it asks for no key."""

    def __init__(self, accounts: Accounts, bots: Bots) -> None:
        self._accounts = accounts
        self._bots = bots

    def routes(self) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(f"{ROOT}/replies", self.script, methods=["POST"])
        yield Route(f"{ROOT}/conversations", self.conversations, methods=["GET"])
        yield Route(f"{ROOT}/conversations/{{conversation_id}}", self.delete_conversation, methods=["DELETE"])

    async def script(self, request: Request) -> Response:
        """Lay out a coming reply: its text, its pace, how it ends or breaks."""
        self._bots.script(await answers.read_json(request, Reply, limit=_MAX_BODY_BYTES))
        return Response(status_code=204)

    async def conversations(self, _request: Request) -> Response:
        """Show ChatBotKit's conversations of all accounts in full."""
        shown = [_show(one) for account in self._accounts.all() for one in account.conversations.values()]
        return answers.show({"conversations": shown})

    async def delete_conversation(self, request: Request) -> Response:
        """Delete one of ChatBotKit's conversations behind the client's back."""
        found = self._accounts.conversation(request.path_params["conversation_id"])
        if found is None:
            raise answers.Refused(404, "There is no such conversation.")
        account, conversation = found
        del account.conversations[conversation.id]
        return Response(status_code=204)


def _show(conversation: Conversation) -> dict[str, Any]:
    messages = [message.show() for message in conversation.messages]
    return conversation.show() | {"account": conversation.account, "messages": messages}
