"""The past as a service's log has it: events in their stored form, labels in their places, arrivals as they were.

A log holds everything that decided, so that it can be replayed under the version that decides now, or under one that is
only tried; what it says stays with the service. Nothing is written and no lock is taken, so that the service may run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import Definitions, ProjectLike
from parakh.decisions.engine import Engine
from parakh.decisions.replay import Progress, Summary, Tally
from parakh.decisions.scorecard import Scorecard, fraud_label
from parakh.decisions.stored import stored_definitions
from parakh.errors import InputError
from parakh.events.definition import amount_field
from parakh.events.labels import LabelRows
from parakh.events.merge import LABEL, EventPart, LogBatch
from parakh.service.personal.vault import open_token_key
from parakh.service.state import batch_of, read_label_lines
from parakh.streams.entries import (
    EVENTS,
    LABELS,
    PROJECT,
    Events,
    expect_known,
    read_events,
    read_labels,
    read_project,
)
from parakh.streams.mark import read_mark
from parakh.streams.reader import LogReader
from parakh.streams.segments import Entry

__all__ = ["Reading", "ServiceLog", "tokeniser"]


@dataclass(frozen=True)
class ServiceLog:
    """The log in the data folder of a service, which may be running, or of a backup of one: a Past.

    It is read up to where it was durable when the replay was made. An event counts as come when it arrived, a label as
    known when it had arrived and its known_at had passed. Events that the project does not take, though another version
    did, are counted as quarantined. Raises InputError where there is no log, SecretsError where the project compares
    personal values and the folder's key does not open.

    >>> ServiceLog(Path("/var/lib/parakh")).described()  # doctest: +SKIP
    [{'log': 'of a service, from its first entry'}]
    """

    data: Path

    @cached_property
    def event_types(self) -> tuple[str, ...]:
        """The types of which events stand in the log, in the order of the version that took in the first of each.

        They are looked for once: what comes later under a type that is new then is seen by another ServiceLog.
        """
        found: dict[str, None] = {}
        complete = False  # all types of the version that decides from here on were found: its batches say no more
        with Reading.of(self.data) as reading:
            for entry in reading.entries():
                if entry.kind == PROJECT:
                    complete = False
                elif entry.kind == EVENTS and not complete:
                    events = read_events(entry.payload)
                    found |= dict.fromkeys(events.types[number] for number in np.unique(events.kinds).tolist())
                    complete = found.keys() >= set(events.types)
        return tuple(found)

    def replay(self, project: ProjectLike, *, batch_size: int = 4096) -> _Replaying:
        reading = Reading.of(self.data)
        return _Replaying(reading, _Stored.of(project, tokeniser(self.data)), batch_size)

    def described(self) -> list[dict[str, Any]]:
        with Reading.of(self.data) as reading:
            first = reading.log.starts[0]
        return [{"log": f"of a service, from {f'position {first:,}' if first else 'its first entry'}"}]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A project in the form in which it decides on stored events."""

    definitions: Definitions
    hash: str

    @classmethod
    def of(cls, project: ProjectLike, tokenise: Callable[[str], str]) -> _Stored:
        return cls(stored_definitions(project.definitions, tokenise), project.hash)


def tokeniser(data: Path) -> Callable[[str], str]:
    """Tokens by the folder's key, which is opened where one is needed: a project that compares no personal value needs
    none, and a backup may stand without its master key.
    """

    @cache
    def tokens() -> Callable[[str], str]:
        return open_token_key(data, make=False).tokens().of

    return lambda text: tokens()(text)


@dataclass(frozen=True, slots=True)
class Reading:
    """A log as far as it was durable; use it as a context."""

    log: LogReader

    @classmethod
    def of(cls, data: Path) -> Reading:
        if not any((data / "log").glob("*.log")):
            raise InputError(f"{data} holds no log: it is not a data directory of `parakh serve`")
        position = read_mark(data / "log" / "durable")
        if not position:
            raise InputError(
                f"{data / 'log' / 'durable'} does not say how much of the log is on disk; start the service once"
            )
        return cls(LogReader.of(data / "log", durable=position))

    @property
    def nbytes(self) -> int:
        return self.log.durable - self.log.starts[0]

    def entries(self) -> Iterator[Entry]:
        """Every entry, the oldest first.

        Raises InputError where the old end is let go before it was read, UnknownEntry where a newer Parakh wrote it.
        """
        try:
            for entry in self.log.follow(self.log.starts[0]):
                expect_known(entry.kind, entry.position)
                yield entry
        except FileNotFoundError:
            raise InputError(
                "the service let the old end of its log go while it was read (hint: begin again)"
            ) from None

    def deciding(self) -> str | None:
        """The hash of the version that decides at the end; None where neither it nor what it decided is there any more.

        Looked for from the newest segment back, so that not all of the log is read for it.
        """
        end = self.log.durable
        for start in reversed(self.log.starts):
            last: Entry | None = None
            for entry in self.log.follow(start):
                if entry.position >= end:
                    break
                if entry.kind in (EVENTS, PROJECT):
                    last = entry
            if last is not None:
                return read_project(last.payload).hash if last.kind == PROJECT else read_events(last.payload).project
            end = start
        return None

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *raised: object) -> None:
        self.log.close()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some of what an entry says: events, each with its kind (-1: of no type that the project has), or labels."""

    arrived_us: int
    kinds: NDArray[np.int16]
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    bodies: bytes = b""
    labels: LabelRows = field(default_factory=LabelRows.empty)


def _batch(engine: Engine, pieces: Sequence[_Piece]) -> LogBatch:
    """Pieces as a batch, decoded into the engine's frame; events of types that it does not have are left out."""
    of_pieces = np.concatenate([piece.kinds for piece in pieces])
    known = of_pieces >= 0
    kinds = of_pieces[known]
    arrived = np.repeat([piece.arrived_us for piece in pieces], [piece.kinds.size for piece in pieces])[known]
    rows = np.empty(kinds.size, np.int32)
    of_label = kinds == LABEL
    rows[of_label] = np.arange(int(of_label.sum()))
    parts: tuple[EventPart, ...] = ()
    if not of_label.all():
        lengths = np.concatenate([piece.lengths for piece in pieces])
        starts, mine = np.cumsum(lengths) - lengths, known[of_pieces != LABEL]
        data = b"".join([piece.bodies for piece in pieces])
        made = batch_of(engine, kinds[~of_label].astype(np.uint8), data, starts[mine], lengths[mine])
        rows[~of_label], parts = made.rows, made.parts
    labels = LabelRows.joined([piece.labels for piece in pieces])
    return LogBatch(kinds.astype(np.uint8), rows, parts, labels, arrived)


class _Replaying:
    """A replay of a service's log through an engine of its own."""

    def __init__(self, reading: Reading, project: _Stored, batch_size: int) -> None:
        self._reading = reading
        self.engine = Engine(project, batch_size=batch_size)
        self.engine.keep_forsaken = True
        self._numbers: dict[tuple[str, ...], NDArray[np.int16]] = {}
        self._unknown = 0
        self._labels = 0
        self._refused_labels = 0
        self._done = 0

    def run(
        self,
        on_batch: Callable[[Decisions, Progress], object] | None = None,
        *,
        on_entries: Callable[[LogBatch, Decisions], object] | None = None,
    ) -> Summary:
        """Replay everything, as `parakh.decisions.replay.Replay` does.

        Raises StateLimitError where the state outgrows the project's bound, DamagedLog where an entry cannot be read.
        """
        engine = self.engine
        tally = Tally(engine)
        with self._reading:
            for batch in self._batches():
                decisions = engine.take(batch)
                _date(batch, decisions, engine.batch_size)
                tally.take(decisions)
                self._score(tally.scorecard, batch, decisions)
                if on_entries is not None:
                    on_entries(batch, decisions)
                if on_batch is not None:
                    received = engine.counts.received
                    on_batch(decisions, Progress(received, self._done, self._reading.nbytes, tally.seconds))
        return tally.summary(refused_labels=self._refused_labels, unknown_types=self._unknown)

    def _batches(self) -> Iterator[LogBatch]:
        """The log in batches as large as the engine takes them.

        Its versions of the project are passed over, since one decides on all, and so is that ids were let go: entries
        that stand there are held.
        """
        pieces: list[_Piece] = []
        size = 0
        for entry in self._reading.entries():
            for piece in self._pieces(entry):
                if size + piece.kinds.size > self.engine.batch_size and size:
                    yield _batch(self.engine, pieces)
                    pieces, size = [], 0
                pieces.append(piece)
                size += piece.kinds.size
            self._done = entry.next - self._reading.log.starts[0]
        if size:
            yield _batch(self.engine, pieces)

    def _pieces(self, entry: Entry) -> Iterator[_Piece]:
        """What an entry brings: its events, a batch of the engine at most, or its labels."""
        if entry.kind == EVENTS:
            events = read_events(entry.payload)
            kinds = self._kinds(events)
            self._unknown += int((kinds < 0).sum())
            lengths = events.body_lengths.astype(np.int64)
            ends = np.concatenate([[0], np.cumsum(lengths)])
            for first in range(0, events.count, self.engine.batch_size):
                last = min(first + self.engine.batch_size, events.count)
                bodies = events.bodies[ends[first] : ends[last]]
                yield _Piece(entry.arrived_us, kinds[first:last], lengths[first:last], bodies)
        elif entry.kind == LABELS:
            said = read_labels(entry.payload)
            rows = read_label_lines(self.engine, said.lines)
            rows.place[:] += self._labels  # their numbers among all labels, not those of the entry
            self._labels += said.count
            self._refused_labels += said.count - rows.count
            yield _Piece(entry.arrived_us, np.full(rows.count, LABEL, np.int16), labels=rows)

    def _kinds(self, events: Events) -> NDArray[np.int16]:
        """The engine's number of each event's type."""
        if events.types not in self._numbers:
            plans = self.engine.plan.by_name
            numbers = [plans[name].index if name in plans else -1 for name in events.types]
            self._numbers[events.types] = np.array(numbers, np.int16)
        return self._numbers[events.types][events.kinds]

    def _score(self, scorecard: Scorecard, batch: LogBatch, decisions: Decisions) -> None:
        """Note what was decided, and what labels say of it."""
        for plan in self.engine.plan.types:
            mine = (batch.labels.event_type == plan.index) & (batch.labels.entity < 0)
            names = [item.name for item in plan.event.labels]
            if mine.any() and (fraud := fraud_label(plan.event)) is not None:
                labels = batch.labels.take(mine & (batch.labels.label == names.index(fraud)))
                scorecard.labelled(plan.event.name, labels.id_lo, labels.value, labels.rank)
        for part in decisions.parts:
            plan = self.engine.plan.by_name[part.schema.event_type]
            name = amount_field(plan.event)
            amount = None if name is None else self.engine.words[plan.layout[name].slot, part.rows]
            scorecard.decided(part.schema.event_type, part.id_lo, part.judgement.outcome, amount)


def _date(batch: LogBatch, decisions: Decisions, width: int) -> None:
    """Let decisions be made when their events arrived."""
    assert batch.arrived_us is not None, "a log says when what stands in it came"
    arrived = np.zeros(width, np.int64)
    events = np.flatnonzero(batch.kinds != LABEL)
    arrived[batch.rows[events]] = batch.arrived_us[events]
    for part in decisions.parts:
        part.decided_at_us = arrived[part.rows]
