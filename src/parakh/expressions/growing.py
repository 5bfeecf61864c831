"""Arrays that grow to gigabytes in the middle of traffic, and stay where they are.

A system gives memory when it is touched: addresses for all that an array may ever hold cost nothing. An array of 300 MB
that had to be moved to grow by an eighth took 110 ms for it, and callers waited.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

__all__ = ["Growing"]

_SMALL = 1 << 20  # words; what is smaller is copied in a millisecond
_MOST = 1 << 33  # words


class Growing:
    """The memory of one array, which may come to hold `most` words.

    >>> memory = Growing(most=10**9)
    >>> words = memory.to(3)
    >>> words[:] = 1, 2, 3
    >>> memory.to(5).tolist()
    [1, 2, 3, 0, 0]
    """

    __slots__ = ("_most", "_room", "_used")

    def __init__(self, most: int) -> None:
        self._most = min(most, _MOST)
        self._room = np.zeros(0, np.int64)
        self._used = 0

    def to(self, words: int) -> npt.NDArray[np.int64]:
        """int64[words]: all that it was given before, no more than now, and zeros behind. Raises MemoryError."""
        if words > len(self._room):
            room = np.zeros(words, np.int64) if words <= _SMALL else self._reserved(words)
            room[: self._used] = self._room[: self._used]
            self._room = room
        self._used = words
        return self._room[:words]

    def _reserved(self, words: int) -> npt.NDArray[np.int64]:
        """Zeros, with addresses for as many as there may ever be; for fewer where the system has not so many."""
        room = max(words, self._most)
        while True:
            try:
                memory = mmap.mmap(-1, 8 * room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                break
            except OSError:
                if room == words:
                    raise MemoryError(f"there is no memory for {8 * words:,} bytes") from None
                room = max(words, room // 4)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # what is looked up next is anywhere in it, on another page
            memory.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(memory, np.int64)
