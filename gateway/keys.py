"""Every Redis key the gateway writes: its shape, type, time to live and owner, declared in one place.

A conversation lives on one shard, chosen by its digest; all its keys carry the shard's hash tag, so that a
script touches one slot of a cluster. `SHARDS` is part of the stored layout: changing it strands what is stored.
"""

import dataclasses
import hashlib
import json
from json.encoder import encode_basestring_ascii
from typing import Self

SHARDS = 16

CONVERSATION_TTL_SECONDS = 90 * 24 * 3600
TURN_TTL_SECONDS = 24 * 3600
REPLY_TTL_SECONDS = 14 * 24 * 3600
DEAD_LETTER_TTL_SECONDS = 30 * 24 * 3600
ANSWER_TTL_SECONDS = 300
TURN_OVER_TTL_SECONDS = 60
UNACKNOWLEDGED_TTL_SECONDS = 3600
IDEMPOTENCY_TTL_SECONDS = 24 * 3600

TAIL_CHARACTERS = 64
"""The longest tail of digests that the directory remembers: 16 messages of 4 characters."""

ANSWERS_CHANNEL = "gw:answers"
"""Where the ids of turns are published whose answers their clients wait for."""
BREAKER_TTL_SECONDS = 600


@dataclasses.dataclass(frozen=True, slots=True)
class ShardKeys:
    """Keys of one shard. `{shard}` is the cluster hash tag."""

    shard: int
    prefix: str = dataclasses.field(init=False, repr=False, compare=False)
    """What every key of the shard begins with; scripts derive turn and reply keys from it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"gw:{{s{self.shard}}}:")

    @property
    def due(self) -> str:
        """Sorted set, permanent, owner relay: tenants scored by when their first reply falls due (Unix ms)."""
        return self.prefix + "due"

    def due_of(self, tenant: str) -> str:
        """Sorted set, permanent, owner relay: ids of a tenant's replies scored by when they fall due (Unix ms)."""
        return f"{self.due}:{tenant}"

    @property
    def dead(self) -> str:
        """Sorted set, permanent, owner relay: ids of dead-lettered replies scored by when they died (Unix ms)."""
        return self.prefix + "dead"

    @property
    def fence(self) -> str:
        """Counter, permanent, owner relay: a fencing token that never repeats, one for each claim."""
        return self.prefix + "fence"

    @property
    def pulls(self) -> str:
        """Sorted set, permanent, owner pulls: digests of conversations to pull a reply of, by when (Unix ms)."""
        return self.prefix + "pulls"

    @property
    def breakers(self) -> str:
        """Sorted set, permanent, owner breakers: digests of lanes with an open breaker, by until when (Unix ms)."""
        return self.prefix + "breakers"

    def reply(self, reply_id: str) -> str:
        """List, TTL `REPLY_TTL_SECONDS`, owner relay: one pending or dead reply: what is known of it, its segments."""
        return f"{self.prefix}reply:{reply_id}"

    def idempotency(self, digest: str) -> str:
        """Hash, TTL `IDEMPOTENCY_TTL_SECONDS`, owner turns: a client's key for a request → fingerprint and turn id."""
        return f"{self.prefix}idem:{digest}"

    def turn(self, turn_id: str) -> str:
        """Hash, TTL `TURN_TTL_SECONDS` and its reply's wait, owner open_turns: a turn that awaits or has its reply."""
        return f"{self.prefix}turn:{turn_id}"


_SHARDS = tuple(map(ShardKeys, range(SHARDS)))


class ConversationKeys:
    """Keys of one conversation, by the digest of its key (32 hex digits). They are written once: a turn needs most."""

    __slots__ = (
        "digest",
        "directory",
        "fingerprints",
        "gap",
        "lock",
        "orphans",
        "outbox",
        "pull",
        "seen",
        "shard",
        "turns",
    )

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.shard = shard = _SHARDS[int(digest[:4], 16) % SHARDS]
        """The shard that the conversation lives on."""
        prefix = shard.prefix
        self.directory = f"{prefix}conv:{digest}"
        """String, TTL `CONVERSATION_TTL_SECONDS`, owner directory: upstream id, last webhook, what is known of it."""
        self.turns = f"{prefix}turns:{digest}"
        """List, TTL `TURN_TTL_SECONDS`, owner open_turns: ids of turns without a reply, in order of acceptance."""
        self.lock = f"{prefix}lock:{digest}"
        """String, TTL the posting lease, owner open_turns: the caller of the turn that may speak to the upstream."""
        self.fingerprints = f"{prefix}prints:{digest}"
        """Hash, TTL as its longest turn's, owner open_turns: request fingerprint → turn id, until the reply is out."""
        self.outbox = f"{prefix}outbox:{digest}"
        """List, TTL `REPLY_TTL_SECONDS`, owner relay: reply ids in the order in which they must leave."""
        self.pull = f"{prefix}pull:{digest}"
        """Hash, TTL `TURN_TTL_SECONDS`, owner pulls: what is needed to pull the reply, until it is there."""
        self.gap = f"{prefix}pull:{digest}:gap"
        """Hash, TTL `TURN_TTL_SECONDS`, at rest a minute, owner gaps: what is needed to look for a lost callback."""
        self.seen = f"{prefix}seen:{digest}"
        """Sorted set, TTL `TURN_TTL_SECONDS`, owner callbacks: upstream message ids taken, by when (Unix ms)."""
        self.orphans = f"{prefix}orphans:{digest}"
        """Hash, TTL `TURN_TTL_SECONDS`, owner callbacks: message id → a segment without a conversation yet."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConversationKeys) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ConversationKeys({self.digest!r})"


@dataclasses.dataclass(frozen=True, slots=True)
class PictureKeys:
    """Key of one uploaded picture, by its id (32 hex digits)."""

    picture_id: str

    @property
    def picture(self) -> str:
        """Hash, TTL `PICTURE_TTL_SECONDS` of the settings, owner pictures: tenant, media type and base64 bytes."""
        return f"{ShardKeys(int(self.picture_id[:4], 16) % SHARDS).prefix}picture:{self.picture_id}"


def uploads(tenant: str) -> str:
    """Counter, TTL one day, owner pictures: bytes that a tenant (16 hex digits) uploaded since it began."""
    return f"{ShardKeys(int(tenant[:4], 16) % SHARDS).prefix}uploads:{tenant}"


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerKeys:
    """Keys of one tenant's breaker for one host, by a digest of both (32 hex digits)."""

    digest: str

    @classmethod
    def of(cls, tenant: str, host: str) -> Self:
        """Name the breaker of a tenant's deliveries to a host."""
        identity = json.dumps([tenant, host]).encode()
        return cls(hashlib.blake2b(identity, digest_size=16, person=b"breaker").hexdigest())

    @property
    def shard(self) -> ShardKeys:
        """The shard that the breaker lives on."""
        return ShardKeys(int(self.digest[:4], 16) % SHARDS)

    @property
    def breaker(self) -> str:
        """Hash, TTL `BREAKER_TTL_SECONDS` and the pause, owner breakers: failures in a row, until when it is open."""
        return f"{self.shard.prefix}breaker:{self.digest}"


def conversation_digest(*, dialect: str, base_url: str, tenant: str, bot_id: str, user_id: str) -> str:
    """Name one conversation: 32 hex digits over all that makes it one, so that no key reaches another's."""
    # What `json.dumps` would give for the list, in a fourth of the time.
    identity = f"[{', '.join(map(encode_basestring_ascii, (dialect, base_url, tenant, bot_id, user_id)))}]"
    return hashlib.blake2b(identity.encode(), digest_size=16, person=b"conversation").hexdigest()


def idempotency(tenant: str, key: str) -> str:
    """Name what a client's `Idempotency-Key` stands for: the key of a hash on a shard of its own."""
    identity = json.dumps([tenant, key]).encode()
    digest = hashlib.blake2b(identity, digest_size=16, person=b"idempotency").hexdigest()
    return ConversationKeys(digest).shard.idempotency(digest)


def all_shards() -> list[ShardKeys]:
    """Every shard of the layout."""
    return [ShardKeys(number) for number in range(SHARDS)]


def never_written(key: str) -> str:
    """Name a key on the same slot of a cluster that nobody ever writes."""
    tag, brace, _ = key.partition("}")
    return f"{tag}{brace}:never"
