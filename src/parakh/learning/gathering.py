"""The events of one type, gathered from a replay: what was known when each came, and what became of it by a cut-off.

Training sets and back-tests are made of these rows; a label counts in both by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.label_keys import key_words
from parakh.decisions.parts import Part
from parakh.decisions.replay import Summary
from parakh.decisions.tables import event_ids
from parakh.errors import InputError
from parakh.events.labels import LabelRows
from parakh.events.merge import LABEL, LogBatch
from parakh.expressions.types import NULL_WORD
from parakh.expressions.values import iso_time
from parakh.features.reads import key_fields
from parakh.learning.columns import Input, taken
from parakh.learning.known import About, Verdicts, verdicts
from parakh.learning.past import Replaying
from parakh.service.personal.tokens import is_token

__all__ = ["FAR", "Gathering", "Known", "Span"]

FAR = 2**62
"""Later than any time, us UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Events of one type with their times in [from_us, to_us), and what was known of them by `known_by_us`.

    Times are us UTC; None leaves a side open, and for `known_by_us` is the time of the last event. An event is matured
    when `label_delay_us` have passed since it by then.
    """

    event_type: str
    label: str
    from_us: int | None
    to_us: int | None
    known_by_us: int | None
    label_delay_us: int

    def holds(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which times are in it."""
        first, last = self.from_us, self.to_us
        return (times >= (-FAR if first is None else first)) & (times < (FAR if last is None else last))

    def __str__(self) -> str:
        sides = (("from", self.from_us), ("before", self.to_us), ("arrived by", self.known_by_us))
        said = [f"{word} {iso_time(at)}" for word, at in sides if at is not None]
        return " and ".join(said) or "in what was given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What holds about each row by the cut-off `known_by_us`.

    `positive` are matured and known to be; `labelled` matured with any label that holds; `known_at_us` is since when
    (NULL_WORD where nothing is known).
    """

    known_by_us: int
    matured: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    known_at_us: NDArray[np.int64]


class Gathering:
    """Gathers the events and labels of a replay: 8 bytes a value until it is asked for them.

    Use `take` as the replay's `on_entries`; `inputs` are the columns to keep. `personal_id` says that the event's id is
    personal by the project's own definitions; those of a replay of stored events do not say it.
    """

    def __init__(self, replaying: Replaying, span: Span, inputs: Sequence[Input], *, personal_id: bool) -> None:
        self._engine = replaying.engine
        self.span = span
        self.plan = self._engine.plan.by_name[span.event_type]
        self.inputs = tuple(inputs)
        self._personal_id = personal_id
        self._label = next(n for n, item in enumerate(self.plan.event.labels) if item.name == span.label)
        # Beside them the fields that are keys, for labels about keys; they may be personal, and go no further.
        layout = self.plan.layout
        entities = self._engine.plan.definitions.entities
        ways = [key_fields(entity, self.plan.event) for entity in entities]
        self._keys = list(dict.fromkeys(name for roles in ways for way in roles for name in way))
        self._slots = np.array(
            [item.column.slot for item in self.inputs] + [layout[name].slot for name in self._keys], np.int64
        )
        self._words: list[NDArray[np.int64]] = []
        self._times: list[NDArray[np.int64]] = []
        self._hashes: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._names: list[pa.Array] = []
        self._labels: list[LabelRows] = []
        self._before: list[NDArray[np.int64]] = []
        self.count = 0
        self.beyond = 0
        """Events of the span that came after the cut-off."""

    def take(self, batch: LogBatch, decisions: Decisions) -> list[tuple[Part, NDArray[np.int64]]]:
        """What a batch brings: rows of the span, and labels with the number of rows before each.

        Gives the decisions of which events were kept, and where these stand in them.
        """
        entries = np.empty(0, np.int64)  # of each row that is kept, in order; none where no event of the type came
        gathered: list[tuple[Part, NDArray[np.int64]]] = []
        for part in decisions.parts:
            if part.schema.event_type != self.span.event_type:
                continue
            times = part.event_time_us
            known = np.ones(times.size, np.bool_)
            if self.span.known_by_us is not None:  # what came after the cut-off is not there yet
                known = part.decided_at_us <= self.span.known_by_us
            inside = self.span.holds(times)
            self.beyond += int((inside & ~known).sum())
            kept = np.flatnonzero(inside & known)
            frame = part.rows[kept]
            self._words.append(self._engine.words[self._slots[:, None], frame])
            self._times.append(times[kept])
            self._hashes.append((part.id_hi[kept], part.id_lo[kept]))
            names = taken(event_ids(part), kept)
            self._names.append(_hidden(names, *self._hashes[-1]) if self._personal_id else names)
            place = np.full(self._engine.words.shape[1], -1, np.int64)
            events = np.flatnonzero(batch.kinds != LABEL)
            place[batch.rows[events]] = events
            assert not gathered, "a batch has one part an event type, so that the rows kept are in the order of the log"
            entries = place[frame]
            gathered.append((part, kept))
        if batch.labels.count:
            at = np.flatnonzero(batch.kinds == LABEL)
            labels = batch.labels.take(batch.rows[at])
            mine = (labels.event_type == self.plan.index) & (labels.label == self._label)
            if batch.arrived_us is not None and self.span.known_by_us is not None:
                mine &= batch.arrived_us[at] <= self.span.known_by_us
            self._labels.append(labels.take(mine))
            self._before.append(self.count + np.searchsorted(entries, at[mine]))
        if gathered:
            self.count += self._times[-1].size
        return gathered

    def expect_rows(self, summary: Summary) -> None:
        """Raise InputError where no event was gathered."""
        if not self.count:
            refused = sum(summary.quarantined.values())
            raise InputError(
                f"no event of {self.span.event_type} {self.span}; "
                f"{summary.accepted:,} events were accepted and {refused:,} quarantined"
            )

    @property
    def times(self) -> NDArray[np.int64]:
        """The time of each event, us UTC."""
        return np.concatenate(self._times)

    @property
    def hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The hash of each event's id, its high and its low word."""
        return np.concatenate([high for high, _ in self._hashes]), np.concatenate([low for _, low in self._hashes])

    @property
    def ids(self) -> pa.Array:
        """The id of each event; of one that is personal its token, or the hexadecimal hash that its decision has."""
        return pa.concat_arrays(self._names)

    def columns(self) -> Iterator[tuple[Input, NDArray[np.int64]]]:
        """Each input with its words."""
        for number, item in enumerate(self.inputs):  # one by one, so that they are not all there twice
            yield item, np.concatenate([words[number] for words in self._words])

    def known(self) -> Known:
        """What holds about each row, by the labels that acted: those given up never did."""
        times = self.times
        clock = self._engine.admission.clock_us
        assert clock is not None, "an event was accepted"
        known_by = clock if self.span.known_by_us is None else self.span.known_by_us
        matured = times <= known_by - self.span.label_delay_us
        held = self._verdicts(known_by, times.size)
        labelled = matured & (held.value != NULL_WORD)
        return Known(
            known_by_us=known_by,
            matured=matured,
            labelled=labelled,
            positive=matured & (held.value == 1),
            known_at_us=np.where(labelled, held.known_at, NULL_WORD),
        )

    def _verdicts(self, known_by: int, events: int) -> Verdicts:
        labels = LabelRows.joined(self._labels)
        place = np.full(len(self._engine.ids), -1, np.int64)
        place[self._engine.ids.find(*self.hashes)] = np.arange(events)
        found = self._engine.ids.find(labels.id_hi, labels.id_lo)
        row = np.where(found >= 0, place[found], -1)
        about = About(labels, row)
        if (labels.entity >= 0).any():
            about = self._about_keys(about, np.concatenate(self._before))
        return verdicts(about, events=events, known_by_us=known_by, ignored=self._engine.labelling.forsaken)

    def _about_keys(self, about: About, before: NDArray[np.int64]) -> About:
        """Labels about a key, each for all events of the key that were there when it acted."""
        entities = self._engine.plan.definitions.entities
        words = np.concatenate([piece[len(self.inputs) :] for piece in self._words], axis=1)
        rows = []
        for number, entity in enumerate(about.labels.entity.tolist()):
            found = about.row[number : number + 1]
            if entity >= 0:
                mine = np.zeros(int(before[number]), np.bool_)
                for way in key_fields(entities[entity], self.plan.event):
                    types = [self.plan.layout[name].type for name in way]
                    key = key_words(int(about.labels.key[number]), types, self._engine.strings)
                    if key is not None:
                        parts = [words[self._keys.index(name), : mine.size] == word for name, word in zip(way, key)]
                        mine |= np.logical_and.reduce(parts)
                found = np.flatnonzero(mine)
            rows.append(found)
        number_of = np.repeat(np.arange(len(rows)), [item.size for item in rows])
        return About(about.labels.take(number_of), np.concatenate(rows))


def _hidden(ids: pa.Array, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> pa.Array:
    """Ids that are personal: tokens as they are, all others as the hash that names their event's decision too."""
    hashes = np.stack([high, low], axis=1).astype(">u8").tobytes()
    texts = ids.to_pylist()
    kept = [text if is_token(text) else hashes[16 * n : 16 * n + 16].hex() for n, text in enumerate(texts)]
    return pa.array(kept, pa.string())
