"""Snapshots: state at a position of the log, as flat arrays with checksums, so that a start need not read it all again.

A snapshot is a folder `snapshots/POSITION` with `manifest.json` and `arrays.bin`. It is written under another name and
renamed when it is on disk, so that one that is there is whole; one that does not check is passed over.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import ProjectLike
from parakh.decisions.engine import Engine
from parakh.decisions.snapshot import engine_arrays, engine_facts, restored_engine
from parakh.errors import ParakhError
from parakh.service.entry_index import EntryIndex
from parakh.service.logs import get_log
from parakh.streams.disk import PIECE, Disk
from parakh.streams.failpoints import reach

__all__ = [
    "DamagedSnapshot",
    "Manifest",
    "VersionEntry",
    "find_snapshots",
    "prune",
    "read_manifest",
    "remove",
    "restore",
    "write",
]

FORMAT = 1
KEPT = 2
_log = get_log("snapshots")


class DamagedSnapshot(ParakhError):
    """A snapshot that is not what was written."""


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version of the project that stands in the log: where, since when, by whom and why."""

    position: int
    hash: str
    name: str
    arrived_us: int
    rebuilt: bool
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself. `project` is the version whose state it is."""

    position: int
    project: str
    versions: tuple[VersionEntry, ...]
    facts: Mapping[str, Any]
    arrays: tuple[Mapping[str, Any], ...]
    folder: Path

    @property
    def nbytes(self) -> int:
        return sum(int(array["bytes"]) for array in self.arrays)


def write(
    parent: Path,
    engine: Engine,
    entries: EntryIndex,
    *,
    position: int,
    versions: Sequence[VersionEntry],
    name: str | None = None,
    beside: bool = True,
) -> Path:
    """Write a snapshot of an engine; answers its folder.

    It is written in small pieces, each synced. `beside` a log on the same disk that is left to it for half of the time.
    """
    folder = parent / (name or f"{position:020d}")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    reach("snapshot.begun")
    described = []
    with (partial / "arrays.bin").open("wb", buffering=0) as file:
        offset = 0
        arrays = {**engine_arrays(engine), **entries.arrays()}
        for number, (label, array) in enumerate(arrays.items()):
            if number == len(arrays) // 2:
                reach("snapshot.half")
            flat = np.ascontiguousarray(array)
            data = flat.reshape(-1).view(np.uint8).data if flat.size else memoryview(b"")
            crc = 0
            for first in range(0, len(data), PIECE):
                piece = data[first : first + PIECE]
                crc = zlib.crc32(piece, crc)
                began = time.perf_counter()
                file.write(piece)
                os.fdatasync(file.fileno())
                if beside:
                    time.sleep(time.perf_counter() - began)
            described.append(
                {"name": label, "dtype": flat.dtype.str, "shape": flat.shape, "offset": offset, "bytes": len(data),
                 "crc": crc}
            )  # fmt: skip
            offset += len(data)
        os.fsync(file.fileno())
    content = {
        "format": FORMAT,
        "position": position,
        "project": engine.project.hash,
        "versions": [asdict(version) for version in versions],
        "facts": engine_facts(engine),
        "arrays": described,
    }
    text = json.dumps(content, sort_keys=True)
    with (partial / "manifest.json").open("w") as file:
        json.dump({"crc": zlib.crc32(text.encode()), "content": text}, file)
        file.flush()
        os.fsync(file.fileno())
    _sync(partial)
    reach("snapshot.written")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    _sync(parent)
    reach("snapshot.renamed")
    return folder


def read_manifest(folder: Path) -> Manifest:
    """A snapshot's manifest. Raises DamagedSnapshot."""
    try:
        outer = json.loads((folder / "manifest.json").read_text())
        text = outer["content"]
        if zlib.crc32(text.encode()) != outer["crc"]:
            raise DamagedSnapshot(f"{folder.name}: the manifest is damaged")
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise DamagedSnapshot(f"{folder.name}: written in format {content['format']}, which is not read here")
        return Manifest(
            position=content["position"],
            project=content["project"],
            versions=tuple(VersionEntry(**item) for item in content["versions"]),
            facts=content["facts"],
            arrays=tuple(content["arrays"]),
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSnapshot(f"{folder.name}: the manifest cannot be read ({type(error).__name__})") from None


def find_snapshots(parent: Path, *, until: int | None = None) -> Iterator[Manifest]:
    """The snapshots whose manifests hold, the newest first; none that stands after `until`."""
    folders = sorted((path for path in parent.glob("*") if path.name.isdigit()), reverse=True)
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except DamagedSnapshot as error:
            _log.failed("snapshot_passed_over", error, file=folder)
            continue
        if until is None or manifest.position <= until:
            yield manifest


def read_arrays(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """All arrays of a snapshot, checked. Raises DamagedSnapshot."""
    arrays = {}
    try:
        with (manifest.folder / "arrays.bin").open("rb") as file:
            for item in manifest.arrays:
                data = bytearray(int(item["bytes"]))
                if file.readinto(data) != len(data) or zlib.crc32(data) != item["crc"]:
                    raise DamagedSnapshot(f"{manifest.folder.name}: the array {item['name']} is damaged")
                arrays[str(item["name"])] = np.frombuffer(data, np.dtype(item["dtype"])).reshape(item["shape"])
    except OSError as error:
        raise DamagedSnapshot(f"{manifest.folder.name}: {error.strerror}") from None
    return arrays


def restore(manifest: Manifest, project: ProjectLike, *, batch_size: int, live: bool) -> tuple[Engine, EntryIndex]:
    """The engine that a snapshot was taken of, and its index of entries. Raises DamagedSnapshot."""
    arrays = read_arrays(manifest)
    entries = EntryIndex.from_arrays({"entries": arrays.pop("entries")})
    engine = restored_engine(project, arrays, manifest.facts, batch_size=batch_size, live=live)
    return engine, entries


def prune(parent: Path, *, keep: int = KEPT) -> None:
    """Remove all but the newest snapshots, and what was never finished."""
    folders = sorted((path for path in parent.glob("*") if path.name.isdigit()), reverse=True)
    for folder in folders[keep:]:
        _set_aside(folder)
        reach("snapshot.old_removed")
    for partial in parent.glob("*.partial"):
        remove(partial)


def remove(folder: Path) -> None:
    """Remove a snapshot, or what is left of one, little by little: see `Disk.remove`."""
    partial = _set_aside(folder)
    for file in partial.glob("*.bin"):
        Disk().remove(file)
    shutil.rmtree(partial, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    """While it is removed it is none."""
    return folder if folder.suffix == ".partial" else folder.rename(folder.with_name(folder.name + ".partial"))


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
