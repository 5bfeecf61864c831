"""Labels from files: verdicts {event_type, event_id or entity and key, label, value, known_at, source}, as columns.

They are read whole, since they are taken in the order in which they became known, which no file need have. A label
costs about 60 bytes; its event's id is held as a hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.events.chunks import Chunk
from parakh.events.decode import Decoded, Decoder, lay_out
from parakh.events.definition import ROW_ID, EventType, Field
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.events.schema import id_salt
from parakh.events.sources import Columns, Source, open_source
from parakh.events.streams import STANDARD_INPUT
from parakh.expressions.columns import Layout
from parakh.expressions.kernels import kernel
from parakh.expressions.strings import Strings, hash_bytes
from parakh.expressions.types import NULL_WORD, STRING, TIMESTAMP, Type

__all__ = ["LabelRows", "LabelSchema", "quarantine_unknown", "read_labels"]

_COLUMNS = Columns(("event_type", "label", "value", "known_at"), ("event_id", "entity", "key", "source"))
_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class LabelRows:
    """Labels, one element each in all arrays.

    event_type: int16, index in `LabelSchema.event_types`. label: int16, index in that type's labels.
    entity: int16, index in `LabelSchema.entities` where the label is about all events of one key, else -1.
    key: int64, the code of the key's text (NULL_WORD where the label is about one event). id_hi, id_lo: uint64, the
    event's id as events are hashed. value: int64, the word of the label's type; its NULL withdraws the label.
    rank: int16, of its source; the higher holds. known_at: int64, us UTC. place: int64, its number among all labels
    read, from 0; -1 for a label that stood in its event's own row.
    """

    event_type: npt.NDArray[np.int16]
    label: npt.NDArray[np.int16]
    entity: npt.NDArray[np.int16]
    key: npt.NDArray[np.int64]
    id_hi: npt.NDArray[np.uint64]
    id_lo: npt.NDArray[np.uint64]
    value: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int16]
    known_at: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.known_at.shape[0])

    @classmethod
    def empty(cls, count: int = 0) -> LabelRows:
        """So many labels whose values are not set."""
        small, word, hashed = np.dtype(np.int16), np.dtype(np.int64), np.dtype(np.uint64)
        types: tuple[np.dtype[Any], ...] = (small, small, small, word, hashed, hashed, word, small, word, word)
        arrays: list[npt.NDArray[Any]] = [np.empty(count, dtype) for dtype in types]
        return cls(*arrays)

    def take(self, which: Any) -> LabelRows:
        """Some of the labels: a slice, a mask or numbers."""
        return LabelRows(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[LabelRows]) -> LabelRows:
        """Labels of several pieces, one after another."""
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """What labels may name. `sources` are ranked, the highest first; where there are none, all rank alike."""

    event_types: tuple[EventType, ...]
    entities: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def rank(self, source: str | None) -> int | None:
        """The rank of a source, the higher the better; 0 where none is given; None where it is not known."""
        if source is None or not self.sources:
            return 0
        return len(self.sources) - self.sources.index(source) if source in self.sources else None


def read_labels(
    paths: str | Path | Sequence[str | Path] | Source,
    schema: LabelSchema,
    strings: Strings,
    quarantine: Quarantine,
    *,
    started_us: int | None = None,
    earliest_us: int = 0,
    format: str | None = None,
) -> LabelRows:
    """All labels of files (NDJSON, CSV, Parquet) in the order in which they became known, ties as they were read.

    What is no label goes to `quarantine`, with its reason. Raises InputError where a file cannot be read at all.
    """
    source = paths if isinstance(paths, Source) else open_source(paths, _COLUMNS, format=format)
    reader = _Reader(schema, strings, started_us, earliest_us)
    parts = [LabelRows.empty()]
    place = 0
    for chunk, start, stop in source.pieces(_ROWS):
        parts.append(reader.read(chunk, start, stop, place, quarantine))
        place += stop - start
    rows = LabelRows.joined(parts)
    return rows.take(np.argsort(rows.known_at, kind="stable"))


def quarantine_unknown(path: str, places: Sequence[int], quarantine: Quarantine) -> None:
    """Put labels of a file whose events did not come into quarantine; `places` are their numbers (`LabelRows.place`).

    The file is read once more, since of a label no text is held. Standard input cannot be, so there the bytes are lost
    and the label's number stands for its line.
    """
    wanted = sorted(places)
    if path == STANDARD_INPUT:
        for number in wanted:
            quarantine.add(Reason.UNKNOWN_EVENT, source="standard input", line=number + 1, raw=b"")
        return
    passed = taken = 0
    for chunk in open_source(path, _COLUMNS) if wanted else ():
        while taken < len(wanted) and wanted[taken] < passed + chunk.count:
            row = wanted[taken] - passed
            quarantine.add(Reason.UNKNOWN_EVENT, source=chunk.file, line=chunk.line(row), raw=chunk.raw(row))
            taken += 1
        passed += chunk.count


class _Reader:
    """Reads labels by one decoder for what all labels have and one for each type of value that labels have."""

    def __init__(self, schema: LabelSchema, strings: Strings, started_us: int | None, earliest_us: int) -> None:
        self._schema = schema
        self._strings = strings
        self._base = _decoder(_LABEL, strings, started_us, earliest_us)
        types = {label.type for event_type in schema.event_types for label in event_type.labels}
        self._types = sorted(types, key=str)
        self._values = [_decoder(_value_event(type), strings, None, -_ALWAYS) for type in self._types]
        self._salts = np.array([id_salt(event_type.name) for event_type in schema.event_types], np.uint64)

    def read(self, chunk: Chunk, start: int, stop: int, place: int, quarantine: Quarantine) -> LabelRows:
        """The labels of rows [start, stop) of a chunk; those that are none go to quarantine."""
        count = stop - start
        base, layout = self._base
        words = np.empty((layout.width, count), np.int64)
        decoded = chunk.decode(base, start, stop, words, 0)
        problem = decoded.problem
        field = np.array([base.names[number] if number >= 0 else "" for number in decoded.problem_field], object)
        rows = self._named(decoded, words, layout, problem)
        rows.place[:] = np.arange(place, place + count)
        for type, (decoder, value_layout) in zip(self._types, self._values):
            of_type = (problem == 0) & self._has_type(rows, type)
            if not of_type.any():
                continue
            value_words = np.empty((value_layout.width, count), np.int64)
            values = chunk.decode(decoder, start, stop, value_words, 0)
            rows.value[of_type] = value_words[value_layout["value"].slot, of_type]
            refused = of_type & (values.problem != 0)
            problem[refused] = values.problem[refused]
            field[refused] = "value"
        for index in np.flatnonzero(problem).tolist():
            quarantine.add(
                Reason(int(problem[index])),
                field=field[index],
                source=chunk.file,
                line=chunk.line(start + index),
                raw=chunk.raw(start + index),
                beyond=chunk.beyond,
            )
        return rows.take(problem == 0)

    def _named(
        self, decoded: Decoded, words: npt.NDArray[np.int64], layout: Layout, problem: npt.NDArray[np.int64]
    ) -> LabelRows:
        """The labels with their names looked up; where a name is not known, `problem` says so."""
        rows = LabelRows.empty(decoded.count)
        rows.known_at[:] = decoded.times
        types = {item.name: number for number, item in enumerate(self._schema.event_types)}
        rows.event_type[:] = self._numbers(words[layout["event_type"].slot], types, problem, Reason.UNKNOWN_TYPE)
        entities = {name: number for number, name in enumerate(self._schema.entities)}
        entity = words[layout["entity"].slot]
        rows.entity[:] = -1
        named = entity != NULL_WORD
        rows.entity[named] = self._numbers(entity, entities, problem, Reason.UNKNOWN_TYPE, named)[named]
        label = words[layout["label"].slot]
        for number, event_type in enumerate(self._schema.event_types):
            labels = {item.name: index for index, item in enumerate(event_type.labels)}
            mine = (rows.event_type == number) & (problem == 0)
            rows.label[mine] = self._numbers(label, labels, problem, Reason.UNKNOWN_LABEL, mine)[mine]
        rows.key[:] = words[layout["key"].slot]
        by_id = decoded.id_lengths > 0
        by_key = named & (rows.key != NULL_WORD) & ~by_id
        problem[(problem == 0) & ~by_id & ~by_key] = Reason.MISSING_EVENT
        rows.key[~by_key] = NULL_WORD
        rows.entity[~by_key] = -1
        salts = np.zeros(decoded.count, np.uint64)
        salts[problem == 0] = self._salts[rows.event_type[problem == 0]]
        _hash_ids(decoded.id_buffer, decoded.id_starts, decoded.id_lengths, salts, rows.id_hi, rows.id_lo)
        source = words[layout["source"].slot]
        ranks = {name: self._schema.rank(name) or 0 for name in self._schema.sources}
        rows.rank[:] = 0
        if ranks:
            given = source != NULL_WORD
            rows.rank[given] = self._numbers(source, ranks, problem, Reason.UNKNOWN_SOURCE, given)[given]
        return rows

    def _numbers(
        self,
        codes: npt.NDArray[np.int64],
        numbers: Mapping[str, int],
        problem: npt.NDArray[np.int64],
        otherwise: Reason,
        among: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.int16]:
        """The number of each name; among the rows asked about, an unknown name is a problem."""
        known, inverse = np.unique(codes, return_inverse=True)
        texts = ("" if code == NULL_WORD else self._strings.text(code) for code in known.tolist())
        found = np.array([numbers.get(text, -1) for text in texts], np.int16)[inverse]
        unknown = (found < 0) & (problem == 0)
        problem[unknown if among is None else unknown & among] = otherwise
        return found

    def _has_type(self, rows: LabelRows, type: Type) -> npt.NDArray[np.bool_]:
        has = np.zeros(rows.count, np.bool_)
        for number, event_type in enumerate(self._schema.event_types):
            for index, label in enumerate(event_type.labels):
                if label.type == type:
                    has |= (rows.event_type == number) & (rows.label == index)
        return has


def _decoder(
    event_type: EventType, strings: Strings, started_us: int | None, earliest_us: int
) -> tuple[Decoder, Layout]:
    layout = Layout()
    lay_out(event_type, layout, {item.name for item in event_type.fields if item.name != "event_id"})
    decoder = Decoder(event_type, layout, strings, started_us=started_us, earliest_us=earliest_us, id_optional=True)
    return decoder, layout


def _value_event(type: Type) -> EventType:
    time = Field(name="known_at", type=TIMESTAMP)
    return EventType(name="label", id=ROW_ID, time="known_at", fields=(time, Field(name="value", type=type)))


@kernel
def _hash_ids(buffer: Any, starts: Any, lengths: Any, salts: Any, id_hi: Any, id_lo: Any) -> None:
    for index in range(starts.shape[0]):
        id_hi[index], id_lo[index] = np.uint64(0), np.uint64(0)
        if lengths[index] > 0:
            id_hi[index], id_lo[index] = hash_bytes(buffer, starts[index], lengths[index], salts[index])


_ALWAYS = 2**62
_LABEL = EventType(
    name="label",
    id="event_id",
    time="known_at",
    fields=(
        Field(name="event_type", type=STRING),
        Field(name="event_id", type=STRING),
        Field(name="entity", type=STRING),
        Field(name="key", type=STRING),
        Field(name="label", type=STRING),
        Field(name="known_at", type=TIMESTAMP),
        Field(name="source", type=STRING),
    ),
)
