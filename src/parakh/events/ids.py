"""Which events were seen before: ids as 128-bit hashes, each with its body's digest, so that none is decided twice.

Rows are dense (id and digest: 24 bytes), in the order of acceptance; a table of 32-bit numbers finds them: the row's
number and 1, as an empty slot is 0. Other stages keep what they hold of an event under the same row number.

A table that is nine sixteenths full has the next one, of twice its size, made beside it, a little for each id that
comes: first its memory is touched, which takes as long as to fill it where the system has to find it, then rows are put
into it. At once that would stop a service for 50 to 90 ms at 1.5 million ids, and the longer the more there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.expressions.growing import Growing
from parakh.expressions.kernels import kernel

__all__ = ["CONFLICT", "DUPLICATE", "NEW", "REFUSED", "IdIndex", "admit_one"]

REFUSED, NEW, DUPLICATE, CONFLICT = range(4)
"""What `admit` answers: not asked about; accepted; the same body again; the same id with another body."""

_MOST_ROWS = 2**31 - 2
_HIGH, _LOW, _DIGEST, _WORDS = range(4)
_CLEARED, _MOVED = 64, 8
"""Slots of the next table that are cleared, then rows that are put into it, for each id that comes: it is whole before
the one before it is three quarters full."""


@kernel
def _place(rows: Any, table: Any, high: Any, low: Any) -> Any:
    """(row, slot): the row of an id or -1, and the slot of the table where it stands or would stand."""
    mask = np.int64(table.shape[0] - 1)
    slot = low & mask
    row = np.int64(table[slot]) - 1
    while row >= 0:
        if rows[row, _LOW] == low and rows[row, _HIGH] == high:
            break
        slot = (slot + 1) & mask
        row = np.int64(table[slot]) - 1
    return row, slot


@kernel
def admit_one(rows: Any, table: Any, count: Any, high: Any, low: Any, digest: Any) -> Any:
    """(status, row): what becomes of an id, and the row under which it stands; a NEW one is row `count`."""
    row, slot = _place(rows, table, high, low)
    if row >= 0:
        return np.int64(DUPLICATE if rows[row, _DIGEST] == digest else CONFLICT), row
    rows[count, _HIGH], rows[count, _LOW], rows[count, _DIGEST] = high, low, digest
    table[slot] = count + 1
    return np.int64(NEW), count


@kernel
def _take_back(rows: Any, table: Any, known: Any, count: Any) -> None:
    # The last first: what was put behind another in the table goes before it.
    for row in range(known + count - 1, known - 1, -1):
        _, slot = _place(rows, table, rows[row, _HIGH], rows[row, _LOW])
        table[slot] = 0


@kernel
def _admit(
    id_hi: Any, id_lo: Any, digest: Any, ok: Any, status: Any, held: Any, rows: Any, table: Any, count: Any
) -> Any:
    for index in range(id_hi.shape[0]):
        if not ok[index]:
            status[index] = REFUSED
            held[index] = -1
            continue
        high, low, content = np.int64(id_hi[index]), np.int64(id_lo[index]), np.int64(digest[index])
        status[index], held[index] = admit_one(rows, table, count, high, low, content)
        count += status[index] == NEW
    return count


@kernel
def _find(id_hi: Any, id_lo: Any, out: Any, rows: Any, table: Any) -> None:
    for index in range(id_hi.shape[0]):
        row, _ = _place(rows, table, np.int64(id_hi[index]), np.int64(id_lo[index]))
        out[index] = row


@kernel
def _fill(rows: Any, first: Any, stop: Any, table: Any) -> None:
    mask = np.int64(table.shape[0] - 1)
    for row in range(first, stop):
        slot = rows[row, _LOW] & mask
        while table[slot] != 0:
            slot = (slot + 1) & mask
        table[slot] = row + 1


@kernel
def _forget(rows: Any, count: Any, gone: Any, moved: Any) -> Any:
    kept = 0
    for row in range(count):
        if gone[row]:
            moved[row] = -1
            continue
        if kept != row:
            for item in range(_WORDS):
                rows[kept, item] = rows[row, item]
        moved[row] = kept
        kept += 1
    return kept


class IdIndex:
    """The ids that are held, of all event types together (a type's name is part of what is hashed).

    >>> index = IdIndex()
    >>> status, held = np.empty(3, np.uint8), np.empty(3, np.int64)
    >>> ids, digest = np.array([7, 8, 7], np.uint64), np.array([1, 1, 1], np.uint64)
    >>> index.admit(ids, ids, digest, np.ones(3, np.bool_), status, held)
    2
    >>> status.tolist(), held.tolist(), len(index)
    ([1, 1, 2], [0, 1, 0], 2)
    """

    __slots__ = ("_cleared", "_count", "_filled", "_memory", "_next", "_rows", "_table")

    def __init__(self) -> None:
        self._memory = Growing(_WORDS * _MOST_ROWS)
        self._rows = self._grown(1 << 10)
        self._table = np.zeros(1 << 11, np.int32)
        self._next: npt.NDArray[np.int32] | None = None
        self._cleared = 0  # slots of it
        self._filled = 0  # rows of it
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held, including the room for growth."""
        return self._rows.nbytes + self._table.nbytes + (0 if self._next is None else self._next.nbytes)

    def admit(
        self,
        id_hi: npt.NDArray[np.uint64],
        id_lo: npt.NDArray[np.uint64],
        digest: npt.NDArray[np.uint64],
        ok: npt.NDArray[np.bool_],
        status: npt.NDArray[np.uint8],
        held: npt.NDArray[np.int64],
    ) -> int:
        """Take ids in order, those where `ok`; answers in `status` and `held`, all arrays of one length, and how many
        are NEW.

        `held` is the row under which the event stands: its own if NEW, that of the event before if DUPLICATE or
        CONFLICT, -1 if REFUSED.
        """
        self._reserve(id_hi.shape[0])
        before = self._count
        self._count = int(
            _admit(id_hi, id_lo, digest, ok, status, held, self._rows, self._table, self._count)
        )  # fmt: skip
        return self._count - before

    def room(self, more: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
        """(rows, table, count) for `admit_one`, with room for so many new ids; `taken` is told afterwards what came."""
        self._reserve(more)
        return self._rows, self._table, self._count

    def taken(self, count: int) -> None:
        """So many ids are held now."""
        self._count = count

    def take_back(self, count: int) -> None:
        """Forget the first `count` ids that a kernel put behind those that are held: `taken` was not told of them."""
        _take_back(self._rows, self._table, self._count, count)

    def find(self, id_hi: npt.NDArray[np.uint64], id_lo: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The rows of ids, -1 for those that are not held."""
        out = np.empty(id_hi.shape[0], np.int64)
        _find(id_hi, id_lo, out, self._rows, self._table)
        return out

    def forget(self, gone: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Drop the rows that are `gone`; answers the new row of each old one, -1 if it was dropped."""
        moved = np.empty(self._count, np.int64)
        self._count = int(_forget(self._rows, self._count, gone, moved))
        spare = self._rows.shape[0] - self._count
        if spare > self._count and spare > 1 << 16:
            kept, self._memory = self._rows[: self._count], Growing(_WORDS * _MOST_ROWS)
            self._rows = self._grown(max(self._count * 5 // 4, 1 << 10))
            self._rows[: self._count] = kept
        self._begin_anew(self._rows.shape[0])
        return moved

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a snapshot keeps (a view)."""
        return {"rows": self._rows[: self._count]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> IdIndex:
        """The index that `arrays` was taken from."""
        rows = np.ascontiguousarray(arrays["rows"], np.int64)
        if rows.ndim != 2 or rows.shape[1] != _WORDS:
            raise ValueError(f"a snapshot's ids are rows of {_WORDS} words")
        self = cls()
        self._reserve(rows.shape[0])
        self._rows[: rows.shape[0]] = rows
        self._count = rows.shape[0]
        _fill(self._rows, 0, self._count, self._table)
        return self

    def _reserve(self, more: int) -> None:
        needed = self._count + more
        if needed > self._rows.shape[0]:
            if needed > _MOST_ROWS:
                raise MemoryError(f"more than {_MOST_ROWS} event ids in one index")
            # An eighth more at a time: doubling would cost 48 bytes an id.
            self._rows = self._grown(max(needed, self._rows.shape[0] * 9 // 8))
        if 4 * needed > 3 * self._table.shape[0]:  # many at once
            self._begin_anew(needed)
        elif self._next is not None or 16 * needed > 9 * self._table.shape[0]:
            self._make_next(more)

    def _grown(self, rows: int) -> npt.NDArray[np.int64]:
        return self._memory.to(_WORDS * rows).reshape(rows, _WORDS)

    def _begin_anew(self, rows: int) -> None:
        self._table, self._next = np.zeros(_table_size(rows), np.int32), None
        _fill(self._rows, 0, self._count, self._table)

    def _make_next(self, more: int) -> None:
        """Clear some more of the next table, or put some more rows into it; once it has all it takes the place of this
        one.
        """
        if self._next is None:
            self._next, self._cleared, self._filled = np.empty(2 * self._table.shape[0], np.int32), 0, 0
        if self._cleared < self._next.shape[0]:
            first, self._cleared = self._cleared, min(self._next.shape[0], self._cleared + _CLEARED * more)
            self._next[first : self._cleared] = 0
            return
        first, self._filled = self._filled, min(self._count, self._filled + _MOVED * more)
        _fill(self._rows, first, self._filled, self._next)
        if self._filled == self._count:
            self._table, self._next = self._next, None


def _table_size(rows: int) -> int:
    """A power of two that so many rows fill to nine sixteenths at most: the next one need not be begun yet."""
    return 1 << max(11, (rows * 16 // 9).bit_length())
