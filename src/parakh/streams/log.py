"""The embedded log: entries in one order, on disk before anybody is told, many of them in one sync.

One thread appends; a writer thread takes all that waits, writes it with one call, syncs once and says up to where the
log is durable. A short entry for which nothing waits may be written by the thread that appends it: to wake another up
and to be told by it costs more than a fast disk's sync. A disk that is full is waited for, with what waits kept; any
other failure of a write or a sync is final, since a second sync may succeed without the data.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from parakh.errors import ParakhError
from parakh.streams.disk import Disk
from parakh.streams.failpoints import reach
from parakh.streams.giving_way import give_way
from parakh.streams.mark import Mark
from parakh.streams.reader import LogReader
from parakh.streams.segments import (
    HEADER,
    DamagedLog,
    Entry,
    frame,
    frame_size,
    scan,
    segment_header,
    segment_name,
    segment_start,
)

__all__ = ["SEGMENT_BYTES", "EmbeddedLog", "LogFailed"]

SEGMENT_BYTES = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AGAIN_S = 0.5
_SLOW_S = 0.002
_BEGUN, _DONE = 1 / 8, 3 / 4
"""The next segment is begun when this one is so full, and is to be there when it is that full."""
_OF_LATE = 16
"""Where a write has usually taken longer, over about so many of late, the writer has them all."""
_logger = logging.getLogger("parakh.log")


class LogFailed(ParakhError):
    """The log could not be written: nothing is acknowledged any more, and the process must be started again."""


class EmbeddedLog:
    """A log in a folder. `append` is for one thread; reading, and everything else, for any.

    `verify_from` is the position from which all entries are checked when the log is opened (the segment's that has it,
    and those after it); what lies before is checked when it is read. Raises DamagedLog where what was acknowledged is
    damaged or missing. Entries of at most `own_bytes` are written by `append` itself where it can be. `on_failure` is
    called with what went wrong for good, in the thread that wrote.

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
        own_bytes: int = 0,
        disk: Disk | None = None,
        on_failure: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.folder = folder
        self.full = False
        self.failed: BaseException | None = None
        self.torn: int | None = None
        self.commits = 0
        self.own_s = 0.0
        """Seconds that `append` has written itself, all together."""
        self._own_bytes = own_bytes
        self._usually_s = 0.0
        self._segment_bytes = segment_bytes
        self._disk = disk or Disk()
        self._on_failure = on_failure
        self._callbacks: list[Callable[[int], object]] = []
        self._waiting: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        """Frames and where they end; None says that nothing comes after it."""
        self._told = threading.Condition()
        self._wait_for_it = 0
        self._closing = False
        self._spare: threading.Thread | None = None
        self._removal: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._mark = Mark(folder / "durable")
        starts = self._found()
        self.end = self._checked(starts, verify_from)
        self._reader = LogReader(folder, starts, durable=self.end)
        self._mark.set(self.end)
        self._file = os.open(self._path(starts[-1]), os.O_RDWR)
        self._room = os.fstat(self._file).st_size
        self._writer = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._writer.start()

    # -- appending ----------------------------------------------------------------------------------------------------

    def append(self, kind: int, payload: bytes, *, arrived_us: int) -> int:
        """Put an entry at the end; answers the position after it, up to which `durable` must come before it counts.

        One that `append` wrote itself is durable when it returns. Raises LogFailed where the log is no longer written.
        """
        if self.failed is not None:
            raise LogFailed(f"the log cannot be written: {self.failed}") from self.failed
        position, durable = self.end, self.durable
        data = frame(kind, payload, position=position, durable=durable, arrived_us=arrived_us)
        self.end += len(data)
        if durable != position or len(data) > self._own_bytes or not self._written_here(data, position):
            self._waiting.put((data, self.end))
        return self.end

    def _written_here(self, data: bytes, position: int) -> bool:
        """Write an entry in the thread that appends; False where that is left to the writer.

        All before it is durable: the writer has nothing in its hands, and waits. Until then it may begin another
        segment.
        """
        if self._usually_s > _SLOW_S:
            return False
        start = self._reader.starts[-1]
        if position + len(data) > start + self._room - HEADER:
            return False
        began = time.perf_counter()
        reach("log.before_write")
        try:
            self._put(data, HEADER + position - start)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                return False
            self._fail(error)
            raise LogFailed(f"the log cannot be written: {error}") from error
        self._committed(position + len(data))
        self.own_s += time.perf_counter() - began
        return True

    def on_durable(self, callback: Callable[[int], object]) -> None:
        """Have `callback(position)` called, in the writer thread, each time it has put more of the log on disk."""
        self._callbacks.append(callback)

    def wait(self, position: int) -> None:
        """Wait until the log is durable up to a position. Raises LogFailed."""
        with self._told:
            self._wait_for_it += 1
            try:
                while self.durable < position:
                    if self.failed is not None:
                        raise LogFailed(f"the log cannot be written: {self.failed}") from self.failed
                    self._told.wait(1.0)
            finally:
                self._wait_for_it -= 1

    def close(self) -> None:
        """Write what waits, and stop."""
        self._closing = True
        self._waiting.put(None)
        self._writer.join()
        for thread in (self._spare, self._removal):
            if thread is not None:
                thread.join()
        self._reader.close()
        os.close(self._file)
        self._mark.close()

    def __enter__(self) -> EmbeddedLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def durable(self) -> int:
        """All entries that end at or before this position are on disk."""
        return self._reader.durable

    @property
    def first(self) -> int:
        """The position of the oldest entry that is kept."""
        return self._reader.starts[0]

    @property
    def nbytes(self) -> int:
        """Bytes of entries kept."""
        return self.end - self.first

    def read(self, position: int, limit_bytes: int = 1 << 20) -> list[Entry]:
        """Whole durable entries from a position on; see `LogReader.read`."""
        return self._reader.read(position, limit_bytes)

    def follow(self, position: int) -> Iterator[Entry]:
        """Every durable entry from a position on, until there is none."""
        return self._reader.follow(position)

    def segments(self) -> list[Path]:
        """The files of the log, the oldest first."""
        return [self._path(start) for start in self._reader.starts]

    def trim(self, position: int) -> int:
        """Remove the segments that end at or before a position; answers where the log begins now.

        Their space is given back little by little, in a thread of its own.
        """
        old: list[Path] = []
        while len(self._reader.starts) > 1 and self._reader.starts[1] <= position:
            path = self._path(self._reader.drop_oldest())
            old.append(path.rename(path.with_suffix(".old")))
            reach("log.trimmed")
        self._disk.sync_folder(self.folder)
        if self._removal is not None:
            self._removal.join()
        self._removal = threading.Thread(target=self._remove, args=(old,), name="old segments", daemon=True)
        self._removal.start()
        return self.first

    def _remove(self, paths: list[Path]) -> None:
        give_way()
        for path in paths:
            # One that cannot be removed now is found by the next start.
            with contextlib.suppress(OSError):
                self._disk.remove(path)

    def _path(self, start: int) -> Path:
        return self.folder / segment_name(start)

    # -- opening ------------------------------------------------------------------------------------------------------

    def _found(self) -> tuple[int, ...]:
        for left in (*self.folder.glob("*.new"), *self.folder.glob("*.old")):
            left.unlink()
        starts = sorted(segment_start(path) for path in self.folder.glob("*.log"))
        if not starts:
            if self._mark.position:
                raise DamagedLog(
                    f"the log was acknowledged up to {self._mark.position:,}, and its files are gone; restore a backup"
                )
            self._disk.make(self._path(0), segment_header(0), HEADER + self._segment_bytes)
            starts = [0]
        return tuple(starts)

    def _checked(self, starts: tuple[int, ...], verify_from: int) -> int:
        """Where the log ends; every segment from `verify_from` on is checked, and a torn end cut off."""
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
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failed = error
        self._tell()
        _logger.error("the log cannot be written", extra={"error": type(error).__name__})
        if self._on_failure is not None:
            self._on_failure(error)

    def _next_group(self) -> list[tuple[bytes, int]] | None:
        """All that waits, at least one; None where the log is closed."""
        group: list[tuple[bytes, int]] = []
        while not group or not self._waiting.empty():
            item = self._waiting.get()
            if item is None:
                self._waiting.put(None)  # for the next time, if something came before it
                return group or None
            group.append(item)
        return group

    def _tell(self) -> None:
        """Wake up who waits for the log. Who begins to wait afterwards sees first how it stands."""
        if self._wait_for_it:
            with self._told:
                self._told.notify_all()

    def _commit(self, group: list[tuple[bytes, int]]) -> None:
        """Write a group and sync it; one that does not fit the segment is divided."""
        while group:
            start = self._reader.starts[-1]
            position = group[0][1] - len(group[0][0])
            most = start + self._room - HEADER
            fit = sum(1 for _, end in group if end <= most)
            if fit == 0:
                self._roll(position, len(group[0][0]))
                continue
            data = b"".join([item for item, _ in group[:fit]])
            reach("log.before_write")
            self._until_there_is_room(partial(self._put, data, HEADER + position - start))
            durable = group[fit - 1][1]
            group = group[fit:]
            self._committed(durable)
            for callback in self._callbacks:
                callback(durable)

    def _committed(self, durable: int) -> None:
        """The log is on disk up to here: the last thing that is done with the file before the other thread may."""
        self.commits += 1
        self._mark.set(durable)
        self._prepare(durable)
        self._reader.durable = durable
        self._tell()

    def _put(self, data: bytes, offset: int) -> None:
        began = time.perf_counter()
        self._disk.write_through(self._file, data, offset)
        self._usually_s += (time.perf_counter() - began - self._usually_s) / _OF_LATE
        reach("log.written")

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
        start = self._reader.starts[-1]
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
        self._reader.starts = (*self._reader.starts, position)

    def _prepare(self, durable: int) -> None:
        """Make the next segment ahead, in a thread of its own, soon after this one was begun.

        With pauses it takes a second, and at 60,000 events a second a segment is full after one: where the next one is
        not there yet, all who ask wait for it. So it is made without pauses where it falls behind.
        """
        start, room = self._reader.starts[-1], self._room - HEADER
        if self._spare is not None or durable - start < _BEGUN * room:
            return
        if (self.folder / "spare").exists():
            return

        begun = self.end - start

        def has_time(made: float) -> bool:
            return self.end - start - begun <= max(_DONE * room - begun, 0) * made

        def make() -> None:
            # Where the disk is full now, the writer finds out when it needs the room.
            with contextlib.suppress(OSError):
                self._disk.make(self.folder / "spare", bytes(HEADER), HEADER + self._segment_bytes, has_time=has_time)

        self._spare = threading.Thread(target=make, name="next segment", daemon=True)
        self._spare.start()
