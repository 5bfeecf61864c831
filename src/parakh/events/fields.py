"""The kernel that puts one scanned value into the columns: what JSON lines and CSV rows have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.events.reasons import Reason
from parakh.events.scalars import epoch_us, number_bits, read_time, scaled, scan_number
from parakh.events.schema import (
    DIGITS,
    INTERNED,
    KIND,
    KIND_NUMBERS,
    ROLE,
    ROLE_ATTACHED,
    ROLE_ID,
    ROLE_LABEL,
    ROLE_TIME,
    SALT,
    SLOT,
)
from parakh.expressions.kernels import inlined
from parakh.expressions.strings import hash_bytes, intern_bytes, mix
from parakh.expressions.types import NAN_WORD, NULL_WORD, Kind

__all__ = [
    "DIGEST", "FALSE", "ID_HIGH", "ID_LENGTH", "ID_LOW", "ID_START", "NULL", "NUMBER", "PROBLEM", "ROWS",
    "TEXT", "TIME", "TRUE", "UNSURE", "clear_row", "close_row", "store",
]  # fmt: skip

# Rows of `out`: int64[ROWS, n], one column an event.
PROBLEM, ID_HIGH, ID_LOW, DIGEST, ID_START, ID_LENGTH, TIME, ROWS = range(8)

# What kind of token a value was.
NULL, TEXT, NUMBER, TRUE, FALSE = range(5)

UNSURE = -1
"""The problem of an event that the kernels leave to Python."""

_NAN = np.int64(NAN_WORD)
_NULL = np.int64(NULL_WORD)
_MISSING_ID, _MISSING_TIME = np.int64(Reason.MISSING_ID), np.int64(Reason.MISSING_TIME)
_EARLY, _LATE = np.int64(Reason.TIME_BEFORE_EARLIEST), np.int64(Reason.TIME_IN_FUTURE)
_BOOLEAN = KIND_NUMBERS[Kind.BOOLEAN]
_INTEGER = KIND_NUMBERS[Kind.INTEGER]
_NUMBER = KIND_NUMBERS[Kind.NUMBER]
_MONEY = KIND_NUMBERS[Kind.MONEY]
_TIMESTAMP = KIND_NUMBERS[Kind.TIMESTAMP]
_STRING = KIND_NUMBERS[Kind.STRING]


@inlined
def clear_row(fields: Any, words: Any, labels: Any, out: Any, row: Any, index: Any) -> None:
    """Make every value of an event NULL."""
    for field in range(fields.shape[0]):
        null = _NAN if fields[field, KIND] == _NUMBER else _NULL
        if fields[field, ROLE] == ROLE_LABEL:
            labels[fields[field, SLOT], index] = null
        elif fields[field, SLOT] >= 0:
            words[fields[field, SLOT], row] = null
    for item in range(ROWS):
        out[item, index] = 0
    out[ID_LENGTH, index] = -1
    out[TIME, index] = _NULL


@inlined
def close_row(fields: Any, words: Any, labels: Any, out: Any, row: Any, index: Any, meta: Any, sure: Any) -> Any:
    """End an event, every value of which was read if `sure`; answers 1 where it is UNSURE, else 0.

    One that has a problem has no values. `meta`: earliest and latest time (us), whether the type has an id.
    """
    problem = _problem(out, index, meta) if sure else np.int64(UNSURE)
    if problem != 0:
        clear_row(fields, words, labels, out, row, index)
        out[PROBLEM, index] = problem
    return np.int64(problem == UNSURE)


@inlined
def _problem(out: Any, index: Any, meta: Any) -> Any:
    """Of an event whose every value was read: no id, no time, or a time out of bounds; 0 if none."""
    if meta[2] != 0 and out[ID_LENGTH, index] <= 0:
        return _MISSING_ID
    time = out[TIME, index]
    if time == _NULL:
        return _MISSING_TIME
    if time < meta[0]:
        return _EARLY
    if time > meta[1]:
        return _LATE
    return np.int64(0)


@inlined
def store(
    buffer: Any, token: Any, start: Any, end: Any, mantissa: Any, exponent: Any, negative: Any, plain: Any,
    fields: Any, field: Any, words: Any, labels: Any, out: Any, row: Any, index: Any, salt: Any,
    arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> Any:  # fmt: skip
    """Put a token at buffer[start:end] into its field; false where Python must decide. NULL tokens are not for here."""
    kind = fields[field, KIND]
    role = fields[field, ROLE]
    word = np.int64(0)
    if kind == _STRING:
        if token != TEXT and not (token == NUMBER and plain):
            return False
        high, _ = hash_bytes(buffer, start, end - start, np.uint64(0))
        word = np.int64(high)
    elif token in (TRUE, FALSE):
        if kind != _BOOLEAN:
            return False
        word = np.int64(token == TRUE)
    else:
        if token == TEXT:
            if kind == _TIMESTAMP:
                sure, word = read_time(buffer, start, end)
                if sure:
                    token = NULL
            elif kind == _BOOLEAN and end - start > 1:
                return False
            if token == TEXT:
                stop, mantissa, exponent, negative, plain = scan_number(buffer, start, end)
                if stop != end:
                    return False
        if token != NULL:
            if kind == _NUMBER:
                sure, word = number_bits(mantissa, exponent, negative)
            else:
                sure, word = scaled(mantissa, exponent + fields[field, DIGITS], negative)
                if kind == _TIMESTAMP:
                    word = epoch_us(word)
                elif kind == _BOOLEAN and (word < 0 or word > 1):
                    sure = False
            if not sure:
                return False
    if role == ROLE_ID:
        if kind != _STRING and (kind != _INTEGER or not plain):
            return False
        high, low = hash_bytes(buffer, start, end - start, salt)
        out[ID_HIGH, index] = np.int64(high)
        out[ID_LOW, index] = np.int64(low)
        out[ID_START, index] = start
        out[ID_LENGTH, index] = end - start
    elif role == ROLE_TIME:
        out[TIME, index] = word
    if role not in (ROLE_LABEL, ROLE_ATTACHED):
        out[DIGEST, index] += np.int64(mix(np.uint64(fields[field, SALT]) ^ np.uint64(word)))
    if fields[field, INTERNED] != 0:
        word = intern_bytes(
            buffer, start, end - start, np.uint64(word), True, arena, offsets, hashes, table, count
        )  # fmt: skip
        if word < 0:
            return False
    if role == ROLE_LABEL:
        labels[fields[field, SLOT], index] = word
    elif fields[field, SLOT] >= 0:
        words[fields[field, SLOT], row] = word
    return True
