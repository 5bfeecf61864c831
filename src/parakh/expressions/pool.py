"""The words that programs read beside the columns: lists, tables, time zone, constants of IN, remembered texts.

All programs of an engine share one pool. A segment may be replaced by one of another size at any time, so instructions
hold its number and the kernel finds its offset: a change of a list is seen by the very next event.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Pool", "Words"]

Words = npt.NDArray[np.int64]


class Pool:
    """Numbered segments in one int64 array; `data` and `offsets` are replaced when they grow.

    >>> pool = Pool()
    >>> number = pool.add(np.array([3, 4], dtype=np.int64))
    >>> pool.replace(number, np.array([5, 6, 7], dtype=np.int64))
    >>> pool.segment(number).tolist()
    [5, 6, 7]
    """

    def __init__(self) -> None:
        self.data: Words = np.zeros(1024, dtype=np.int64)
        self.offsets: Words = np.zeros(16, dtype=np.int64)
        self._sizes: list[int] = []
        self._free: list[int] = []
        self._used = 0
        self._live = 0

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.offsets.nbytes

    def segment(self, number: int) -> Words:
        """A view of a segment; valid until the pool next changes."""
        start = int(self.offsets[number])
        return self.data[start : start + self._sizes[number]]

    def add(self, words: Words) -> int:
        """A new segment; returns its number."""
        if self._free:
            number = self._free.pop()
        else:
            number = len(self._sizes)
            self._sizes.append(0)
            if number >= len(self.offsets):
                self.offsets = np.concatenate((self.offsets, np.zeros_like(self.offsets)))
        self.replace(number, words)
        return number

    def replace(self, number: int, words: Words) -> None:
        """Other words, of any size, for a segment."""
        size = len(words)
        if size > self._sizes[number]:
            self._live -= self._sizes[number]
            self._sizes[number] = 0
            if self._used + size > len(self.data):
                self._compact(size)
            self.offsets[number] = self._used
            self._used += size
        else:
            self._live -= self._sizes[number]
        self._sizes[number] = size
        self._live += size
        self.segment(number)[:] = words

    def release(self, number: int) -> None:
        """Give a segment's room back."""
        self._live -= self._sizes[number]
        self._sizes[number] = 0
        self._free.append(number)

    def _compact(self, wanted: int) -> None:
        """Move what lives to the front of an array that has room for twice as much."""
        data = np.zeros(max(1024, 2 * (self._live + wanted)), dtype=np.int64)
        at = 0
        for number, size in enumerate(self._sizes):
            data[at : at + size] = self.segment(number)
            self.offsets[number] = at
            at += size
        self.data, self._used = data, at
