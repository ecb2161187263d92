"""Deliveries are signed for the tenants who want it, so that a receiver knows who sent them and when.

The headers are those of Standard Webhooks 1.0: the signature is over id, time and body of one attempt, so that each
attempt has one of its own. With several secrets there is a signature by each, so that a receiver can change them.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence

from gateway.settings import PREFIX, ConfigurationError

SECRET_PREFIX = "whsec_"  # noqa: S105 — how secrets begin
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""In bytes, by the specification."""

TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

_TENANT = re.compile(r"[0-9a-f]{16}")


class Signer:
    """Signs for tenants that have secrets."""

    def __init__(self, secrets: Mapping[str, Sequence[bytes]] | None = None) -> None:
        self._secrets = secrets or {}

    def headers(self, tenant: str, delivery_id: str, body: bytes, unix_seconds: int) -> dict[str, str]:
        """Give the headers that sign one attempt; none for a tenant without a secret."""
        secrets = self._secrets.get(tenant)
        if not secrets:
            return {}
        content = b".".join((delivery_id.encode(), str(unix_seconds).encode(), body))
        signatures = (base64.b64encode(hmac.digest(secret, content, "sha256")).decode() for secret in secrets)
        return {
            TIMESTAMP_HEADER: str(unix_seconds),
            SIGNATURE_HEADER: " ".join(f"v1,{signature}" for signature in signatures),
        }


def read_secret(text: str) -> bytes:
    """Read a secret, `whsec_` and 24 to 64 bytes in base64; `ValueError` says what is wrong, never what is in it."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(SECRET_PREFIX) or not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise ValueError(f"must be {SECRET_PREFIX} and {SHORTEST_SECRET} to {LONGEST_SECRET} bytes in base64")
    return secret


def read_secrets(table: Mapping[str, Sequence[str]], tenants: Mapping[str, str]) -> dict[str, tuple[bytes, ...]]:
    """Read the setting's table by tenant; `tenants` gives the tenant of each of its names that is an API key."""
    secrets: dict[str, tuple[bytes, ...]] = {}
    for number, (name, texts) in enumerate(table.items(), 1):
        try:
            read = tuple(read_secret(text) for text in texts)
        except ValueError as error:
            raise ConfigurationError(f"{PREFIX}WEBHOOK_SECRETS: entry {number}: {error}") from None
        tenant = tenants.get(name, name)
        secrets[tenant] = secrets.get(tenant, ()) + read
    return secrets


def is_tenant(name: str) -> bool:
    """Tell whether a name in the table is a tenant's digest, as logs show it, and not an API key."""
    return _TENANT.fullmatch(name) is not None
