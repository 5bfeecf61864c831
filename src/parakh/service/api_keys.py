"""API keys: how they look, and the table in service.db that has their hashes.

A key reads `pk_<id>_<secret>`; it is shown once, when it is made. Stored is the SHA-256 of it. A slow hash such as
Argon2id guards what people choose; 32 random bytes cannot be guessed at any speed, so that slowness would buy nothing
and cost each request tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from parakh.errors import InputError

__all__ = ["DATABASE", "SCOPES", "ApiKey", "KeyStore", "digest_of", "key_id_of"]

SCOPES: Final = ("decide", "read", "label", "admin")
"""What a key may do; admin may do all."""
DATABASE: Final = "service.db"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_DIGITS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43  # of base 62, for 256 bits


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored. Times are microseconds since 1970, UTC; `last_used_us` is right to a minute."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    last_used_us: int | None = None
    rate_per_s: float | None = None
    digest: bytes = field(default=b"", repr=False)

    def state(self, now_us: int) -> str:
        """active, expired or revoked."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and self.expires_us <= now_us else "active"


def key_id_of(text: str) -> str:
    """The id within a key, or of an id itself; "" where it is neither.

    >>> key_id_of("pk_" + "a" * 12 + "_" + "0" * 43), key_id_of("a" * 12), key_id_of("secret")
    ('aaaaaaaaaaaa', 'aaaaaaaaaaaa', '')
    """
    parts = text.split("_")
    whole = len(parts) == 3 and parts[0] == "pk" and len(parts[2]) == _SECRET_LENGTH
    key_id = parts[1] if whole else text
    return key_id if len(key_id) == _ID_LENGTH and all(letter in _ID_DIGITS for letter in key_id) else ""


class KeyStore:
    """The table of keys in service.db. One connection, used by one thread at a time."""

    def __init__(self, data: Path, *, create: bool = True) -> None:
        path = data / DATABASE
        if create:
            data.mkdir(parents=True, exist_ok=True)
            # Hashes and names are nobody else's business: the file is the owner's alone from its first moment on.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not path.is_file():
            raise InputError(f"there is no {DATABASE} in {data}: no API key was made there")
        self._lock = threading.Lock()
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(5_000)
            self._run("PRAGMA journal_mode = WAL")
            self._run("PRAGMA synchronous = FULL")
            self._run(
                "CREATE TABLE IF NOT EXISTS api_keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, "
                "digest BLOB NOT NULL, created_us INTEGER NOT NULL, expires_us INTEGER, revoked_us INTEGER, "
                "last_used_us INTEGER, rate_per_s REAL) STRICT"
            )
        except apsw.Error as error:
            raise InputError(f"{path} cannot be opened: {error}") from None

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        now_us: int,
        expires_us: int | None = None,
        rate_per_s: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key: the row, and the key's text, which is nowhere else. Raises InputError on a bad name or scope."""
        wanted = tuple(scope for scope in SCOPES if scope in set(scopes))
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not wanted:
            said = f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope"
            raise InputError(f"{said}; scopes are {', '.join(SCOPES)}")
        if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
            raise InputError("a key's name has 1 to 64 printable characters")
        key_id = "".join(secrets.choice(_ID_DIGITS) for _ in range(_ID_LENGTH))
        text = f"pk_{key_id}_{_base62(secrets.token_bytes(_SECRET_BYTES))}"
        key = ApiKey(key_id, name, wanted, now_us, expires_us, None, None, rate_per_s, digest_of(text.encode()))
        self._run(
            "INSERT INTO api_keys (id, name, scopes, digest, created_us, expires_us, rate_per_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key.id, key.name, " ".join(key.scopes), key.digest, key.created_us, key.expires_us, key.rate_per_s),
        )
        return key, text

    def all(self) -> list[ApiKey]:
        """All keys, the revoked ones too, in the order in which they were made."""
        rows = self._run(
            "SELECT id, name, scopes, created_us, expires_us, revoked_us, last_used_us, rate_per_s, digest "
            "FROM api_keys ORDER BY created_us, id"
        )
        return [ApiKey(row[0], row[1], tuple(row[2].split()), *row[3:]) for row in rows]

    def revoke(self, key_id: str, *, now_us: int) -> ApiKey | None:
        """Revoke a key for good; None where there is no key of that id. The first revocation's time stays."""
        self._run("UPDATE api_keys SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL", (now_us, key_id))
        return next((key for key in self.all() if key.id == key_id), None)

    def note_use(self, used_us: dict[str, int]) -> None:
        """Write down when keys were last used."""
        with self._lock, self._connection:
            self._connection.executemany(
                "UPDATE api_keys SET last_used_us = ? WHERE id = ?", [(at, key_id) for key_id, at in used_us.items()]
            )

    def version(self) -> int:
        """A number that changes whenever another connection has changed the database."""
        return int(self._run("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """Close the connection; the store cannot be used afterwards."""
        self._connection.close()


def digest_of(text: bytes) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(text).digest()


def _base62(content: bytes) -> str:
    number, digits = int.from_bytes(content), list[str]()
    for _ in range(_SECRET_LENGTH):
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))
