"""The emulated conversation API as an application of its own, with the vendor's error bodies for everything."""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.sandbox import answers, journal, tasks
from gateway.sandbox.chatbotkit import access
from gateway.sandbox.chatbotkit.bots import Bots
from gateway.sandbox.chatbotkit.conversations import ConversationEndpoints
from gateway.sandbox.chatbotkit.messages import MessageEndpoints
from gateway.sandbox.chatbotkit.state import Accounts
from gateway.sandbox.settings import SandboxSettings

PATHS = ("/api/v1/conversation", "/v1/conversation")
"""Where it stands: the same routes under both."""


class ChatBotKit:
    """The emulated service: its state and its bots."""

    def __init__(self, settings: SandboxSettings, background: tasks.Tasks, pulse: journal.Pulse) -> None:
        self.accounts = Accounts(settings.keys)
        self.bots = Bots(settings, background, pulse)
        self._settings = settings

    def clear(self) -> None:
        """Forget everything."""
        self.accounts.clear()
        self.bots.clear()

    def create_app(self) -> Starlette:
        """Return the application, to be mounted at each of `PATHS`."""
        door = access.Access(self._settings, self.accounts)
        return Starlette(
            routes=[
                *ConversationEndpoints(door).routes(),
                *MessageEndpoints(door, self.bots, self._settings.chatbotkit_events).routes(),
            ],
            exception_handlers=_HANDLERS,
        )


def _nobody_listens(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)


_HANDLERS: dict[Any, Any] = {  # each handler takes its own kind of exception, which the type of the argument cannot say
    answers.Refused: access.show_refusal,
    HTTPException: access.show_http_error,
    ClientDisconnect: _nobody_listens,
}
