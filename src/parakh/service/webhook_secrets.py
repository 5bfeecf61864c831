"""Secrets of webhooks at rest: sealed under a key derived from the token key, each bound to its subscription."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parakh.errors import ParakhError

__all__ = ["KeySeal", "SealError"]

_NONCE_BYTES = 12
_PURPOSE = b"parakh webhook secrets, version 1"


class SealError(ParakhError):
    """A secret that was sealed under another key, or for another subscription, or is damaged."""


class KeySeal:
    """Seals under what is derived from the token key, so that a new master key changes nothing here.

    >>> seal = KeySeal(bytes(32))
    >>> seal.unwrap(seal.wrap(b"secret", b"webhook:wh_1"), b"webhook:wh_1")
    b'secret'
    >>> seal.unwrap(seal.wrap(b"secret", b"webhook:wh_1"), b"webhook:wh_2")
    Traceback (most recent call last):
    ...
    parakh.service.webhook_secrets.SealError: a webhook's secret does not open: the token key is not the one it was \
sealed under, or the database was changed
    """

    def __init__(self, token_key: bytes) -> None:
        self._cipher = AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(token_key))

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises SealError."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise SealError(
                "a webhook's secret does not open: the token key is not the one it was sealed under, or the database "
                "was changed"
            ) from None
