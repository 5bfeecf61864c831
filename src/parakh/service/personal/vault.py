"""The token key at rest: random, made once, and wrapped under a master key that can change without a token changing.

    DATA/keys/token.key     the token key, wrapped (AES-256-GCM, its purpose as associated data), as JSON
    DATA/keys/master.key    the master key, only where the environment gives none
    DATA/keys/master.next   the next one, while a rotation is under way

Losing the master key loses the token key, and with it the link from cards to their tokens: keep a copy elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parakh.errors import ParakhError
from parakh.service.personal.tokens import KEY_BYTES, Tokens

__all__ = ["KeysShown", "SecretsError", "TokenKey", "open_token_key", "rotate_master_key", "show_keys"]

MASTER_VARIABLE = "PARAKH_MASTER_KEY"
NEW_MASTER_VARIABLE = "PARAKH_NEW_MASTER_KEY"
_FOLDER = "keys"
_NONCE_BYTES = 12
_PURPOSE = b"parakh token key, version 1"


class SecretsError(ParakhError):
    """Keys that are missing, damaged or not those that fit; the message never shows one."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The unwrapped token key.

    `master_made` where a master key was just made beside the data: whoever takes the one has the other, so warn.
    """

    key: bytes = field(repr=False)
    fingerprint: str
    master_source: str
    master_made: bool

    def tokens(self) -> Tokens:
        return Tokens(self.key)


@dataclass(frozen=True, slots=True)
class KeysShown:
    """What may be told about the keys of a data directory: where they are and their fingerprints."""

    token_key: str
    token_fingerprint: str
    master_source: str
    master_fingerprint: str
    beside_data: bool


@dataclass(frozen=True, slots=True)
class _Master:
    key: bytes = field(repr=False)
    source: str
    made: bool = False

    @property
    def fingerprint(self) -> str:
        return _fingerprint(b"master", self.key)


def open_token_key(data: Path, environment: Mapping[str, str] = os.environ, *, make: bool = True) -> TokenKey:
    """The token key of a data directory, made at its first use unless `make` is false (as where tokens are stored).

    The master key is PARAKH_MASTER_KEY (32 bytes as Base64), or stands in the file that PARAKH_MASTER_KEY_FILE names,
    or else in DATA/keys/master.key, which is made with the token key and never after it. Raises SecretsError where a
    key is missing or damaged, or the master key is another than the one that wraps the token key.
    """
    keys = _Keys(data)
    if keys.token.exists():
        master = _current(keys, environment)
        token = keys.unwrap(master)
    elif not make:
        raise SecretsError(f"{keys.token} is missing: bring it back from a backup; a new key would make other tokens")
    else:
        keys.make_folder()
        master = _master(environment, MASTER_VARIABLE) or _made_or_read(keys)
        token = secrets.token_bytes(KEY_BYTES)
        _write(keys.token, _wrapped(token, master))
    return TokenKey(token, _fingerprint(b"token", token), master.source, master.made)


def show_keys(data: Path, environment: Mapping[str, str] = os.environ) -> KeysShown:
    """Where the keys of a data directory are, and their fingerprints. Raises SecretsError, as `open_token_key`."""
    keys = _Keys(data)
    keys.expect()
    master = _current(keys, environment)
    token = keys.unwrap(master)
    return _shown(keys, master, token)


def rotate_master_key(data: Path, environment: Mapping[str, str] = os.environ) -> KeysShown:
    """Wrap the token key under a new master key; tokens stay what they are. What it was until then opens nothing more.

    The new one is PARAKH_NEW_MASTER_KEY, or stands in the file that PARAKH_NEW_MASTER_KEY_FILE names; where the old one
    stands in DATA/keys/master.key and no new one is given, it is made and put there. A crash at any moment leaves keys
    that open. Raises SecretsError.
    """
    keys = _Keys(data)
    keys.expect()
    old = _current(keys, environment)
    token = keys.unwrap(old)
    new = _master(environment, NEW_MASTER_VARIABLE)
    if new is None and old.source != str(keys.master):
        raise SecretsError(
            f"the master key is given by {old.source}: give the new one by {NEW_MASTER_VARIABLE} or "
            f"{NEW_MASTER_VARIABLE}_FILE (32 random bytes as Base64), and set it in the place of the old one afterwards"
        )
    if new is not None and new.key == old.key:
        raise SecretsError("the new master key is the old one")
    if new is None:
        new = _Master(secrets.token_bytes(KEY_BYTES), str(keys.master), made=True)
        # Until the token key is wrapped anew the old master key opens it, from then on the next one: both stand there.
        _write(keys.next, base64.b64encode(new.key) + b"\n")
        _write(keys.token, _wrapped(token, new))
        keys.next_is_master()
    else:
        _write(keys.token, _wrapped(token, new))
        with contextlib.suppress(FileNotFoundError):
            keys.master.unlink()
    return _shown(keys, new, token)


class _Keys:
    """The files of a data directory's keys."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / _FOLDER
        self.token = self.folder / "token.key"
        self.master = self.folder / "master.key"
        self.next = self.folder / "master.next"

    def make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def expect(self) -> None:
        if not self.token.exists():
            raise SecretsError(f"{self.data} has no keys: they are made when the service first starts with it")

    def next_is_master(self) -> None:
        os.replace(self.next, self.master)
        _sync_folder(self.folder)

    def unwrap(self, master: _Master) -> bytes:
        """The token key; SecretsError where this master key does not open it."""
        try:
            held = json.loads(self.token.read_bytes())
            nonce = base64.b64decode(held["nonce"], validate=True)
            wrapped = base64.b64decode(held["wrapped"], validate=True)
            under = str(held["master"])
        except (ValueError, KeyError, TypeError):
            raise SecretsError(f"{self.token} is damaged: bring it back from a backup") from None
        try:
            return AESGCM(master.key).decrypt(nonce, wrapped, _PURPOSE)
        except (InvalidTag, ValueError):
            if under == master.fingerprint:
                raise SecretsError(f"{self.token} is damaged: bring it back from a backup") from None
            raise SecretsError(
                f"the master key of {master.source} ({master.fingerprint}) is not the one that wraps the token key "
                f"({under}); nothing was changed"
            ) from None


def _current(keys: _Keys, environment: Mapping[str, str]) -> _Master:
    """The master key that is in use; a rotation that a crash has cut off is brought to its end."""
    given = _master(environment, MASTER_VARIABLE)
    if given is not None:
        return given
    if keys.next.exists():
        following = _Master(_decoded(keys.next.read_bytes(), str(keys.next)), str(keys.master))
        with contextlib.suppress(SecretsError):
            keys.unwrap(following)
            keys.next_is_master()
            return following
    if not keys.master.exists():
        raise SecretsError(
            f"the token key in {keys.token} is wrapped, and no master key is given: set {MASTER_VARIABLE} or "
            f"{MASTER_VARIABLE}_FILE, or bring back {keys.master}"
        )
    return _Master(_decoded(keys.master.read_bytes(), str(keys.master)), str(keys.master))


def _made_or_read(keys: _Keys) -> _Master:
    """The master key beside the data, where there is no token key yet."""
    if keys.master.exists():
        return _Master(_decoded(keys.master.read_bytes(), str(keys.master)), str(keys.master))
    master = _Master(secrets.token_bytes(KEY_BYTES), str(keys.master), made=True)
    _write(keys.master, base64.b64encode(master.key) + b"\n")
    return master


def _master(environment: Mapping[str, str], variable: str) -> _Master | None:
    """The master key that the environment gives under a name, or in the file that it names; None where it does not."""
    text, file = environment.get(variable), environment.get(f"{variable}_FILE")
    if text and file:
        raise SecretsError(f"{variable} and {variable}_FILE are both set: which one holds?")
    if text:
        return _Master(_decoded(text.encode("utf-8", "replace"), variable), variable)
    if not file:
        return None
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise SecretsError(f"{variable}_FILE names {file}: {error.strerror or error}") from None
    return _Master(_decoded(content, file), file)


def _decoded(text: bytes, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretsError(
            f"{source} is not a master key: {KEY_BYTES} random bytes as Base64, as from `openssl rand -base64 32`"
        )
    return key


def _wrapped(token: bytes, master: _Master) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    held = {
        "version": 1,
        "master": master.fingerprint,
        "nonce": base64.b64encode(nonce).decode(),
        "wrapped": base64.b64encode(AESGCM(master.key).encrypt(nonce, token, _PURPOSE)).decode(),
    }
    return json.dumps(held, indent=2).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    """A file of mode 0600, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shown(keys: _Keys, master: _Master, token: bytes) -> KeysShown:
    beside = master.source == str(keys.master)
    return KeysShown(str(keys.token), _fingerprint(b"token", token), master.source, master.fingerprint, beside)


def _fingerprint(purpose: bytes, key: bytes) -> str:
    """Sixteen hex digits that tell keys apart and say nothing about them: a hash of 256 random bits."""
    return hashlib.sha256(b"parakh fingerprint of a " + purpose + b" key\0" + key).hexdigest()[:16]
