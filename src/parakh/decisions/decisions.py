"""The decisions of a batch of events, held in columns; one at a time, as an Arrow table or as records on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.policy import DEGRADED, LATE, OVERFLOW, Judgement
from parakh.decisions.record import DecisionSchema, Record, Writer, read_record, value_of
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.rules.definition import Mode, Outcome

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decision", "Decisions", "Part", "arrow_schema"]

_OUTCOMES = tuple(outcome.word for outcome in Outcome)
_FLAGS = ((LATE, "late"), (DEGRADED, "degraded"), (OVERFLOW, "overflow"))
_CODES = pa.list_(pa.string())


@dataclass(slots=True)
class Part:
    """The decisions on one event type in a batch; one element a decision in every array.

    `features` and `shadow_scores` hold columns (one row of the array a column); `contributions` has one row for each
    decision that is not allow, in order, or none. `position` is the place among all decisions of the batch.
    """

    schema: DecisionSchema
    writer: Writer
    position: NDArray[np.int64]
    rows: NDArray[np.int64]  # of the batch's frame, while it lasts
    id_hi: NDArray[np.uint64]
    id_lo: NDArray[np.uint64]
    ids: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
    event_time_us: NDArray[np.int64]
    decided_at_us: NDArray[np.int64]
    judgement: Judgement
    score: NDArray[np.float64]
    flags: NDArray[np.uint8]
    words: NDArray[np.int64]  # the frame's columns that outlive the batch: features, then shadow scores
    contributions: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.position.size)

    def id_texts(self) -> list[str]:
        buffer, starts, lengths = self.ids
        data = buffer.tobytes() if buffer.size < 2**20 or len(self) > 1024 else None
        if data is not None:
            return [data[s : s + n].decode() for s, n in zip(starts.tolist(), lengths.tolist())]
        return [buffer[s : s + n].tobytes().decode() for s, n in zip(starts.tolist(), lengths.tolist())]

    def records(self, strings: Strings) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The encoded records as one buffer and the offsets of each; the buffer holds until the next call."""
        return self.writer.write(
            strings,
            self.words,
            self.judgement,
            self.contributions,
            id_hi=self.id_hi,
            id_lo=self.id_lo,
            ids=self.ids,
            times=(self.event_time_us, self.decided_at_us),
            score=self.score,
            flags=self.flags,
        )


class Decisions(Sequence["Decision"]):
    """Decisions in log order.

    Iterate over it, index it, or turn it into a table with `to_arrow()` or `to_pandas()`.
    """

    def __init__(self, parts: Sequence[Part], strings: Strings, schema: pa.Schema) -> None:
        self.parts = tuple(part for part in parts if len(part))
        self._strings = strings
        self._schema = schema
        self._length = sum(len(part) for part in self.parts)
        self._where: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self.statuses: NDArray[np.uint8] = np.zeros(0, np.uint8)
        """Of each event that was given, in log order: NEW, DUPLICATE, CONFLICT or REFUSED (`parakh.events.ids`)."""
        self.quarantined: dict[str, int] = {}
        """How many events of the same call could not be taken, by reason."""

    @classmethod
    def concat(cls, batches: Sequence[Decisions]) -> Decisions:
        """Batches one after another as one."""
        if not batches:
            raise ValueError("no batches to join: there is no schema to take")
        parts = []
        offset = 0
        for batch in batches:
            for part in batch.parts:
                parts.append(replace(part, position=part.position + offset))
            offset += len(batch)
        joined = cls(parts, batches[0]._strings, batches[0]._schema)
        joined.statuses = np.concatenate([batch.statuses for batch in batches])
        return joined

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"decision {index} of {len(self)}")
        if self._where is None:
            part_of = np.empty(len(self), np.int64)
            row_of = np.empty(len(self), np.int64)
            for number, part in enumerate(self.parts):
                part_of[part.position] = number
                row_of[part.position] = np.arange(len(part))
            self._where = (part_of, row_of)
        return Decision(self.parts[self._where[0][at]], int(self._where[1][at]), self._strings)

    def __iter__(self) -> Iterator[Decision]:
        return (self[i] for i in range(len(self)))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many of each outcome, by event type."""
        result: dict[str, dict[str, int]] = {}
        for part in self.parts:
            tally = np.bincount(part.judgement.outcome, minlength=len(_OUTCOMES)).tolist()
            row = result.setdefault(part.schema.event_type, dict.fromkeys(_OUTCOMES, 0))
            for word, count in zip(_OUTCOMES, tally):
                row[word] += count
        return result

    def to_arrow(self, *, features: bool = False) -> pa.Table:
        """A table with one row a decision, in log order; with `features` one column a feature under its full name."""
        schema = self._schema if features else pa.schema(list(self._schema)[: len(_BASE)])
        tables = [self._part_table(part, schema) for part in self.parts]
        if not tables:
            return schema.empty_table()
        table = pa.concat_tables(tables)
        position = np.concatenate([part.position for part in self.parts])
        if (np.diff(position) < 0).any():
            table = table.take(pa.array(np.argsort(position, kind="stable")))
        return table

    def to_pandas(self, *, features: bool = False) -> pd.DataFrame:
        """The same as `to_arrow` as a DataFrame (needs pandas: `pip install parakh[analysis]`)."""
        return self.to_arrow(features=features).to_pandas()

    def records(self) -> Iterator[bytes]:
        """The encoded record of each decision, in log order."""
        pieces: list[bytes] = [b""] * len(self)
        for part in self.parts:
            buffer, offsets = part.records(self._strings)
            data = buffer[: offsets[-1]].tobytes()
            bounds = offsets.tolist()
            for i, at in enumerate(part.position.tolist()):
                pieces[at] = data[bounds[i] : bounds[i + 1]]
        return iter(pieces)

    def _part_table(self, part: Part, schema: pa.Schema) -> pa.Table:
        outcome = pa.DictionaryArray.from_arrays(pa.array(part.judgement.outcome), pa.array(_OUTCOMES))
        rules = part.schema.judge.rules
        live = [rule.mode is Mode.LIVE for rule in rules]
        columns: dict[str, pa.Array] = {
            "event_type": pa.repeat(pa.scalar(part.schema.event_type), len(part)),
            "event_id": pa.array(part.id_texts(), pa.string()),
            "event_time": pa.array(part.event_time_us, pa.timestamp("us", "UTC")),
            "outcome": outcome.dictionary_decode(),
            "score": pa.array(part.score, from_pandas=True),
            "reasons": _names(part.judgement.hits, [rule.reason or rule.name for rule in rules], live),
            "rules": _names(part.judgement.hits, [rule.name for rule in rules], live),
            "unknown": _names(part.judgement.unknown, [rule.name for rule in rules], [True] * len(rules)),
            "shadow": _names(part.judgement.hits, [rule.name for rule in rules], [not item for item in live]),
            "flags": _flag_names(part.flags),
        }
        for number, column in enumerate(part.schema.features):
            if column.name in schema.names:
                columns[column.name] = arrow_column(part.words[number], column.type, self._strings)
        arrays = [
            columns[item.name].cast(item.type) if item.name in columns else pa.nulls(len(part), item.type)
            for item in schema
        ]
        return pa.table(arrays, schema=schema)

    def __repr__(self) -> str:
        lines = [f"{len(self):,} decisions"]
        for event_type, tally in self.counts().items():
            lines.append(f"  {event_type}: " + ", ".join(f"{word} {count:,}" for word, count in tally.items() if count))
        if self.quarantined:
            listed = ", ".join(f"{reason} {count:,}" for reason, count in self.quarantined.items())
            lines.append(f"  quarantined: {listed}")
        shown = 8
        lines += [f"  {self[i].line()}" for i in range(min(shown, len(self)))]
        if len(self) > shown:
            lines.append(f"  ... {len(self) - shown:,} more")
        return "\n".join(lines)


class Decision:
    """One decision, read from the columns of its batch.

    `features` are Python values by full name: money in major units, None for NULL.
    """

    def __init__(self, part: Part, row: int, strings: Strings) -> None:
        self._part = part
        self._row = row
        self._strings = strings

    @property
    def event_type(self) -> str:
        return self._part.schema.event_type

    @property
    def event_id(self) -> str:
        buffer, starts, lengths = self._part.ids
        start = int(starts[self._row])
        return buffer[start : start + int(lengths[self._row])].tobytes().decode()

    @property
    def event_time(self) -> datetime:
        return datetime.fromtimestamp(int(self._part.event_time_us[self._row]) / 1e6, UTC)

    @property
    def outcome(self) -> str:
        return _OUTCOMES[self._part.judgement.outcome[self._row]]

    @property
    def score(self) -> float | None:
        score = float(self._part.score[self._row])
        return None if score != score else score

    @property
    def decided_by(self) -> tuple[str, str]:
        """What won: ("rule", name), ("band", outcome), ("fallback", outcome) or ("otherwise", outcome)."""
        return self._part.schema.judge.deciders[self._part.judgement.won[self._row]]

    @property
    def rules(self) -> tuple[str, ...]:
        """The live rules that hit."""
        return self._rule_names(self._part.judgement.hits, live=True)

    @property
    def shadow_rules(self) -> tuple[str, ...]:
        """The shadow rules that would have hit."""
        return self._rule_names(self._part.judgement.hits, live=False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The rules whose condition is NULL."""
        return self._rule_names(self._part.judgement.unknown, live=None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reason codes of the live rules that hit."""
        codes = {rule.name: rule.reason or rule.name for rule in self._part.schema.judge.rules}
        return tuple(codes[name] for name in self.rules)

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(name for bit, name in _FLAGS if self._part.flags[self._row] & bit)

    @property
    def features(self) -> dict[str, Any]:
        return {
            column.name: value_of(int(self._part.words[number, self._row]), column.type, self._strings)
            for number, column in enumerate(self._part.schema.features)
        }

    def record(self) -> Record:
        """The decision as it is stored."""
        buffer, offsets = self._part.records(self._strings)
        return read_record(buffer[offsets[self._row] : offsets[self._row + 1]].tobytes())

    def line(self) -> str:
        score = "" if self.score is None else f" score {self.score:.3f}"
        why = ", ".join(self.rules) or " ".join(self.decided_by)
        return f"{self.event_time:%Y-%m-%d %H:%M:%S} {self.event_type} {self.event_id}: {self.outcome}{score} ({why})"

    def __repr__(self) -> str:
        return f"<Decision {self.line()}>"

    def _rule_names(self, bits: NDArray[np.uint64], *, live: bool | None) -> tuple[str, ...]:
        row = bits[self._row]
        return tuple(
            rule.name
            for number, rule in enumerate(self._part.schema.judge.rules)
            if int(row[number >> 6]) >> (number & 63) & 1 and live in (None, rule.mode is Mode.LIVE)
        )


_BASE: tuple[tuple[str, pa.DataType], ...] = (
    ("event_type", pa.string()),
    ("event_id", pa.string()),
    ("event_time", pa.timestamp("us", "UTC")),
    ("outcome", pa.string()),
    ("score", pa.float64()),
    ("reasons", _CODES),
    ("rules", _CODES),
    ("unknown", _CODES),
    ("shadow", _CODES),
    ("flags", _CODES),
)


def arrow_schema(schemas: Sequence[DecisionSchema]) -> pa.Schema:
    """The columns of a table of decisions on these event types: the decision, then every feature of any of them."""
    columns = list(_BASE)
    seen = {name for name, _ in columns}
    for schema in schemas:
        for column in schema.features:
            if column.name not in seen:
                seen.add(column.name)
                columns.append((column.name, _arrow_type(column.type)))
    return pa.schema(columns)


def _arrow_type(type: Type) -> pa.DataType:
    types = {
        Kind.BOOLEAN: pa.bool_(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.MONEY: pa.decimal128(20, type.digits),
        Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
        Kind.STRING: pa.string(),
    }
    return types[type.kind]


def arrow_column(words: NDArray[np.int64], type: Type, strings: Strings) -> pa.Array:
    """A column of words as an Arrow array; money as a decimal in major units."""
    if type.is_float:
        return pa.array(words.view(np.float64), from_pandas=True)
    null = words == NULL_WORD
    if type.kind is Kind.STRING:
        return pa.array(strings.texts(words), pa.string())
    if type.kind is Kind.BOOLEAN:
        return pa.array(words == 1, mask=null)
    integers = pa.array(words, mask=null)
    if type.kind is Kind.TIMESTAMP:
        return integers.cast(pa.timestamp("us", "UTC"))
    if type.kind is Kind.MONEY:
        # The words are the unscaled values already: only the scale is to be said.
        unscaled = np.empty((words.size, 2), np.int64)
        unscaled[:, 0] = words
        unscaled[:, 1] = words >> 63
        buffers = [integers.buffers()[0], pa.py_buffer(unscaled)]
        return pa.Array.from_buffers(pa.decimal128(20, type.digits), words.size, buffers)
    return integers


def _names(bits: NDArray[np.uint64], names: list[str], keep: list[bool]) -> pa.Array:
    """A list a row of the names whose bit is set."""
    rows = []
    numbers = []
    for number in range(len(names)):
        if keep[number]:
            found = np.flatnonzero(bits[:, number >> 6] >> np.uint64(number & 63) & np.uint64(1))
            rows.append(found)
            numbers.append(np.full(found.size, number, np.int32))
    row = np.concatenate(rows) if rows else np.empty(0, np.int64)
    which = np.concatenate(numbers) if numbers else np.empty(0, np.int32)
    order = np.lexsort((which, row))
    offsets = np.zeros(bits.shape[0] + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=bits.shape[0]), out=offsets[1:])
    values = pa.DictionaryArray.from_arrays(pa.array(which[order]), pa.array(names, pa.string()))
    return pa.ListArray.from_arrays(pa.array(offsets), values.dictionary_decode())


def _flag_names(flags: NDArray[np.uint8]) -> pa.Array:
    bits = np.zeros((flags.size, 1), np.uint64)
    for number, (bit, _) in enumerate(_FLAGS):
        bits[:, 0] |= np.where(flags & bit, np.uint64(1 << number), np.uint64(0))
    return _names(bits, [name for _, name in _FLAGS], [True] * len(_FLAGS))
