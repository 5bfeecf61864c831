"""Tokens: what stands for a personal value in everything that is stored, so that equal values stay equal.

A token is a keyed function of the value alone (HMAC-SHA256), so that one card has one token in every field and event
type, in literals of rules and in lists. Without the key nobody can try values against it.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["KEY_BYTES", "Tokens", "is_token"]

KEY_BYTES = 32
_BLOCK = 64
_CHARACTERS = 26
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_LETTERS = bytes(_ALPHABET[byte & 31] for byte in range(256))
"""The low five bits of a byte as a letter of base 32; each byte of the MAC gives one, so 26 bytes give 130 bits."""

_TOKEN = re.compile(rf"tok_[{_ALPHABET.decode()}]{{{_CHARACTERS}}}")


class Tokens:
    """Makes tokens under one key of 32 bytes; no value is remembered.

    >>> tokens = Tokens(bytes(32))
    >>> tokens.of("4111111111111111")
    'tok_2mawcpjklglwvc3tc57qi63vb6'
    >>> tokens.of("4111111111111111") == tokens.of_bytes(b"4111111111111111").decode()
    True
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a token key has {KEY_BYTES} bytes, not {len(key)}")
        # HMAC (RFC 2104) from two hashes that have taken their padded key already: half the time of a new HMAC each.
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def of(self, value: str) -> str:
        """The token of a text."""
        return self.of_bytes(value.encode()).decode("ascii")

    def of_bytes(self, value: bytes) -> bytes:
        """The token of a text in UTF-8."""
        inner = self._inner.copy()
        inner.update(value)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return b"tok_" + outer.digest()[:_CHARACTERS].translate(_LETTERS)

    def __repr__(self) -> str:
        return "<Tokens>"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token.

    >>> is_token("tok_" + "a" * 26), is_token("tok_short")
    (True, False)
    """
    return _TOKEN.fullmatch(text) is not None
