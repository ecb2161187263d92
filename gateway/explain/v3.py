"""What V3 would be asked for a turn."""

import json
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote, urlencode

from gateway.explain.calls import Call, creates, text_of, what_is_asked
from mappings import context, v3
from mappings.turn import Message, Turn

CALLBACK_URL = "https://gateway.invalid/callbacks/v3/TOKEN"
"""Stands for the callback URL that the running gateway would sign."""

CONVERSATION = "/api/conversations/{id}"
SPOKEN = "(what the bot says)"

KNOWN_CONVERSATION = (
    "Where the gateway knows the conversation already, only the last of these are sent: PATCH and PUT when what they "
    "say has changed since the last time, and what is always sent."
)
AHEAD = (
    "Where the history ends with messages that the upstream lacks, the bot's of them are added before anything new, "
    "one call for each."
)
NOTHING_TO_FOLLOW = "Where V3 has no conversation of the pair's, there is nothing to follow: the answer is 422."


class V3:
    """See `calls.Face`."""

    def notes(self, turn: Turn) -> Iterator[str]:
        """Say what hangs on what the gateway and V3 know already."""
        yield KNOWN_CONVERSATION
        yield from what_is_asked(turn, ahead=AHEAD, nothing_to_follow=NOTHING_TO_FOLLOW)

    def calls(self, turn: Turn, carried: context.Context, now: datetime) -> Iterator[Call]:
        """Give the calls in their order."""
        text = text_of(turn)
        names = urlencode({"bot_id": turn.bot_id, "user_id": turn.user_id})
        yield Call("GET", f"/api/conversations?{names}", "where the gateway does not know the conversation", {})
        if creates(turn):
            yield Call(
                "POST",
                "/api/conversations",
                "where V3 has none of the pair's",
                json.loads(v3.encode_create(turn, webhook=CALLBACK_URL, now=now, context=carried)),
            )
        adopts = "where V3 has one that the gateway does not know"
        yield Call("PATCH", CONVERSATION, adopts, json.loads(v3.encode_webhook(CALLBACK_URL)))
        yield Call("GET", CONVERSATION, adopts, {})
        if carried.conversation.digest:
            yield Call(
                "PATCH",
                CONVERSATION,
                "where V3 had the conversation already, and has not been told this",
                json.loads(v3.encode_context(carried)),
            )
        if carried.user.digest:
            yield Call(
                "PUT",
                f"/api/users/{quote(turn.user_id, safe='')}",
                "where V3 has not been told this; POST /api/users with the same body where it does not know the user "
                "yet",
                json.loads(v3.encode_user(turn.user_id, carried)),
            )
        if text is not None:
            message = v3.encode_message(text, now=now, picture=context.picture(turn.request))
            yield Call("POST", f"{CONVERSATION}/messages", "always", json.loads(message))
        else:
            spoken = v3.encode_bot_message(Message(from_bot=True, text=SPOKEN), now=now)
            yield Call("POST", f"{CONVERSATION}/generate-response", "always", json.loads(v3.encode_generate()))
            yield Call("POST", f"{CONVERSATION}/messages", "for each text of its answer", json.loads(spoken))
