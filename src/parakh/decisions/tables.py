"""Decisions as Arrow tables: a row a decision, a column a fact, built from columns without a Python object a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.parts import Part
from parakh.decisions.policy import FLAG_NAMES
from parakh.decisions.record import DecisionSchema
from parakh.expressions.strings import Strings, copy_spans
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.rules.definition import Mode, Outcome

__all__ = ["BASE_COLUMNS", "arrow_schema", "event_ids", "part_table"]

_OUTCOMES = tuple(outcome.word for outcome in Outcome)
_CODES = pa.list_(pa.string())
BASE_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("event_type", pa.string()),
    ("event_id", pa.string()),
    ("event_time", pa.timestamp("us", "UTC")),
    ("outcome", pa.string()),
    ("decided_by", pa.string()),
    ("score", pa.float64()),
    ("reasons", _CODES),
    ("rules", _CODES),
    ("unknown", _CODES),
    ("shadow", _CODES),
    ("flags", _CODES),
)


def part_table(part: Part, schema: pa.Schema, strings: Strings) -> pa.Table:
    """The decisions of a part as rows of a table; columns of other event types are NULL."""
    deciders = [" ".join(decider) for decider in part.schema.judge.deciders]
    rules = part.schema.judge.rules
    live = [rule.mode is Mode.LIVE for rule in rules]
    columns: dict[str, pa.Array] = {
        "event_type": _chosen(np.zeros(len(part), np.int8), [part.schema.event_type]),
        "event_id": event_ids(part),
        "event_time": _array(part.event_time_us, pa.timestamp("us", "UTC")),
        "outcome": _chosen(part.judgement.outcome, _OUTCOMES),
        "decided_by": _chosen(part.judgement.won, deciders),
        "score": _numbers(part.score),
        "reasons": _names(part.judgement.hits, [rule.reason or rule.name for rule in rules], live),
        "rules": _names(part.judgement.hits, [rule.name for rule in rules], live),
        "unknown": _names(part.judgement.unknown, [rule.name for rule in rules], [True] * len(rules)),
        "shadow": _names(part.judgement.hits, [rule.name for rule in rules], [not item for item in live]),
        "flags": _flag_names(part.flags),
    }
    for number, column in enumerate(part.schema.features):
        if column.name in schema.names:
            columns[column.name] = _column(part.words[number], column.type, strings)
    arrays = [
        columns[item.name].cast(item.type) if item.name in columns else pa.nulls(len(part), item.type)
        for item in schema
    ]
    return pa.table(arrays, schema=schema)


def arrow_schema(schemas: Sequence[DecisionSchema]) -> pa.Schema:
    """The columns of a table of decisions on these event types: the decision, then every feature of any of them."""
    columns = list(BASE_COLUMNS)
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


def _column(words: NDArray[np.int64], type: Type, strings: Strings) -> pa.Array:
    """A column of words as an Arrow array; money as a decimal in major units."""
    if type.is_float:
        return _numbers(words.view(np.float64))
    null = words == NULL_WORD
    if type.kind is Kind.STRING:
        known, places = np.unique(words, return_inverse=True)
        texts = _texts([text or "" for text in strings.texts(known)])
        return texts.take(_array(places.astype(np.int64), pa.int64(), null))
    if type.kind is Kind.BOOLEAN:
        return _array(np.packbits(words == 1, bitorder="little"), pa.bool_(), null)
    if type.kind is Kind.TIMESTAMP:
        return _array(words, pa.timestamp("us", "UTC"), null)
    if type.kind is Kind.MONEY:
        # The words are the unscaled values already: only the scale is to be said.
        unscaled = np.empty((words.size, 2), np.int64)
        unscaled[:, 0] = words
        unscaled[:, 1] = words >> 63
        return _array(unscaled, pa.decimal128(20, type.digits), null)
    return _array(words, pa.int64(), null)


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
    return pa.ListArray.from_arrays(_array(offsets, pa.int32()), _chosen(which[order], names))


def _flag_names(flags: NDArray[np.uint8]) -> pa.Array:
    bits = np.zeros((flags.size, 1), np.uint64)
    for number, (bit, _) in enumerate(FLAG_NAMES):
        bits[:, 0] |= np.where(flags & bit, np.uint64(1 << number), np.uint64(0))
    return _names(bits, [name for _, name in FLAG_NAMES], [True] * len(FLAG_NAMES))


def _numbers(values: NDArray[np.float64]) -> pa.Array:
    return _array(values, pa.float64(), np.isnan(values))


def _chosen(numbers: NDArray[Any], names: Sequence[str]) -> pa.Array:
    """The name of each number."""
    return _texts(names).take(_array(numbers.astype(np.int32), pa.int32()))


def _array(values: NDArray[Any], type: pa.DataType, null: NDArray[np.bool_] | None = None) -> pa.Array:
    """Values as they stand in memory as an array; one value a row of `null`, where that is given."""
    # pa.array() asks pandas whether it knows the values, and importing pandas costs as much as all the rest.
    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    count = len(values) if null is None else len(null)
    return pa.Array.from_buffers(type, count, [valid, pa.py_buffer(np.ascontiguousarray(values))])


def _texts(texts: Sequence[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def event_ids(part: Part) -> pa.Array:
    """The id of each event of a part."""
    buffer, starts, lengths = part.ids
    offsets = np.zeros(len(part) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    copy_spans(buffer, starts, lengths, offsets.astype(np.int64), out)
    return pa.StringArray.from_buffers(len(part), pa.py_buffer(offsets), pa.py_buffer(out))
