"""Webhooks on disk: subscriptions, the messages that wait for them, and how far the log was looked at for each.

Messages and the place up to which the log was looked at are written in one transaction, so that a crash between the two
is impossible: nothing is looked over, and what is looked at twice finds its messages there. Which alarms were told is
kept for longer than their messages, since who looks every night finds the same ones. A `Deliveries` belongs to
one thread at a time; `subscriptions` and `counts` may be read from others, they are replaced and never changed.

Secrets must be usable, so they cannot be hashed. They are stored as `seal` wraps them, bound to their subscription;
without one they stand in the file, which only its owner may read (mode 0600) in either case.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import apsw
import msgspec

from parakh.service.webhooks import ALARM, Filter, State, Subscription, WebhookError

__all__ = [
    "DEAD", "DELIVERED", "PENDING", "Counts", "Deliveries", "Delivery", "NewDelivery", "Seal", "Shown", "Tried",
]  # fmt: skip

PENDING, DELIVERED, DEAD = 0, 1, 2
_WORDS: Final = ("pending", "delivered", "dead")
KEEP_DELIVERED_US: Final = 7 * 86_400_000_000
KEEP_DEAD_US: Final = 30 * 86_400_000_000
KEEP_TOLD_US: Final = 400 * 86_400_000_000
"""An alarm that was told is remembered for so long after it was posted last."""
MOST_KEPT: Final = 100_000
"""Delivered, and dead, messages of a subscription that are kept; older ones go sooner than their age asks."""
_PIECE: Final = 2_000
"""Rows of one transaction of the sweep or of a re-sending: others need not wait long."""
_WAIT_MS: Final = 10_000
_PLAIN, _SEALED = b"\0", b"\1"
"""The first byte of a stored secret says which it is."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, filter BLOB NOT NULL, description TEXT NOT NULL, state TEXT NOT NULL,
    created_us INTEGER NOT NULL, cursor INTEGER NOT NULL, since_us INTEGER NOT NULL, secret BLOB NOT NULL,
    old_secret BLOB, old_until_us INTEGER NOT NULL, failures INTEGER NOT NULL, failing_since_us INTEGER,
    last_error TEXT NOT NULL, missed_bytes INTEGER NOT NULL, dropped INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY, subscription TEXT NOT NULL, message TEXT NOT NULL, kind TEXT NOT NULL, body BLOB,
    state INTEGER NOT NULL, tries INTEGER NOT NULL, begun_us INTEGER NOT NULL, due_us INTEGER NOT NULL,
    finished_us INTEGER, status INTEGER, error TEXT NOT NULL, position INTEGER,
    UNIQUE (subscription, message)
) STRICT;
CREATE TABLE IF NOT EXISTS alarms_told (
    subscription TEXT NOT NULL, message TEXT NOT NULL, last_us INTEGER NOT NULL, PRIMARY KEY (subscription, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (subscription, due_us, seq) WHERE state = 0;
CREATE INDEX IF NOT EXISTS deliveries_shown ON deliveries (subscription, state, seq);
CREATE INDEX IF NOT EXISTS deliveries_done ON deliveries (state, finished_us) WHERE finished_us IS NOT NULL;
"""


class Seal(Protocol):
    """Wraps secrets under a key that is not in the database; `context` must be the same at both ends."""

    def wrap(self, secret: bytes, context: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes: ...


class NewDelivery(NamedTuple):
    """A message to be sent; `position` is the log's entry that it tells of, None where there is none."""

    message: str
    kind: str
    body: bytes
    position: int | None = None


class Delivery(NamedTuple):
    """A message that is due. `begun_us` is when its tries began to count."""

    seq: int
    message: str
    body: bytes
    tries: int
    begun_us: int


class Tried(NamedTuple):
    """What became of a try: delivered, dead, or to be tried again at `due_us`."""

    seq: int
    subscription: str
    message: str
    state: int
    at_us: int
    due_us: int
    status: int | None
    error: str


class Shown(msgspec.Struct, frozen=True):
    """A message as it is listed. `status` and `error` are those of the last try."""

    seq: int
    id: str
    kind: str
    state: str
    tries: int
    created_us: int
    due_us: int
    finished_us: int | None
    status: int | None
    error: str
    position: int | None


class Counts(NamedTuple):
    """Messages of one subscription by state."""

    pending: int = 0
    delivered: int = 0
    dead: int = 0

    def moved(self, **by: int) -> Counts:
        """These counts, changed by so much."""
        return self._replace(**{name: getattr(self, name) + change for name, change in by.items()})


_encode = msgspec.json.Encoder().encode
_filter = msgspec.json.Decoder(Filter).decode


class Deliveries:
    """The tables of webhooks in a SQLite database, which may hold tables of others.

    `reach` is told the names of places where a test may stop the process. Raises apsw.Error where the disk fails.
    """

    def __init__(self, path: Path, *, seal: Seal | None = None, reach: Callable[[str], object] = id) -> None:
        self._seal = seal
        self._reach = reach
        # Made here and not by SQLite, which would give it the mode of other files; -wal and -shm take the same.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(path, 0o600)
        self._database = apsw.Connection(str(path))
        self._database.set_busy_timeout(_WAIT_MS)
        self._ask("PRAGMA journal_mode = WAL")
        self._ask("PRAGMA synchronous = FULL")
        with self._transaction():
            self._ask(_SCHEMA)
        self.subscriptions: Mapping[str, Subscription] = {item.id: item for item in self._read_subscriptions()}
        self._orphans: set[str] = set()  # subscriptions that are gone, whose messages are not yet
        found: dict[str, list[int]] = {name: [0, 0, 0] for name in self.subscriptions}
        for name, state, count in self._ask(
            "SELECT subscription, state, count(*) FROM deliveries GROUP BY subscription, state"
        ):
            if name in found:
                found[name][state] = count
            else:
                self._orphans.add(name)
        self.counts: Mapping[str, Counts] = {name: Counts(*numbers) for name, numbers in found.items()}

    def close(self) -> None:
        self._database.close()

    # -- subscriptions -------------------------------------------------------------------------------------------------

    def add(self, subscription: Subscription) -> None:
        """Store a subscription with its secret."""
        with self._transaction():
            self._put(subscription)
        self.subscriptions = {**self.subscriptions, subscription.id: subscription}
        self.counts = {**self.counts, subscription.id: Counts()}

    def change(self, name: str, **changes: Any) -> Subscription | None:
        """Store a subscription with some of its parts changed; None where there is none of that id."""
        old = self.subscriptions.get(name)
        if old is None:
            return None
        new = replace(old, **changes)
        with self._transaction():
            self._put(new)
        self.subscriptions = {**self.subscriptions, name: new}
        return new

    def remove(self, name: str) -> bool:
        """Forget a subscription at once; its messages go with the next sweeps."""
        if name not in self.subscriptions:
            return False
        with self._transaction():
            self._ask("DELETE FROM webhooks WHERE id = ?", (name,))
            self._ask("DELETE FROM alarms_told WHERE subscription = ?", (name,))
        self.subscriptions = {key: item for key, item in self.subscriptions.items() if key != name}
        self.counts = {key: item for key, item in self.counts.items() if key != name}
        self._orphans.add(name)
        return True

    def _put(self, item: Subscription) -> None:
        old_secret = None if item.old_secret is None else self._wrapped(item.old_secret, item.id)
        self._ask(
            "INSERT OR REPLACE INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                item.id, item.url, _encode(item.filter), item.description, item.state.value, item.created_us,
                item.cursor, item.since_us, self._wrapped(item.secret, item.id), old_secret, item.old_until_us,
                item.failures, item.failing_since_us, item.last_error, item.missed_bytes, item.dropped,
            ),
        )  # fmt: skip

    def _read_subscriptions(self) -> Iterator[Subscription]:
        for row in self._ask(
            "SELECT id, url, filter, description, state, created_us, cursor, since_us, secret, old_secret, "
            "old_until_us, failures, failing_since_us, last_error, missed_bytes, dropped FROM webhooks ORDER BY rowid"
        ):
            name, url, parts, description, state, created_us, cursor, since_us, secret, old_secret = row[:10]
            yield Subscription(
                id=name, url=url, filter=_filter(parts), description=description, state=State(state),
                created_us=created_us, cursor=cursor, since_us=since_us, secret=self._unwrapped(secret, name),
                old_secret=None if old_secret is None else self._unwrapped(old_secret, name), old_until_us=row[10],
                failures=row[11], failing_since_us=row[12], last_error=row[13], missed_bytes=row[14], dropped=row[15],
            )  # fmt: skip

    def _wrapped(self, secret: bytes, name: str) -> bytes:
        if self._seal is None:
            return _PLAIN + secret
        return _SEALED + self._seal.wrap(secret, f"webhook:{name}".encode())

    def _unwrapped(self, stored: bytes, name: str) -> bytes:
        """What is plain stays readable when a seal comes later; it is sealed the next time it is written."""
        if stored[:1] == _PLAIN:
            return stored[1:]
        if self._seal is None:
            raise WebhookError("the secrets of webhooks are sealed, and there is no key that opens them")
        return self._seal.unwrap(stored[1:], f"webhook:{name}".encode())

    # -- messages ------------------------------------------------------------------------------------------------------

    def insert(self, new: Mapping[str, Sequence[NewDelivery]], cursors: Mapping[str, int], now_us: int) -> None:
        """Messages for subscriptions, and the positions up to which the log was looked at: all of it, or none.

        A message that is there already stays as it is, and an alarm that was told before is told no more.
        Subscriptions that are gone are left out.
        """
        counts, subscriptions = dict(self.counts), dict(self.subscriptions)
        with self._transaction():
            for name, rows in new.items():
                if name not in subscriptions:
                    continue
                rows = [row for row in rows if row.kind != ALARM or self._is_news(name, row.message, now_us)]
                before = self._database.total_changes()
                self._database.executemany(
                    "INSERT OR IGNORE INTO deliveries (subscription, message, kind, body, state, tries, begun_us, "
                    "due_us, error, position) VALUES (?, ?, ?, ?, 0, 0, ?, ?, '', ?)",
                    [(name, row.message, row.kind, row.body, now_us, now_us, row.position) for row in rows],
                )
                counts[name] = counts[name].moved(pending=self._database.total_changes() - before)
            for name, cursor in cursors.items():
                if name in subscriptions:
                    self._ask("UPDATE webhooks SET cursor = ? WHERE id = ?", (cursor, name))
                    subscriptions[name] = replace(subscriptions[name], cursor=cursor)
            self._reach("outbox.inserting")
        self.counts, self.subscriptions = counts, subscriptions

    def _is_news(self, name: str, message: str, now_us: int) -> bool:
        """Whether a subscription was not told of an alarm yet; it is from now on."""
        self._ask("INSERT OR IGNORE INTO alarms_told VALUES (?, ?, ?)", (name, message, now_us))
        if self._database.changes():
            return True
        self._ask("UPDATE alarms_told SET last_us = ? WHERE subscription = ? AND message = ?", (now_us, name, message))
        return False

    def due(self, name: str, now_us: int, limit: int) -> tuple[list[Delivery], int | None]:
        """Messages that are due, the longest due first, and when the first of the others will be."""
        rows = self._ask(
            "SELECT seq, message, body, tries, begun_us FROM deliveries WHERE subscription = ? AND state = 0 "
            "AND due_us <= ? ORDER BY due_us, seq LIMIT ?",
            (name, now_us, limit),
        )
        found = [Delivery(*row) for row in rows]
        (later,) = self._ask(
            "SELECT min(due_us) FROM deliveries WHERE subscription = ? AND state = 0 AND due_us > ?", (name, now_us)
        )
        return found, later[0]

    def record(self, tried: Sequence[Tried], changed: Sequence[Subscription]) -> None:
        """What became of tries, and subscriptions whose failures it changed. A message that is gone is left out."""
        counts, subscriptions = dict(self.counts), dict(self.subscriptions)
        with self._transaction():
            for item in tried:
                # A number of a row that was removed may be given again: the message's id says whether it is the same.
                self._ask(
                    "UPDATE deliveries SET state = ?, tries = tries + 1, due_us = ?, finished_us = ?, status = ?, "
                    "error = ?, body = CASE ? WHEN 1 THEN NULL ELSE body END "
                    "WHERE seq = ? AND subscription = ? AND message = ? AND state = 0",
                    (
                        item.state, item.due_us, None if item.state == PENDING else item.at_us, item.status,
                        item.error, item.state, item.seq, item.subscription, item.message,
                    ),
                )  # fmt: skip
                if item.state != PENDING and self._database.changes() and item.subscription in counts:
                    counts[item.subscription] = counts[item.subscription].moved(pending=-1, **{_WORDS[item.state]: 1})
            for subscription in changed:
                if (held := subscriptions.get(subscription.id)) is not None:
                    # Who paused it while a try was under way has the last word.
                    state = State.PAUSED if held.state is State.PAUSED else subscription.state
                    new = replace(
                        held, state=state, failures=subscription.failures,
                        failing_since_us=subscription.failing_since_us, last_error=subscription.last_error,
                    )  # fmt: skip
                    self._ask(
                        "UPDATE webhooks SET state = ?, failures = ?, failing_since_us = ?, last_error = ? "
                        "WHERE id = ?",
                        (new.state.value, new.failures, new.failing_since_us, new.last_error, new.id),
                    )
                    subscriptions[new.id] = new
            self._reach("outbox.recording")
        self.counts, self.subscriptions = counts, subscriptions

    def resend(self, name: str, message: str | None, now_us: int) -> int:
        """Make dead messages due at once, as if they were new: one, or all. Returns how many there were.

        All are done in pieces, each of them whole: a crash in between leaves the rest dead.
        """
        total = 0
        while name in self.subscriptions:
            with self._transaction():
                if message is None:
                    self._ask(
                        "UPDATE deliveries SET state = 0, tries = 0, begun_us = ?, due_us = ?, finished_us = NULL "
                        "WHERE seq IN (SELECT seq FROM deliveries WHERE subscription = ? AND state = 2 "
                        "ORDER BY seq LIMIT ?)",
                        (now_us, now_us, name, _PIECE),
                    )
                else:
                    self._ask(
                        "UPDATE deliveries SET state = 0, tries = 0, begun_us = ?, due_us = ?, finished_us = NULL "
                        "WHERE subscription = ? AND state = 2 AND message = ?",
                        (now_us, now_us, name, message),
                    )
                done = self._database.changes()
            self.counts = {**self.counts, name: self.counts[name].moved(pending=done, dead=-done)}
            total += done
            if done < _PIECE:
                break
        return total

    def page(self, name: str, state: int | None, before: int | None, limit: int) -> list[Shown]:
        """Messages of a subscription, the newest first, those before a number that `Shown.seq` gave."""
        last = 2**62 if before is None else before
        # Each state by its own index: all of them in one statement would be sorted whole for every page.
        rows = [
            row
            for asked in ((PENDING, DELIVERED, DEAD) if state is None else (state,))
            for row in self._ask(
                "SELECT seq, message, kind, state, tries, begun_us, due_us, finished_us, status, error, position "
                "FROM deliveries WHERE subscription = ? AND state = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
                (name, asked, last, limit),
            )
        ]
        rows.sort(key=lambda row: -row[0])
        return [Shown(seq, message, kind, _WORDS[number], *rest) for seq, message, kind, number, *rest in rows[:limit]]

    # -- what goes -----------------------------------------------------------------------------------------------------

    def sweep(self, now_us: int) -> int:
        """Remove a piece of what is kept no longer; returns how many rows went, 0 when there is nothing more."""
        doomed = list(
            self._ask(
                "SELECT seq, subscription, state FROM deliveries WHERE state = 1 AND finished_us < ? "
                "UNION ALL SELECT seq, subscription, state FROM deliveries WHERE state = 2 AND finished_us < ? LIMIT ?",
                (now_us - KEEP_DELIVERED_US, now_us - KEEP_DEAD_US, _PIECE),
            )
        )
        for name in sorted(self._orphans):
            rows = list(
                self._ask(
                    "SELECT seq, subscription, state FROM deliveries WHERE subscription = ? LIMIT ?", (name, _PIECE)
                )
            )
            doomed += rows
            if not rows:
                self._orphans.discard(name)
        for name, counts in self.counts.items():
            for state in (DELIVERED, DEAD):
                over = counts[state] - MOST_KEPT
                if over > 0:
                    doomed += self._ask(
                        "SELECT seq, subscription, state FROM deliveries WHERE subscription = ? AND state = ? "
                        "ORDER BY seq LIMIT ?",
                        (name, state, min(over, _PIECE)),
                    )
        gone = {seq: (name, state) for seq, name, state in doomed}
        if gone:
            self._remove(gone)
        return len(gone) + self._forget_told(now_us)

    def _forget_told(self, now_us: int) -> int:
        """Forget a piece of the alarms that nobody has posted for long, or that are too many; returns how many."""
        with self._transaction():
            self._ask(
                "DELETE FROM alarms_told WHERE (subscription, message) IN "
                "(SELECT subscription, message FROM alarms_told WHERE last_us < ? LIMIT ?)",
                (now_us - KEEP_TOLD_US, _PIECE),
            )
            gone = self._database.changes()
            for name in self.subscriptions:
                self._ask(
                    "DELETE FROM alarms_told WHERE subscription = ? AND message IN (SELECT message FROM alarms_told "
                    "WHERE subscription = ? ORDER BY last_us DESC, message LIMIT ? OFFSET ?)",
                    (name, name, _PIECE, MOST_KEPT),
                )
                gone += self._database.changes()
            return gone

    def _remove(self, gone: Mapping[int, tuple[str, int]]) -> None:
        counts, subscriptions = dict(self.counts), dict(self.subscriptions)
        for name, state in gone.values():
            if name in counts:
                counts[name] = counts[name].moved(**{_WORDS[state]: -1})
                if state == DEAD:
                    subscriptions[name] = replace(subscriptions[name], dropped=subscriptions[name].dropped + 1)
        with self._transaction():
            self._database.executemany("DELETE FROM deliveries WHERE seq = ?", [(seq,) for seq in gone])
            for name, item in subscriptions.items():
                if item.dropped != self.subscriptions[name].dropped:
                    self._ask("UPDATE webhooks SET dropped = ? WHERE id = ?", (item.dropped, name))
        self.counts, self.subscriptions = counts, subscriptions

    # -- SQLite --------------------------------------------------------------------------------------------------------

    def _ask(self, statement: str, values: Sequence[Any] = ()) -> apsw.Cursor:
        return self._database.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing; the lock is taken at the beginning, so that waiting for others is bounded."""
        self._ask("BEGIN IMMEDIATE")
        try:
            yield
            self._ask("COMMIT")
        except BaseException:
            # A full disk may have rolled back already.
            with contextlib.suppress(apsw.Error):
                self._ask("ROLLBACK")
            raise
