"""Who a request is from and whether it may: API keys and their scopes, checked for every request, denied by default.

A key's hash is compared in constant time, once; then the header's whole value is remembered, in a bounded table.

A running server looks whether the table has changed (`PRAGMA data_version`, a microsecond) at most `LOOK_EVERY_S` after
the last look: a key that was made or revoked by another process counts within that time, without a restart.

Without any key ever made the service is open, and then only on loopback, to this machine's programs and not to web
pages that a browser here has opened: a request from a page carries an `Origin`, or names a host that is not this
machine.
No JWT is taken: there is nothing to sign or to expire that a row in a table does not do at once.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import apsw

from parakh.service.api_keys import SCOPES, ApiKey, KeyStore, digest_of
from parakh.service.problems import Problem, problem

__all__ = ["ANYBODY", "LOOK_EVERY_S", "Access", "Caller"]

LOOK_EVERY_S: Final = 0.25
LONGEST_HEADER: Final = 128
MOST_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key's id and name, what it may do (admin spelt out), and its rate."""

    key_id: str
    name: str
    scopes: frozenset[str]
    rate_per_s: float | None = None


ANYBODY: Final = Caller("", "anybody on this machine", frozenset(SCOPES))
"""The caller where no key was ever made."""


def _wall_us() -> int:
    return time.time_ns() // 1_000


class Access:
    """Decides who a request is from and whether it may. `check` is for the thread of the event loop."""

    def __init__(
        self,
        data: Path,
        *,
        may_be_open: bool,
        clock_us: Callable[[], int] = _wall_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`may_be_open`: whether the service listens on loopback alone, so that it may do without keys."""
        self._store = KeyStore(data)
        self._notes = KeyStore(data)  # written by another thread, and seen as a change by the other connection
        self._may_be_open = may_be_open
        self._clock_us = clock_us
        self._monotonic = monotonic
        self._keys: dict[str, tuple[ApiKey, Caller]] = {}
        self._bearer: dict[bytes, tuple[ApiKey, Caller]] = {}
        self._plain: dict[bytes, tuple[ApiKey, Caller]] = {}
        self._used: set[str] = set()
        self._used_us: dict[str, int] = {}
        self._version = -1
        self._next_look = 0.0
        self._had_keys = False
        self._look()

    @property
    def open(self) -> bool:
        """Whether no key was ever made: then everybody on this machine may do everything."""
        return not self._had_keys

    def check(self, headers: Iterable[tuple[bytes, bytes]], scope: str) -> Caller | Problem:
        """Who asks, if it may do what `scope` stands for; the problem to answer with, if not.

        `headers` are those of ASGI: bytes, names in lower case.
        """
        if self._monotonic() >= self._next_look:
            self._look()
        if not self._had_keys:
            return self._check_open(headers)
        found: tuple[ApiKey, Caller] | None = None
        seen = False
        for name, value in headers:
            if name == b"authorization":
                remembered, prefix = self._bearer, b"bearer "
            elif name == b"x-api-key":
                remembered, prefix = self._plain, b""
            else:
                continue
            if seen:
                return _TWO_KEYS
            seen = True
            found = remembered.get(value) or self._find(value, prefix, remembered)
        if found is None:
            return _BAD_KEY if seen else _NO_KEY
        key, caller = found
        if key.expires_us is not None and key.expires_us <= self._clock_us():
            return _EXPIRED
        self._used.add(key.id)
        if scope in caller.scopes:
            return caller
        return problem("forbidden", f"the key has no scope `{scope}`", hint=_SCOPE_HINT)

    def _find(
        self, value: bytes, prefix: bytes, remembered: dict[bytes, tuple[ApiKey, Caller]]
    ) -> tuple[ApiKey, Caller] | None:
        if len(value) > LONGEST_HEADER or value[: len(prefix)].lower() != prefix:
            return None
        text = value[len(prefix) :].strip(b" ")
        parts = text.split(b"_")
        if len(parts) != 3 or parts[0] != b"pk":
            return None
        found = self._keys.get(parts[1].decode("latin-1"))
        # A key that is not there costs as much as one that is, and takes a hash too.
        if not hmac.compare_digest(digest_of(text), found[0].digest if found else _NOBODY) or found is None:
            return None
        if len(remembered) >= MOST_REMEMBERED:
            remembered.clear()
        remembered[value] = found
        return found

    def _check_open(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | Problem:
        if not self._may_be_open:
            return _NO_KEY_MADE
        for name, value in headers:
            if name == b"origin" and not _is_local(value.rpartition(b"//")[2]):
                return _FROM_A_PAGE
            if name == b"host" and not _is_local(value):
                return _FROM_A_PAGE
            if name == b"sec-fetch-site" and value in (b"cross-site", b"same-site"):
                return _FROM_A_PAGE
        return ANYBODY

    def _look(self) -> None:
        """See whether keys were made or revoked; forget what was remembered, if so."""
        self._next_look = self._monotonic() + LOOK_EVERY_S
        if self._used:
            now = self._clock_us()
            self._used_us = self._used_us | dict.fromkeys(self._used, now)  # never changed while it is written down
            self._used.clear()
        try:
            version = self._store.version()
            if version == self._version:
                return
            keys = self._store.all()
        except apsw.BusyError:  # another connection recovers the file: what was known holds until the next look
            return
        self._version = version
        self._had_keys = self._had_keys or bool(keys)
        self._bearer.clear()
        self._plain.clear()
        self._keys = {key.id: (key, _caller(key)) for key in keys if key.revoked_us is None}

    def save_last_used(self) -> None:
        """Write down which keys were used; once a minute and at the end, from a thread that may wait for the disk."""
        used, self._used_us = self._used_us, {}
        if used:
            self._notes.note_use(used)

    def close(self) -> None:
        """Write down what was used and close the database."""
        self._look()
        self.save_last_used()
        self._store.close()
        self._notes.close()


def _caller(key: ApiKey) -> Caller:
    scopes = frozenset(SCOPES if "admin" in key.scopes else key.scopes)
    return Caller(key.id, key.name, scopes, key.rate_per_s)


@lru_cache(maxsize=256)
def _is_local(host: bytes) -> bool:
    """Whether a Host header names this machine: an address of loopback, or a name that no public DNS can give.

    >>> [_is_local(host) for host in (b"127.0.0.1:8321", b"[::1]:8321", b"localhost", b"a.example.com", b"10.0.0.1")]
    [True, True, True, False, False]
    """
    name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() else host
    text = name.strip(b"[]").decode("latin-1").lower()
    if "." not in text and ":" not in text:
        return text.isascii() and text != "null"
    if text.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


_NOBODY: Final = digest_of(secrets.token_bytes(32))
_KEY_HINT: Final = "send `Authorization: Bearer pk_...`, or `X-Api-Key: pk_...`"
_SCOPE_HINT: Final = "an operator makes keys with `parakh key create DATA --name NAME --scope SCOPE`"
_NO_KEY: Final = problem("unauthorized", "the request carries no API key", hint=_KEY_HINT)
_BAD_KEY: Final = problem("unauthorized", "the API key is not known, or was revoked", hint=_KEY_HINT)
_EXPIRED: Final = problem("unauthorized", "the API key has expired", hint=_SCOPE_HINT)
_TWO_KEYS: Final = problem("unauthorized", "the request carries more than one API key", hint=_KEY_HINT)
_NO_KEY_MADE: Final = problem("unauthorized", "the service takes no calls until a key is made", hint=_SCOPE_HINT)
_FROM_A_PAGE: Final = problem(
    "forbidden",
    "without API keys the service serves programs of its own machine, not web pages or other names",
    hint="call it as http://127.0.0.1, or make a key: `parakh key create DATA --name NAME --scope SCOPE`",
)
