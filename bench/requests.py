"""The V1 requests of the load: a production request's fields, a history of the wanted length, users by number."""

import json
from typing import Any

BOT = "88d86507-8d6c-4fad-b6f6-15d4fd377c83"
LOAD_KEY = "load-key-of-the-bench"

USER_MARK = "@USER@"
NUMBER_MARK = "@NUMBER@"

_SAYINGS = (
    "How was the day at the lake, did the weather hold until the evening?",
    "It did, and the water was warmer than last week. We stayed for hours.",
    "¿Y qué tal la cena? Me dijiste que ibas a probar la receta nueva.",
    "The bread came out well this time; the secret is to let it rest.",
)


_TOLD_APART = 16
"""Longer histories begin with words of their user's, so that no two are alike; all end in the same ones."""


def history(items: int) -> list[dict[str, Any]]:
    """Give a conversation of so many items, about 100 bytes each, the user first and the bot last."""
    said = [f"{_SAYINGS[number % len(_SAYINGS)]} ({number})" for number in range(items)]
    if items > _TOLD_APART:
        said[0] += f" I am user {USER_MARK}."
    return [{"bot": number % 2 == 1, "content": [text]} for number, text in enumerate(said)]


def complete(
    items: list[dict[str, Any]], *, webhook: str | None, message: str = f"And message {NUMBER_MARK}?", **changes: Any
) -> dict[str, Any]:
    """Give a request with the marks of user and number in it."""
    return {
        "bot_id": BOT,
        "user_id": f"user-{USER_MARK}",
        "conversation_id": f"chat-57-{USER_MARK}",
        "message": message,
        "messages": items,
        "webhook": webhook,
        "min_delay": 30,
        "max_delay": 60,
        "language": "es",
        "platform": "Qkkie",
        "timezone": None,
        "user_kv_pairs": {"age": 30},
        "degrade_grammar": 1.0,
        "enable_protections": True,
        "question_mode": "enabled",
        "user_display_name": "Max",
        "bot_display_name": "Angela",
        "prompt": None,
        "segment": None,
        "fast_mode": None,
        "follow_up": None,
        "is_follow_up": None,
        "start_message": None,
        "image_id": None,
        "image_url": None,
    } | changes


def template(request: dict[str, Any]) -> bytes:
    """Give a request's body, marks and all."""
    return json.dumps(request, ensure_ascii=False).encode()


def filled(body: bytes, *, user: int, number: int) -> bytes:
    """Give the body of one user's numbered message."""
    return body.replace(USER_MARK.encode(), b"%d" % user).replace(NUMBER_MARK.encode(), b"%d" % number)


def upstream_id(user: int) -> str:
    """Give the id by which the upstream knows a user's conversation."""
    return f"c{user:031d}"
