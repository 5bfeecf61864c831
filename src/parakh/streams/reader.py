"""The log as it is read: by the process that writes it, and by others that build state from it."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from parakh.streams.segments import (
    FRAME,
    HEADER,
    DamagedLog,
    Entry,
    read_frame,
    segment_name,
    segment_start,
    wanted_size,
)

__all__ = ["LogReader"]

_FOLLOWED_BYTES = 1 << 22


class LogReader:
    """Reads entries of a folder of segments, each checked; for any number of threads.

    `starts` are the positions at which segments begin, `durable` is up to where entries are read.
    """

    def __init__(self, folder: Path, starts: tuple[int, ...], *, durable: int) -> None:
        self.folder = folder
        self.starts = starts
        self.durable = durable
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, folder: Path, *, durable: int) -> LogReader:
        """A reader beside the process that writes: it reads up to `durable`, which that process said was on disk."""
        starts = tuple(sorted(segment_start(path) for path in folder.glob("*.log")))
        if not starts:
            raise DamagedLog(f"{folder} holds no log")
        return cls(folder, starts, durable=durable)

    def read(self, position: int, limit_bytes: int = 1 << 20) -> list[Entry]:
        """Whole entries from `position` on that are durable, about `limit_bytes` of them but one at least.

        Raises DamagedLog where an entry cannot be read, IndexError where the position is no longer kept.
        """
        durable, starts = self.durable, self.starts
        if position >= durable:
            return []
        if position < starts[0]:
            raise IndexError(f"position {position:,} is no longer in the log, which begins at {starts[0]:,}")
        number = bisect.bisect_right(starts, position) - 1
        start = starts[number]
        stop = min(durable, starts[number + 1] if number + 1 < len(starts) else durable)
        data = memoryview(self._bytes(start, position, min(max(limit_bytes, FRAME), stop - position)))
        if (first := wanted_size(data, 0)) > len(data) and position + first <= stop:
            data = memoryview(self._bytes(start, position, first))
        entries: list[Entry] = []
        at = position
        while at < stop and (entry := read_frame(data, at - position, at)) is not None:
            entries.append(entry)
            at = entry.next
        left = len(data) - (at - position)
        if not entries or (at < stop and left >= max(FRAME, wanted_size(data, at - position))):
            raise DamagedLog(
                f"{segment_name(start)}: the entry at position {at:,} (byte {HEADER + at - start:,} of the file) is "
                "damaged; restore the log from a backup"
            )
        return entries

    def follow(self, position: int) -> Iterator[Entry]:
        """Every durable entry from `position` on, until there is none."""
        while entries := self.read(position, _FOLLOWED_BYTES):
            yield from entries
            position = entries[-1].next

    def drop_oldest(self) -> int:
        """Leave the oldest segment out, which is about to be removed; answers where it begins."""
        with self._lock:
            gone, self.starts = self.starts[0], self.starts[1:]
            if gone in self._files:
                os.close(self._files.pop(gone))
        return gone

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files.clear()

    def _bytes(self, start: int, position: int, size: int) -> bytes:
        with self._lock:
            file = self._files.get(start)
            if file is None:
                file = self._files[start] = os.open(self.folder / segment_name(start), os.O_RDONLY)
            return os.pread(file, size, HEADER + position - start)
