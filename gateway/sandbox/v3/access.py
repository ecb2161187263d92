"""Who calls, and reading what they sent: what all endpoints of the emulator begin with."""

from typing import TypeVar

from starlette.requests import Request

from gateway.sandbox import answers, calls
from gateway.sandbox.settings import SandboxSettings
from gateway.sandbox.v3 import shapes
from gateway.sandbox.v3.state import Account, Accounts, Conversation

S = TypeVar("S", bound=shapes.Strict)
Q = TypeVar("Q", bound=shapes.Query)


class Access:
    """The emulator's door."""

    def __init__(self, settings: SandboxSettings, accounts: Accounts) -> None:
        self.accounts = accounts
        self._settings = settings
        self._limits = shapes.Limits(settings.any_bot_id, settings.require_sent_at)

    def account(self, request: Request) -> Account:
        """Return the caller's account; without a key that is let in, 401."""
        key = calls.bearer_key(request.headers.raw)
        account = self.accounts.find(key) if key else None
        if account is None:
            message = "A valid API key is required: Authorization: Bearer <key>."
            raise answers.Refused(401, message, {"www-authenticate": "Bearer"})
        return account

    def conversation(self, request: Request) -> tuple[Account, Conversation]:
        """Return the caller's account and its conversation that the path names; another's is 404 as well."""
        account = self.account(request)
        conversation = account.conversations.get(request.path_params["conversation_id"])
        if conversation is None:
            raise answers.Refused(404, "There is no such conversation.")
        return account, conversation

    async def body(self, request: Request, shape: type[S]) -> S:
        """Return the JSON body, or 422."""
        limit = self._settings.max_body_bytes
        return await answers.read_json(request, shape, limit=limit, context=self._limits)

    def query(self, request: Request, shape: type[Q]) -> Q:
        """Return the query parameters, or 422."""
        return answers.read_query(request, shape, context=self._limits)

    def home(self, request: Request) -> str:
        """Return this server's base URL, as others reach it."""
        return (self._settings.public_url or str(request.base_url)).rstrip("/")
