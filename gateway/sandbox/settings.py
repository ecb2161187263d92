"""How the sandbox behaves: whom it lets in, how strict it is, how fast its bots talk, how much it remembers."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Settings of one sandbox; each is one flag of the command line.

    The defaults are a stateful API as its documentation has it, at the pace of a person who types.
    """

    keys: frozenset[str] | None = None
    """The API keys that are let in; None lets any key in, and each key sees its own data only."""

    any_bot_id: bool = False
    """Take any string as a bot's id. Documented are UUIDs, and only those pass unless this is set."""

    require_sent_at: bool = False
    """Refuse messages without `sent_at`, as some deployments of the API did."""

    prefix: str = ""
    """A path before `/api`, such as `/v3`."""

    public_url: str | None = None
    """Where others reach this server, for the addresses of pictures; None takes it from each request."""

    first_segment_after: timedelta = timedelta(seconds=1)
    """How long a bot thinks before the first segment of a reply."""

    segment_interval: timedelta = timedelta(seconds=2)
    """The time between two segments of one reply, in which the user may interrupt."""

    echo_user_messages: bool = False
    """Call webhooks for the user's messages too; the documentation allows for it."""

    webhook_timeout: timedelta = timedelta(seconds=10)
    """The deadline of one call of a webhook, from connecting to the end of the answer's head."""

    webhook_attempts: int = 3
    """How often one webhook call is tried before it is given up."""

    webhook_retry_after: timedelta = timedelta(seconds=1)
    """The wait after a first failed call; it doubles from call to call."""

    chatbotkit_events: Literal["openapi", "seed"] = "openapi"
    """Which of the two public descriptions ChatBotKit's streams follow, where they differ."""

    chatbotkit_bots: frozenset[str] | None = None
    """The bots that ChatBotKit knows; None: any."""

    max_body_bytes: int = 8 * 2**20
    """The largest request body that the API takes."""

    max_delivery_bytes: int = 2**20
    """The largest request body that the inbox takes."""

    journal_items: int = 10_000
    """How many calls, callbacks and deliveries are remembered, of each; the oldest go first."""

    journal_bytes: int = 64 * 2**20
    """How many bytes of bodies are remembered, in each of these three."""

    def __post_init__(self) -> None:
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise ValueError(f"prefix {self.prefix!r} must begin with a slash and end without one")
        if self.webhook_attempts < 1:
            raise ValueError("webhook_attempts must be 1 or more")

    def fast(self) -> Self:
        """Return the same settings with bots that answer within tens of milliseconds, for tests and demos."""
        return replace(
            self,
            first_segment_after=timedelta(milliseconds=20),
            segment_interval=timedelta(milliseconds=30),
            webhook_retry_after=timedelta(milliseconds=50),
        )
