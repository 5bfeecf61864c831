"""The embedded log: entries in one order, on disk before anybody is told, many of them in one sync.

One thread appends; a writer thread takes all that waits, writes it with one call, syncs once and says up to where the
log is durable. A disk that is full is waited for, with what waits kept; any other failure of a write or a sync is
final, since a second sync may succeed without the data.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from parakh.errors import ParakhError
from parakh.streams.disk import Disk
from parakh.streams.failpoints import reach
from parakh.streams.segments import (
    FRAME,
    HEADER,
    DamagedLog,
    Entry,
    frame,
    frame_size,
    read_frame,
    scan,
    segment_header,
    segment_name,
    segment_start,
    wanted_size,
)

__all__ = ["SEGMENT_BYTES", "EmbeddedLog", "LogFailed"]

SEGMENT_BYTES = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AGAIN_S = 0.5
_MARK = struct.Struct("<QQ")
_MARK_CHECK = 0x5A5A_A5A5_0F0F_F0F0
_logger = logging.getLogger("parakh.log")


class LogFailed(ParakhError):
    """The log could not be written: nothing is acknowledged any more, and the process must be started again."""


class EmbeddedLog:
    """A log in a folder. `append` is for one thread; reading, and everything else, for any.

    `verify_from` is the position from which all entries are checked when the log is opened (the segment's that has it,
    and those after it); what lies before is checked when it is read. Raises DamagedLog where what was acknowledged is
    damaged or missing. `on_failure` is called in the writer thread with what went wrong for good.

    >>> import tempfile
    >>> with EmbeddedLog(Path(tempfile.mkdtemp()), segment_bytes=1 << 16) as log:
    ...     end = log.append(1, b"first", arrived_us=0)
    ...     log.wait(end)
    ...     [bytes(entry.payload) for entry in log.read(0)]
    [b'first']
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        verify_from: int = 0,
        disk: Disk | None = None,
        on_failure: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.folder = folder
        self.full = False
        self.failed: BaseException | None = None
        self.torn: int | None = None
        self.commits = 0
        self._segment_bytes = segment_bytes
        self._disk = disk or Disk()
        self._on_failure = on_failure
        self._callbacks: list[Callable[[int], object]] = []
        self._waiting: list[tuple[bytes, int]] = []
        self._condition = threading.Condition()
        self._readers: dict[int, int] = {}
        self._reading = threading.Lock()
        self._closing = False
        self._spare: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._mark = _Mark(folder / "durable")
        self._starts = self._found()
        self.end = self.durable = self._checked(verify_from)
        self._mark.set(self.durable)
        self._file = os.open(self._path(self._starts[-1]), os.O_RDWR)
        self._room = os.fstat(self._file).st_size
        self._writer = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._writer.start()

    # -- appending ----------------------------------------------------------------------------------------------------

    def append(self, kind: int, payload: bytes, *, arrived_us: int) -> int:
        """Put an entry at the end; answers the position after it, up to which `durable` must come before it counts.

        Raises LogFailed where the log is no longer written.
        """
        if self.failed is not None:
            raise LogFailed(f"the log cannot be written: {self.failed}") from self.failed
        data = frame(kind, payload, position=self.end, durable=self.durable, arrived_us=arrived_us)
        with self._condition:
            self.end += len(data)
            self._waiting.append((data, self.end))
            self._condition.notify_all()
        return self.end

    def on_durable(self, callback: Callable[[int], object]) -> None:
        """Have `callback(position)` called, in the writer thread, each time more of the log is on disk."""
        self._callbacks.append(callback)

    def wait(self, position: int) -> None:
        """Wait until the log is durable up to a position. Raises LogFailed."""
        with self._condition:
            while self.durable < position:
                if self.failed is not None:
                    raise LogFailed(f"the log cannot be written: {self.failed}") from self.failed
                self._condition.wait(1.0)

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._writer.join()
        if self._spare is not None:
            self._spare.join()
        for file in self._readers.values():
            os.close(file)
        self._readers.clear()
        os.close(self._file)
        self._mark.close()

    def __enter__(self) -> EmbeddedLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The position of the oldest entry that is kept."""
        return self._starts[0]

    @property
    def nbytes(self) -> int:
        """Bytes of entries kept."""
        return self.end - self.first

    def read(self, position: int, limit_bytes: int = 1 << 20) -> list[Entry]:
        """Whole entries from `position` on that are durable, about `limit_bytes` of them but one at least.

        Raises DamagedLog where an entry cannot be read, IndexError where the position is no longer kept.
        """
        durable = self.durable
        if position >= durable:
            return []
        starts = self._starts
        if position < starts[0]:
            raise IndexError(f"position {position:,} is no longer in the log, which begins at {starts[0]:,}")
        number = max(index for index, start in enumerate(starts) if start <= position)
        start = starts[number]
        stop = min(durable, starts[number + 1] if number + 1 < len(starts) else durable)
        size = min(limit_bytes, stop - position)
        data = memoryview(self._bytes(start, position, size))
        if (first := wanted_size(data, 0)) > len(data) and position + first <= stop:
            data = memoryview(self._bytes(start, position, first))
        entries: list[Entry] = []
        at = position
        while at < stop and (entry := read_frame(data, at - position, at)) is not None:
            entries.append(entry)
            at = entry.next
        if not entries or (at < stop and len(data) - (at - position) >= max(FRAME, wanted_size(data, at - position))):
            raise DamagedLog(
                f"{segment_name(start)}: the entry at position {at:,} (byte {HEADER + at - start:,} of the file) is "
                "damaged; restore the log from a backup"
            )
        return entries

    def follow(self, position: int, limit_bytes: int = 1 << 22) -> Iterator[Entry]:
        """Every durable entry from `position` on, until there is none."""
        while entries := self.read(position, limit_bytes):
            yield from entries
            position = entries[-1].next

    def trim(self, position: int) -> int:
        """Remove the segments that end at or before a position; answers where the log begins now."""
        while len(self._starts) > 1 and self._starts[1] <= position:
            gone = self._starts[0]
            self._starts = self._starts[1:]
            with self._reading, contextlib.suppress(KeyError):
                os.close(self._readers.pop(gone))
            self._path(gone).unlink()
            reach("log.trimmed")
        self._disk.sync_folder(self.folder)
        return self.first

    def segments(self) -> list[Path]:
        """The files of the log, the oldest first."""
        return [self._path(start) for start in self._starts]

    def _bytes(self, start: int, position: int, size: int) -> bytes:
        with self._reading:
            file = self._readers.get(start)
            if file is None:
                file = self._readers[start] = os.open(self._path(start), os.O_RDONLY)
            return os.pread(file, size, HEADER + position - start)

    def _path(self, start: int) -> Path:
        return self.folder / segment_name(start)

    # -- opening ------------------------------------------------------------------------------------------------------

    def _found(self) -> tuple[int, ...]:
        for unfinished in self.folder.glob("*.new"):
            unfinished.unlink()
        starts = sorted(segment_start(path) for path in self.folder.glob("*.log"))
        if not starts:
            if self._mark.position:
                raise DamagedLog(
                    f"the log was acknowledged up to {self._mark.position:,}, and its files are gone; restore a backup"
                )
            self._disk.make(self._path(0), segment_header(0), HEADER + self._segment_bytes)
            starts = [0]
        return tuple(starts)

    def _checked(self, verify_from: int) -> int:
        """Where the log ends; every segment from `verify_from` on is checked, and a torn end cut off."""
        starts = self._starts
        # The last file may be one that was made ahead and holds nothing yet.
        end = starts[0]
        for number, start in enumerate(starts):
            path = self._path(start)
            last = number + 1 == len(starts)
            if start != end:
                raise DamagedLog(f"the log has a gap: nothing stands between {end:,} and {start:,}; restore a backup")
            following = None if last else starts[number + 1]
            if following is not None and following <= verify_from:
                if path.stat().st_size != HEADER + following - start:
                    raise DamagedLog(f"{path.name} has not the length it was sealed with; restore a backup")
                end = following
                continue
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                view = memoryview(mapped)
                try:
                    found = scan(view, start, path.name, acknowledged=self._mark.position, last=last)
                    torn = bytes(view[HEADER + found.end - start :]).rstrip(b"\0") if found.torn else b""
                finally:
                    view.release()
            if torn:
                self._cut(path, start, found.end, torn)
            end = found.end
            if not last and path.stat().st_size != HEADER + end - start:
                self._disk.cut(path, HEADER + end - start)
        return end

    def _cut(self, path: Path, start: int, end: int, torn: bytes) -> None:
        """Put aside what was never acknowledged, and zeros in its place."""
        aside = self.folder / f"torn-{end:020d}.bin"
        aside.write_bytes(torn)
        self.torn = end
        _logger.warning(
            "the end of the log was torn; it was never acknowledged, and is put aside",
            extra={"position": end, "bytes": len(torn), "file": aside.name},
        )
        file = os.open(path, os.O_RDWR)
        try:
            self._disk.write(file, bytes(len(torn)), HEADER + end - start)
            os.fsync(file)
        finally:
            os.close(file)

    # -- the writer thread --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._commit(group)
        except BaseException as error:
            with self._condition:
                self.failed = error
                self._condition.notify_all()
            _logger.error("the log cannot be written", extra={"error": type(error).__name__})
            if self._on_failure is not None:
                self._on_failure(error)

    def _next_group(self) -> list[tuple[bytes, int]] | None:
        with self._condition:
            while not self._waiting and not self._closing:
                self._condition.wait()
            group, self._waiting = self._waiting, []
        return group or None

    def _commit(self, group: list[tuple[bytes, int]]) -> None:
        """Write a group and sync it; one that does not fit the segment is divided."""
        while group:
            start = self._starts[-1]
            position = group[0][1] - len(group[0][0])
            most = start + self._room - HEADER
            fit = sum(1 for _, end in group if end <= most)
            if fit == 0:
                self._roll(position, len(group[0][0]))
                continue
            data = b"".join([item for item, _ in group[:fit]])
            reach("log.before_write")
            self._until_there_is_room(partial(self._put, data, HEADER + position - start))
            reach("log.synced")
            durable = group[fit - 1][1]
            group = group[fit:]
            self.commits += 1
            self._mark.set(durable)
            with self._condition:
                self.durable = durable
                self._condition.notify_all()
            for callback in self._callbacks:
                callback(durable)
            self._prepare(durable)

    def _put(self, data: bytes, offset: int) -> None:
        self._disk.write(self._file, data, offset)
        reach("log.written")
        self._disk.sync(self._file)

    def _until_there_is_room(self, write: Callable[[], object]) -> None:
        """Do something that may find the disk full, again and again until it is done; what waits is kept meanwhile."""
        while True:
            try:
                write()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if not self.full:
                    _logger.error("the disk is full; nothing is acknowledged until there is room")
                self.full = True
                if self._closing:
                    raise
                time.sleep(_AGAIN_S)
            else:
                if self.full:
                    _logger.warning("there is room on the disk again")
                self.full = False
                return

    def _roll(self, position: int, size: int) -> None:
        """Seal the segment and go on in the next one, which is most often there already."""
        if self._spare is not None:
            self._spare.join()
            self._spare = None
        path = self._path(position)
        room = HEADER + max(self._segment_bytes, frame_size(size))
        spare = self.folder / "spare"
        start = self._starts[-1]
        self._disk.cut(self._path(start), HEADER + position - start)
        reach("log.segment_sealed")
        if spare.exists() and spare.stat().st_size >= room:
            file = os.open(spare, os.O_RDWR)
            self._disk.write(file, segment_header(position), 0)
            os.fsync(file)
            os.close(file)
            os.rename(spare, path)
            self._disk.sync_folder(self.folder)
        else:
            self._until_there_is_room(partial(self._disk.make, path, segment_header(position), room))
        reach("log.segment_made")
        os.close(self._file)
        self._file = os.open(path, os.O_RDWR)
        self._room = os.fstat(self._file).st_size
        self._starts = (*self._starts, position)

    def _prepare(self, durable: int) -> None:
        """Make the next segment ahead, in a thread of its own, when this one is half full."""
        if self._spare is not None or durable - self._starts[-1] < (self._room - HEADER) // 2:
            return
        if (self.folder / "spare").exists():
            return

        def make() -> None:
            # Where the disk is full now, the writer finds out when it needs the room.
            with contextlib.suppress(OSError):
                self._disk.make(self.folder / "spare", bytes(HEADER), HEADER + self._segment_bytes)

        self._spare = threading.Thread(target=make, name="next segment", daemon=True)
        self._spare.start()


class _Mark:
    """Up to where the log was acknowledged, kept in a small file that is never waited for.

    It is written after the sync that it tells of, so that it may lag behind but never says too much. One that does not
    check is no mark.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, _MARK.size)
        position, check = _MARK.unpack(os.pread(self._file, _MARK.size, 0))
        self.position = position if position ^ _MARK_CHECK == check else 0

    def set(self, position: int) -> None:
        os.pwrite(self._file, _MARK.pack(position, position ^ _MARK_CHECK), 0)

    def close(self) -> None:
        os.close(self._file)
