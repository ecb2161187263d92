"""Whose turn it is, kept in the store with the turn, its reply and its conversation, for the log and for operators."""

from collections.abc import Mapping

import msgspec


class People(msgspec.Struct, frozen=True, array_like=True):
    """The people of a turn, as the log tells them when the reply leaves.

    They are kept as a list, since their names would take a third of the bytes; scripts find the tenant in its first
    place. A field may be added at the end.
    """

    tenant: str
    bot_id: str
    user_id: str
    conversation_id: str | None = None
    request_id: str | None = None


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(People).decode


def read(text: str) -> Mapping[str, object]:
    """Give the people by the names of their fields; they only inform, so that nothing readable is an empty mapping."""
    try:
        return msgspec.structs.asdict(_decode(text))
    except ValueError:
        return {}
