"""Who may call us: clients by the API key that they bring, upstreams by the callback URLs that we gave them.

The gateway keeps no list of keys: a key is good if the upstream takes it. What it needs of a key is a name for whoever
holds it (the tenant), from which the key cannot be told, and the key to show upstream.
"""

import base64
import functools
import hmac
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway import errors
from gateway.settings import MIN_SECRET_CHARACTERS, PREFIX, ConfigurationError

MAX_KEY_CHARACTERS = 4096

MAX_CALLERS_KEPT = 256
"""Whoever called last need not be worked out again, which takes 3 µs; what is refused is not kept."""

_AUTHORIZATION = re.compile(r"(?:(?P<scheme>[!-~]+)(?: +(?P<key>.*))?)?", re.DOTALL)
_VISIBLE = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

_DIGEST_BYTES = 16
_MAC_BYTES = 16
_SECRET_FILE = "secret"  # noqa: S105 — the file's name


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: `tenant`, 16 hex digits that stand for the key, and the key to show upstream."""

    tenant: str
    upstream_key: str = field(repr=False)


class Authenticator:
    """Tells callers by their key. The first secret names tenants: with another one they are strangers again.

    `key_map` gives the upstream's key for a client's; a key that it lacks is shown upstream as it is. Raises
    `ConfigurationError` when one of its keys could never be sent.
    """

    def __init__(self, secrets: Sequence[bytes], key_map: Mapping[str, str]) -> None:
        self._named = hmac.new(secrets[0], b"tenant\0", "sha256")  # a copy of it costs a third of making it anew
        self._key_map = key_map
        self._caller = functools.lru_cache(MAX_CALLERS_KEPT)(self._read)
        for number, pair in enumerate(key_map.items(), 1):
            if not all(_VISIBLE.fullmatch(key) and len(key) <= MAX_KEY_CHARACTERS for key in pair):
                raise ConfigurationError(
                    f"{PREFIX}KEY_MAP: entry {number}: keys are 1 to {MAX_KEY_CHARACTERS} visible ASCII characters"
                )

    def authenticate(self, authorization: str | None) -> Caller:
        """Read an Authorization header; `Unauthorized` says what is wrong with it, never what is in it."""
        return self._caller(authorization)

    def tenant_of(self, key: str) -> str:
        """Give the tenant of an API key; `Unauthorized` when no client could bring such a key."""
        return self._tenant(_bearer(f"Bearer {key}"))

    def _read(self, authorization: str | None) -> Caller:
        key = _bearer(authorization)
        return Caller(self._tenant(key), self._key_map.get(key, key))

    def _tenant(self, key: str) -> str:
        named = self._named.copy()
        named.update(key.encode("ascii"))
        return named.hexdigest()[:16]


class Tokens:
    """The unguessable part of a URL: names a conversation (or, for another purpose, else), and proves that we wrote it.

    Upstreams do not sign what they post, so that the URL must carry the proof. The first secret signs, all verify. A
    token of one purpose is none of another.
    """

    def __init__(self, secrets: Sequence[bytes], purpose: bytes = b"callback") -> None:
        self._secrets = tuple(secrets)
        self._purpose = purpose

    def sign(self, digest: str) -> str:
        """Give the token of a conversation's digest (32 hex digits): 43 characters that a URL takes as they are."""
        name = bytes.fromhex(digest)
        return _base64(name + self._mac(self._secrets[0], name))

    def verify(self, token: str) -> str | None:
        """Give the digest that the token names, None when it is not ours; takes the same time whatever is wrong."""
        raw = _unbase64(token)
        whole = raw or bytes(_DIGEST_BYTES + _MAC_BYTES)
        name, mac = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        genuine = False
        for secret in self._secrets:
            genuine |= hmac.compare_digest(self._mac(secret, name), mac)
        return name.hex() if genuine and raw is not None else None

    def _mac(self, secret: bytes, name: bytes) -> bytes:
        return hmac.digest(secret, self._purpose + b"\0" + name, "sha256")[:_MAC_BYTES]


def secret_in(data_dir: Path) -> str:
    """Give the secret that is kept in the data directory, made by the first process that asks.

    Of processes that ask at once, all get the same one: it is linked into place whole, which only one can do. Raises
    `ConfigurationError` when it can be neither read nor written.
    """
    file = data_dir / _SECRET_FILE
    try:
        if not file.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_into_place(file, secrets.token_urlsafe(32))
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{PREFIX}DATA_DIR={data_dir}: no secret can be kept there: {error}") from None
    if len(secret) < MIN_SECRET_CHARACTERS:
        raise ConfigurationError(
            f"{file}: must hold at least {MIN_SECRET_CHARACTERS} characters; remove it for a new one"
        )
    return secret


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise errors.Unauthorized("Authorization: required; send `Bearer` and your API key")
    found = _AUTHORIZATION.fullmatch(authorization.strip(" \t"))
    if found is None or (found["scheme"] or "").lower() != "bearer":
        raise errors.Unauthorized("Authorization: the scheme must be `Bearer`, followed by your API key")
    key = found["key"] or ""
    if not key:
        raise errors.Unauthorized("Authorization: there is no API key after `Bearer`")
    if len(key) > MAX_KEY_CHARACTERS:
        raise errors.Unauthorized(f"Authorization: the API key has more than {MAX_KEY_CHARACTERS} characters")
    if not _VISIBLE.fullmatch(key):
        raise errors.Unauthorized("Authorization: an API key has visible ASCII characters only, and no spaces")
    return key


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _unbase64(token: str) -> bytes | None:
    """Give the bytes of a token, None unless it is exactly what `_base64` gives for them."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token + "=")
    return raw if _base64(raw) == token else None


def _link_into_place(file: Path, text: str) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            handle.write(text + "\n")
            handle.flush()
            os.fsync(descriptor)
        file.hardlink_to(temporary)
    except FileExistsError:
        pass  # another process was first: its secret is the one
    finally:
        temporary.unlink()
