"""Up to where the log was acknowledged, kept beside it: what tells an end that is missing from one that never was."""

from __future__ import annotations

import os
import struct
from pathlib import Path

__all__ = ["Mark"]

_MARK = struct.Struct("<QQ")
_MARK_CHECK = 0x5A5A_A5A5_0F0F_F0F0


class Mark:
    """A position in a small file whose sync is never waited for.

    It is written after the sync that it tells of, so that it may lag behind but never says too much. One that does not
    check is no mark.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, _MARK.size)
        position, check = _MARK.unpack(os.pread(self._file, _MARK.size, 0))
        self.position = position if position ^ _MARK_CHECK == check else 0
        """What it said when it was opened; 0 where it said nothing."""

    def set(self, position: int) -> None:
        """Remember that the log is on disk up to here."""
        os.pwrite(self._file, _MARK.pack(position, position ^ _MARK_CHECK), 0)

    def close(self) -> None:
        os.close(self._file)
