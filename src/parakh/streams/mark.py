"""Up to where the log was acknowledged, kept beside it: what tells an end that is missing from one that never was."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

__all__ = ["Mark", "read_mark"]

_MARK = struct.Struct("<QQ")
_TRIES = 100
_MARK_CHECK = 0x5A5A_A5A5_0F0F_F0F0


class Mark:
    """A position in a small file whose sync is never waited for.

    It is written after the sync that it tells of, so that it may lag behind but never says too much. One that does not
    check is no mark.
    """

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, _MARK.size)
            # Written as memory: no call of the system on the way of every commit.
            self._memory = mmap.mmap(file, _MARK.size)
        finally:
            os.close(file)
        self.position = self._read()
        """What it said when it was opened; 0 where it said nothing."""

    def _read(self) -> int:
        for _ in range(_TRIES):  # another process may be in the middle of setting it
            position, check = _MARK.unpack_from(self._memory)
            if position ^ _MARK_CHECK == check:
                return int(position)
        return 0

    def set(self, position: int) -> None:
        """Remember that the log is on disk up to here."""
        _MARK.pack_into(self._memory, 0, position, position ^ _MARK_CHECK)

    def close(self) -> None:
        self._memory.close()


def read_mark(path: Path) -> int:
    """What a mark says, without touching it; 0 where there is none, or none that checks."""
    try:
        with path.open("rb") as file:
            for _ in range(_TRIES):
                file.seek(0)
                data = file.read(_MARK.size)
                if len(data) == _MARK.size:
                    position, check = _MARK.unpack(data)
                    if position ^ _MARK_CHECK == check:
                        return int(position)
    except FileNotFoundError:
        return 0
    return 0
