"""Decisions looked back on: the log is run once more, and with each wanted decision the events behind it are kept.

First the wanted events are found and their keys read; then the engine takes the log as it did, batch by batch, while
the accepted events of those keys are set aside, with their labels as they were known when the decision was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parakh.cli.progress import Bar
from parakh.cli.report.data import Story
from parakh.cli.telling import Past, Teller
from parakh.cli.words import thousands
from parakh.decisions.decisions import Decision, Decisions
from parakh.decisions.definition import Definitions
from parakh.decisions.engine import Engine
from parakh.decisions.names import Names
from parakh.decisions.plan import Plan, TypePlan
from parakh.events.decode import Decoder, hash_id, lay_out
from parakh.events.definition import EventType
from parakh.events.ids import NEW, IdIndex
from parakh.events.labels import LabelSchema
from parakh.events.merge import LABEL, EventPart, LogBatch, Merger, Stream
from parakh.events.schema import id_salt
from parakh.events.sources import Columns, open_source
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind
from parakh.expressions.values import Value, from_word, to_word
from parakh.features.reads import key_fields

if TYPE_CHECKING:
    from parakh.decisions.replay import Source
    from parakh.project.project import Project

__all__ = ["find_event", "narrate"]

_ROWS = 8_192
_BATCH = 4_096
_MOST_KEPT = 50_000
"""Events kept for one decision and type; of more the newest, which are those that windows hold."""

Hash = tuple[int, int]


def find_event(project: Project, name: str) -> list[Hash]:
    """The hashes that an event of this id may have: of every type, or of the one named as `TYPE:ID`."""
    types = [event.name for event in project.definitions.events]
    before, colon, after = name.partition(":")
    if colon and before in types:
        types, name = [before], after
    return [_hash(event_type, name) for event_type in types]


def _hash(event_type: str, name: str) -> Hash:
    high, low = hash_id(name.encode(), id_salt(event_type))
    return int(high), int(low)


def narrate(
    project: Project,
    sources: Sequence[Source],
    wanted: Mapping[Hash, str],
    *,
    labels: str | None,
    label_delay_us: int | None = None,
    every_feature: bool = False,
    bar: Bar | None = None,
) -> tuple[Story, ...]:
    """The stories of the decisions on wanted events, in the order asked for; those that were not decided are left out.

    `wanted` maps the hash of an event's id to what is known of its truth, in words. Raises InputError.
    """
    definitions = project.definitions
    paths = _paths(definitions, sources)
    keys = _find(definitions, paths, set(wanted))
    if not keys:
        return ()
    engine = Engine(project, batch_size=_BATCH)
    plan = engine.plan
    schema = LabelSchema(
        definitions.events, tuple(item.name for item in definitions.entities), definitions.settings.label_sources
    )
    streams = [
        Stream(plan.by_name[name].index, plan.by_name[name].decoder, open_source(files, _columns(definitions, name)))
        for name, files in paths.items()
    ]
    merger = Merger(streams, labels=engine.read_labels(labels), label_delay_us=label_delay_us)
    watch = _Watch(plan, engine.strings, keys, schema)
    teller = Teller(plan, engine.strings)
    stories: dict[Hash, Story] = {}
    taken = 0
    while watch.missing and (batch := merger.next(engine.words)) is not None:
        decisions = engine.take(batch)
        for found in watch.look(batch, engine.words):
            decision = _decision(decisions, found)
            if decision is not None:
                stories[found.hash] = teller.tell(
                    decision,
                    found.words,
                    found.fields,
                    found.past,
                    every_feature=every_feature,
                    truth=wanted[found.hash],
                )
        taken += batch.count
        if bar is not None:
            share = merger.read_bytes / merger.total_bytes if merger.total_bytes else None
            bar.to(share, f"{thousands(taken)} events")
    return tuple(stories[item] for item in wanted if item in stories)


def _decision(decisions: Decisions, found: _Found) -> Decision | None:
    """The decision on an event of a batch; None where it was not decided on."""
    for part in decisions.parts:
        same = (part.id_hi == np.uint64(found.hash[0])) & (part.id_lo == np.uint64(found.hash[1]))
        for row in np.flatnonzero(same):
            decision: Decision = decisions[int(part.position[row])]
            return decision
    return None


def _paths(definitions: Definitions, sources: Sequence[Source]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for source in sources:
        name = source.event_type or definitions.events[0].name
        paths.setdefault(name, []).append(source.path)
    return paths


def _columns(definitions: Definitions, name: str) -> Columns:
    return Columns.of(definitions.event_type(name))


def _find(
    definitions: Definitions, paths: Mapping[str, Sequence[str]], wanted: set[Hash]
) -> dict[Hash, tuple[str, dict[str, Value]]]:
    """Of each wanted event its type and the values of its fields."""
    found: dict[Hash, tuple[str, dict[str, Value]]] = {}
    high = np.array([item[0] for item in wanted], np.uint64)
    for name, files in paths.items():
        event = definitions.event_type(name)
        strings, layout = Strings(), Layout()
        lay_out(event, layout)
        decoder = Decoder(event, layout, strings, earliest_us=definitions.settings.earliest_us)
        words = np.empty((layout.width, _ROWS), np.int64)
        for chunk in open_source(list(files), Columns.of(event)):
            for start in range(0, chunk.count, _ROWS):
                decoded = chunk.decode(decoder, start, min(start + _ROWS, chunk.count), words, 0)
                for row in np.flatnonzero(np.isin(decoded.id_hi, high) & (decoded.problem == 0)):
                    key = (int(decoded.id_hi[row]), int(decoded.id_lo[row]))
                    if key in wanted and key not in found:
                        values = {
                            item.name: from_word(int(words[layout[item.name].slot, row]), item.type, strings)
                            for item in event.fields
                        }
                        found[key] = (name, values)
            if len(found) == len(wanted):
                return found
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """A wanted event as it came: its row of the frame, its fields and the events behind it."""

    hash: Hash
    event_type: str
    words: NDArray[np.int64]
    fields: Mapping[str, Value]
    past: dict[str, Past]


@dataclass(slots=True)
class _Kept:
    """Events of one type set aside for one decision, a list of arrays a batch."""

    words: list[NDArray[np.int64]] = field(default_factory=list)
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    count: int = 0

    def add(self, words: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        self.words.append(words)
        self.hashes.append(hashes)
        self.count += words.shape[1]
        while self.count - self.words[0].shape[1] > _MOST_KEPT:
            self.count -= self.words.pop(0).shape[1]
            self.hashes.pop(0)


@dataclass(slots=True)
class _Wanted:
    """A decision that is waited for: which rows of which type share a key with it."""

    event_type: str
    fields: Mapping[str, Value]
    selectors: dict[int, list[tuple[tuple[int, int], ...]]]  # type index -> ways to match, each ((slot, word), ...)
    kept: dict[int, _Kept] = field(default_factory=dict)


class _Watch:
    """Looks at the batches that the engine took and keeps what stands behind the wanted decisions."""

    def __init__(
        self,
        plan: Plan,
        strings: Strings,
        keys: Mapping[Hash, tuple[str, dict[str, Value]]],
        schema: LabelSchema,
    ) -> None:
        self._plan = plan
        self._schema = schema
        self._names = Names(plan.definitions)
        self._ids = IdIndex()
        self._clock_us = NULL_WORD
        self._labels: dict[tuple[Hash, int], tuple[int, int]] = {}  # (event, label) -> (rank, word)
        self._width = [self._ingested(item) for item in plan.types]
        self.missing = {
            hash: _Wanted(name, values, self._selectors(plan.by_name[name], values, strings))
            for hash, (name, values) in keys.items()
        }

    def _ingested(self, item: TypePlan) -> int:
        """How many slots hold the fields and derived values of a type."""
        names = self._names.ingest(item.event).columns
        return 1 + max(item.layout[name].slot for name in names if name in item.layout)

    def _selectors(
        self, plan: TypePlan, values: Mapping[str, Value], strings: Strings
    ) -> dict[int, list[tuple[tuple[int, int], ...]]]:
        found: dict[int, dict[tuple[tuple[int, int], ...], None]] = {}
        for read in self._names.reads(plan.event):
            key = [values.get(name) for name in read.key]
            if any(value is None for value in key):
                continue
            definition = read.feature.definition
            entity = self._plan.definitions.entity(read.feature.entity)
            for source in definition.sources:
                other = self._plan.by_name[source]
                for role in key_fields(entity, other.event, definition.by):
                    pairs = tuple(
                        (other.layout[name].slot, _word(value, other.event, name, strings))
                        for name, value in zip(role, key)
                    )
                    found.setdefault(other.index, {})[pairs] = None
        return {index: list(ways) for index, ways in found.items()}

    def look(self, batch: LogBatch, words: NDArray[np.int64]) -> list[_Found]:
        """Go over a batch that the engine has taken; answers the wanted events in it."""
        accepted = self._accept(batch, words)
        place = np.full(words.shape[1], -1, np.int64)
        events = np.flatnonzero(batch.kinds != LABEL)
        place[batch.rows[events]] = events
        view = _View(batch, words, accepted, place)
        found = []
        for hash, part, row in sorted(self._hits(batch), key=lambda hit: place[hit[2]]):
            self._label(view, int(place[row]))
            self._keep_until(view, int(place[row]) + 1)
            found.append(self._found(hash, part, row, view))
        self._label(view, batch.count)
        self._keep_until(view, batch.count)
        return found

    def _accept(self, batch: LogBatch, words: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows of the frame hold events that enter windows: new ones, and not too late."""
        count = batch.count
        events = np.flatnonzero(batch.kinds != LABEL)
        rows = batch.rows[events]
        high, low = np.zeros(words.shape[1], np.uint64), np.zeros(words.shape[1], np.uint64)
        digest, times = np.zeros(words.shape[1], np.uint64), np.zeros(words.shape[1], np.int64)
        good = np.zeros(words.shape[1], np.bool_)
        for part in batch.parts:
            span = slice(part.start, part.stop)
            high[span], low[span] = part.decoded.id_hi, part.decoded.id_lo
            digest[span], times[span] = part.decoded.digest, part.decoded.times
            good[span] = part.decoded.problem == 0
        status, held = np.empty(rows.size, np.uint8), np.empty(rows.size, np.int64)
        self._ids.admit(high[rows], low[rows], digest[rows], good[rows], status, held)
        new = status == NEW
        clock = np.maximum.accumulate(np.where(new, times[rows], NULL_WORD)) if count else times[rows]
        before = np.maximum(np.concatenate([[NULL_WORD], clock[:-1]]), self._clock_us) if rows.size else clock
        lateness = self._plan.definitions.settings.lateness_us
        exact = new & ((before == NULL_WORD) | (times[rows] >= np.maximum(before, lateness + NULL_WORD) - lateness))
        if rows.size:
            self._clock_us = max(self._clock_us, int(clock[-1]))
        accepted = np.zeros(words.shape[1], np.bool_)
        accepted[rows] = exact
        return accepted

    def _hits(self, batch: LogBatch) -> list[tuple[Hash, EventPart, int]]:
        """The wanted events of a batch: part, and row of the frame."""
        hits = []
        for part in batch.parts:
            for hash, wanted in self.missing.items():
                if self._plan.by_name[wanted.event_type].index == part.type_index:
                    same = (part.decoded.id_hi == np.uint64(hash[0])) & (part.decoded.id_lo == np.uint64(hash[1]))
                    rows = np.flatnonzero(same & (part.decoded.problem == 0))
                    hits += [(hash, part, part.start + int(row)) for row in rows[:1]]
        return hits

    def _keep_until(self, view: _View, until: int) -> None:
        """Set aside the events before an entry, and after what was looked at already, that share a wanted key."""
        place = view.place
        among = view.accepted & (place >= view.kept) & (place < until)
        view.kept = until
        if among.any():
            for wanted in self.missing.values():
                for part in view.batch.parts:
                    self._keep(wanted, part, view.words, among)

    def _keep(self, wanted: _Wanted, part: EventPart, words: NDArray[np.int64], among: NDArray[np.bool_]) -> None:
        ways = wanted.selectors.get(part.type_index)
        if not ways:
            return
        span = slice(part.start, part.stop)
        mine = np.zeros(part.count, np.bool_)
        for way in ways:
            same = among[span].copy()
            for slot, word in way:
                same &= words[slot, span] == word
            mine |= same
        rows = np.flatnonzero(mine)
        if rows.size:
            hashes = np.stack([part.decoded.id_hi[rows], part.decoded.id_lo[rows]], axis=1)
            kept = wanted.kept.setdefault(part.type_index, _Kept())
            kept.add(words[: self._width[part.type_index], part.start + rows].copy(), hashes)

    def _found(self, hash: Hash, part: EventPart, row: int, view: _View) -> _Found:
        wanted = self.missing.pop(hash)
        past = {}
        for index, kept in wanted.kept.items():
            event = self._plan.types[index].event
            hashes = np.concatenate(kept.hashes)
            mine = np.flatnonzero((hashes[:, 0] == np.uint64(hash[0])) & (hashes[:, 1] == np.uint64(hash[1])))
            current = int(mine[-1]) if index == part.type_index and mine.size else -1
            past[event.name] = Past(np.concatenate(kept.words, axis=1), self._known_labels(event, hashes), current)
        return _Found(hash, wanted.event_type, view.words[:, row].copy(), wanted.fields, past)

    def _label(self, view: _View, until: int) -> None:
        """Take the labels that stand before an entry and were not taken yet."""
        labels = view.batch.labels
        entries = np.flatnonzero(view.batch.kinds[view.labelled : until] == LABEL) + view.labelled
        view.labelled = until
        for entry, number in zip(entries.tolist(), view.batch.rows[entries].tolist()):
            label, rank, word = int(labels.label[number]), int(labels.rank[number]), int(labels.value[number])
            if labels.entity[number] < 0:
                self._put((int(labels.id_hi[number]), int(labels.id_lo[number])), label, rank, word)
                continue
            # A label of a key is one of all its events so far; those of this batch must have been set aside first.
            self._keep_until(view, entry)
            entity, key = self._schema.entities[labels.entity[number]], int(labels.key[number])
            for hash in self._of_key(int(labels.event_type[number]), entity, key):
                self._put(hash, label, rank, word)

    def _put(self, hash: Hash, label: int, rank: int, word: int) -> None:
        if rank >= self._labels.get((hash, label), (-1, 0))[0]:
            self._labels[hash, label] = (rank if word != NULL_WORD else -1, word)

    def _of_key(self, type_index: int, entity: str, key: int) -> set[Hash]:
        """The events of a type set aside so far that carry a key."""
        plan = self._plan.types[type_index]
        carrying = [item.name for item in plan.event.carrying(entity) if item.name in plan.layout]
        slots = [plan.layout[name].slot for name in carrying]
        found: set[Hash] = set()
        for wanted in self.missing.values():
            kept = wanted.kept.get(type_index, _Kept())
            for words, hashes in zip(kept.words, kept.hashes):
                same = (words[slots] == key).any(axis=0)
                found.update((int(high), int(low)) for high, low in hashes[same])
        return found

    def _known_labels(self, event: EventType, hashes: NDArray[np.uint64]) -> dict[str, NDArray[np.int64]]:
        """A word an event for each label of the type, as known by now."""
        pairs = [(int(high), int(low)) for high, low in hashes]
        return {
            label.name: np.array([self._labels.get((pair, number), (-1, NULL_WORD))[1] for pair in pairs], np.int64)
            for number, label in enumerate(event.labels)
        }


@dataclass(slots=True)
class _View:
    """A batch while it is looked at: `place` is a row's entry in the log, -1 for none; what was done so far."""

    batch: LogBatch
    words: NDArray[np.int64]
    accepted: NDArray[np.bool_]
    place: NDArray[np.int64]
    kept: int = 0
    labelled: int = 0


def _word(value: Value, event: EventType, name: str, strings: Strings) -> int:
    type = event.field(name).type
    return to_word(str(value) if type.kind is Kind.STRING else value, type, strings)
