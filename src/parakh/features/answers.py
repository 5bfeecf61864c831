"""The features of one key, read off where its windows stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.index import ANY_SIZE, block_key
from parakh.features.measures import count_between, integers_answer, nth_value, numbers_answer
from parakh.features.memory import get, load, load8, number, part, store, store8, word
from parakh.features.repeats import distinct_between
from parakh.features.rings import key_value, value_at
from parakh.features.tables import (
    ARENA,
    COUNT_DISTINCT,
    COUNT_ROWS,
    COUNT_VALUES,
    DELAY_HIGH,
    DELAY_WIDTH,
    DELAYS,
    EXTREME,
    EXTREME_FLOAT,
    EXTREME_SIGN,
    FEATURE_CACHE,
    FEATURE_KIND,
    FEATURE_NULL,
    FEATURE_OUT,
    FEATURE_PLACE,
    FEATURE_SCALE,
    FEATURE_WIDTH,
    FEATURE_WINDOW,
    FIRST,
    MEASURE_AT,
    MEASURE_COUNTER,
    MEASURE_KIND,
    NULL,
    READ_COUNT,
    READ_FEATURES,
    SCRATCH,
    SINCE_ROW,
    SINCE_VALUE,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STDDEV_INTEGER,
    STRIDE,
    SUM_INTEGER,
    WINDOW_DELAY,
    WINDOW_LOW,
    WINDOW_WIDTH,
    WINDOWS,
)

__all__ = ["EACH_IS_KEPT", "answer", "copy_features", "empty_features", "mark_overflow"]

OVERFLOW = 1
EACH_IS_KEPT = np.int64(-1)  # in place of the first merged record of a range


@part
def answer(
    c: Any, p: Any, h: Any, s: Any, time: Any, in_order: Any, features: Any, first: Any, last: Any, more: Any,
    out: Any, rows: Any, mark: Any,
) -> Any:  # fmt: skip
    """Writes features [first, last); `more` is 1 where the windows now end with one more record, the event itself."""
    arena = get(c, ARENA)
    base = arena + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    step = 8 * stride
    scratch = get(c, SCRATCH)
    f = features + 8 * FEATURE_WIDTH * first
    for _ in range(first, last):
        kind = get(f, FEATURE_KIND)
        noted = scratch + 16 * get(f, FEATURE_WINDOW)
        low = load(noted)
        high = load(noted + 8) + more
        null = get(f, FEATURE_NULL)
        m = p + 8 * get(f, FEATURE_PLACE)
        result = null
        if kind == COUNT_ROWS:
            result = high - low
        elif kind == COUNT_VALUES:
            result = count_between(base, mask, stride, get(m, MEASURE_COUNTER), low, high)
        elif SUM_INTEGER <= kind <= STDDEV_INTEGER:
            scale = number(get(f, FEATURE_SCALE))
            start, end = base + (low & mask) * step, base + (high & mask) * step
            result, overflow = integers_answer(p, h, m, s, arena, kind, start, end, low, high, EACH_IS_KEPT, scale)
            if overflow != 0:
                mark_overflow(mark)
            if result == NULL:
                result = null
        elif kind < EXTREME:
            start, end = base + (low & mask) * step, base + (high & mask) * step
            result = word(numbers_answer(p, h, m, s, arena, kind, start, end, low, high, EACH_IS_KEPT))
        elif kind == COUNT_DISTINCT:
            running = s + 8 * get(f, FEATURE_CACHE)
            result = load(running)
            if not in_order:
                w = p + 8 * (get(h, WINDOWS) + WINDOW_WIDTH * get(f, FEATURE_WINDOW))
                d = p + 8 * (get(h, DELAYS) + DELAY_WIDTH * get(w, WINDOW_DELAY))
                known_low = load(s + 8 * get(w, WINDOW_LOW))
                known_high = get(s, SLOT_TAIL)
                if get(d, DELAY_HIGH) != 0:
                    known_high = load(s + 8 * get(d, DELAY_HIGH))
                at = get(m, MEASURE_AT)
                result = distinct_between(base, mask, stride, at, low, high, known_low, known_high, result)
        elif kind == EXTREME:
            if low < high:
                key = extreme_key(h, s, base, mask, stride, m, get(f, FEATURE_CACHE), low, high, in_order)
                result = key_value(key, get(m, EXTREME_FLOAT), get(m, EXTREME_SIGN))
                if result == NULL:
                    result = null
        elif kind == SINCE_ROW:
            if low < high:
                result = word(float(time - load(base + ((high - 1) & mask) * step)) / 1e6)
        elif low < high:
            counter = get(m, MEASURE_COUNTER)
            if count_between(base, mask, stride, counter, low, high) != 0:
                i = nth_value(base, mask, stride, counter, low, high, kind != FIRST)
                if kind == SINCE_VALUE:
                    result = word(float(time - load(base + (i & mask) * step)) / 1e6)
                else:
                    result = value_at(
                        base, mask, stride, get(m, MEASURE_KIND), get(m, MEASURE_AT), i
                    )  # fmt: skip
        store(out + 8 * rows * get(f, FEATURE_OUT), result)
        f += 8 * FEATURE_WIDTH


@part
def extreme_key(
    h: Any, s: Any, base: Any, mask: Any, stride: Any, e: Any, cached: Any, low: Any, high: Any, in_order: Any
) -> Any:
    """The order key of the greatest value of [low, high): from the window's cache, or sought in the index."""
    if not in_order:
        return block_key(h, base, mask, stride, e, low, high, ANY_SIZE)[0]
    cache = s + 8 * cached
    place = load(cache)
    if place >= low or place == -1:
        return load(cache + 8)
    key, place = block_key(h, base, mask, stride, e, low, high, ANY_SIZE)
    store(cache, place)
    store(cache + 8, key)
    return key


@part
def mark_overflow(mark: Any) -> Any:
    store8(mark, load8(mark) | OVERFLOW)


@part
def copy_features(p: Any, source: Any, read: Any, out: Any, rows: Any) -> Any:
    """Gives a read the answers of another of the same key."""
    a = p + 8 * get(source, READ_FEATURES)
    b = p + 8 * get(read, READ_FEATURES)
    for _ in range(get(read, READ_COUNT)):
        value = load(out + 8 * rows * get(a, FEATURE_OUT))
        store(out + 8 * rows * get(b, FEATURE_OUT), value)
        a += 8 * FEATURE_WIDTH
        b += 8 * FEATURE_WIDTH


@part
def empty_features(p: Any, read: Any, out: Any, rows: Any, unknown: Any) -> Any:
    """Answers for a key without records: counts are 0, all else NULL; all NULL where the key is unknown."""
    f = p + 8 * get(read, READ_FEATURES)
    for _ in range(get(read, READ_COUNT)):
        kind = get(f, FEATURE_KIND)
        result = get(f, FEATURE_NULL)
        if not unknown and kind in (COUNT_ROWS, COUNT_VALUES, COUNT_DISTINCT):
            result = 0
        store(out + 8 * rows * get(f, FEATURE_OUT), result)
        f += 8 * FEATURE_WIDTH
