"""What the log asks of a disk, in one place, so that a test can give it one that is full, or that fails."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["PIECE", "Disk"]

PIECE = 1 << 17
"""What is written and synced at once of a large file, so that commits beside it need not wait for long."""
_GIVEN_BACK = 4 << 20
_ZEROS = bytes(PIECE)
_DSYNC = getattr(os, "RWF_DSYNC", 0)


class Disk:
    """The operating system's disk."""

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write all of `data`; the system may take it in pieces."""
        view = memoryview(data)
        while view:
            count = os.pwrite(file, view, offset)
            view = view[count:]
            offset += count

    def write_through(self, file: int, data: bytes, offset: int) -> None:
        """Write all of `data` and wait until it is on disk: with one call of the system, where it has such a one.

        Each call gives the interpreter's lock away, and a busy event loop takes its time to give it back.
        """
        written = 0
        if _DSYNC:
            try:
                written = os.pwritev(file, [data], offset, _DSYNC)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        if written < len(data):
            self.write(file, data[written:], offset + written)
            os.fdatasync(file)

    def make(self, path: Path, header: bytes, size: int, *, has_time: Callable[[float], bool] | None = None) -> None:
        """A new file of `size` zeros behind its header, on disk before it has its name.

        Blocks that were written once are synced faster, and a disk that is full is noticed here. They are written in
        pieces, each synced, since a disk whose queue is full makes the log's own writes wait. While the file `has_time`
        - it is asked with how much of it there is, 0 to 1 - the disk is left to those for half of the time: a commit
        then takes 1.3 ms at the 99th percentile of a probe, else 16.
        """
        partial = path.with_suffix(".new")
        file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.write(file, header, 0)
            for offset in range(len(header), size, len(_ZEROS)):
                began = time.perf_counter()
                self.write(file, _ZEROS[: min(len(_ZEROS), size - offset)], offset)
                os.fdatasync(file)
                if has_time is not None and has_time(offset / size):
                    time.sleep(time.perf_counter() - began)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(partial, path)
        self.sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a large file in steps, with pauses.

        A disk that is told at once of hundreds of free megabytes does nothing else meanwhile: a commit waits for 25 to
        45 ms. In steps it takes 2 ms at most.
        """
        file = os.open(path, os.O_RDWR)
        try:
            for size in range(os.fstat(file).st_size - _GIVEN_BACK, 0, -_GIVEN_BACK):
                began = time.perf_counter()
                os.ftruncate(file, size)
                os.fdatasync(file)
                time.sleep(time.perf_counter() - began)
        finally:
            os.close(file)
        path.unlink()

    def cut(self, path: Path, size: int) -> None:
        """Shorten a file for good."""
        file = os.open(path, os.O_RDWR)
        try:
            os.ftruncate(file, size)
            os.fsync(file)
        finally:
            os.close(file)

    def sync_folder(self, folder: Path) -> None:
        """Make names in a folder last."""
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
