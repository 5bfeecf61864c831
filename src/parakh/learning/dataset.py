"""Training sets by replay: for each event what the engine knew when it came, and what became of it by a cut-off.

A row is made from the log before its event, a label from what was known by the cut-off, so that nothing of the future
stands in either: the same log up to the cut-off gives the same set, byte for byte, whatever came later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import DAY_US, Definitions, Policy, ProjectLike
from parakh.decisions.replay import Progress, Replay, Source, Summary
from parakh.errors import InputError
from parakh.events.definition import EventType
from parakh.events.labels import LabelRows
from parakh.events.merge import LABEL, LogBatch
from parakh.expressions.hints import closest
from parakh.expressions.types import BOOLEAN, NULL_WORD, STRING
from parakh.expressions.values import iso_time
from parakh.features.reads import key_fields
from parakh.learning.columns import Input, arrow_array, inputs_of, mask_array, text_array, words_array
from parakh.learning.known import About, Verdicts, verdicts

__all__ = ["SPLITS", "Choice", "Counted", "Dataset", "Part", "make_dataset", "target_of"]

SPLITS = ("train", "gap", "test")
_TIME = pa.timestamp("us", "UTC")
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which set: events of one type with their times in [from_us, to_us), and what was known of them by `known_by_us`.

    Times are us UTC; None leaves a side open, and for `known_by_us` is the time of the last event. An event is matured
    when `label_delay_us` have passed since it by then. Events before `test_from_us` less `gap_us` are for training,
    those from `test_from_us` on for testing. `sample` is the share kept of events that are not positive; `seed` says
    which.
    """

    event_type: str
    label: str = "fraud"
    from_us: int | None = None
    to_us: int | None = None
    known_by_us: int | None = None
    test_from_us: int | None = None
    gap_us: int = 7 * DAY_US
    label_delay_us: int = 7 * DAY_US
    sample: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Events of the span by what is known of them, before sampling; positive + negative + immature = events.

    `unlabelled` are the negatives about which no label is known; `labels` the matured events about which one is.
    `learned_late` are positives of the training part that became known only when the test had begun.
    """

    events: int
    positive: int
    negative: int
    unlabelled: int
    immature: int
    after_cut_off: int
    learned_late: int

    @property
    def labels(self) -> int:
        return self.positive + self.negative - self.unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one part of a set - training, gap or test - by label."""

    rows: int
    positive: int
    negative: int
    immature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set: its table, one row an event in log order, and the choice that it was made by.

    `inputs` are the columns that a model may read, `left_out` the personal names that are not among them.
    """

    table: pa.Table
    inputs: tuple[Input, ...]
    left_out: tuple[str, ...]
    choice: Choice
    known_by_us: int
    counted: Counted
    parts: dict[str, Part]
    replayed: Summary


def target_of(definitions: Definitions, given: Iterable[str], event_type: str | None, label: str) -> EventType:
    """The event type that a set is about: the one asked for, or the only one of those given that has the label.

    Raises InputError where there is no such type or label, or the label is not true or false.
    """
    types = {event.name: event for event in definitions.events}
    if event_type is not None and event_type not in types:
        raise InputError(f"the project has no event type {event_type!r}; there are: {', '.join(types)}")
    asked = [types[name] for name in dict.fromkeys(given) if event_type in (None, name)]
    if not asked:
        raise InputError(f"no file has events of {event_type}: name one with --events {event_type}=FILE")
    having = [event for event in asked if any(item.name == label for item in event.labels)]
    if not having:
        names = sorted({item.name for event in asked for item in event.labels})
        there = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "it has none"
        near = closest(label, names)
        hint = f"; {near}" if near else ""
        raise InputError(f"{' and '.join(event.name for event in asked)}: no label {label!r}, {there}{hint}")
    if len(having) > 1:
        raise InputError(f"a set is about one event type; say which with --for: {', '.join(e.name for e in having)}")
    kind = next(item.type for item in having[0].labels if item.name == label)
    if kind != BOOLEAN:
        raise InputError(
            f"label {label} of {having[0].name} is {kind}; a set is made for a label that is true or false"
        )
    return having[0]


def make_dataset(
    project: ProjectLike,
    sources: Sequence[Source],
    choice: Choice,
    *,
    labels: str | None = None,
    label_delay_us: int | None = None,
    quarantine: Path | None = None,
    batch_size: int = 4096,
    started_us: int | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Dataset:
    """Replay files and keep what a model is trained with.

    `labels` is a file of labels; label columns of the events are known `label_delay_us` after their event. Raises
    InputError where there is nothing to learn from: no such event or label, no event in the span, none matured.
    """
    event = target_of(project.definitions, (item.event_type for item in sources), choice.event_type, choice.label)
    replay = Replay(
        _Undecided.of(project, event.name),
        sources,
        labels=labels,
        label_delay_us=label_delay_us,
        quarantine=quarantine,
        batch_size=batch_size,
        started_us=started_us,
    )
    rows = _Rows(replay, choice)
    told = None if on_progress is None else (lambda _, progress: on_progress(progress))
    return rows.dataset(replay.run(told, on_entries=rows.take))


@dataclass(frozen=True, slots=True)
class _Undecided:
    """A project that takes events in as its origin does, with the same features, and judges nothing."""

    definitions: Definitions
    hash: str

    @classmethod
    def of(cls, project: ProjectLike, event_type: str) -> _Undecided:
        policy = Policy(event_type=event_type)
        return cls(replace(project.definitions, rules=(), models=(), policies=(policy,)), project.hash)


class _Rows:
    """Gathers the events and labels of a replay: 8 bytes a value until the table is made."""

    def __init__(self, replay: Replay, choice: Choice) -> None:
        self._engine = replay.engine
        self._choice = choice
        self._plan = replay.engine.plan.by_name[choice.event_type]
        self._label = next(n for n, item in enumerate(self._plan.event.labels) if item.name == choice.label)
        inputs, self._left_out = inputs_of(self._plan, replay.engine.plan.definitions)
        self._inputs = tuple(inputs)
        # Beside them the fields that are keys, for labels about keys; they may be personal, and go no further.
        layout = self._plan.layout
        ways = [
            way for entity in replay.engine.plan.definitions.entities for way in key_fields(entity, self._plan.event)
        ]
        self._keys = [way[0] for way in ways if len(way) == 1 and layout[way[0]].type == STRING]
        self._slots = np.array(
            [item.column.slot for item in inputs] + [layout[name].slot for name in self._keys], np.int64
        )
        self._words: list[NDArray[np.int64]] = []
        self._times: list[NDArray[np.int64]] = []
        self._hashes: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._names: list[pa.Array] = []
        self._labels: list[LabelRows] = []
        self._before: list[NDArray[np.int64]] = []
        self._count = 0
        self._beyond = 0

    def take(self, batch: LogBatch, decisions: Decisions) -> None:
        """What a batch brings: rows of the span, and labels with the number of rows before each."""
        entries = np.full(batch.count, -1, np.int64)  # of each row that is kept, in order
        for part in decisions.parts:
            times = part.event_time_us
            known = np.ones(times.size, np.bool_)
            if self._choice.known_by_us is not None:  # what came after the cut-off is not there yet
                known = part.decided_at_us <= self._choice.known_by_us
            inside = _between(times, self._choice.from_us, self._choice.to_us)
            self._beyond += int((inside & ~known).sum())
            kept = np.flatnonzero(inside & known)
            frame = part.rows[kept]
            self._words.append(self._engine.words[self._slots[:, None], frame])
            self._times.append(times[kept])
            self._hashes.append((part.id_hi[kept], part.id_lo[kept]))
            self._names += decisions.to_arrow()["event_id"].take(_numbers(kept)).chunks
            place = np.full(self._engine.words.shape[1], -1, np.int64)
            events = np.flatnonzero(batch.kinds != LABEL)
            place[batch.rows[events]] = events
            entries = place[frame]
        if batch.labels.count:
            at = np.flatnonzero(batch.kinds == LABEL)
            labels = batch.labels.take(batch.rows[at])
            mine = (labels.event_type == self._plan.index) & (labels.label == self._label)
            self._labels.append(labels.take(mine))
            self._before.append(self._count + np.searchsorted(entries, at[mine]))
        if decisions.parts:
            self._count += self._times[-1].size

    def dataset(self, summary: Summary) -> Dataset:
        """The set of what was gathered."""
        choice = self._choice
        if not self._count:
            raise InputError(f"no event of {choice.event_type} {_span_text(choice)}; {_there(summary)}")
        times = np.concatenate(self._times)
        clock = self._engine.admission.clock_us
        assert clock is not None, "an event was accepted"
        known_by = clock if choice.known_by_us is None else choice.known_by_us
        matured = times <= known_by - choice.label_delay_us
        held = self._verdicts(known_by, times.size)
        labelled = matured & (held.value != NULL_WORD)
        positive = matured & (held.value == 1)
        split = _split(times, choice)
        late = positive & (split == 0) & (held.known_at >= (choice.test_from_us or _FAR))
        counted = Counted(
            events=times.size,
            positive=int(positive.sum()),
            negative=int((matured & ~positive).sum()),
            unlabelled=int((matured & ~labelled).sum()),
            immature=int((~matured).sum()),
            after_cut_off=self._beyond,
            learned_late=int(late.sum()),
        )
        _expect_labels(choice, counted, known_by, int(times.min()))
        low = np.concatenate([low for _, low in self._hashes])
        keep = np.flatnonzero(positive | _sampled(low, choice.sample, choice.seed))
        columns: dict[str, pa.Array] = {
            "event_id": pa.concat_arrays(self._names).take(_numbers(keep)),
            "event_time": words_array(times[keep], _TIME),
        }
        words = np.concatenate(self._words, axis=1)
        for number, item in enumerate(self._inputs):
            columns[item.name] = arrow_array(words[number, keep], item.column, self._engine.strings)
        columns["label"] = mask_array(positive[keep], ~matured[keep])
        columns["label_known_at"] = words_array(np.where(labelled, held.known_at, NULL_WORD)[keep], _TIME)
        columns["matured"] = mask_array(matured[keep])
        columns["split"] = text_array(split[keep], SPLITS)
        weight = np.where(positive[keep], 1.0, 1.0 / choice.sample)
        columns["weight"] = words_array(weight.view(np.int64), pa.float64())
        return Dataset(
            table=pa.Table.from_arrays(list(columns.values()), names=list(columns)),
            inputs=self._inputs,
            left_out=tuple(self._left_out),
            choice=choice,
            known_by_us=known_by,
            counted=counted,
            parts=_parts(split[keep], positive[keep], matured[keep]),
            replayed=summary,
        )

    def _verdicts(self, known_by: int, events: int) -> Verdicts:
        """What holds about each row, by the labels that acted: those given up never did."""
        labels = LabelRows.joined(self._labels)
        place = np.full(len(self._engine.ids), -1, np.int64)
        high, low = (np.concatenate([pair[n] for pair in self._hashes]) for n in (0, 1))
        place[self._engine.ids.find(high, low)] = np.arange(events)
        found = self._engine.ids.find(labels.id_hi, labels.id_lo)
        row = np.where(found >= 0, place[found], -1)
        about = About(labels, row)
        if (labels.entity >= 0).any():
            about = self._about_keys(about, np.concatenate(self._before))
        return verdicts(about, events=events, known_by_us=known_by, ignored=self._engine.labelling.forsaken)

    def _about_keys(self, about: About, before: NDArray[np.int64]) -> About:
        """Labels about a key, each for all events of the key that were there when it acted."""
        entities = self._engine.plan.definitions.entities
        words = np.concatenate(self._words, axis=1)[len(self._inputs) :]
        rows = []
        for number, entity in enumerate(about.labels.entity.tolist()):
            found = about.row[number : number + 1]
            if entity >= 0:
                roles = {way[0] for way in key_fields(entities[entity], self._plan.event) if len(way) == 1}
                mine = words[[name in roles for name in self._keys], : before[number]]
                found = np.flatnonzero((mine == about.labels.key[number]).any(axis=0))
            rows.append(found)
        number_of = np.repeat(np.arange(len(rows)), [item.size for item in rows])
        return About(about.labels.take(number_of), np.concatenate(rows))


_FAR = 2**62


def _between(times: NDArray[np.int64], first: int | None, last: int | None) -> NDArray[np.bool_]:
    return (times >= (-_FAR if first is None else first)) & (times < (_FAR if last is None else last))


def _split(times: NDArray[np.int64], choice: Choice) -> NDArray[np.int32]:
    """The number of each event's part in SPLITS."""
    if choice.test_from_us is None:
        return np.zeros(times.size, np.int32)
    begun = (times >= choice.test_from_us - choice.gap_us).astype(np.int32)
    return begun + (times >= choice.test_from_us).astype(np.int32)


def _parts(split: NDArray[np.int32], positive: NDArray[np.bool_], matured: NDArray[np.bool_]) -> dict[str, Part]:
    """The parts that have rows."""
    result = {}
    for number, name in enumerate(SPLITS):
        mine = split == number
        rows, true, known = (int(mask.sum()) for mask in (mine, mine & positive, mine & matured))
        if rows:
            result[name] = Part(rows=rows, positive=true, negative=known - true, immature=rows - known)
    return result


def _sampled(hashes: NDArray[np.uint64], share: float, seed: int) -> NDArray[np.bool_]:
    """Which events a share of them is: a property of each event's id and the seed, whatever else there is."""
    if share >= 1:
        return np.ones(hashes.size, np.bool_)
    word = hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ (word >> np.uint64(33))) * np.uint64(factor)
    return (word ^ (word >> np.uint64(33))) < np.uint64(int(share * 2**64))


def _expect_labels(choice: Choice, counted: Counted, known_by_us: int, first_us: int) -> None:
    """Refuse a set from which nothing can be learned."""
    cut = f"the cut-off {iso_time(known_by_us)}"
    delay = f"{choice.label_delay_us / DAY_US:g}d"
    if counted.immature == counted.events:
        raise InputError(
            f"no {choice.event_type} is matured: the first was at {iso_time(first_us)}, less than {delay} before {cut}"
            "; say a later --known-by or a shorter --label-delay"
        )
    if not counted.labels:
        raise InputError(
            f"no label {choice.label!r} was known of any {choice.event_type} by {cut}; "
            "are these the labels of these events? A later --known-by sees more of them"
        )


def _span_text(choice: Choice) -> str:
    """The span of a choice, in words after "no event"."""
    sides = (("from", choice.from_us), ("before", choice.to_us), ("arrived by", choice.known_by_us))
    said = [f"{word} {iso_time(at)}" for word, at in sides if at is not None]
    return " and ".join(said) or "in these files"


def _there(summary: Summary) -> str:
    """What came instead, so that a wrong span can be told from a wrong file."""
    refused = sum(summary.quarantined.values())
    return f"{summary.accepted:,} events were accepted and {refused:,} quarantined"


def _numbers(values: NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), values.size, [None, pa.py_buffer(np.ascontiguousarray(values))])
