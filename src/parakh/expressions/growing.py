"""Arrays that grow to gigabytes in the middle of traffic, and stay where they are.

A system gives memory when it is touched: addresses for all that an array may ever hold cost nothing. An array of 300 MB
that had to be moved to grow by an eighth took 110 ms for it, and callers waited. It is moved where addresses count.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Growing"]

_SMALL = 1 << 20  # words; what is smaller is copied in a millisecond
_COUNTED = Path("/proc/sys/vm/overcommit_memory")


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
        self._most = most
        self._room = np.zeros(0, np.int64)
        self._used = 0

    def to(self, words: int) -> npt.NDArray[np.int64]:
        """int64[words], which are no fewer than before: what they were, and zeros behind. Raises MemoryError."""
        assert words >= self._used, "it only grows"
        if words > len(self._room):
            room = np.zeros(words, np.int64) if words <= _SMALL else self._reserved(words)
            room[: self._used] = self._room[: self._used]
            self._room = room
        self._used = words
        return self._room[:words]

    def _reserved(self, words: int) -> npt.NDArray[np.int64]:
        """Zeros, with addresses for as many as there may ever be, or for half as many again where those are counted."""
        try:
            memory = _mapped(max(words + words // 2, min(self._most, _free_words())))
        except OSError:
            try:
                memory = _mapped(words)
            except OSError:
                raise MemoryError(f"there is no memory for {8 * words:,} bytes") from None
        # What is looked up next is anywhere in it: on another page, unless those are large. Not every kernel has them.
        with contextlib.suppress(AttributeError, OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(memory, np.int64)


def _mapped(words: int) -> mmap.mmap:
    return mmap.mmap(-1, 8 * words, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@cache
def _free_words() -> int:
    """For how many words of one array addresses cost nothing: as much as the machine has, or none where they count."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return 0
    with contextlib.suppress(OSError):
        if _COUNTED.read_text().strip() == "2":
            return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
