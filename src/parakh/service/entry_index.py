"""Where in the log the entry of each held event stands: two words an entry, since events are held in log order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EntryIndex"]


class EntryIndex:
    """The first held row and the position of each EVENTS entry.

    >>> index = EntryIndex()
    >>> index.add(0, 0); index.add(3, 900); index.add(4, 1500)
    >>> index.find(2), index.find(3), index.find(9), index.rows_before(1500, 10), index.rows_before(1501, 10)
    (0, 900, 1500, 4, 10)
    """

    __slots__ = ("_count", "_table")

    def __init__(self) -> None:
        self._table = np.empty((1 << 10, 2), np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        return self._table.nbytes

    def add(self, first_row: int, position: int) -> None:
        """Note an entry whose events are held from `first_row` on."""
        if self._count == len(self._table):
            self._table.resize((self._count * 5 // 4, 2), refcheck=False)
        self._table[self._count, 0] = first_row
        self._table[self._count, 1] = position
        self._count += 1

    def find(self, row: int) -> int:
        """The position of the entry of the event in a row."""
        return int(self._table[np.searchsorted(self._table[: self._count, 0], row, side="right") - 1, 1])

    def rows_before(self, position: int, held: int) -> int:
        """How many of the `held` rows are of entries before a position."""
        at = int(np.searchsorted(self._table[: self._count, 1], position))
        return int(self._table[at, 0]) if at < self._count else held

    def forget(self, rows: int) -> None:
        """Leave out the entries of the first `rows` rows; the others move down."""
        at = int(np.searchsorted(self._table[: self._count, 0], rows))
        kept = self._table[at : self._count].copy()
        kept[:, 0] -= rows
        self._table[: len(kept)] = kept
        self._count = len(kept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a snapshot keeps (a view)."""
        return {"entries": self._table[: self._count]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> EntryIndex:
        """The index that `arrays` was taken from."""
        self = cls()
        table = np.asarray(arrays["entries"], np.int64)
        self._table = np.empty((max(1 << 10, len(table)), 2), np.int64)
        self._table[: len(table)] = table
        self._count = len(table)
        return self
