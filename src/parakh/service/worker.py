"""A process beside the service that builds state from the log, with the lowest priority, and writes it down.

    python -m parakh.service.worker snapshot DATA UNTIL         the state at UNTIL, for the next start
    python -m parakh.service.worker build DATA UNTIL VERSION    the state as a version would have it, to switch to

The service itself never stops to write its state: what it would write is a function of the log. So each snapshot is
also a rehearsal of the start that will read it. Progress is told on stdout, one JSON object a line.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from parakh.errors import ParakhError
from parakh.service import snapshots
from parakh.service.personal.vault import open_token_key
from parakh.service.recovery import build, built_name, recover
from parakh.service.versions import Versions
from parakh.streams.reader import LogReader

__all__ = ["main"]

_TELL_S = 0.25


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; answers the exit code."""
    task, folder, until, *rest = arguments
    with contextlib.suppress(OSError):
        os.nice(19)
    data = Path(folder)
    try:
        if task == "snapshot":
            take_snapshot(data, int(until))
        else:
            build_version(data, int(until), rest[0])
    except (ParakhError, OSError) as error:
        _tell(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def take_snapshot(data: Path, until: int) -> None:
    """The state at a position of the log, from the newest snapshot and what came after it."""
    log = LogReader.of(data / "log", durable=until)
    began = time.perf_counter()
    found = recover(data, log, _versions(data), on_progress=_Telling())
    if found is None:
        _tell(error="the log is empty")
        return
    if found.engine.full is not None:
        # A start from it would take windows with holes for whole ones; one from an older snapshot finds out itself.
        _tell(error=str(found.engine.full))
        return
    parent = data / "snapshots"
    snapshots.write(parent, found.engine, found.entries, position=found.position, versions=found.versions)
    snapshots.prune(parent)
    _tell(done=found.position, seconds=round(time.perf_counter() - began, 3))


def build_version(data: Path, until: int, version: str) -> None:
    """The state at a position as a version would have it."""
    log = LogReader.of(data / "log", durable=until)
    built = build(_versions(data).get(version), log, until=until, on_progress=_Telling())
    if built.unreadable:
        _tell(unreadable=built.unreadable)
        return
    if built.engine.full is not None:
        _tell(error=str(built.engine.full))
        return
    name = built_name(version)
    snapshots.write(data / "building", built.engine, built.entries, position=built.position, versions=(), name=name)
    _tell(done=built.position)


def _versions(data: Path) -> Versions:
    return Versions(data / "projects", open_token_key(data, make=False).tokens().of)


class _Telling:
    """Says now and then how far the log was read."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, position: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TELL_S
            _tell(position=position)


def _tell(**said: object) -> None:
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
