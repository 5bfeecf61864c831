"""Backups of a data directory, taken while it is served, and restores that prove what they bring back.

A backup is a folder of files with a manifest of their digests: the log up to where it was durable, the newest snapshot,
the versions of the project, the database of settings and the keys. The index is left out: it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from parakh.errors import InputError, ParakhError
from parakh.service.personal.vault import open_token_key
from parakh.service.recovery import recover
from parakh.service.snapshots import find_snapshots
from parakh.service.verify import Verified, verify_decisions, verify_entries
from parakh.service.versions import Versions
from parakh.streams.log import EmbeddedLog
from parakh.streams.mark import Mark
from parakh.streams.reader import LogReader
from parakh.streams.segments import HEADER, segment_name

__all__ = ["BackedUp", "Restored", "back_up", "restore", "verify"]

MANIFEST = "backup.json"
_PIECE = 1 << 20
Progress = Callable[[str, int, int | None], object]
"""Called with what is done, how far, and the whole (None where it is not known)."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds: the log up to `position`, so many files of so many bytes together."""

    folder: Path
    position: int
    files: int
    nbytes: int
    has_master_key: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back and found."""

    position: int
    events_held: int
    verified: Verified
    made_again: bool  # every decision; not where the log's old end was let go


def back_up(data: Path, target: Path, *, master_key: bool = True, on_progress: Progress | None = None) -> BackedUp:
    """Copy a data directory, which may be served meanwhile, into a new folder.

    Raises InputError where there is no log, or the folder is not new.
    """
    if target.exists() and any(target.iterdir()):
        raise InputError(f"{target} is not empty; name a folder that is new")
    if not any((data / "log").glob("*.log")):
        raise InputError(f"{data} holds no log: it is not a data directory of `parakh serve`")
    # The mark is written after the sync that it tells of: what lies before it is on disk, and is never changed.
    position = _durable(data)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "log").mkdir(parents=True, mode=0o700)
    copied = 0
    for start, end in _stretches(data / "log", position):
        _copy_part(data / "log" / segment_name(start), partial / "log" / segment_name(start), HEADER + end - start)
        copied += end - start
        if on_progress is not None:
            on_progress("the log", copied, position)
    mark = Mark(partial / "log" / "durable")
    mark.set(position)
    mark.close()
    newest = next(find_snapshots(data / "snapshots", until=position), None)
    if newest is not None:
        shutil.copytree(newest.folder, partial / "snapshots" / newest.folder.name)
    for name in ("projects", "keys"):
        if (data / name).is_dir():
            shutil.copytree(data / name, partial / name, ignore=shutil.ignore_patterns("*.partial"))
    has_master = (partial / "keys" / "master.key").exists()
    if has_master and not master_key:
        (partial / "keys" / "master.key").unlink()
        has_master = False
    if (data / "service.toml").exists():
        shutil.copy2(data / "service.toml", partial / "service.toml")
    if (data / "service.db").exists():
        with apsw.Connection(str(data / "service.db"), flags=apsw.SQLITE_OPEN_READONLY) as source:
            destination = apsw.Connection(str(partial / "service.db"))
            with destination.backup("main", source, "main") as copying:
                copying.step()
            destination.close()
    digests = {path.relative_to(partial).as_posix(): _digest(path) for path in _files(partial)}
    (partial / MANIFEST).write_text(json.dumps({"format": 1, "position": position, "files": digests}, indent=1))
    for path in [*_files(partial), *(item for item in partial.rglob("*") if item.is_dir()), partial]:
        _sync(path)
    if target.exists():
        target.rmdir()
    partial.rename(target)
    _sync(target.parent)
    nbytes = sum(path.stat().st_size for path in _files(target))
    return BackedUp(target, position, len(digests), nbytes, has_master)


def restore(backup: Path, data: Path, *, decisions: bool = True, on_progress: Progress | None = None) -> Restored:
    """Bring a backup back into a new data directory, and prove it: digests, every entry, the state, every decision.

    Raises ParakhError where anything is not as it was; what was copied is removed then.
    """
    if data.exists() and any(data.iterdir()):
        raise InputError(f"{data} is not empty; a restore goes into a new directory")
    try:
        manifest = json.loads((backup / MANIFEST).read_text())
        wanted: dict[str, str] = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{backup} is not a backup of `parakh backup` ({type(error).__name__})") from None
    try:
        for number, (name, digest) in enumerate(wanted.items()):
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                shutil.copy2(backup / name, path)
            except OSError as error:
                raise ParakhError(f"{backup / name}: {error.strerror}; the backup is not whole") from None
            if _digest(path) != digest:
                raise ParakhError(f"{name} is not what was backed up: its digest differs")
            _sync(path)
            if on_progress is not None:
                on_progress("files", number + 1, len(wanted))
        return _proved(data, int(manifest["position"]), decisions=decisions, on_progress=on_progress)
    except ParakhError:
        shutil.rmtree(data, ignore_errors=True)
        raise


def verify(data: Path, *, decisions: bool, on_progress: Progress | None = None) -> Verified:
    """Check a data directory's log, which may be served meanwhile: its entries, or every decision made again."""
    if not any((data / "log").glob("*.log")):
        raise InputError(f"{data} holds no log: it is not a data directory of `parakh serve`")
    position = _durable(data)
    reader = LogReader.of(data / "log", durable=position)

    def progress(at: int) -> None:
        if on_progress is not None:
            on_progress("decisions" if decisions else "entries", at - reader.starts[0], position - reader.starts[0])

    try:
        if not decisions:
            return verify_entries(reader, on_progress=progress)
        return verify_decisions(reader, _versions(data), on_progress=progress)
    finally:
        reader.close()


def _proved(data: Path, position: int, *, decisions: bool, on_progress: Progress | None) -> Restored:
    with EmbeddedLog(data / "log") as log:
        if log.durable != position:
            raise ParakhError(f"the log ends at {log.durable:,}, not at {position:,} as it was backed up")
        reader = LogReader.of(data / "log", durable=position)
        state = recover(data, reader, _versions(data))
        reader.close()
    made_again = decisions and _is_whole(data)
    verified = verify(data, decisions=made_again, on_progress=on_progress)
    if verified.differing:
        raise ParakhError(
            f"{verified.differing:,} of {verified.decisions:,} decisions, made again, are others than those in the log "
            f"(the first at position {verified.first_differing[0][0]:,}); is this the version of Parakh that wrote it?"
        )
    return Restored(position, len(state.engine.ids) if state is not None else 0, verified, made_again)


def _is_whole(data: Path) -> bool:
    return (data / "log" / segment_name(0)).exists()


def _versions(data: Path) -> Versions:
    (data / "projects").mkdir(exist_ok=True, mode=0o700)
    return Versions(data / "projects", open_token_key(data, make=False).tokens().of)


def _durable(data: Path) -> int:
    mark = Mark(data / "log" / "durable")
    mark.close()
    if mark.position == 0:
        raise InputError(
            f"{data / 'log' / 'durable'} does not say how much of the log is on disk; start the service once"
        )
    return mark.position


def _stretches(folder: Path, position: int) -> Iterator[tuple[int, int]]:
    """(first, last) position of each segment before a position."""
    starts = sorted(int(path.name.removesuffix(".log")) for path in folder.glob("*.log"))
    for start, following in zip(starts, [*starts[1:], position]):
        if start < position or start == 0:
            yield start, min(following, position)


def _copy_part(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        left = size
        while left and (piece := read.read(min(_PIECE, left))):
            written.write(piece)
            left -= len(piece)
    if left:
        raise ParakhError(f"{source.name} is shorter than the log says; run `parakh log verify`")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
