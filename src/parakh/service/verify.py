"""Proof that a log is what was decided: every entry checked, and every decision made again and compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.engine import Engine
from parakh.decisions.scoring import ModelPlan
from parakh.errors import ParakhError
from parakh.service.entry_index import EntryIndex
from parakh.service.recovery import BATCH, build
from parakh.service.state import apply_trim, batch_of, label_batch, read_label_lines
from parakh.service.versions import LiveProject, Versions
from parakh.streams.entries import (
    ALARMS,
    EVENTS,
    LABELS,
    PROJECT,
    TRIM,
    WINDOWS,
    Events,
    expect_known,
    read_alarms,
    read_events,
    read_labels,
    read_project,
    read_trim,
)
from parakh.streams.reader import LogReader

__all__ = ["Verified", "verify_decisions", "verify_entries"]

_SHOWN = 20
_NO_BOUND = 1 << 60
Progress = Callable[[int], object]


@dataclass(slots=True)
class Verified:
    """What was found: entries and decisions looked at, and where decisions differ (position, index), the first ones."""

    entries: int = 0
    events: int = 0
    decisions: int = 0
    labels: int = 0
    versions: int = 0
    differing: int = 0
    first_differing: list[tuple[int, int]] = field(default_factory=list)


class _Recorded:
    """Scores as they were when the log was written: a model that did not answer then is left out again."""

    def __init__(self) -> None:
        self.unanswered: frozenset[str] = frozenset()

    def score(self, model: ModelPlan, words: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float64] | None:
        if model.model.name not in self.unanswered:
            return model.score(words, start, stop)
        words.view(np.float64)[model.output.slot, start:stop] = np.nan
        return None


def verify_entries(log: LogReader, *, on_progress: Progress | None = None) -> Verified:
    """Every entry of a log, its checksum and what it says. Raises DamagedLog, UnknownEntry."""
    found = Verified()
    for entry in log.follow(log.starts[0]):
        found.entries += 1
        expect_known(entry.kind, entry.position)
        if entry.kind == EVENTS:
            events = read_events(entry.payload)
            found.events += events.count
            found.decisions += int((events.record_lengths > 0).sum())
        elif entry.kind == LABELS:
            found.labels += read_labels(entry.payload).count
        elif entry.kind == PROJECT:
            read_project(entry.payload).contents()
            found.versions += 1
        elif entry.kind == ALARMS:
            read_alarms(entry.payload)
        if on_progress is not None:
            on_progress(entry.next)
    return found


def verify_decisions(log: LogReader, versions: Versions, *, on_progress: Progress | None = None) -> Verified:
    """Every decision of a log made again, from its first entry on, and compared with its record bit for bit.

    Raises ParakhError where the log does not begin with a version of a project, as when its old end was let go.
    """
    found = Verified()
    scoring = _Recorded()
    engine: Engine | None = None
    entries = EntryIndex()
    for entry in log.follow(log.starts[0]):
        found.entries += 1
        expect_known(entry.kind, entry.position)
        if entry.kind == PROJECT:
            said = read_project(entry.payload)
            version = _unbounded(versions.restore(said.hash, said.contents()))
            found.versions += 1
            if engine is None:
                engine = Engine(version, batch_size=BATCH, live=True)
            elif said.rebuilt:
                built = build(version, log, until=entry.position)
                engine, entries = built.engine, built.entries
            else:
                engine.apply(version)
        elif engine is None:
            raise ParakhError(
                f"the log begins at {log.starts[0]:,}, not with its first entry: decisions cannot be made again from "
                "there; its entries can be checked (without --decisions)"
            )
        elif entry.kind == EVENTS:
            events = read_events(entry.payload)
            entries.add(len(engine.ids), entry.position)
            scoring.unanswered = frozenset(events.unanswered)
            engine.blindfolded = WINDOWS in events.unanswered
            for index in _differing(engine, events, entry.arrived_us, scoring):
                found.differing += 1
                if len(found.first_differing) < _SHOWN:
                    found.first_differing.append((entry.position, index))
            found.events += events.count
            found.decisions += int((events.record_lengths > 0).sum())
        elif entry.kind == LABELS:
            labels = read_labels(entry.payload)
            found.labels += labels.count
            engine.take(label_batch(read_label_lines(engine, labels.lines)), arrived_us=entry.arrived_us, decide=False)
        elif entry.kind == TRIM:
            apply_trim(engine, entries, read_trim(entry.payload))
        if on_progress is not None:
            on_progress(entry.next)
    return found


def _unbounded(version: LiveProject) -> LiveProject:
    """A version whose state has room for all windows: where there was none, the log says so."""
    settings = replace(version.definitions.settings, state_bytes=_NO_BOUND)
    return replace(version, definitions=replace(version.definitions, settings=settings))


def _differing(engine: Engine, events: Events, arrived_us: int, scoring: _Recorded) -> list[int]:
    """The events of a batch whose decision, made again, is another."""
    numbers = np.array([engine.plan.by_name[name].index for name in events.types], np.uint8)
    kinds = numbers[events.kinds]
    lengths = events.body_lengths.astype(np.int64)
    batch = batch_of(engine, kinds, events.bodies, np.cumsum(lengths) - lengths, lengths)
    decisions = engine.take(batch, arrived_us=arrived_us, scoring=scoring)
    again: list[bytes | None] = [None] * events.count
    for part in decisions.parts:
        mine = np.flatnonzero(kinds == engine.plan.by_name[part.schema.event_type].index).tolist()
        for index, record in zip(mine, part.records(engine.strings)):
            again[index] = record
    return [
        index for index, kept in enumerate(events.all_records()) if kept is not None and again[index] != bytes(kept)
    ]
