"""What ChatBotKit would be asked for a turn."""

import json
from collections.abc import Iterator
from datetime import datetime

from gateway.explain.calls import Call, creates, text_of, what_is_asked
from mappings import chatbotkit, context
from mappings.turn import Turn

CONVERSATION = "/conversation/{id}"

KNOWN_CONVERSATION = (
    "Where the gateway knows the conversation already, only the last of these are sent: the update when the user's "
    "facts have changed since the last time, and what is always sent."
)
AHEAD = "Where the history ends with messages that the upstream lacks, they are added before anything new, in batches."
BOT_ID = "GATEWAY_BOT_MAP may name another botId for V1's."
NOTHING_TO_FOLLOW = "Where ChatBotKit has no conversation of the pair's, there is nothing to follow: the answer is 422."


class ChatBotKit:
    """See `calls.Face`."""

    def notes(self, turn: Turn) -> Iterator[str]:
        """Say what hangs on what the gateway and ChatBotKit know already."""
        yield KNOWN_CONVERSATION
        if creates(turn):
            yield BOT_ID
        yield from what_is_asked(turn, ahead=AHEAD, nothing_to_follow=NOTHING_TO_FOLLOW)

    def calls(self, turn: Turn, carried: context.Context, now: datetime) -> Iterator[Call]:  # noqa: ARG002 — dated upstream
        """Give the calls in their order."""
        text, picture = text_of(turn), context.picture(turn.request)
        names = chatbotkit.encode_find(turn.bot_id, turn.user_id)
        yield Call("GET", f"/conversation/list?{names}", "where the gateway does not know the conversation", {})
        if creates(turn):
            created = json.loads(chatbotkit.encode_create(turn, bot_id=turn.bot_id, context=carried))
            yield Call("POST", "/conversation/create", "where ChatBotKit has none of the pair's", created)
            batches = [json.loads(batch) for batch in chatbotkit.encode_history(turn)]
            for batch in batches:
                yield Call("POST", f"{CONVERSATION}/message/batch/create", "behind the creation", batch)
            if batches:
                whole = json.loads(chatbotkit.encode_whole())
                yield Call("POST", f"{CONVERSATION}/update", "when all of the history is there", whole)
        read = f"{CONVERSATION}/message/list?{chatbotkit.encode_page(None, order='desc')}"
        yield Call("GET", read, "where ChatBotKit has one that the gateway does not know", {})
        if carried.user.digest:
            facts = json.loads(chatbotkit.encode_update(carried))
            yield Call("POST", f"{CONVERSATION}/update", "where ChatBotKit has not been told this", facts)
        told = chatbotkit.backstory(carried, picture=picture)
        if text is not None:
            yield Call("POST", f"{CONVERSATION}/send", "always", json.loads(chatbotkit.encode_send(text)))
            receive = json.loads(chatbotkit.encode_receive(told))
            yield Call("POST", f"{CONVERSATION}/receive", "by the relay, for the reply", receive)
        else:
            yield Call("POST", f"{CONVERSATION}/initiate", "always", json.loads(chatbotkit.encode_initiate(turn, told)))
