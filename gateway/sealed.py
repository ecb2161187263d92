"""Secrets of others at rest: sealed before they go to the store, readable only where the gateway's secret is.

AES-256-GCM under a key derived from a secret by HKDF-SHA256. The context is authenticated along: a value that is moved
to another place in the store does not open there.
"""

import base64
import binascii
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_KEY_BYTES = 32


class Sealer:
    """Seals under the first secret, opens what any of them sealed: a new one is put first, the old one kept a while."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = tuple(AESGCM(_derive(secret)) for secret in secrets)
        if not self._keys:
            raise ValueError("a secret is needed to seal anything")

    def seal(self, text: str, context: str) -> str:
        """Seal a text for one context, in characters that any store takes; twice the same text looks different."""
        nonce = os.urandom(_NONCE_BYTES)
        whole = nonce + self._keys[0].encrypt(nonce, text.encode(), context.encode())
        return base64.urlsafe_b64encode(whole).decode("ascii")

    def open(self, sealed: str, context: str) -> str | None:
        """Give the text back; None when it was changed, sealed for another context or under a forgotten secret."""
        try:
            whole = base64.b64decode(sealed, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        nonce, ciphertext = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:]
        if len(nonce) < _NONCE_BYTES:
            return None
        for key in self._keys:
            try:
                return key.decrypt(nonce, ciphertext, context.encode()).decode()
            except InvalidTag:
                continue
        return None


def _derive(secret: bytes) -> bytes:
    # The info keeps this key apart from every other use of the same secret.
    return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=b"gateway sealed").derive(secret)
