"""A stretch of the log as columns: what the ledger asks of each event, and the terms that it can be found by.

A `Tail` is one that still grows, in memory. A whole one stands in a file of its own that is mapped when it is asked
for: a header with a summary, then flat arrays, each part with a checksum. Files are disposable: what is damaged, or of
another form, is made again from the log.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.service.ledger.keys import KeyReaders, rule_salt
from parakh.service.ledger.scanning import scan_records
from parakh.streams.entries import EventColumns, spans
from parakh.streams.segments import Entry

__all__ = ["BLOCK_ROWS", "DamagedBlock", "Rows", "Summary", "Tail", "Taken", "read_header", "read_rows", "write_block"]

BLOCK_ROWS: Final = 60_000
"""Rows from which on a tail is whole; with what one slice adds to it, their numbers still fit 16 bits."""

_MOST_SMALL = 1 << 16
UNDECIDED_BIT: Final = 128
_MAGIC = b"PARAKHIX"
_FORM = 1
_HEADER = struct.Struct("<8sIIII")  # magic, form, length and checksum of the summary, checksum of the arrays
_ALIGNED = 64
_MOST_SUMMARY = 1 << 20
# The arrays of a file in their order, and the dtype of each; of `term_rows` the size of the block decides.
_ARRAYS: Final = {
    "positions": "<i8", "first_rows": "<u4", "arrived": "<i8",
    "kinds": "<u2", "outcomes": "<i1", "flags": "<u1", "times": "<i8", "scores": "<f8",
    "terms": "<u4", "term_rows": "",
}  # fmt: skip


class DamagedBlock(Exception):
    """A file of the index that is not what was written; never seen by a user."""


class Summary(msgspec.Struct, array_like=True, frozen=True):
    """What a block holds at most and at least, so that most need not be opened.

    It covers the log's [first, next). `last` and `last_check` are the place and the CRC-32 of its last batch of events,
    which tell whether it was made from this very log. `outcomes` has a bit for each outcome, UNDECIDED_BIT for none.
    """

    first: int
    next: int
    rows: int
    batches: int
    terms: int
    types: tuple[str, ...]
    last: int
    last_check: int
    times: tuple[int, int]
    arrived: tuple[int, int]
    max_score: float | None
    outcomes: int
    flags: int


@dataclass(slots=True)
class Rows:
    """The columns of a stretch of the log, one row an event in log order; one element a batch in the first three.

    positions: where each batch of events stands. first_rows: its first row. arrived: microseconds UTC. kinds: number
    of the event type among `types`. terms, term_rows: in the order of terms where they are `ordered`.
    """

    types: tuple[str, ...]
    positions: NDArray[np.int64]
    first_rows: NDArray[np.uint32]
    arrived: NDArray[np.int64]
    kinds: NDArray[np.uint16]
    outcomes: NDArray[np.int8]
    flags: NDArray[np.uint8]
    times: NDArray[np.int64]
    scores: NDArray[np.float64]
    terms: NDArray[np.uint32]
    term_rows: NDArray[Any]
    ordered: bool

    def with_terms(self, terms: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The rows that have one of some terms, ascending."""
        if not self.ordered:
            found = [self.term_rows[np.isin(self.terms, terms)]]
        else:
            low = np.searchsorted(self.terms, terms, "left").tolist()
            high = np.searchsorted(self.terms, terms, "right").tolist()
            found = [self.term_rows[start:end] for start, end in zip(low, high)]
        return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)

    def batches_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the batch that each row is of."""
        return np.searchsorted(self.first_rows, rows, "right") - 1

    def rows_before(self, position: int, index: int) -> int:
        """How many rows stand before an event of the log."""
        batch = int(np.searchsorted(self.positions, position))
        if batch == len(self.positions):
            return len(self.kinds)
        first = int(self.first_rows[batch])
        if self.positions[batch] > position:
            return first
        following = int(self.first_rows[batch + 1]) if batch + 1 < len(self.first_rows) else len(self.kinds)
        return min(first + index, following)


class _Growing:
    """An array that grows at its end."""

    __slots__ = ("_array", "count")

    def __init__(self, dtype: str, room: int) -> None:
        self._array = np.empty(room, dtype)
        self.count = 0

    def extend(self, values: NDArray[Any] | Sequence[int]) -> None:
        size = self.count + len(values)
        if size > len(self._array):
            grown = np.empty(max(size, 2 * len(self._array)), self._array.dtype)
            grown[: self.count] = self._array[: self.count]
            self._array = grown
        self._array[self.count : size] = values
        self.count = size

    @property
    def values(self) -> NDArray[Any]:
        return self._array[: self.count]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a tail is to take in: columns by their names, and the kinds of events among the types of their batches."""

    first: int
    next: int
    columns: Sequence[tuple[str, NDArray[Any] | Sequence[int]]] = ()
    kinds: Sequence[tuple[Sequence[str], NDArray[np.uint8]]] = ()
    last: Entry | None = None


class Tail:
    """The columns of the log from `first` on, as far as it was read."""

    def __init__(self, first: int, readers: KeyReaders, *, room: int = 1 << 12) -> None:
        self.first = self.next = first
        self._readers = readers
        self._types: dict[str, int] = {}
        self._columns = {name: _Growing(dtype or "<u4", room) for name, dtype in _ARRAYS.items()}
        self._last: Entry | None = None

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._columns["kinds"].count

    def extend(self, batches: Sequence[tuple[Entry, EventColumns]], next_position: int) -> None:
        """Take in batches of events that follow one another, the last thing read ending at `next_position`."""
        self.enter(self.read(batches, next_position))

    def read(self, batches: Sequence[tuple[Entry, EventColumns]], next_position: int) -> Taken:
        """The columns of batches that follow what is here; for any thread, as it changes nothing.

        All that can fail is here: a batch is in the index whole or not at all.
        """
        first = self.count
        if not batches:
            return Taken(first, next_position)
        counts = np.array([len(events.kinds) for _, events in batches])
        scores, flags, found = self._judged(batches, first)
        kinds: list[tuple[Sequence[str], NDArray[np.uint8]]] = []
        row = first
        for (project, types), group in groupby(batches, key=lambda batch: (batch[1].project, batch[1].types)):
            alike = [events for _, events in group]
            of_group = np.frombuffer(b"".join([events.kinds for events in alike]), np.uint8)
            found += self._carried(project, types, alike, of_group, row)
            kinds.append((types, of_group))
            row += len(of_group)
        columns: list[tuple[str, NDArray[Any] | Sequence[int]]] = [
            ("positions", [entry.position for entry, _ in batches]),
            ("arrived", [entry.arrived_us for entry, _ in batches]),
            ("first_rows", first + np.cumsum(counts) - counts),
            ("outcomes", np.frombuffer(b"".join([events.outcomes for _, events in batches]), np.int8)),
            ("times", np.frombuffer(b"".join([events.times_us for _, events in batches]), np.int64)),
            ("scores", scores),
            ("flags", flags),
        ]
        for terms, rows in found:
            columns += [("terms", terms), ("term_rows", rows)]
        return Taken(first, next_position, columns, kinds, batches[-1][0])

    def enter(self, taken: Taken) -> None:
        """Put in what was read."""
        assert taken.first == self.count, "nothing came between"
        for types, kinds in taken.kinds:
            self._columns["kinds"].extend(self._numbers(types)[kinds])
        for name, values in taken.columns:
            self._columns[name].extend(values)
        self._last = taken.last or self._last
        self.next = taken.next

    def rows(self) -> Rows:
        """What stands there now; more may be added while it is looked at."""
        columns: dict[str, Any] = {name: column.values for name, column in self._columns.items()}
        return Rows(types=tuple(self._types), ordered=False, **columns)

    def whole(self) -> tuple[Summary, Rows]:
        """The block that this is once nothing more is added, its terms in order."""
        rows = self.rows()
        order = np.argsort(rows.terms, kind="stable")
        rows.terms, rows.term_rows, rows.ordered = (
            rows.terms[order],
            rows.term_rows[order].astype(_row_type(len(rows.kinds))),
            True,
        )
        known = rows.scores[~np.isnan(rows.scores)]
        bits = np.where(rows.outcomes < 0, UNDECIDED_BIT, 1 << np.maximum(rows.outcomes, 0).astype(np.int64))
        summary = Summary(
            first=self.first,
            next=self.next,
            rows=len(rows.kinds),
            batches=len(rows.positions),
            terms=len(rows.terms),
            types=rows.types,
            last=self.first if self._last is None else self._last.position,
            last_check=0 if self._last is None else zlib.crc32(self._last.payload),
            times=_extent(rows.times),
            arrived=_extent(rows.arrived),
            max_score=float(known.max()) if known.size else None,
            outcomes=int(np.bitwise_or.reduce(bits, initial=0)),
            flags=int(np.bitwise_or.reduce(rows.flags, initial=0)),
        )
        return summary, rows

    def _numbers(self, types: Sequence[str]) -> NDArray[np.uint16]:
        """The numbers of event types here."""
        return np.array([self._types.setdefault(name, len(self._types)) for name in types], np.uint16)

    def _judged(
        self, batches: Sequence[tuple[Entry, EventColumns]], first: int
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8], list[tuple[NDArray[np.uint32], NDArray[Any]]]]:
        """Scores and flags, and the terms of the rules that hit."""
        lengths = np.frombuffer(b"".join([events.record_lengths for _, events in batches]), np.uint32).astype(np.int64)
        buffer = np.frombuffer(b"".join([events.records for _, events in batches]) or b"\0", np.uint8)
        scores, flags = np.empty(len(lengths), np.float64), np.empty(len(lengths), np.uint8)
        room = 2 * len(lengths)
        while True:
            terms, rows = np.empty(room, np.uint32), np.empty(room, np.uint32)
            hits = scan_records(
                buffer, lengths, np.int64(first), rule_salt(), scores.view(np.uint64), flags, terms, rows
            )
            if hits < 0:
                raise ValueError(f"the log's entries from {batches[0][0].position:,} on hold what is no record")
            if hits <= room:
                return scores, flags, [(terms[:hits], rows[:hits])]
            room = hits

    def _carried(
        self, project: str, types: Sequence[str], batches: Sequence[EventColumns], kinds: NDArray[Any], first: int
    ) -> list[tuple[NDArray[np.uint32], NDArray[Any]]]:
        """The terms of the entities that events carry; `kinds` is of all of them, the first of which is row `first`."""
        lengths = np.frombuffer(b"".join([events.body_lengths for events in batches]), np.uint32)
        bodies = list(spans(b"".join([events.bodies for events in batches]), lengths))
        present = np.unique(kinds).tolist()
        found = []
        for kind in present:
            places = np.flatnonzero(kinds == kind)
            mine = bodies if len(present) == 1 else [bodies[place] for place in places.tolist()]
            found += self._readers.of(project, types[kind]).terms(mine, places + first)
        return found


def write_block(path: Path, summary: Summary, rows: Rows) -> None:
    """Write a block's file, whole or not at all. Not synced: what a crash leaves of it is seen by its checksums."""
    head = msgspec.msgpack.encode(summary)
    pieces = []
    for name in _ARRAYS:
        data = np.ascontiguousarray(getattr(rows, name)).tobytes()
        pieces += [data, bytes(-len(data) % _ALIGNED)]
    body = b"".join(pieces)
    start = _HEADER.pack(_MAGIC, _FORM, len(head), zlib.crc32(head), zlib.crc32(body)) + head
    partial = path.with_suffix(f".{threading.get_ident()}.new")
    with partial.open("wb") as file:
        file.write(start + bytes(-len(start) % _ALIGNED))
        file.write(body)
    os.replace(partial, path)


def read_header(path: Path) -> Summary:
    """The summary of a block's file. Raises DamagedBlock; OSError where there is none."""
    with path.open("rb") as file:
        summary, start, _ = _header(file.read(_HEADER.size + _MOST_SUMMARY))
        if os.fstat(file.fileno()).st_size != start + sum(_sizes(summary).values()):
            raise DamagedBlock("its length is another")
    return summary


def read_rows(path: Path, summary: Summary, *, verified: bool) -> Rows:
    """The columns of a block's file, mapped; checked whole unless it was `verified` before. Raises DamagedBlock."""
    try:
        with path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise DamagedBlock("it cannot be mapped") from error
    found, start, check = _header(mapped)
    sizes = _sizes(summary)
    if found != summary or len(mapped) != start + sum(sizes.values()):
        raise DamagedBlock("it is another block")
    if not verified and zlib.crc32(mapped[start:]) != check:
        raise DamagedBlock("its checksum is another")
    arrays: dict[str, Any] = {}
    for name, size in sizes.items():
        dtype = np.dtype(_ARRAYS[name] or _row_type(summary.rows))
        arrays[name] = np.frombuffer(mapped, dtype, _lengths(summary)[name], start)
        start += size
    return Rows(types=summary.types, ordered=True, **arrays)


def _header(data: bytes | memoryview) -> tuple[Summary, int, int]:
    """(summary, where the arrays begin, their checksum)."""
    if len(data) < _HEADER.size:
        raise DamagedBlock("it is cut off")
    magic, form, length, head_check, check = _HEADER.unpack_from(data)
    head = data[_HEADER.size : _HEADER.size + length]
    if magic != _MAGIC or form != _FORM or len(head) != length or zlib.crc32(head) != head_check:
        raise DamagedBlock("its header is another")
    try:
        summary = msgspec.msgpack.decode(head, type=Summary)
    except msgspec.MsgspecError as error:
        raise DamagedBlock("its summary is another") from error
    return summary, -(-(_HEADER.size + length) // _ALIGNED) * _ALIGNED, check


def _lengths(summary: Summary) -> dict[str, int]:
    of_batches, of_terms = ("positions", "first_rows", "arrived"), ("terms", "term_rows")
    return {
        name: summary.batches if name in of_batches else summary.terms if name in of_terms else summary.rows
        for name in _ARRAYS
    }


def _sizes(summary: Summary) -> dict[str, int]:
    """Bytes of each array of a file, with what aligns the next."""
    return {
        name: -(-length * np.dtype(_ARRAYS[name] or _row_type(summary.rows)).itemsize // _ALIGNED) * _ALIGNED
        for name, length in _lengths(summary).items()
    }


def _row_type(rows: int) -> str:
    return "<u2" if rows <= _MOST_SMALL else "<u4"


def _extent(values: NDArray[np.int64]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)
