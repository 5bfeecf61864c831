"""Records merged by step of resolution: what a coarser edge need not tell apart any more is kept as one.

Where all features of a history share a resolution r, no window's lower edge ever falls inside a step of r. Once a step
lies wholly before clock - lateness - (longest delay), no upper edge and no new record falls inside it either: its
records enter and leave windows together, and become one *bucket*. Buckets stand in a ring of their own, in order, and
the step is merged as a whole, from its records alone; so when it is done makes no difference to a bucket. Every reading
first merges what can be: then answers depend on the log alone, to the bit, swept or not.

A bucket carries the sums before its first record, as a record does, and a block's summary of its records. The bucket at
the ring's tail is none yet; it carries the sums before the first record that is still by itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parakh.features.answers import EACH_IS_KEPT, mark_overflow
from parakh.features.index import ANY_SIZE, block_key, index_records, range_sum, summarise
from parakh.features.measures import integers_answer, numbers_answer
from parakh.features.memory import get, load, number, part, put, store, word
from parakh.features.rings import free_list, key_value, ring_words, room_for, size_class, take, upper
from parakh.features.slots import drop_expired, forget_all_expired, narrow, reserve, slot_of
from parakh.features.tables import (
    AMOUNT,
    ARENA,
    BLOCK_SUM_BLOCK,
    BLOCK_SUM_COUNT,
    BLOCK_SUM_MEASURE,
    BLOCK_SUM_WIDTH,
    BLOCK_SUMS,
    BUCKET_HISTORY,
    BUCKET_NUMBER,
    BUCKETS,
    COUNT_VALUES,
    DELAY_COUNT,
    DELAY_HIGH,
    DELAY_WIDTH,
    DELAYS,
    EXTREME,
    EXTREME_FLOAT,
    EXTREME_SIGN,
    FEATURE_KIND,
    FEATURE_NULL,
    FEATURE_OUT,
    FEATURE_PLACE,
    FEATURE_SCALE,
    FEATURE_WIDTH,
    FEATURE_WINDOW,
    HISTORY_RECORDS,
    LATENESS,
    LONGEST,
    LONGEST_DELAY,
    LOW32,
    MEASURE_AT,
    MEASURE_COUNTER,
    MEASURE_KIND,
    MEASURE_NUMBER,
    NEED_ARENA,
    NEED_NOTHING,
    NONE,
    NULL,
    READ_KEY,
    READ_WIDTH,
    SCRATCH,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STDDEV_INTEGER,
    STEP,
    STRIDE,
    SUM_INTEGER,
    SUMMARY,
    WINDOW_BUCKET,
    WINDOW_COUNT,
    WINDOW_LOW,
    WINDOW_WIDTH,
    WINDOWS,
)
from parakh.features.windows import lower_bound

__all__ = ["answer_with_buckets", "locate_buckets", "merge_ended", "merge_read", "sweep_buckets"]

FIRST_MASK = np.int64(1)  # two records: one bucket, and the sums after it


# -- merging ----------------------------------------------------------------------------------------------------------


@part
def merge_ended(c: Any, p: Any, h: Any, hc: Any, s: Any, clock: Any) -> Any:
    """Merges the records of every step that can change no more, or says what that needs; goes on when called again."""
    stride = get(h, STRIDE)
    base, mask = get(c, ARENA) + 8 * get(s, SLOT_RING), get(s, SLOT_MASK)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    step = get(h, STEP)
    exact = clock - get(c, LATENESS)
    ended = (exact - get(h, LONGEST_DELAY)) // step * step
    if head == tail or load(base + 8 * (head & mask) * stride) >= ended:
        return NEED_NOTHING
    need = NEED_NOTHING
    while head < tail:
        time = load(base + 8 * (head & mask) * stride)
        if time >= ended:
            break
        need = reserve_bucket(c, p, h, hc, s, exact - get(h, LONGEST))
        if need != NEED_NOTHING:
            break
        until = upper(base, mask, stride, head, tail, head, time // step * step + step - 1)
        merge(c, p, h, s, until)
        put(hc, HISTORY_RECORDS, get(hc, HISTORY_RECORDS) - (until - head - 1))
        head = until
    pass_over(p, h, s, head)
    return need


@part
def merge_read(c: Any, p: Any, h: Any, hc: Any, reads: Any, count: Any, codes: Any, clock: Any) -> Any:
    """Merges what can be of the keys that an event reads, or says what that needs."""
    forgotten = clock - get(c, LATENESS) - get(h, LONGEST)
    for k in range(count):
        code = load(codes + 8 * get(reads + 8 * READ_WIDTH * k, READ_KEY))
        s = slot_of(c, hc, code) if code >= 0 else NONE
        if s != NONE:
            forget_all_expired(c, p, h, hc, s, forgotten)
            need = merge_ended(c, p, h, hc, s, clock)
            if need != NEED_NOTHING:
                return need
    return NEED_NOTHING


@part
def reserve_bucket(c: Any, p: Any, h: Any, hc: Any, s: Any, forgotten: Any) -> Any:
    """Makes room for one more bucket, or says what that needs."""
    h2, s2, number = p + 8 * get(h, BUCKET_HISTORY), s + 8 * get(h, BUCKETS), get(h, BUCKET_NUMBER)
    if get(s2, SLOT_RING) != NONE:
        return reserve(c, p, h2, hc, number, s2, forgotten)
    free, words = free_list(c, p, number, size_class(FIRST_MASK)), ring_words(h2, FIRST_MASK)
    if not room_for(c, free, words):
        put(c, AMOUNT, words)
        return NEED_ARENA
    put(s2, SLOT_RING, take(c, free, words))
    put(s2, SLOT_MASK, FIRST_MASK)
    copy_sums(c, h, s, get(s, SLOT_HEAD), h2, s2)
    return NEED_NOTHING


@part
def copy_sums(c: Any, h: Any, s: Any, place: Any, h2: Any, s2: Any) -> Any:
    """Gives the bucket at the tail the sums of a record."""
    stride, arena = get(h, STRIDE), get(c, ARENA)
    a = arena + 8 * (get(s, SLOT_RING) + (place & get(s, SLOT_MASK)) * stride)
    b = arena + 8 * (get(s2, SLOT_RING) + (get(s2, SLOT_TAIL) & get(s2, SLOT_MASK)) * get(h2, STRIDE))
    for k in range(stride):
        put(b, k, get(a, k))


@part
def merge(c: Any, p: Any, h: Any, s: Any, until: Any) -> Any:
    """Makes one bucket of the records [head, until). The room was reserved."""
    arena = get(c, ARENA)
    h2, s2 = p + 8 * get(h, BUCKET_HISTORY), s + 8 * get(h, BUCKETS)
    base, mask, stride = arena + 8 * get(s, SLOT_RING), get(s, SLOT_MASK), get(h, STRIDE)
    head, tail = get(s, SLOT_HEAD), get(s2, SLOT_TAIL)
    bucket = arena + 8 * (get(s2, SLOT_RING) + (tail & get(s2, SLOT_MASK)) * get(h2, STRIDE))
    # Its last record's time, so that a key is forgotten when it would be without a merger.
    store(bucket, load(base + 8 * ((until - 1) & mask) * stride))
    summary = bucket + 8 * get(h2, SUMMARY)
    summarise(p, h, base, mask, stride, head, until, ANY_SIZE, summary)
    b = p + 8 * get(h, BLOCK_SUMS)
    for _ in range(get(h, BLOCK_SUM_COUNT)):
        m = p + 8 * get(b, BLOCK_SUM_MEASURE)
        if get(m, MEASURE_KIND) == MEASURE_NUMBER:
            # A sum beyond float64's range is kept in a larger unit: with other buckets' it may come back.
            place, unit = summary + 8 * get(b, BLOCK_SUM_BLOCK), 1.0
            if not abs(number(load(place))) < math.inf:
                total, rest = range_sum(p, h, m, base, mask, stride, head, until, 2.0**-64)
                store(place, word(total))
                store(place + 8, word(rest))
                unit = 2.0**64
            put(bucket, get(m, MEASURE_AT), word(unit))
        b += 8 * BLOCK_SUM_WIDTH
    put(s, SLOT_HEAD, until)
    put(s2, SLOT_TAIL, tail + 1)
    copy_sums(c, h, s, until, h2, s2)
    index_records(p, h2, s2, tail, tail + 1, arena)


@part
def pass_over(p: Any, h: Any, s: Any, head: Any) -> Any:
    """Moves the places of windows on to the first record that is still by itself."""
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        low = s + 8 * get(w, WINDOW_LOW)
        store(low, max(load(low), head))
        w += 8 * WINDOW_WIDTH
    d = p + 8 * get(h, DELAYS)
    for _ in range(get(h, DELAY_COUNT)):
        high = get(d, DELAY_HIGH)
        if high != 0:
            put(s, high, max(get(s, high), head))
        d += 8 * DELAY_WIDTH


@part
def sweep_buckets(c: Any, p: Any, h: Any, hc: Any, history: Any, s: Any, clock: Any) -> Any:
    """Merges as far as there is room, lets go of the buckets that no reading can reach, and narrows both rings."""
    merge_ended(c, p, h, hc, s, clock)
    h2, s2 = p + 8 * get(h, BUCKET_HISTORY), s + 8 * get(h, BUCKETS)
    if get(s2, SLOT_RING) != NONE:
        drop_expired(c, p, h2, hc, s2, clock - get(c, LATENESS) - get(h, LONGEST))
        narrow(c, p, h2, get(h, BUCKET_NUMBER), s2)
    narrow(c, p, h, history, s)


# -- reading ----------------------------------------------------------------------------------------------------------


@part
def locate_buckets(c: Any, p: Any, h: Any, s: Any, time: Any, bound: Any, count: Any) -> Any:
    """Notes the first bucket that each window holds for a reading at `time`, after the places of records."""
    h2, s2 = p + 8 * get(h, BUCKET_HISTORY), s + 8 * get(h, BUCKETS)
    base, mask, stride = get(c, ARENA) + 8 * get(s2, SLOT_RING), get(s2, SLOT_MASK), get(h2, STRIDE)
    head, tail = get(s2, SLOT_HEAD), get(s2, SLOT_TAIL)
    noted = get(c, SCRATCH) + 16 * get(h, WINDOW_COUNT)
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        place = s + 8 * get(w, WINDOW_BUCKET)
        low = max(load(place), head)
        if head < tail:
            low = upper(base, mask, stride, head, tail, low, lower_bound(w, time, bound, count))
        store(place, low)
        store(noted, low)
        noted += 8
        w += 8 * WINDOW_WIDTH


@part
def answer_with_buckets(
    c: Any, p: Any, h: Any, s: Any, features: Any, first: Any, last: Any, more: Any, out: Any, rows: Any, mark: Any
) -> Any:
    """`answer` for a history that merges records: a window holds buckets from one on, then records."""
    arena, scratch = get(c, ARENA), get(c, SCRATCH)
    base, mask, stride = arena + 8 * get(s, SLOT_RING), get(s, SLOT_MASK), get(h, STRIDE)
    h2, s2 = p + 8 * get(h, BUCKET_HISTORY), s + 8 * get(h, BUCKETS)
    base2, mask2, stride2 = arena + 8 * get(s2, SLOT_RING), get(s2, SLOT_MASK), get(h2, STRIDE)
    tail2 = get(s2, SLOT_TAIL)
    f = features + 8 * FEATURE_WIDTH * first
    for _ in range(first, last):
        kind, window = get(f, FEATURE_KIND), get(f, FEATURE_WINDOW)
        low, high = get(scratch, 2 * window), get(scratch, 2 * window + 1) + more
        bucket = get(scratch, 2 * get(h, WINDOW_COUNT) + window)
        end = base + 8 * (high & mask) * stride
        if bucket < tail2:
            start = base2 + 8 * (bucket & mask2) * stride2
        else:
            bucket = EACH_IS_KEPT
            start = base + 8 * (low & mask) * stride
        null = get(f, FEATURE_NULL)
        m = p + 8 * get(f, FEATURE_PLACE)
        result = null
        if kind == COUNT_VALUES:
            counter = get(m, MEASURE_COUNTER)
            result = (get(end, counter) - get(start, counter)) & LOW32
        elif SUM_INTEGER <= kind <= STDDEV_INTEGER:
            scale = number(get(f, FEATURE_SCALE))
            result, overflow = integers_answer(p, h, m, s, arena, kind, start, end, low, high, bucket, scale)
            if overflow != 0:
                mark_overflow(mark)
            if result == NULL:
                result = null
        elif kind < EXTREME:
            result = word(numbers_answer(p, h, m, s, arena, kind, start, end, low, high, bucket))
        else:
            key = block_key(h, base, mask, stride, m, low, high, ANY_SIZE)[0]
            if bucket != EACH_IS_KEPT:
                key = max(key, block_key(h2, base2, mask2, stride2, m, bucket, tail2, ANY_SIZE)[0])
            result = key_value(key, get(m, EXTREME_FLOAT), get(m, EXTREME_SIGN))
            if result == NULL:
                result = null
        store(out + 8 * rows * get(f, FEATURE_OUT), result)
        f += 8 * FEATURE_WIDTH
