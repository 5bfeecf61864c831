"""What a record keeps of an aggregate's argument, and the answer over a range of records.

A measure's words in record i are sums over all records before i, so that a range [low, high) is answered by the records
`low` and `high` alone. A value put in, or changed by a label, changes the sums of the records after it.
"""

from __future__ import annotations

import math
from typing import Any

from parakh.features.exact import (
    add_pair,
    below,
    divide_pair,
    product_pair,
    square_wide,
    subtract_wide,
    times_wide,
    wide_to_number,
)
from parakh.features.index import ANY_SIZE, range_sum, squares_about, sums_of
from parakh.features.memory import get, load, number, part, put, store, word
from parakh.features.tables import (
    AVG_INTEGER,
    AVG_NUMBER,
    BUCKET_HISTORY,
    BUCKETS,
    LOW32,
    MEASURE_AT,
    MEASURE_COUNT_ONLY,
    MEASURE_COUNTER,
    MEASURE_KIND,
    MEASURE_LARGEST,
    MEASURE_NUMBER,
    MEASURE_SQUARES,
    MEASURE_VALUE,
    NULL,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STRIDE,
    SUM_INTEGER,
)

__all__ = ["count_between", "integers_answer", "nth_value", "numbers_answer", "put_value"]


@part
def put_value(m: Any, s: Any, base: Any, mask: Any, stride: Any, place: Any, tail: Any, old: Any, new: Any) -> Any:
    """Changes a measure's value at `place` from `old` to `new` (NULL: none) and the sums of all records after it."""
    kind, at = get(m, MEASURE_KIND), get(m, MEASURE_AT)
    counter, squares = get(m, MEASURE_COUNTER), get(m, MEASURE_SQUARES)
    more = (1 if new != NULL else 0) - (1 if old != NULL else 0)
    here = base + 8 * (place & mask) * stride
    if kind == MEASURE_NUMBER:
        put(here, at, new)
        put_number(m, s, base, mask, stride, place, tail)
        return
    if kind == MEASURE_VALUE:
        put(here, at, new)
    if kind in (MEASURE_COUNT_ONLY, MEASURE_VALUE):
        if counter >= 0 and more != 0:
            for i in range(place + 1, tail + 1):
                a = base + 8 * ((i & mask) * stride + counter)
                store(a, (load(a) + more) & LOW32)
        return
    gained = new if new != NULL else 0
    lost = old if old != NULL else 0
    low = gained - lost
    high = (gained >> 63) - (lost >> 63) - (1 if below(gained, lost) else 0)
    square_high, square_low = 0, 0
    if squares >= 0:
        square_high, square_low = square_wide(gained)
        lost_high, lost_low = square_wide(lost)
        square_high -= lost_high + (1 if below(square_low, lost_low) else 0)
        square_low -= lost_low
        largest = s + 8 * get(m, MEASURE_LARGEST)
        store(largest, max(load(largest), -gained if gained < 0 else gained))
    i = place + 1
    while i <= tail:  # in stretches that do not go over the end of the ring
        stretch = min(tail - i, mask - (i & mask)) + 1
        a = base + 8 * ((i & mask) * stride + at)
        for _ in range(stretch):
            total = load(a) + low
            store(a, total)
            both = load(a + 8)
            carried = (both >> 32) + high + (1 if below(total, low) else 0)
            store(a + 8, (carried << 32) | ((both + more) & LOW32))
            a += 8 * stride
        if squares >= 0:
            a = base + 8 * ((i & mask) * stride + squares)
            for _ in range(stretch):
                total = load(a) + square_low
                store(a, total)
                store(a + 8, load(a + 8) + square_high + (1 if below(total, square_low) else 0))
                a += 8 * stride
        i += stretch


@part
def put_number(m: Any, s: Any, base: Any, mask: Any, stride: Any, place: Any, tail: Any) -> Any:
    """Adds the numbers from `place` on up again: the words value, sum (two), count, and two for squares."""
    at = get(m, MEASURE_AT)
    squares = get(m, MEASURE_SQUARES)
    largest = s + 8 * get(m, MEASURE_LARGEST)
    most = number(load(largest))
    for i in range(place, tail):
        a = base + 8 * ((i & mask) * stride + at)
        b = base + 8 * (((i + 1) & mask) * stride + at)
        value = load(a)
        high, low, counts = number(load(a + 8)), number(load(a + 16)), load(a + 24)
        if value != NULL:
            x = number(value)
            high, low = add_pair(high, low, x, 0.0)
            counts = ((counts + 1) & LOW32) | ((((counts >> 32) + (1 if x != 0.0 else 0)) & LOW32) << 32)
        store(b + 8, word(high))
        store(b + 16, word(low))
        store(b + 24, counts)
        if not abs(high) <= most:
            most = abs(high)
        if squares >= 0:
            q_high, q_low = number(load(a + 32)), number(load(a + 40))
            if value != NULL:
                x = number(value)
                square, rest = product_pair(x, x)
                q_high, q_low = add_pair(q_high, q_low, square, rest)
            store(b + 32, word(q_high))
            store(b + 40, word(q_low))
    store(largest, word(most))


@part
def count_between(base: Any, mask: Any, stride: Any, counter: Any, low: Any, high: Any) -> Any:
    """How many values a measure has in [low, high)."""
    a = base + 8 * ((low & mask) * stride + counter)
    b = base + 8 * ((high & mask) * stride + counter)
    return (load(b) - load(a)) & LOW32


@part
def nth_value(base: Any, mask: Any, stride: Any, counter: Any, low: Any, high: Any, last: Any) -> Any:
    """The place of the first, or last, value of a measure in [low, high), which has at least one."""
    start = load(base + 8 * ((low & mask) * stride + counter)) & LOW32
    if last:
        wanted = count_between(base, mask, stride, counter, low, high)
        # Values are rarely missing: look back in growing steps before halving.
        gap = 1
        while gap < high - low:
            a = load(base + 8 * (((high - gap) & mask) * stride + counter))
            if (a - start) & LOW32 < wanted:
                low = high - gap
                break
            gap *= 2
    else:
        wanted = 1
        gap = 1
        while gap < high - low:
            a = load(base + 8 * (((low + gap) & mask) * stride + counter))
            if (a - start) & LOW32 >= wanted:
                high = low + gap
                break
            gap *= 2
    # The first i with `wanted` values before i + 1.
    while high - low > 1:
        middle = (low + high) >> 1
        if (load(base + 8 * ((middle & mask) * stride + counter)) - start) & LOW32 >= wanted:
            high = middle
        else:
            low = middle
    return low


@part
def integers_answer(
    p: Any, h: Any, m: Any, s: Any, arena: Any, kind: Any, start: Any, end: Any, low: Any, high: Any, bucket: Any,
    scale: Any,
) -> Any:  # fmt: skip
    """sum, avg or stddev of integers over a range: a word, and whether it left 64 bits. NULL for no answer.

    The range is that of the records [low, high), whose sums before it and with it stand in the records at `start` and
    `end`; before them come the merged ones from `bucket` on, where it is not -1.
    """
    at = get(m, MEASURE_AT)
    a, b = start + 8 * at, end + 8 * at
    count = (load(b + 8) - load(a + 8)) & LOW32
    if count == 0:
        return NULL, 0
    sum_high, sum_low = subtract_wide(load(b + 8) >> 32, load(b), load(a + 8) >> 32, load(a))
    if kind == SUM_INTEGER:
        if sum_high != (sum_low >> 63) or sum_low == NULL:
            return NULL, 1
        return sum_low, 0
    if kind == AVG_INTEGER:
        return word(wide_to_number(sum_high, sum_low) / (float(count) * scale)), 0
    if count < 2:
        return NULL, 0
    squares = get(m, MEASURE_SQUARES)
    a, b = start + 8 * squares, end + 8 * squares
    q_low = load(b) - load(a)
    q_high = load(b + 8) - load(a + 8) - (1 if below(load(b), load(a)) else 0)
    freedom = float(count) * float(count - 1)
    largest = load(s + 8 * get(m, MEASURE_LARGEST))
    if largest <= 2**47 and q_high < 2**30:
        # count * sum of squares - sum squared, exactly, in 128 bits.
        n_high, n_low = times_wide(q_high, q_low, count)
        s_high, s_low = square_wide(sum_low)
        n_high -= s_high + (1 if below(n_low, s_low) else 0)
        n_low -= s_low
        numerator = float(n_high) * 18446744073709551616.0 + float(n_low)
        if n_low < 0:
            numerator += 18446744073709551616.0
        return word(math.sqrt(numerator / freedom) / scale), 0
    return word(deviation_of(p, h, m, s, arena, low, high, bucket, count) / scale), 0


@part
def sum_of(
    p: Any, h: Any, m: Any, s: Any, arena: Any, low: Any, high: Any, bucket: Any, scale: Any
) -> Any:  # fmt: skip
    """The sum of a measure's numbers over a range, added up by itself, times `scale`, as a pair."""
    base = arena + 8 * get(s, SLOT_RING)
    total, rest = range_sum(p, h, m, base, get(s, SLOT_MASK), get(h, STRIDE), low, high, scale)
    if bucket >= 0:
        h2 = p + 8 * get(h, BUCKET_HISTORY)
        s2 = s + 8 * get(h, BUCKETS)
        base, stride = arena + 8 * get(s2, SLOT_RING), get(h2, STRIDE)
        until = get(s2, SLOT_TAIL)
        older, older_rest = range_sum(p, h2, m, base, get(s2, SLOT_MASK), stride, bucket, until, scale)
        total, rest = add_pair(older, older_rest, total, rest)
    return total, rest


@part
def deviation_of(
    p: Any, h: Any, m: Any, s: Any, arena: Any, low: Any, high: Any, bucket: Any, count: Any
) -> Any:  # fmt: skip
    """The sample deviation over a range from the squares about its mean."""
    total, rest = sum_of(p, h, m, s, arena, low, high, bucket, 1.0)
    mean, rest = divide_pair(total, rest, float(count))
    b = sums_of(p, h, m)
    base = arena + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    squares = squares_about(h, m, b, base, mask, stride, low, high, ANY_SIZE, mean, rest)
    if bucket >= 0:
        h2 = p + 8 * get(h, BUCKET_HISTORY)
        s2 = s + 8 * get(h, BUCKETS)
        base = arena + 8 * get(s2, SLOT_RING)
        mask, stride, until = get(s2, SLOT_MASK), get(h2, STRIDE), get(s2, SLOT_TAIL)
        squares += squares_about(h2, m, b, base, mask, stride, bucket, until, ANY_SIZE, mean, rest)
    deviation = math.sqrt(squares / float(count - 1))
    # Different float64 cannot lie so near to each other; equal ones have a mean that is a little off.
    if deviation < abs(mean) * 2.0**-80:
        deviation = 0.0
    return deviation


@part
def numbers_answer(
    p: Any, h: Any, m: Any, s: Any, arena: Any, kind: Any, start: Any, end: Any, low: Any, high: Any, bucket: Any
) -> Any:
    """sum, avg or stddev of numbers over a range as in `integers_answer`, NaN for no answer.

    The difference of two running sums is good unless it is tiny beside them; then the range is added up by itself.
    """
    at = get(m, MEASURE_AT)
    a, b = start + 8 * at, end + 8 * at
    count = (load(b + 24) - load(a + 24)) & LOW32
    if count == 0:
        return math.nan
    largest = number(load(s + 8 * get(m, MEASURE_LARGEST)))
    total, rest = 0.0, 0.0
    if (load(b + 24) >> 32) != (load(a + 24) >> 32):
        total, rest = add_pair(number(load(b + 8)), number(load(b + 16)), -number(load(a + 8)), -number(load(a + 16)))
        if not abs(total) > largest * 2.0**-30:
            total, rest = sum_of(p, h, m, s, arena, low, high, bucket, 1.0)
    by = 1.0 if kind != AVG_NUMBER else float(count)
    if not abs(total) < math.inf:
        total, rest = sum_of(p, h, m, s, arena, low, high, bucket, 2.0**-64)
        if kind <= AVG_NUMBER:
            total, rest = divide_pair(total, rest, by)
            total = total * 2.0**64
            return total if abs(total) < math.inf else math.nan
        return math.nan
    if kind == AVG_NUMBER:
        return divide_pair(total, rest, by)[0]
    if kind < AVG_NUMBER:
        return total
    if count < 2:
        return math.nan
    mean, mean_rest = divide_pair(total, rest, float(count))
    before = number(load(b + 32))
    q, q_rest = add_pair(before, number(load(b + 40)), -number(load(a + 32)), -number(load(a + 40)))
    # sum of squares - mean * sum
    product, product_rest = product_pair(mean, total)
    product_rest += mean * rest + mean_rest * total
    q, q_rest = add_pair(q, q_rest, -product, -product_rest)
    doubt = (before + abs(mean) * largest) * 2.0**-40
    if not (q > doubt and before < 1e290):
        deviation = deviation_of(p, h, m, s, arena, low, high, bucket, count)
    else:
        deviation = math.sqrt(q / float(count - 1))
    return deviation if deviation < math.inf else math.nan
