"""Several streams of events and their labels in one order, the order of the log: what the engine takes, batch by batch.

    merger = Merger(streams, labels=read_labels(...), label_delay_us=None)
    words = np.empty((slots, batch_size), np.int64)          # the engine's frame
    while (batch := merger.next(words)) is not None:
        for part in batch.parts:                             # one an event type: rows [start, stop) of the frame
            part.decoded.problem                             # not 0: quarantined; quarantine_part(part, quarantine)
        batch.kinds, batch.rows                              # entry by entry: an event's row, or LABEL and its number
        batch.labels                                         # LabelRows that `rows` of label entries number

Types are merged by each stream's running maximum of event time, ties in the order of the streams. Labels stand before
the first event at which that clock has reached their known_at; one that stood in its event's own row (with a delay)
never before its event. Neither the size of batches nor that of chunks nor how files are split changes the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.events.chunks import Chunk
from parakh.events.decode import Decoded, Decoder
from parakh.events.fields import ID_LENGTH, ID_START
from parakh.events.labels import LabelRows
from parakh.events.ordering import (
    COUNTERS,
    ENTRIES,
    HIGH,
    KNOWN,
    LABEL,
    LABELS,
    LOW,
    NUMBER,
    SIZE,
    TYPE,
    VALUE,
    WAITING,
    take_entries,
)
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.events.schema import ROLE_LABEL
from parakh.events.sources import Source
from parakh.expressions.strings import copy_spans
from parakh.expressions.types import NULL_WORD

__all__ = ["LABEL", "EventPart", "LogBatch", "Merger", "StepBack", "Stream", "quarantine_part"]

_STAGE_ROWS = 8_192
_FIRST = NULL_WORD
_NO_LABELS = LabelRows.empty()


@dataclass(frozen=True, slots=True)
class Stream:
    """All events of one type, in order. `type_index` is the kind of its entries (below LABEL)."""

    type_index: int
    decoder: Decoder
    source: Source


@dataclass(frozen=True, slots=True)
class StepBack:
    """A file whose first event is `by_us` older than what came before it in its stream, which ends with `before`."""

    file: str
    before: str
    by_us: int


@dataclass(frozen=True, slots=True)
class _Stage:
    """Decoded rows of one chunk that were not all taken yet."""

    chunk: Chunk
    first: int
    words: npt.NDArray[np.int64]
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class EventPart:
    """The events of one type in a batch: rows [start, stop) of the frame; entry i of `decoded` is row start + i."""

    type_index: int
    start: int
    stop: int
    decoded: Decoded
    decoder: Decoder
    pieces: tuple[tuple[Chunk, int, int], ...]  # (chunk, first row in it, how many rows)

    @property
    def count(self) -> int:
        return self.stop - self.start

    def origin(self, index: int) -> tuple[Chunk, int]:
        """The chunk that an event of the part was read from, and its row there."""
        for chunk, first, count in self.pieces:
            if index < count:
                return chunk, first + index
            index -= count
        raise IndexError("the part has no such event")


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Entries of the log, in order.

    kinds: uint8, the event type's index or LABEL.
    rows: int32, an event's row in the frame, a label's number in `labels`.
    arrived_us: int64, when each came, us UTC, where that was recorded; None where the clock stands for it.
    """

    kinds: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int32]
    parts: tuple[EventPart, ...]
    labels: LabelRows
    arrived_us: npt.NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        return int(self.kinds.shape[0])

    def columns(self, names: Sequence[str], rows: npt.NDArray[np.integer]) -> list[npt.NDArray[Any]]:
        """Arrays of `Decoded` for the events in these rows of the frame, in this order."""
        if len(self.parts) == 1:
            part = self.parts[0]
            whole = [getattr(part.decoded, name) for name in names]
            # Of one type alone the rows are in log order: asked for all of them, none is moved.
            return whole if rows.size == part.count else [column[rows] for column in whole]
        if not self.parts:
            return [np.empty(0, np.int64) for _ in names]
        return [np.concatenate([getattr(part.decoded, name) for part in self.parts])[rows] for name in names]

    @classmethod
    def of_chunk(cls, type_index: int, decoder: Decoder, chunk: Chunk, words: npt.NDArray[np.int64]) -> LogBatch:
        """The events of one chunk alone, decoded into the first rows of a frame: what a live engine takes."""
        count = chunk.count
        decoded = chunk.decode(decoder, 0, count, words, 0)
        part = EventPart(type_index, 0, count, decoded, decoder, ((chunk, 0, count),))
        kinds = np.empty(count, np.uint8)
        kinds.fill(type_index)
        return cls(kinds, np.arange(count, dtype=np.int32), (part,), _NO_LABELS)


def quarantine_part(part: EventPart, quarantine: Quarantine) -> int:
    """Put the events of a part that could not be decoded into quarantine; answers how many."""
    refused = np.flatnonzero(part.decoded.problem)
    for index in refused.tolist():
        chunk, row = part.origin(index)
        field = part.decoded.refused.get(index, -1)
        quarantine.add(
            Reason(int(part.decoded.problem[index])),
            field=part.decoder.names[field] if field >= 0 else "",
            event_type=part.decoder.event_type.name,
            source=chunk.file,
            line=chunk.line(row),
            raw=chunk.raw(row),
            beyond=chunk.beyond,
        )
    return int(refused.size)


class Merger:
    """The log of several streams. Label columns become known `label_delay_us` after their event (None: never).

    At most `stage_rows` events of each stream are decoded ahead.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        labels: LabelRows | None = None,
        label_delay_us: int | None = None,
        stage_rows: int = _STAGE_ROWS,
    ) -> None:
        kinds = [stream.type_index for stream in streams]
        if len(set(kinds)) != len(kinds) or not all(0 <= kind < LABEL for kind in kinds):
            raise AssertionError("streams have types of their own, below LABEL")
        self.streams = tuple(streams)
        self._labels = LabelRows.empty() if labels is None else labels
        self._delay_us = label_delay_us
        self._stages: list[_Stage | None] = [None] * len(streams)
        self._chunks = [stream.source.pieces(stage_rows) for stream in streams]
        self._kinds = np.array(kinds, np.int64)
        self._heads = np.zeros(len(streams), np.int64)
        self._stops = np.zeros(len(streams), np.int64)
        self._ended = np.zeros(len(streams), np.uint8)
        self._clocks = np.full(len(streams), _FIRST, np.int64)
        labelled = [_label_items(stream.decoder) for stream in streams] if label_delay_us is not None else []
        self._most_labels = max((len(items) for items in labelled), default=0)
        self._label_items = labelled or [()] * len(streams)
        # Of each stage: clock, time, id (2), then the label words; one row a stream, so that one kernel sees them all.
        self._keys = np.empty((len(streams), 4 + 2 * self._most_labels, stage_rows), np.int64)
        self._heap = np.empty((64, WAITING), np.int64)
        self._counters = np.zeros(COUNTERS, np.int64)
        self._broken: InputError | None = None
        self._files = [""] * len(streams)
        self.steps_back: list[StepBack] = []
        """Files that begin before what was read of their stream ends, so far."""

    @property
    def read_bytes(self) -> int:
        """Bytes of all sources read so far."""
        return sum(stream.source.read_bytes for stream in self.streams)

    @property
    def total_bytes(self) -> int | None:
        """Bytes of all sources; None where one of them is not known."""
        sizes = [stream.source.total_bytes for stream in self.streams]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def next(self, words: npt.NDArray[np.int64], limit: int | None = None) -> LogBatch | None:
        """The next entries, at most `limit` (the frame's capacity); None after the last one.

        The events' fields are put into `words`; a frame has as many slots as the widest layout. Raises InputError where
        a source breaks off, after all that stood before the break was given.
        """
        if self._broken is not None:
            raise self._broken
        limit = words.shape[1] if limit is None else min(limit, words.shape[1])
        if limit < 1:
            raise AssertionError("a batch has room for one entry at least")
        kinds, rows = np.empty(limit, np.uint8), np.empty(limit, np.int32)
        label_of = np.empty(limit, np.int64)
        popped = np.empty((limit if self._most_labels else 0, WAITING), np.int64)
        taken = np.zeros(len(self.streams), np.int64)
        segments: list[list[tuple[_Stage, int, int]]] = [[] for _ in self.streams]
        self._counters[ENTRIES] = self._counters[LABELS] = 0
        self._reserve(limit * self._most_labels)
        while True:
            before = self._heads.copy()
            wanting = take_entries(
                self._keys, self._heads, self._stops, self._ended, self._kinds, self._labels.known_at, self._heap,
                self._counters, taken, kinds, rows, label_of, popped, self._delay_us or 0, self._most_labels,
            )  # fmt: skip
            for number, stage in enumerate(self._stages):
                if stage is not None and self._heads[number] > before[number]:
                    segments[number].append((stage, int(before[number]), int(self._heads[number])))
            if wanting < 0:
                break
            try:
                self._load(int(wanting))
            except InputError as error:
                self._broken = error
                break
        entries = int(self._counters[ENTRIES])
        if entries == 0:
            if self._broken is not None:
                raise self._broken
            return None
        return self._batch(kinds[:entries], rows[:entries], label_of, popped, segments, words)

    def _load(self, number: int) -> None:
        """Decode the next rows of a stream, or see that it has ended."""
        found = next(self._chunks[number], None)
        self._heads[number] = self._stops[number] = 0
        if found is None:
            self._ended[number] = 1
            self._stages[number] = None
            return
        chunk, start, stop = found
        decoder = self.streams[number].decoder
        slots = max((item.slot for item in decoder.schema.items if item.role != ROLE_LABEL), default=-1) + 1
        stage_words = np.empty((slots, stop - start), np.int64)
        decoded = chunk.decode(decoder, start, stop, stage_words, 0)
        self._stages[number] = _Stage(chunk, start, stage_words, decoded)
        self._see_file(number, chunk.file, decoded)
        count = stop - start
        keys = self._keys[number]
        np.maximum.accumulate(decoded.times, out=keys[0, :count])
        np.maximum(keys[0, :count], self._clocks[number], out=keys[0, :count])
        self._clocks[number] = keys[0, count - 1]
        keys[1, :count] = decoded.times
        keys[2, :count] = decoded.id_hi.view(np.int64)
        keys[3, :count] = decoded.id_lo.view(np.int64)
        for place, (name, index) in enumerate(self._label_items[number]):
            # Beside each word whether it is a label at all: not in a refused row, and not NULL.
            values = decoded.labels[name]
            given = ~np.isnan(values) if values.dtype == np.float64 else values != NULL_WORD
            keys[4 + 2 * place, :count] = np.where(given & (decoded.problem == 0), index, -1)
            keys[5 + 2 * place, :count] = values.view(np.int64)
        for place in range(len(self._label_items[number]), self._most_labels):
            keys[4 + 2 * place, :count] = -1
        self._stops[number] = count

    def _see_file(self, number: int, file: str, decoded: Decoded) -> None:
        """Note where a stream goes on with a file that is older than what it had."""
        before, self._files[number] = self._files[number], file
        if before in ("", file):
            return
        readable = np.flatnonzero(decoded.problem == 0)
        by_us = int(self._clocks[number] - decoded.times[readable[0]]) if readable.size else 0
        if by_us > 0:
            self.steps_back.append(StepBack(file, before, by_us))

    def _reserve(self, more: int) -> None:
        needed = int(self._counters[SIZE]) + more
        if needed > self._heap.shape[0]:
            heap = np.empty((max(needed, self._heap.shape[0] * 3 // 2), WAITING), np.int64)
            heap[: self._heap.shape[0]] = self._heap
            self._heap = heap

    def _batch(
        self,
        kinds: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int32],
        label_of: npt.NDArray[np.int64],
        popped: npt.NDArray[np.int64],
        segments: list[list[tuple[_Stage, int, int]]],
        words: npt.NDArray[np.int64],
    ) -> LogBatch:
        """Put the rows of each type side by side into the frame."""
        parts = []
        base = np.zeros(256, np.int32)
        start = 0
        for number in np.argsort(self._kinds, kind="stable").tolist():
            pieces = segments[number]
            if not pieces:
                continue
            stream = self.streams[number]
            base[stream.type_index] = stop = start
            for stage, first, last in pieces:
                for item in stream.decoder.schema.items:
                    if item.slot >= 0 and item.role != ROLE_LABEL:
                        words[item.slot, stop : stop + last - first] = stage.words[item.slot, first:last]
                stop += last - first
            origins = tuple((stage.chunk, stage.first + first, last - first) for stage, first, last in pieces)
            decoded = _joined([(stage.decoded, first, last) for stage, first, last in pieces])
            parts.append(EventPart(stream.type_index, start, stop, decoded, stream.decoder, origins))
            start = stop
        rows += base[kinds]
        labels = self._taken_labels(label_of[: int(self._counters[LABELS])], popped)
        return LogBatch(kinds, rows, tuple(parts), labels)

    def _taken_labels(self, label_of: npt.NDArray[np.int64], popped: npt.NDArray[np.int64]) -> LabelRows:
        if not label_of.size:
            return LabelRows.empty()
        labels = LabelRows.empty(label_of.size)
        of_file = label_of >= 0
        read = self._labels.take(label_of[of_file])
        own = popped[-1 - label_of[~of_file]]
        for values, from_file, from_event in (
            (labels.event_type, read.event_type, own[:, TYPE]), (labels.label, read.label, own[:, NUMBER]),
            (labels.entity, read.entity, -1), (labels.key, read.key, NULL_WORD),
            (labels.id_hi, read.id_hi, own[:, HIGH].view(np.uint64)),
            (labels.id_lo, read.id_lo, own[:, LOW].view(np.uint64)), (labels.value, read.value, own[:, VALUE]),
            (labels.rank, read.rank, 0), (labels.known_at, read.known_at, own[:, KNOWN]),
            (labels.place, read.place, -1),
        ):  # fmt: skip
            values[of_file] = from_file
            values[~of_file] = from_event
        return labels


def _label_items(decoder: Decoder) -> tuple[tuple[str, int], ...]:
    """The label columns of a type and their index among its labels."""
    labels = decoder.event_type.labels
    return tuple((label.name, index) for index, label in enumerate(labels) if label.source is not None)


def _joined(pieces: list[tuple[Decoded, int, int]]) -> Decoded:
    """The decoded rows of several stages as one; their ids' texts are copied together."""

    table = np.concatenate([decoded.table[:, first:last] for decoded, first, last in pieces], axis=1)
    sizes = np.maximum(table[ID_LENGTH], 0)
    starts = np.cumsum(sizes) - sizes
    buffer = np.empty(int(sizes.sum()) + 8, np.uint8)
    place = 0
    refused: dict[int, int] = {}
    for decoded, first, last in pieces:
        copy_spans(decoded.id_buffer, decoded.id_starts[first:last], sizes[place:], starts[place:], buffer)
        refused |= {place + row - first: name for row, name in decoded.refused.items() if first <= row < last}
        place += last - first
    table[ID_START] = starts
    names = pieces[0][0].labels
    labels = {name: np.concatenate([part.labels[name][first:last] for part, first, last in pieces]) for name in names}
    return Decoded(table, buffer, labels, refused)
