"""Arrow columns (Parquet files, tables of a notebook) to words: a column at a time, without an object a value.

Each column is brought to one of two shapes that the kernels know, words or spans of text. Values that do not fit make
their row UNSURE, and `parakh.events.convert` finds the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parakh.events.fields import DIGEST, PROBLEM, TEXT, TIME, UNSURE, clear_row, close_row, store
from parakh.events.reasons import Reason, Refused
from parakh.events.scalars import DAY_US, epoch_us, valid_utf8
from parakh.events.schema import (
    KIND,
    KIND_NUMBERS,
    ROLE,
    ROLE_ATTACHED,
    ROLE_ID,
    ROLE_LABEL,
    ROLE_TIME,
    SALT,
    SLOT,
    Schema,
    SchemaField,
)
from parakh.expressions.kernels import kernel
from parakh.expressions.strings import Strings, mix
from parakh.expressions.types import Kind, Type

__all__ = ["column_path", "decode_columns"]

_STRING = KIND_NUMBERS[Kind.STRING]
_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_FITTING = float(2**63)
_NOISE = 4
"""How many units in the last place an amount in a column of floats may be off."""
_YEAR_1_US, _YEAR_9999_US = -62_135_596_800_000_000, 253_402_300_799_999_999


class _Words(NamedTuple):
    """A column as words; `fits` is false where Python must decide, `valid` where it is not NULL."""

    words: npt.NDArray[np.int64]
    fits: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]


class _Texts(NamedTuple):
    """A column as spans of text; a negative length is NULL."""

    buffer: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def column_path(schema: Any, source: str) -> tuple[str, ...] | None:
    """Where a schema has a source: the column of that name, or for `a.b` field b of struct column a; None: nowhere."""
    if source in schema.names:
        return (source,)
    path = tuple(source.split("."))
    if path[0] not in schema.names:
        return None
    type = schema.field(path[0]).type
    for part in path[1:]:
        if not pa.types.is_struct(type) or type.get_field_index(part) < 0:
            return None
        type = type.field(part).type
    return path


def _column_at(table: Any, source: str) -> Any | None:
    path = column_path(table.schema, source)
    if path is None:
        return None
    column = table.column(path[0])
    for part in path[1:]:
        column = pc.struct_field(column, part)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def decode_columns(
    table: Any,
    schema: Schema,
    strings: Strings,
    words: npt.NDArray[np.int64],
    first_row: int,
    labels: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
    meta: npt.NDArray[np.int64],
    salt: np.uint64,
) -> tuple[npt.NDArray[np.uint8], int, Callable[[SchemaField, int], object]]:
    """Decode a table into `words` (from `first_row`), `labels` and `out`.

    Answers the buffer of the ids' texts, how many rows are UNSURE and what gives the value of a field in such a row.
    """
    _clear_rows(schema.fields, words, labels, out, first_row)
    id_buffer = np.zeros(1, np.uint8)
    columns: dict[str, Any] = {}
    for number, item in enumerate(schema.items):
        array = columns[item.source] if item.source in columns else _column_at(table, item.source)
        columns[item.source] = array
        if array is None or pa.types.is_null(array.type):
            continue
        shape = _as_text(array) if _wants_text(array.type, item) else _as_words(array, item.type)
        if isinstance(shape, _Texts):
            if item.interned:
                strings.reserve(table.num_rows, shape.buffer.shape[0])
            _store_texts(
                *shape, schema.fields, number, words, labels, out, first_row, salt, *strings.kernel_arrays
            )  # fmt: skip
            if item.role == ROLE_ID:
                id_buffer = shape.buffer
        else:
            _store_words(*shape, schema.fields, number, words, labels, out, first_row)
    unsure = _close_rows(schema.fields, words, labels, out, first_row, meta)

    def value(item: SchemaField, row: int) -> object:
        array = columns[item.source]
        return None if array is None else _value(array, row)

    return id_buffer, unsure, value


def _value(array: Any, row: int) -> object:
    one = array.slice(row, 1)
    if pa.types.is_dictionary(one.type):
        one = one.dictionary_decode()
    if _is_text(one.type):
        one = one.cast(pa.large_binary())
    if pa.types.is_timestamp(one.type):
        words, fits, valid = _as_words(one, Type(Kind.TIMESTAMP))
        if valid[0] and not fits[0]:
            raise Refused(Reason.OUT_OF_RANGE)
        one = pa.array(words, pa.timestamp("us"), mask=~valid)
    return one[0].as_py()


def _wants_text(type: Any, item: SchemaField) -> bool:
    """Whether the kernels take the column as text: all text, ids, and what has an exact text but no exact word."""
    if pa.types.is_dictionary(type):
        type = type.value_type
    if _is_text(type) or pa.types.is_decimal(type):
        return True
    return pa.types.is_integer(type) and (item.type.kind is Kind.STRING or item.role == ROLE_ID)


def _is_text(type: Any) -> bool:
    return (
        pa.types.is_string(type)
        or pa.types.is_large_string(type)
        or pa.types.is_string_view(type)
        or pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_binary_view(type)
    )


def _as_text(array: Any) -> _Texts:
    if pa.types.is_dictionary(array.type):
        spans = _as_text(array.dictionary)
        invalid = _invalid(array)
        codes = pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        if not spans.starts.shape[0]:
            return _Texts(spans.buffer, np.zeros(len(array), np.int64), np.full(len(array), -1, np.int64))
        lengths = spans.lengths[codes]
        lengths[invalid] = -1
        return _Texts(spans.buffer, spans.starts[codes], lengths)
    if not _is_text(array.type):
        array = array.cast(pa.string())
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    buffer = np.zeros(1, np.uint8)
    if data is not None and len(array) and ends[-1] > ends[0]:
        # A copy: Arrow's memory is read-only, which to Numba is another type and another compilation.
        buffer = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].copy()
    starts = ends[:-1] - (ends[0] if len(array) else 0)
    lengths = np.diff(ends)
    lengths[_invalid(array)] = -1
    return _Texts(buffer, starts, lengths)


def _as_words(array: Any, type: Type) -> _Words:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    source = array.type
    valid = ~_invalid(array)
    none = np.zeros(len(array), np.int64)
    if pa.types.is_timestamp(source) or pa.types.is_date(source):
        words, fits = _time_words(array)
        return _Words(words, fits & (type.kind is Kind.TIMESTAMP), valid)
    if pa.types.is_boolean(source):
        words = pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.int64)
        return _Words(words, np.full(len(array), type.kind is Kind.BOOLEAN), valid)
    if pa.types.is_integer(source):
        values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
        fits = values <= 2**63 - 1 if source == pa.uint64() else np.ones(len(array), np.bool_)
        words = values.astype(np.int64)
        return _Words(*_from_integers(words, fits & (words > -(2**63)), values, type), valid)
    if pa.types.is_floating(source):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
        return _Words(*_from_floats(values, type), valid)
    return _Words(none, np.zeros(len(array), np.bool_), valid)


def _time_words(array: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    if pa.types.is_date32(array.type):
        return pc.fill_null(array.cast(pa.int32()), 0).to_numpy().astype(np.int64) * DAY_US, _all(array)
    words = pc.fill_null(array.cast(pa.int64()), 0).to_numpy()
    unit = "ms" if pa.types.is_date64(array.type) else array.type.unit
    if unit == "ns":
        return words // 1_000, _all(array)
    factor = _UNIT_US[unit]
    fits = (words >= _YEAR_1_US // factor) & (words <= _YEAR_9999_US // factor)
    return np.where(fits, words, 0) * factor, fits


def _from_integers(
    words: npt.NDArray[np.int64], fits: npt.NDArray[np.bool_], values: npt.NDArray[Any], type: Type
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    if type.kind is Kind.NUMBER:
        return values.astype(np.float64).view(np.int64), np.ones(words.shape[0], np.bool_)
    if type.kind is Kind.BOOLEAN:
        return words, fits & ((words == 0) | (words == 1))
    if type.kind is Kind.TIMESTAMP:
        times = words.copy()
        _to_epochs(times)
        return times, fits
    factor = 10**type.digits
    fits &= np.abs(np.where(fits, words, 0)) <= (2**63 - 1) // factor
    return np.where(fits, words, 0) * factor, fits


def _from_floats(values: npt.NDArray[Any], type: Type) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    finite = np.isfinite(values)
    values = np.where(finite, values, 0)
    wide = values.astype(np.float64) + 0.0
    if type.kind is Kind.NUMBER:
        return wide.view(np.int64), finite
    if type.kind is Kind.MONEY:
        # The amount whose nearest float this is: 75.81 is held as 75.81000000000000227, and means 7581 minor units.
        # Sums made in floats are a few of their last digits off (123.35000000000001): noise, not a third decimal.
        factor = float(10**type.digits)
        minor = np.rint(wide * factor)
        meant = (minor / factor).astype(values.dtype)
        fits = finite & (np.abs(minor) < 2**53) & (np.abs(meant - values) <= _NOISE * np.spacing(np.abs(meant)))
        return np.where(fits, minor, 0).astype(np.int64), fits
    fits = finite & (np.abs(wide) < _FITTING) & (wide == np.floor(wide))
    words = np.where(fits, wide, 0).astype(np.int64)
    if type.kind is Kind.BOOLEAN:
        return words, fits & ((words == 0) | (words == 1))
    if type.kind is Kind.TIMESTAMP:
        _to_epochs(words)
        return words, fits
    return words, fits & (type.kind is Kind.INTEGER)


def _invalid(array: Any) -> npt.NDArray[np.bool_]:
    if array.null_count == 0:
        return np.zeros(len(array), np.bool_)
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _all(array: Any) -> npt.NDArray[np.bool_]:
    return np.ones(len(array), np.bool_)


@kernel
def _to_epochs(words: Any) -> None:
    for index in range(words.shape[0]):
        words[index] = epoch_us(words[index])


@kernel
def _clear_rows(fields: Any, words: Any, labels: Any, out: Any, first_row: Any) -> None:
    for index in range(out.shape[1]):
        clear_row(fields, words, labels, out, first_row + index, index)


@kernel
def _store_texts(
    buffer: Any, starts: Any, lengths: Any, fields: Any, field: Any, words: Any, labels: Any, out: Any, first_row: Any,
    salt: Any, arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> None:  # fmt: skip
    for index in range(starts.shape[0]):
        if lengths[index] < 0:
            continue
        start, end = starts[index], starts[index] + lengths[index]
        sure = (fields[field, KIND] != _STRING or valid_utf8(buffer, start, end)) and store(
            buffer, TEXT, start, end, np.uint64(0), np.int64(0), False, False, fields, field, words, labels, out,
            first_row + index, index, salt, arena, offsets, hashes, table, count,
        )  # fmt: skip
        if not sure:
            out[PROBLEM, index] = UNSURE


@kernel
def _store_words(
    values: Any, fits: Any, valid: Any, fields: Any, field: Any, words: Any, labels: Any, out: Any, first_row: Any
) -> None:
    role, slot = fields[field, ROLE], fields[field, SLOT]
    for index in range(values.shape[0]):
        if not valid[index]:
            continue
        if not fits[index] or role == ROLE_ID:
            out[PROBLEM, index] = UNSURE
            continue
        word = values[index]
        if role == ROLE_TIME:
            out[TIME, index] = word
        if role == ROLE_LABEL:
            labels[slot, index] = word
            continue
        if role != ROLE_ATTACHED:
            out[DIGEST, index] += np.int64(mix(np.uint64(fields[field, SALT]) ^ np.uint64(word)))
        if slot >= 0:
            words[slot, first_row + index] = word


@kernel
def _close_rows(fields: Any, words: Any, labels: Any, out: Any, first_row: Any, meta: Any) -> Any:
    unsure = 0
    for index in range(out.shape[1]):
        sure = out[PROBLEM, index] != UNSURE
        unsure += close_row(fields, words, labels, out, first_row + index, index, meta, sure)
    return unsure
