"""The three logs of a run, the clients', the upstream's and the receivers', and the faults between them.

Times are Unix seconds of one machine, on which everything runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Said = tuple[bool, str]
"""One atomic message of a history: is it the bot's, and its text."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One try of a client: `status` is None when no answer came, `replica` says which process was asked.

    `error` is the code that a refusal names.
    """

    replica: int
    sent_at: float
    ended_at: float
    status: int | None
    message_id: str | None = None
    error: str | None = None


@dataclass(slots=True)
class Request:
    """One V1 request over all its tries, which are the same bytes. `id` stands in its message as `[id]`.

    `twin`: it was sent twice at the same moment on purpose. `receiver` is the kind that its webhook is.
    """

    id: str
    key: str
    bot: str
    user: str
    text: str
    history: tuple[Said, ...]
    webhook: str
    min_delay: float
    max_delay: float
    twin: bool = False
    receiver: str = "steady"
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def chat(self) -> str:
        """The client's conversation, the first half of the id."""
        return self.id.partition(".")[0]

    @property
    def began(self) -> float:
        """When it was first sent."""
        return min(one.sent_at for one in self.exchanges)

    @property
    def ended(self) -> float:
        """When its last try ended."""
        return max(one.ended_at for one in self.exchanges)

    @property
    def accepted_at(self) -> float | None:
        """When it was first answered with a 2xx; None if it never was."""
        answered = [one.ended_at for one in self.exchanges if one.status is not None and 200 <= one.status < 300]
        return min(answered, default=None)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the upstream. `fault` is what it was made to suffer, None for nothing.

    `account` names the key; `posted` is the message of a post, `seed` the history of a creation.
    """

    at: float
    method: str
    path: str
    account: str | None
    status: int | None
    fault: str | None
    pair: tuple[str, str] | None = None
    posted: Said | None = None
    seed: tuple[Said, ...] = ()
    body: str = ""

    @property
    def took_effect(self) -> bool:
        """Whether the upstream has done what was asked, whatever it answered."""
        if self.fault is not None and self.fault.endswith("after effect"):
            return True
        if self.fault is not None and not self.fault.startswith("hang"):
            return False
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Spoken:
    """One message of an upstream transcript."""

    id: str
    from_bot: bool
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One upstream conversation as it was last seen."""

    id: str
    account: str
    bot: str
    user: str
    messages: tuple[Spoken, ...]


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback of the upstream. `acknowledged_at` is None unless the gateway answered it with a 2xx."""

    conversation: str
    message_id: str
    text: str
    state: str
    first_at: float
    acknowledged_at: float | None


@dataclass(frozen=True, slots=True)
class Forgery:
    """A callback that the upstream never sent; `status` is None when no answer came."""

    kind: str
    text: str
    sent_at: float
    ended_at: float
    status: int | None


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request that no client should send, and what came of it."""

    kind: str
    sent_at: float
    ended_at: float
    status: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery attempt as its receiver saw it.

    `request` is the id in the webhook's path. `answer` is what the receiver did: a status, or a word. `acknowledged`:
    a 2xx left the receiver well within the gateway's deadline.
    """

    at: float
    ended_at: float
    receiver: str
    request: str
    query: str
    delivery: str
    attempt: int
    body: bytes
    texts: tuple[str, ...]
    answer: str
    acknowledged: bool
    headers: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A reply that was given up, as it is found in the end, before it is sent again."""

    id: str
    reason: str
    texts: tuple[str, ...]
    webhook: str


class Class(StrEnum):
    """What a fault befalls."""

    PROCESS = "process"
    DRAIN = "drain"
    STORE = "store"
    FLUSH = "flush"
    UPSTREAM = "upstream"
    CALLBACK = "callback"
    DELETION = "deletion"
    SUITE = "suite"
    """The suite itself stalled: it reads its clocks late, and excuses lateness only."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault while it lasted. `target` is a replica's number, a conversation, or empty."""

    name: str
    kind: Class
    began: float
    ended: float
    target: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process that was asked to end."""

    replica: int
    began: float
    seconds: float
    code: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the checks reckon with: the settings of the gateway that was run. Seconds."""

    settle: float = 0.3
    lease: float = 12.0
    scan: float = 0.25
    turn: float = 14.0
    delivery_timeout: float = 2.0
    upstream_timeout: float = 3.0
    grace: float = 10.0


@dataclass(slots=True)
class Logs:
    """Everything that the checks look at."""

    requests: Sequence[Request] = ()
    calls: Sequence[Call] = ()
    conversations: Sequence[Conversation] = ()
    callbacks: Sequence[Callback] = ()
    arrivals: Sequence[Arrival] = ()
    redriven: Sequence[Arrival] = ()
    dead_letters: Sequence[DeadLetter] = ()
    dead_letters_left: int = 0
    forgeries: Sequence[Forgery] = ()
    hostile: Sequence[Hostile] = ()
    faults: Sequence[Fault] = ()
    exits: Sequence[Exit] = ()
    recovers: bool = False
    """Whether segments whose callbacks got lost are expected too."""
    trapped: int = 0
    """Connections to places where none may go: the target of redirects, a forbidden address."""
    undeclared_keys: Sequence[str] = ()
    leaks: Sequence[str] = ()
    crashes: Sequence[str] = ()
    accounts: dict[str, str] = field(default_factory=dict)
    """The upstream's account of each API key."""
    limits: Limits = field(default_factory=Limits)
