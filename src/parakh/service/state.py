"""State from the log: entries go through the engine in large batches, without being decided on again.

The desk and this module make the engine's batches by the same function, so that what was decided live and what is built
from the log are one path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.engine import Engine
from parakh.errors import ParakhError
from parakh.events.chunks import JsonLines
from parakh.events.labels import LabelRows
from parakh.events.merge import LABEL, EventPart, LogBatch
from parakh.events.quarantine import Quarantine
from parakh.events.readers import lines_of
from parakh.events.sources import Source
from parakh.service.entry_index import EntryIndex
from parakh.streams.entries import (
    EVENTS,
    LABELS,
    TRIM,
    Events,
    Trim,
    expect_known,
    read_events,
    read_labels,
    read_trim,
)
from parakh.streams.segments import Entry

__all__ = ["StateBuilder", "StateDiffers", "apply_trim", "batch_of", "batch_of_type", "label_batch", "read_label_lines"]

_NO_LABELS = LabelRows.empty()
_AT_ZERO = np.zeros(1, np.int64)


class StateDiffers(ParakhError):
    """The log does not give the state that it gave before: it was written by other code, or is damaged."""


class StateBuilder:
    """Puts entries of the log into an engine that only remembers.

    `position` is up to where the log was taken. With `strict`, an event that was accepted once and is not now raises
    StateDiffers; else it is counted in `unreadable` (another version of the project may not read what an older one
    did). Entries of projects are the caller's.
    """

    def __init__(self, engine: Engine, entries: EntryIndex, *, position: int, strict: bool = True) -> None:
        self.engine = engine
        self.entries = entries
        self.position = position
        self.unreadable = 0
        self._strict = strict
        self._waiting: list[tuple[Entry, Events]] = []
        self._rows = 0

    def add(self, entry: Entry) -> None:
        """Take the next entry. Raises UnknownEntry."""
        expect_known(entry.kind, entry.position)
        if entry.kind == EVENTS:
            events = read_events(entry.payload)
            if self._rows + events.count > self.engine.batch_size:
                self.flush()
            self._waiting.append((entry, events))
            self._rows += events.count
        else:
            self.flush()
            if entry.kind == LABELS:
                rows = read_label_lines(self.engine, read_labels(entry.payload).lines)
                if rows.count:
                    self.engine.take(label_batch(rows), arrived_us=entry.arrived_us, decide=False)
            elif entry.kind == TRIM:
                apply_trim(self.engine, self.entries, read_trim(entry.payload))
        self.position = entry.next

    def flush(self) -> None:
        """Take what was put together into one batch."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return
        by_name = {name: plan.index for name, plan in self.engine.plan.by_name.items()}
        kinds = np.concatenate(
            [
                np.array([by_name.get(name, -1) for name in events.types], np.int16)[events.kinds]
                for _, events in waiting
            ]
        )
        lengths = np.concatenate([events.body_lengths for _, events in waiting]).astype(np.int64)
        data = b"".join([events.bodies for _, events in waiting])
        starts = np.cumsum(lengths) - lengths
        known = kinds >= 0
        counts = np.array([events.count for _, events in waiting])
        ends = np.cumsum(counts)
        before = len(self.engine.ids)
        if known.any():
            batch = batch_of(self.engine, kinds[known].astype(np.uint8), data, starts[known], lengths[known])
            self.engine.take(batch, decide=False)
        new = len(self.engine.ids) - before
        if new != int(known.sum()):
            if self._strict:
                raise StateDiffers(
                    f"{int(known.sum()) - new:,} events before position {waiting[-1][0].next:,} of the log were "
                    "accepted once and are not now; it was written by another version of Parakh, or was tampered with"
                )
            self.unreadable += int(known.sum()) - new
        # Where all were taken, an entry's first event is held under the number of known events before it.
        passed = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        for (entry, _), first in zip(waiting, (ends - counts).tolist()):
            if passed[first] < passed[-1]:
                self.entries.add(before + int(passed[first]), entry.position)


def batch_of(
    engine: Engine, kinds: NDArray[np.uint8], data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> LogBatch:
    """Events as a batch of the log, decoded into the engine's frame: spans of `data` of these types, in this order."""
    first = int(kinds[0])
    if (kinds == first).all():
        return batch_of_type(engine, first, data, starts, lengths)
    plans, words = engine.plan.types, engine.words
    buffer = _buffer(data)
    rows = np.empty(len(kinds), np.int32)
    parts = []
    start = 0
    for type_index in np.unique(kinds).tolist():
        mine = np.flatnonzero(kinds == type_index)
        plan = plans[type_index]
        stop = start + mine.size
        chunk = JsonLines(plan.event.name, 1, buffer, starts[mine], lengths[mine])
        decoded = chunk.decode(plan.decoder, 0, mine.size, words, start)
        parts.append(EventPart(type_index, start, stop, decoded, plan.decoder, ((chunk, 0, mine.size),)))
        rows[mine] = np.arange(start, stop)
        start = stop
    return LogBatch(kinds, rows, tuple(parts), _NO_LABELS)


def batch_of_type(
    engine: Engine, type_index: int, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> LogBatch:
    """The same of events that are all of one type."""
    plan = engine.plan.types[type_index]
    chunk = JsonLines(plan.event.name, 1, _buffer(data), starts, lengths)
    return LogBatch.of_chunk(type_index, plan.decoder, chunk, engine.words)


def _buffer(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data) + b"\n", np.uint8)


def spans(bodies: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Bodies as one buffer, and where each begins and how long it is."""
    if len(bodies) == 1:
        return bodies[0], _AT_ZERO, np.array([len(bodies[0])], np.int64)
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    return b"".join(bodies), lengths.cumsum() - lengths, lengths


def read_label_lines(engine: Engine, data: bytes, quarantine: Quarantine | None = None) -> LabelRows:
    """Labels from lines of JSON, as the engine takes them."""
    rows = engine.read_labels(Source(iter([lines_of("labels", data)]), "labels", None), quarantine)
    assert rows is not None, "there are lines"
    return rows


def label_batch(rows: LabelRows) -> LogBatch:
    """Labels alone as a batch of the log."""
    return LogBatch(np.full(rows.count, LABEL, np.uint8), np.arange(rows.count, dtype=np.int32), (), rows)


def apply_trim(engine: Engine, entries: EntryIndex, trim: Trim) -> None:
    """What a TRIM entry does to state: ids of events before its position are forgotten."""
    rows = entries.rows_before(trim.position, len(engine.ids))
    engine.forget_oldest(rows)
    entries.forget(rows)
