"""Endpoints of users and bots."""

import uuid
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox import answers
from gateway.sandbox.v3 import shapes
from gateway.sandbox.v3.access import Access
from gateway.sandbox.v3.speaker import Speaker
from gateway.sandbox.v3.state import Account, Conversation
from mappings.wire import v3


class PeopleEndpoints:
    """Everything below /api/users and /api/bots. With a user or a bot go their conversations."""

    def __init__(self, access: Access, speaker: Speaker) -> None:
        self._access = access
        self._speaker = speaker

    def routes(self) -> Iterator[Route]:
        """Yield the routes, to be put below the API's prefix."""
        yield Route("/api/users", self.list_users, methods=["GET"])
        yield Route("/api/users", self.create_user, methods=["POST"])
        yield Route("/api/users/{user_id:path}", self.get_user, methods=["GET"])
        yield Route("/api/users/{user_id:path}", self.put_user, methods=["PUT"])
        yield Route("/api/users/{user_id:path}", self.delete_user, methods=["DELETE"])
        yield Route("/api/bots", self.list_bots, methods=["GET"])
        yield Route("/api/bots", self.create_bot, methods=["POST"])
        yield Route("/api/bots/{bot_id}", self.get_bot, methods=["GET"])
        yield Route("/api/bots/{bot_id}", self.put_bot, methods=["PUT"])
        yield Route("/api/bots/{bot_id}", self.delete_bot, methods=["DELETE"])

    async def list_users(self, request: Request) -> Response:
        """List one page of the users that match."""
        account = self._access.account(request)
        query = self._access.query(request, shapes.UserQuery)
        users = [user for user in account.users.values() if _matches(user, query)]
        if query.sort_by is not None:
            key = query.sort_by
            users.sort(key=lambda user: getattr(user, key) or "")
        if query.sort_desc:
            users.reverse()
        end = query.offset + query.limit
        return answers.answer(
            v3.UserList(
                users=users[query.offset : end],
                has_more=end < len(users),
                limit=query.limit,
                offset=query.offset,
                total_count=len(users),
            )
        )

    async def create_user(self, request: Request) -> Response:
        """Create a user, under the id that the body gives or a new one."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.NewUser)
        user = _user(wanted.id or str(uuid.uuid4()), wanted)
        if user.id in account.users:
            raise answers.Refused(409, "There is a user of this id.")
        return self._keep_user(account, user)

    async def get_user(self, request: Request) -> Response:
        """Show a user."""
        return answers.answer(v3.UserEnvelope(user=self._user(request)[1]))

    async def put_user(self, request: Request) -> Response:
        """Replace what is known of a user."""
        account, user = self._user(request)
        wanted = await self._access.body(request, shapes.NewUser)
        if wanted.id not in {None, user.id}:
            raise answers.Refused(422, "id: the id of a user cannot change")
        return self._keep_user(account, _user(str(user.id), wanted))

    async def delete_user(self, request: Request) -> Response:
        """Delete a user."""
        account, user = self._user(request)
        del account.users[str(user.id)]
        self._forget(account, account.of(user_id=user.id))
        return Response(status_code=204)

    async def list_bots(self, request: Request) -> Response:
        """List all bots."""
        account = self._access.account(request)
        return answers.answer(v3.BotList(bots=list(account.bots.values())))

    async def create_bot(self, request: Request) -> Response:
        """Create a bot under a new id."""
        account = self._access.account(request)
        wanted = await self._access.body(request, shapes.NewBot)
        return self._keep_bot(account, _bot(str(uuid.uuid4()), wanted))

    async def get_bot(self, request: Request) -> Response:
        """Show a bot."""
        return answers.answer(v3.BotEnvelope(bot=self._bot(request)[1]))

    async def put_bot(self, request: Request) -> Response:
        """Replace what is known of a bot."""
        account, bot = self._bot(request)
        wanted = await self._access.body(request, shapes.NewBot)
        return self._keep_bot(account, _bot(str(bot.id), wanted))

    async def delete_bot(self, request: Request) -> Response:
        """Delete a bot."""
        account, bot = self._bot(request)
        del account.bots[str(bot.id)]
        self._forget(account, account.of(bot_id=bot.id))
        return Response(status_code=204)

    def _user(self, request: Request) -> tuple[Account, v3.User]:
        account = self._access.account(request)
        user = account.users.get(request.path_params["user_id"])
        if user is None:
            raise answers.Refused(404, "There is no such user.")
        return account, user

    def _bot(self, request: Request) -> tuple[Account, v3.Bot]:
        account = self._access.account(request)
        bot = account.bots.get(request.path_params["bot_id"])
        if bot is None:
            raise answers.Refused(404, "There is no such bot.")
        return account, bot

    @staticmethod
    def _keep_user(account: Account, user: v3.User) -> Response:
        account.users[str(user.id)] = user
        return answers.answer(v3.UserEnvelope(user=user))

    @staticmethod
    def _keep_bot(account: Account, bot: v3.Bot) -> Response:
        account.bots[str(bot.id)] = bot
        return answers.answer(v3.BotEnvelope(bot=bot))

    def _forget(self, account: Account, conversations: list[Conversation]) -> None:
        for conversation in conversations:
            self._speaker.interrupt(conversation)
            account.forget(conversation)


def _matches(user: v3.User, query: shapes.UserQuery) -> bool:
    return (query.search_id or "").casefold() in (user.id or "").casefold() and (
        query.search_username or ""
    ).casefold() in (user.username or "").casefold()


def _user(user_id: str, wanted: shapes.NewUser) -> v3.User:
    return v3.User(
        id=user_id,
        username=wanted.username,
        attributes=_attributes(wanted.attributes),
        freeform=wanted.freeform,
    )


def _bot(bot_id: str, wanted: shapes.NewBot) -> v3.Bot:
    return v3.Bot(id=bot_id, name=wanted.name, freeform=wanted.freeform, attributes=_attributes(wanted.attributes))


def _attributes(given: list[shapes.Attribute] | None) -> list[v3.Attribute]:
    return [v3.Attribute(name=attribute.name, value=attribute.value) for attribute in given or []]
