"""The instructions that read a segment of the pool: remembered texts, local time, lists and tables.

`parakh.expressions.interpreter` runs them; `remembered`, `zones` and `lists` lay their segments out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from parakh.expressions import instructions as op
from parakh.expressions.kernels import stamped
from parakh.expressions.memory import get_word, set_word
from parakh.expressions.types import NULL_WORD

__all__ = ["Word", "lower_bound", "place_of", "run_lookups"]

Word = Any  # an int64 in the kernel; Python's int, or NumPy's, outside

_NULL = np.int64(NULL_WORD)
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


@stamped
@njit(cache=True, nogil=True)
def run_lookups(code: Word, d: Word, a: Word, b: Word, k: Word, n: Word, row: Word, segment: Word, null: Word) -> Word:
    """What reads a segment of the pool; returns the row at which a text is not remembered, else -1."""
    for i in range(row, n):
        x = get_word(a, i)
        r = null
        if x == _NULL:
            r = null
        elif code == op.MEMO:
            at = _remembered(segment, x)
            if at < 0:
                return i
            r = get_word(segment, 1 + (np.int64(1) << get_word(segment, 0)) + at)
        elif code == op.HOUR:
            local = x + _offset(segment, x)
            r = (local - local // _DAY_US * _DAY_US) // _HOUR_US
        elif code == op.DAY_OF_WEEK:
            days = (x + _offset(segment, x)) // _DAY_US + 3
            r = days - days // 7 * 7 + 1
        else:
            y = get_word(b, i)
            if y != _NULL:
                if code == op.DATE_DIFF:
                    r = _date_diff(x, y, k, segment)
                else:
                    found = _row_as_of(segment, x, y)
                    if code == op.IN_LIST:
                        r = np.int64(found >= 0)
                    elif found >= 0:
                        r = get_word(segment, 1 + (3 + k) * get_word(segment, 0) + found)
        set_word(d, i, r)
    return np.int64(-1)


@stamped
@njit(cache=True, nogil=True)
def _row_as_of(table: Word, key: Word, time: Word) -> Word:
    """The row of a table's segment that holds for a key at a time, or -1."""
    count = get_word(table, 0)
    low, high = np.int64(0), count
    while low < high:
        middle = (low + high) >> 1
        at = get_word(table, 1 + middle)
        if at < key or (at == key and get_word(table, 1 + count + middle) <= time):
            low = middle + 1
        else:
            high = middle
    row = low - 1
    if row >= 0 and get_word(table, 1 + row) == key and time < get_word(table, 1 + 2 * count + row):
        return row
    return np.int64(-1)


@stamped
@njit(cache=True, nogil=True)
def _remembered(memory: Word, code: Word) -> Word:
    """The place of a code in an instruction's memory (bits, keys, results), or -1; half of it is always free."""
    bits = get_word(memory, 0)
    mask = (np.int64(1) << bits) - 1
    at = place_of(code) & mask
    while True:
        known = get_word(memory, 1 + at)
        if known == code:
            return at
        if known < 0:
            return np.int64(-1)
        at = (at + 1) & mask


@stamped
@njit(cache=True, nogil=True)
def place_of(code: Word) -> Word:
    """Where the search for a text's code begins in a memory."""
    return (np.int64(code) * np.int64(0x9E3779B97F4A7C1)) >> np.int64(20)


@stamped
@njit(cache=True, nogil=True)
def _date_diff(start: Word, end: Word, unit: Word, zone: Word) -> Word:
    """Boundaries of a unit crossed between two times, in local time; weeks are whole weeks between the days."""
    if unit == 0:
        return end // 1_000_000 - start // 1_000_000
    first, last = _offset(zone, start), _offset(zone, end)
    if unit <= 2:  # minutes and hours that pass, whatever the clocks are set to
        size = np.int64(60_000_000) if unit == 1 else np.int64(_HOUR_US)
        shift = abs(last - first) // size
        return (end + last) // size - (start + first) // size - (shift if last >= first else -shift)
    start_day, end_day = (start + first) // _DAY_US, (end + last) // _DAY_US
    if unit == 3:
        return end_day - start_day
    if unit == 4:
        weeks = abs(end_day - start_day) // 7
        return weeks if end_day >= start_day else -weeks
    months = 1 if unit == 5 else 3 if unit == 6 else 12
    return _months(end_day) // months - _months(start_day) // months


@stamped
@njit(cache=True, nogil=True)
def _offset(zone: Word, time: Word) -> Word:
    """The offset from UTC at a time; a zone's segment holds count, transitions, offsets."""
    count = get_word(zone, 0)
    if count == 0:
        return get_word(zone, 1)
    at = lower_bound(zone, 1, count, time + 1)
    return get_word(zone, 1 + count + at)


@stamped
@njit(cache=True, nogil=True)
def _months(days: Word) -> Word:
    """The count of months, from January of year 0, of a day since 1970 (Hinnant's days-to-civil)."""
    z = days + 719_468
    era = z // 146_097
    of_era = z - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    return (year + era * 400) * 12 + (5 * of_year + 2) // 153 + 2


@stamped
@njit(cache=True, nogil=True)
def lower_bound(address: Word, start: Word, count: Word, x: Word) -> Word:
    """How many of `count` sorted words are less than x."""
    low, high = np.int64(0), np.int64(count)
    while low < high:
        middle = (low + high) >> 1
        if get_word(address, start + middle) < x:
            low = middle + 1
        else:
            high = middle
    return low
