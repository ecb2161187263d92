"""Who calls, reading what they sent, and the vendor's error bodies: what all endpoints of the emulator begin with."""

from typing import Any, TypeVar

import pydantic
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.sandbox import answers, calls
from gateway.sandbox.chatbotkit import shapes
from gateway.sandbox.chatbotkit.state import Account, Accounts, Conversation
from gateway.sandbox.settings import SandboxSettings

S = TypeVar("S", bound=shapes.Strict)

CODES = {
    400: "BAD_REQUEST",
    401: "NOT_AUTHENTICATED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "CONTENT_TOO_LARGE",
    500: "INTERNAL_SERVER_ERROR",
}
"""The codes beside the statuses, as the vendor's own client knows them."""


class Access:
    """The emulator's door."""

    def __init__(self, settings: SandboxSettings, accounts: Accounts) -> None:
        self.accounts = accounts
        self._settings = settings

    def account(self, request: Request) -> Account:
        """Return the caller's account; without a key that is let in, 401."""
        key = calls.bearer_key(request.headers.raw)
        account = self.accounts.find(key) if key else None
        if account is None:
            raise answers.Refused(401, "Not authenticated")
        return account

    def conversation(self, request: Request) -> tuple[Account, Conversation]:
        """Return the caller's account and its conversation that the path names; another's is 404 as well."""
        account = self.account(request)
        conversation = account.conversations.get(request.path_params["conversation_id"])
        if conversation is None:
            raise answers.Refused(404, "There is no such conversation.")
        return account, conversation

    async def body(self, request: Request, shape: type[S]) -> S:
        """Return the JSON body, or 400; no body at all is an empty object."""
        body = await answers.read_bytes(request, self._settings.max_body_bytes)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and media_type != "application/json":
            raise answers.Refused(400, "The body must be JSON, announced by Content-Type: application/json.")
        try:
            return shape.model_validate_json(body or b"{}")
        except pydantic.ValidationError as error:
            raise answers.Refused(400, answers.explain(error)) from error

    def page(self, request: Request) -> shapes.PageQuery:
        """Return which page of a list is meant, or 400."""
        return _query(shapes.PageQuery, dict(request.query_params))

    def conversations(self, request: Request) -> shapes.ConversationQuery:
        """Return which conversations are meant, or 400."""
        return _query(shapes.ConversationQuery, shapes.filters(request.query_params.multi_items()))

    def check_bot(self, bot_id: str | None) -> None:
        """Refuse a bot that is not there."""
        bots = self._settings.chatbotkit_bots
        if bot_id is not None and bots is not None and bot_id not in bots:
            raise answers.Refused(400, "There is no such bot.")


Q = TypeVar("Q", bound=shapes.PageQuery)


def _query(shape: type[Q], parameters: dict[str, Any]) -> Q:
    try:
        return shape.model_validate(parameters)
    except pydantic.ValidationError as error:
        raise answers.Refused(400, answers.explain(error)) from error


def show_refusal(_request: Request, refused: answers.Refused) -> Response:
    """Render a refusal as the vendor's error body."""
    body = {"message": refused.message, "code": CODES[refused.status]}
    return JSONResponse(body, refused.status, refused.headers)


def show_http_error(_request: Request, error: HTTPException) -> Response:
    """Render a routing error (404, 405) as the vendor's error body."""
    body = {"message": error.detail, "code": CODES[error.status_code]}
    return JSONResponse(body, error.status_code, error.headers)
