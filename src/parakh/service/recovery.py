"""From what is on disk to a state that goes on: the newest snapshot that holds and the rest of the log.

State is a function of the log. So what a start does, what the process does that writes snapshots, and how a version
with new features comes by its history are the same: an engine, and entries put into it in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parakh.decisions.engine import Engine
from parakh.errors import ParakhError
from parakh.service import snapshots
from parakh.service.entry_index import EntryIndex
from parakh.service.logs import get_log
from parakh.service.snapshots import DamagedSnapshot, Manifest, VersionEntry
from parakh.service.state import StateBuilder
from parakh.service.versions import LiveProject, Versions
from parakh.streams.entries import PROJECT, read_project
from parakh.streams.reader import LogReader
from parakh.streams.segments import Entry

__all__ = ["BATCH", "Recovered", "build", "built_name", "catch_up", "recover", "version_entry"]

BATCH = 4096
Progress = Callable[[int], object]
_log = get_log("recovery")


@dataclass(slots=True)
class Recovered:
    """State at a position of the log, and the versions that stand in the log up to there, the oldest first."""

    engine: Engine
    entries: EntryIndex
    position: int
    version: LiveProject
    versions: list[VersionEntry]
    snapshot: int | None  # the position of the snapshot that it began with


def recover(data: Path, log: LogReader, versions: Versions, *, on_progress: Progress | None = None) -> Recovered | None:
    """State at the end of a log; None where the log is empty.

    Snapshots that do not hold are passed over. Raises StateDiffers, DamagedLog, and ParakhError where the log no longer
    reaches back to what is needed.
    """
    found = _from_snapshot(data, log, versions) or _from_start(log, versions)
    if found is None:
        return None
    builder = StateBuilder(found.engine, found.entries, position=found.position)
    for entry in log.follow(found.position):
        builder.add(entry)
        if entry.kind == PROJECT:
            builder.flush()
            _switch(found, builder, entry, data, log, versions)
        if on_progress is not None:
            on_progress(entry.next)
    builder.flush()
    found.position = builder.position
    return found


def build(
    version: LiveProject, log: LogReader, *, until: int, strict: bool = False, on_progress: Progress | None = None
) -> StateBuilder:
    """State as it would be had a version stood in the log from its beginning; events of types that it does not have
    are left out, and those that it cannot read counted.
    """
    builder = StateBuilder(
        Engine(version, batch_size=BATCH, live=True), EntryIndex(), position=log.starts[0], strict=strict
    )
    catch_up(builder, log, until=until, on_progress=on_progress)
    return builder


def catch_up(builder: StateBuilder, log: LogReader, *, until: int, on_progress: Progress | None = None) -> None:
    """Put what stands in the log up to a position into state that does not follow the log's versions."""
    for entry in log.follow(builder.position):
        if entry.position >= until:
            break
        builder.add(entry)
        if on_progress is not None:
            on_progress(entry.next)
    builder.flush()


def built_name(version: str) -> str:
    """The folder, under `building`, of the state that was built for a version."""
    return f"{version}.state"


def version_entry(entry: Entry) -> VersionEntry:
    """What a PROJECT entry says, without its files."""
    said = read_project(entry.payload)
    return VersionEntry(entry.position, said.hash, said.name, entry.arrived_us, said.rebuilt, said.who, said.why)


def _from_snapshot(data: Path, log: LogReader, versions: Versions) -> Recovered | None:
    for manifest in snapshots.find_snapshots(data / "snapshots", until=log.durable):
        if manifest.position < log.starts[0]:
            continue
        try:
            version = versions.get(manifest.project)
            engine, entries = snapshots.restore(manifest, version, batch_size=BATCH, live=True)
        except (DamagedSnapshot, ParakhError) as error:
            _log.failed("snapshot_passed_over", error, position=manifest.position)
            continue
        return Recovered(engine, entries, manifest.position, version, list(manifest.versions), manifest.position)
    return None


def _from_start(log: LogReader, versions: Versions) -> Recovered | None:
    first = next(iter(log.read(log.starts[0])), None)
    if first is None:
        return None
    if first.kind != PROJECT:
        raise ParakhError(
            f"no snapshot holds, and the log, which begins at {log.starts[0]:,}, no longer reaches back to its first "
            "entry: restore a backup"
        )
    said = read_project(first.payload)
    version = versions.restore(said.hash, said.contents())
    engine = Engine(version, batch_size=BATCH, live=True)
    return Recovered(engine, EntryIndex(), first.next, version, [version_entry(first)], None)


def _switch(
    found: Recovered, builder: StateBuilder, entry: Entry, data: Path, log: LogReader, versions: Versions
) -> None:
    """Go on with the version of a PROJECT entry: with the windows there are, or with those built for it."""
    said = read_project(entry.payload)
    version = versions.restore(said.hash, said.contents())
    if said.rebuilt:
        other = _built(version, data, log, entry.position) or build(version, log, until=entry.position)
        builder.engine, builder.entries = found.engine, found.entries = other.engine, other.entries
    else:
        found.engine.apply(version)
    found.version = version
    found.versions.append(version_entry(entry))


def _built(version: LiveProject, data: Path, log: LogReader, until: int) -> StateBuilder | None:
    """State that was built for a version before it was switched to, caught up."""
    folder = data / "building" / built_name(version.hash)
    if not folder.is_dir():
        return None
    try:
        manifest: Manifest = snapshots.read_manifest(folder)
        if not log.starts[0] <= manifest.position <= until or manifest.project != version.hash:
            return None
        engine, entries = snapshots.restore(manifest, version, batch_size=BATCH, live=True)
    except DamagedSnapshot:
        return None
    builder = StateBuilder(engine, entries, position=manifest.position, strict=False)
    catch_up(builder, log, until=until)
    return builder
