"""The features of one key, read off where its windows stand."""

from __future__ import annotations

from typing import Any

from parakh.features.index import ANY_SIZE, block_key
from parakh.features.measures import count_between, integers_answer, nth_value, numbers_answer
from parakh.features.memory import load, load8, number, part, store, store8, word
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

__all__ = ["answer", "copy_features", "empty_features"]

OVERFLOW = 1


@part
def answer(
    c: Any, p: Any, h: Any, s: Any, time: Any, in_order: Any, features: Any, first: Any, last: Any, more: Any,
    out: Any, rows: Any, mark: Any,
) -> Any:  # fmt: skip
    """Writes features [first, last); `more` is 1 where the windows now end with one more record, the event itself."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    step = 8 * stride
    scratch = load(c + 8 * SCRATCH)
    f = features + 8 * FEATURE_WIDTH * first
    for _ in range(first, last):
        kind = load(f + 8 * FEATURE_KIND)
        noted = scratch + 16 * load(f + 8 * FEATURE_WINDOW)
        low = load(noted)
        high = load(noted + 8) + more
        null = load(f + 8 * FEATURE_NULL)
        m = p + 8 * load(f + 8 * FEATURE_PLACE)
        result = null
        if kind == COUNT_ROWS:
            result = high - low
        elif kind == COUNT_VALUES:
            result = count_between(base, mask, stride, load(m + 8 * MEASURE_COUNTER), low, high)
        elif SUM_INTEGER <= kind <= STDDEV_INTEGER:
            scale = number(load(f + 8 * FEATURE_SCALE))
            result, overflow = integers_answer(p, h, m, s, base, mask, stride, kind, low, high, scale)
            if overflow != 0:
                mark_overflow(mark)
            if result == NULL:
                result = null
        elif kind < EXTREME:
            result = word(numbers_answer(p, h, m, s, base, mask, stride, kind, low, high))
        elif kind == COUNT_DISTINCT:
            running = s + 8 * load(f + 8 * FEATURE_CACHE)
            result = load(running)
            if not in_order:
                w = p + 8 * (load(h + 8 * WINDOWS) + WINDOW_WIDTH * load(f + 8 * FEATURE_WINDOW))
                d = p + 8 * (load(h + 8 * DELAYS) + DELAY_WIDTH * load(w + 8 * WINDOW_DELAY))
                known_low = load(s + 8 * load(w + 8 * WINDOW_LOW))
                known_high = load(s + 8 * SLOT_TAIL)
                if load(d + 8 * DELAY_HIGH) != 0:
                    known_high = load(s + 8 * load(d + 8 * DELAY_HIGH))
                at = load(m + 8 * MEASURE_AT)
                result = distinct_between(base, mask, stride, at, low, high, known_low, known_high, result)
        elif kind == EXTREME:
            if low < high:
                key = extreme_key(h, s, base, mask, stride, m, load(f + 8 * FEATURE_CACHE), low, high, in_order)
                result = key_value(key, load(m + 8 * EXTREME_FLOAT), load(m + 8 * EXTREME_SIGN))
                if result == NULL:
                    result = null
        elif kind == SINCE_ROW:
            if low < high:
                result = word(float(time - load(base + ((high - 1) & mask) * step)) / 1e6)
        elif low < high:
            counter = load(m + 8 * MEASURE_COUNTER)
            if count_between(base, mask, stride, counter, low, high) != 0:
                i = nth_value(base, mask, stride, counter, low, high, kind != FIRST)
                if kind == SINCE_VALUE:
                    result = word(float(time - load(base + (i & mask) * step)) / 1e6)
                else:
                    result = value_at(
                        base, mask, stride, load(m + 8 * MEASURE_KIND), load(m + 8 * MEASURE_AT), i
                    )  # fmt: skip
        store(out + 8 * rows * load(f + 8 * FEATURE_OUT), result)
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
    a = p + 8 * load(source + 8 * READ_FEATURES)
    b = p + 8 * load(read + 8 * READ_FEATURES)
    for _ in range(load(read + 8 * READ_COUNT)):
        value = load(out + 8 * rows * load(a + 8 * FEATURE_OUT))
        store(out + 8 * rows * load(b + 8 * FEATURE_OUT), value)
        a += 8 * FEATURE_WIDTH
        b += 8 * FEATURE_WIDTH


@part
def empty_features(p: Any, read: Any, out: Any, rows: Any, unknown: Any) -> Any:
    """Answers for a key without records: counts are 0, all else NULL; all NULL where the key is unknown."""
    f = p + 8 * load(read + 8 * READ_FEATURES)
    for _ in range(load(read + 8 * READ_COUNT)):
        kind = load(f + 8 * FEATURE_KIND)
        result = load(f + 8 * FEATURE_NULL)
        if not unknown and kind in (COUNT_ROWS, COUNT_VALUES, COUNT_DISTINCT):
            result = 0
        store(out + 8 * rows * load(f + 8 * FEATURE_OUT), result)
        f += 8 * FEATURE_WIDTH
