"""What becomes of each V1 field: one table, one row per field, one column per upstream.

A fate is one of four:

- exact: the value arrives whole, in a field of the same meaning;
- emulated: the gateway itself does what V1 did with it;
- approximated: the upstream is told in other words, and may heed them less exactly than V1 did;
- dropped: it reaches nobody.

What is approximated or dropped is a loss, and the client is told of it by name. A value that asks for nothing (null,
and per field what the row says) loses nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from mappings import quoting

Kind: TypeAlias = Literal["exact", "emulated", "approximated", "dropped"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Source: TypeAlias = Literal["seed document", "public API description", "our choice"]
"""Who says so: the API's first description, the vendor's published material, or nobody but us."""

Upstream: TypeAlias = Literal["v3", "chatbotkit"]
"""The columns of the table."""

Mode: TypeAlias = Literal["full", "none"]
"""Whether an upstream is told more than messages: `none` is for one that knows only the seed document's fields."""

Target: TypeAlias = Literal[
    "conversation.bot_id",
    "conversation.user_id",
    "conversation.with_messages",
    "conversation.platform",
    "conversation.segment",
    "conversation.freeform",
    "user.username",
    "user.attributes",
    "user.freeform",
    "message.text",
    "message.attached_media",
    "conversation.botId",
    "conversation.meta",
    "conversation.messages",
    "extensions.backstory",
    "initiate.text",
    "the gateway itself",
    "nowhere",
]

CONTEXT_TARGETS: frozenset[Target] = frozenset(
    {
        "conversation.platform",
        "conversation.segment",
        "conversation.freeform",
        "user.username",
        "user.attributes",
        "user.freeform",
    }
)
"""What mode `none` leaves out: fields of the public API description that the seed document does not have."""

Need: TypeAlias = Literal["picture url", "no message"]
"""What a fate hangs on: that the picture's address is known; that there is no new message, so that the bot speaks."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a field in one upstream, in one plain sentence of reason.

    Where what it `needs` is not there, the field is dropped.
    """

    kind: Kind
    target: Target
    reason: str
    source: Source
    needs: Need | None = None


@dataclass(frozen=True, slots=True)
class Neutral:
    """Which values ask for nothing, in words and as a test of a value that is not null."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One V1 field. `source` says who describes the field, the fates say who describes their target."""

    name: str
    source: Source
    neutral: Neutral
    fates: Mapping[Upstream, Fate]


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and quoting.is_blank(value)


def _holds_no_fact(pairs: Any) -> bool:
    return all(value is None or not name for name, value in pairs.items())


NULL = Neutral("null", lambda _value: False)
FALSE = Neutral("null, false", lambda value: value is False)
BLANK = Neutral("null, a blank text", _is_blank)
BLANK_OR_FALSE = Neutral("null, false, a blank text", lambda value: value is False or _is_blank(value))
ZERO = Neutral("null, 0", lambda value: value == 0)
EMPTY = Neutral("null, an empty list", lambda value: not value)
NO_FACTS = Neutral("null, an object whose values are null or unnamed", _holds_no_fact)

_SEED: Source = "seed document"
_PUBLIC: Source = "public API description"
_CHOICE: Source = "our choice"


def _row(name: str, source: Source, neutral: Neutral, *, v3: Fate, chatbotkit: Fate) -> Row:
    return Row(name, source, neutral, {"v3": v3, "chatbotkit": chatbotkit})


def _exact(target: Target, reason: str, source: Source, *, needs: Need | None = None) -> Fate:
    return Fate("exact", target, reason, source, needs)


def _emulated(reason: str, *, needs: Need | None = None) -> Fate:
    return Fate("emulated", "the gateway itself", reason, _CHOICE, needs)


def _told(reason: str) -> Fate:
    return Fate("approximated", "conversation.freeform", reason, _CHOICE)


def _told_each_time(reason: str, *, needs: Need | None = None) -> Fate:
    return Fate("approximated", "extensions.backstory", reason, _CHOICE, needs)


def _dropped(reason: str) -> Fate:
    return Fate("dropped", "nowhere", reason, _CHOICE)


TABLE: tuple[Row, ...] = (
    _row(
        "bot_id",
        _SEED,
        NULL,
        v3=_exact("conversation.bot_id", "V3 knows a conversation by its bot and its user.", _SEED),
        chatbotkit=_exact(
            "conversation.botId",
            "The operator's table names the bot in ChatBotKit; one that it lacks goes as it is.",
            _SEED,
        ),
    ),
    _row(
        "user_id",
        _SEED,
        NULL,
        v3=_exact("conversation.user_id", "V3 knows a conversation by its bot and its user.", _SEED),
        chatbotkit=_exact(
            "conversation.meta",
            "ChatBotKit knows no users, so the conversation's `meta` says whose it is and it is found by that.",
            _SEED,
        ),
    ),
    _row(
        "conversation_id",
        _SEED,
        NULL,
        v3=_emulated(
            "The gateway gives it back in its answer, and takes it for the user where `user_id` is missing; "
            "V3 gives a conversation its own id and holds one per bot and user."
        ),
        chatbotkit=_exact(
            "conversation.meta",
            "It stands in the `meta` of the conversation that it began; the gateway gives it back in its answers.",
            _SEED,
        ),
    ),
    _row(
        "message",
        _SEED,
        NULL,
        v3=_exact("message.text", "It is posted to the conversation, character for character.", _SEED),
        chatbotkit=_exact("message.text", "It is sent to the conversation, character for character.", _SEED),
    ),
    _row(
        "messages",
        _SEED,
        EMPTY,
        v3=_exact(
            "conversation.with_messages",
            "Each segment becomes one message when the conversation is created, and V3 keeps it from then on, without "
            "an item's `id`; a later history that holds what V3 lacks and does not take is approximated.",
            _SEED,
        ),
        chatbotkit=_exact(
            "conversation.messages",
            "Each segment becomes one message when the conversation is created, over a hundred in batches, and "
            "ChatBotKit keeps it from then on, without an item's `id`; a later one that was edited is approximated.",
            _SEED,
        ),
    ),
    _row(
        "webhook",
        _SEED,
        NULL,
        v3=_emulated("The gateway posts the whole reply there; V3 is given a callback of the gateway's."),
        chatbotkit=_emulated(
            "The gateway posts the reply there; ChatBotKit's comes in the answer to a call of the gateway's."
        ),
    ),
    _row(
        "min_delay",
        _SEED,
        NULL,
        v3=_emulated("The gateway holds the reply; V3 knows a delay only for a whole account."),
        chatbotkit=_emulated("The gateway holds the reply; ChatBotKit knows no delays."),
    ),
    _row(
        "max_delay",
        _SEED,
        NULL,
        v3=_emulated("The gateway holds the reply; V3 knows a delay only for a whole account."),
        chatbotkit=_emulated("The gateway holds the reply; ChatBotKit knows no delays."),
    ),
    _row(
        "language",
        _SEED,
        BLANK,
        v3=_told("V3 sets a language only for a whole account, so the bot is told which one to write in."),
        chatbotkit=_told_each_time("ChatBotKit sets no language, so the bot is told which one to write in."),
    ),
    _row(
        "platform",
        _SEED,
        BLANK,
        v3=_exact("conversation.platform", "V3 has the same field; it holds until another value is given.", _PUBLIC),
        chatbotkit=_told_each_time("ChatBotKit has no such field, so the bot is told the site."),
    ),
    _row(
        "timezone",
        _SEED,
        BLANK,
        v3=_told("V3 sets a time zone only for a whole account, so the bot is told."),
        chatbotkit=_told_each_time("ChatBotKit has no such field of a conversation, so the bot is told."),
    ),
    _row(
        "user_kv_pairs",
        _SEED,
        NO_FACTS,
        v3=_exact(
            "user.attributes",
            "V3 keeps named facts of a user, their values as strings: a number or a boolean is written as in JSON, "
            "and all bots of the account share them.",
            _PUBLIC,
        ),
        chatbotkit=_told_each_time(
            "ChatBotKit knows no users, so the bot is told what is known of this one; the conversation's `meta` "
            "holds it, too."
        ),
    ),
    _row(
        "degrade_grammar",
        _SEED,
        ZERO,
        v3=_told("V3 has no such setting, so the bot is told to what degree its grammar may be imperfect."),
        chatbotkit=_told_each_time(
            "ChatBotKit has no such setting, so the bot is told to what degree its grammar may be imperfect."
        ),
    ),
    _row(
        "enable_protections",
        _SEED,
        NULL,
        v3=_dropped(
            "V3 flags messages by itself and has no switch for it; nothing says that its protections are V1's."
        ),
        chatbotkit=_dropped("In ChatBotKit moderation belongs to the bot, and nothing says that it is V1's."),
    ),
    _row(
        "question_mode",
        _SEED,
        BLANK,
        v3=_told(
            "V3 has no such setting, and the name and value are all that is known of it, so the bot is told both."
        ),
        chatbotkit=_told_each_time(
            "ChatBotKit has no such setting, and the name and value are all that is known of it, so the bot is "
            "told both."
        ),
    ),
    _row(
        "user_display_name",
        _SEED,
        BLANK,
        v3=_exact("user.username", "V3 keeps a name of the user; it holds until another one is given.", _PUBLIC),
        chatbotkit=_told_each_time(
            "ChatBotKit knows no users, so the bot is told the name; the conversation's `meta` holds it, too."
        ),
    ),
    _row(
        "bot_display_name",
        _SEED,
        BLANK,
        v3=_told("In V3 a bot has one name for all its conversations, so it is told its name in this one."),
        chatbotkit=_told_each_time(
            "In ChatBotKit a bot has one name for all its conversations, so it is told its name in this one."
        ),
    ),
    _row(
        "prompt",
        _PUBLIC,
        BLANK,
        v3=_told("V3 adds one text to the bot's prompt; this is quoted in it, cut where it is longer than it may be."),
        chatbotkit=_told_each_time(
            "ChatBotKit takes one more backstory for each call; this is quoted in it, cut where it is longer "
            "than it may be."
        ),
    ),
    _row(
        "segment",
        _PUBLIC,
        NULL,
        v3=_exact("conversation.segment", "V3 has the same field; it holds until another value is given.", _PUBLIC),
        chatbotkit=_dropped("A bot of ChatBotKit always answers in one message."),
    ),
    _row(
        "fast_mode",
        _PUBLIC,
        FALSE,
        v3=_dropped("V3 has no such mode."),
        chatbotkit=_dropped("ChatBotKit has no such mode."),
    ),
    _row(
        "follow_up",
        _PUBLIC,
        BLANK_OR_FALSE,
        v3=Fate(
            "approximated",
            "the gateway itself",
            "Where there is no new message, it counts as `is_follow_up`; what a text in it means is not public, so "
            "that the text reaches nobody.",
            _CHOICE,
            "no message",
        ),
        chatbotkit=Fate(
            "approximated",
            "initiate.text",
            "Where there is no new message, it counts as `is_follow_up`; what a text in it means is not public, so "
            "that the text reaches nobody.",
            _CHOICE,
            "no message",
        ),
    ),
    _row(
        "is_follow_up",
        _PUBLIC,
        FALSE,
        v3=_emulated(
            "Where there is no new message, the gateway asks V3 what the bot would say, delivers it and adds it to "
            "the conversation; beside a message it is dropped.",
            needs="no message",
        ),
        chatbotkit=Fate(
            "approximated",
            "initiate.text",
            "Where there is no new message, the bot is asked in words to write again; beside one it is dropped.",
            _CHOICE,
            "no message",
        ),
    ),
    _row(
        "start_message",
        _PUBLIC,
        BLANK_OR_FALSE,
        v3=_told(
            "The bot is told what it is to open with, and where there is no new message the gateway asks V3 what it "
            "would say, delivers it and adds it to the conversation."
        ),
        chatbotkit=_told_each_time(
            "The bot is told what it is to open with, and where there is no new message it is asked to write first."
        ),
    ),
    _row(
        "no_start_message",
        _PUBLIC,
        FALSE,
        v3=_emulated("The gateway has a bot open a chat only for a `start_message`, and with this for none."),
        chatbotkit=_emulated("The gateway has a bot open a chat only for a `start_message`, and with this for none."),
    ),
    _row(
        "use_hardcoded_conversation_starters",
        _PUBLIC,
        FALSE,
        v3=_dropped("V3 has no prepared conversation starters."),
        chatbotkit=_dropped("ChatBotKit has no prepared conversation starters."),
    ),
    _row(
        "offer_url",
        _PUBLIC,
        BLANK,
        v3=_told("V3 has no such field, so the bot is told the link."),
        chatbotkit=_told_each_time("ChatBotKit has no such field, so the bot is told the link."),
    ),
    _row(
        "user_freeform",
        _PUBLIC,
        BLANK,
        v3=_exact("user.freeform", "V3 has the same field; all bots of the account share it.", _PUBLIC),
        chatbotkit=_told_each_time(
            "ChatBotKit knows no users, so the bot is told what is known of this one; the conversation's `meta` "
            "holds it, too."
        ),
    ),
    _row(
        "image_id",
        _PUBLIC,
        BLANK,
        v3=_exact(
            "message.attached_media",
            "It goes along as the picture's `content_id`; V3 takes a picture only with its address, so alone, "
            "and not known to the gateway either, it is dropped.",
            _SEED,
            needs="picture url",
        ),
        chatbotkit=_told_each_time(
            "ChatBotKit's messages hold no pictures, so the bot is told the id beside the address; alone, and "
            "not known to the gateway either, it is dropped.",
            needs="picture url",
        ),
    ),
    _row(
        "image_url",
        _PUBLIC,
        BLANK,
        v3=_exact("message.attached_media", "It goes along with the new message as its picture.", _SEED),
        chatbotkit=_told_each_time("ChatBotKit's messages hold no pictures, so the bot is told the address."),
    ),
    _row(
        "user_images",
        _PUBLIC,
        EMPTY,
        v3=_dropped("V3 takes pictures of a user by their content, and the ids name pictures that only V1 has."),
        chatbotkit=_dropped("ChatBotKit keeps no pictures of a user, and the ids name pictures that only V1 has."),
    ),
    _row(
        "bot_images",
        _PUBLIC,
        EMPTY,
        v3=_dropped("V3 takes pictures of a bot by their content, and the ids name pictures that only V1 has."),
        chatbotkit=_dropped("ChatBotKit keeps no pictures of a bot, and the ids name pictures that only V1 has."),
    ),
    _row(
        "chat_images_enabled",
        _PUBLIC,
        NULL,
        v3=_told("V3 sets this only for a whole account, so the bot is told."),
        chatbotkit=_told_each_time("ChatBotKit has no such setting, so the bot is told."),
    ),
    _row(
        "user_can_send_photos",
        _PUBLIC,
        NULL,
        v3=_told("V3 has no such setting, so the bot is told."),
        chatbotkit=_told_each_time("ChatBotKit has no such setting, so the bot is told."),
    ),
)
"""One row per field, in the order of the wire model, `messages` behind `message`."""

ROWS: Mapping[str, Row] = {row.name: row for row in TABLE}

UNKNOWN = _dropped("The gateway does not know this field.")
"""The fate of every field that has no row, unless its value is null."""

_LEFT_OUT = _dropped("The gateway is set up for an upstream that has no such field.")
_UNMET: Mapping[Need, Fate] = {
    "picture url": _dropped("A picture can be passed on only with its address, and nothing tells that of this one."),
    "no message": _dropped("It asks the bot to speak first, and beside a new message the bot answers that."),
}


def says_something(name: str, value: object) -> bool:
    """Tell whether a field's value asks for anything; one without a row does unless it is null."""
    if value is None:
        return False
    row = ROWS.get(name)
    return row is None or not row.neutral.holds(value)


def fate_of(row: Row, upstream: Upstream = "v3", *, mode: Mode = "full", unmet: Collection[Need] = ()) -> Fate:
    """Give the fate of a field that says something, in a request that lacks what is `unmet`."""
    fate = row.fates[upstream]
    if mode == "none" and fate.target in CONTEXT_TARGETS:
        return _LEFT_OUT
    if fate.needs is not None and fate.needs in unmet:
        return _UNMET[fate.needs]
    return fate
