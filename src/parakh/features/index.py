"""The index of a ring: what complete blocks of 32 records, and of 32 such blocks, hold together.

Extremes, sums of numbers and deviations over a long range are read off in a bounded number of steps, whatever the
values are. A block begins at a multiple of its size; a range that holds a whole block is in a ring that is large enough
to be indexed, so the order of adding up depends on the records' places alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parakh.features.exact import add_pair, divide_pair, pair_of_wide, subtract_wide
from parakh.features.memory import get, load, number, part, store, word
from parakh.features.rings import BLOCK, SUPER, order_key, value_at
from parakh.features.tables import (
    BLOCK_SUM_BLOCK,
    BLOCK_SUM_COUNT,
    BLOCK_SUM_MEASURE,
    BLOCK_SUM_WIDTH,
    BLOCK_SUMS,
    EXTREME_AT,
    EXTREME_BLOCK,
    EXTREME_COUNT,
    EXTREME_FLOAT,
    EXTREME_KIND,
    EXTREME_SIGN,
    EXTREME_WIDTH,
    EXTREMES,
    INDEXED,
    LOW32,
    LOWEST,
    MEASURE_AT,
    MEASURE_COUNTER,
    MEASURE_INTEGER,
    MEASURE_KIND,
    MEASURE_SQUARES,
    NULL,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STRIDE,
    SUMMARY,
)

__all__ = [
    "ANY_SIZE", "block_key", "index_records", "range_sum", "squares_about", "summarise", "sums_of",
]  # fmt: skip

ONE = np.int64(1)
ANY_SIZE = np.int64(2**62)


@part
def block_address(h: Any, base: Any, mask: Any, stride: Any, i: Any, size: Any) -> Any:
    """Where the index has the block of `size` records (32 or 1024) that begins at i.

    A merged record stands for many: what a block has, it has in itself.
    """
    if size == 1:
        return base + 8 * ((i & mask) * stride + get(h, SUMMARY))
    blocks = base + 8 * (mask + 1) * stride
    before = (i & mask) // size
    if size == SUPER:
        before += (mask + 1) // BLOCK
    return blocks + 8 * before * get(h, INDEXED)


@part
def block_at(i: Any, high: Any) -> Any:
    """The size of the largest block that begins at i and ends by `high`; 1 where none does."""
    if i & (BLOCK - 1) != 0 or i + BLOCK > high:
        return ONE
    return SUPER if i & (SUPER - 1) == 0 and i + SUPER <= high else BLOCK


@part
def index_records(p: Any, h: Any, s: Any, start: Any, end: Any, arena: Any) -> Any:
    """Writes the index of the complete blocks that hold records of [start, end)."""
    if get(h, INDEXED) == 0:
        return
    base, mask, stride = arena + 8 * get(s, SLOT_RING), get(s, SLOT_MASK), get(h, STRIDE)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    for level in range(2):
        size = SUPER if level == 1 else BLOCK
        if mask < 2 * size - 1:
            return
        i = start & ~(size - 1)
        while i < end and i + size <= tail:
            if i >= head:
                index_block(p, h, base, mask, stride, i, size)
            i += size


@part
def index_block(p: Any, h: Any, base: Any, mask: Any, stride: Any, i: Any, size: Any) -> Any:
    """Writes the index of one complete block, from its records or from its blocks of 32."""
    summarise(p, h, base, mask, stride, i, i + size, size, block_address(h, base, mask, stride, i, size))


@part
def summarise(
    p: Any, h: Any, base: Any, mask: Any, stride: Any, low: Any, high: Any, below_size: Any, target: Any
) -> Any:
    """Writes what [low, high) holds together at `target`."""
    e = p + 8 * get(h, EXTREMES)
    for _ in range(get(h, EXTREME_COUNT)):
        key, _place = block_key(h, base, mask, stride, e, low, high, below_size)
        store(target + 8 * get(e, EXTREME_BLOCK), key)
        e += 8 * EXTREME_WIDTH
    b = p + 8 * get(h, BLOCK_SUMS)
    for _ in range(get(h, BLOCK_SUM_COUNT)):
        m = p + 8 * get(b, BLOCK_SUM_MEASURE)
        slot = target + 8 * get(b, BLOCK_SUM_BLOCK)
        total, rest = block_sum(h, m, b, base, mask, stride, low, high, below_size, 1.0)
        store(slot, word(total))
        store(slot + 8, word(rest))
        if get(m, MEASURE_SQUARES) >= 0:
            count, mean, rest = mean_between(h, m, b, base, mask, stride, low, high, below_size)
            about = 0.0
            if count != 0:
                about = squares_about(h, m, b, base, mask, stride, low, high, below_size, mean, rest)
            store(slot + 16, word(about))
        b += 8 * BLOCK_SUM_WIDTH


@part
def block_key(h: Any, base: Any, mask: Any, stride: Any, e: Any, low: Any, high: Any, below_size: Any) -> Any:
    """The greatest order key of an extreme in [low, high), and a place no later than where it stands.

    Only blocks smaller than `below_size` are read off the index.
    """
    kind, at = get(e, EXTREME_KIND), get(e, EXTREME_AT)
    floats, sign = get(e, EXTREME_FLOAT), get(e, EXTREME_SIGN)
    merged = get(h, SUMMARY) != 0
    best, place = LOWEST, -1
    i = low
    while i < high:
        size = smaller(block_at(i, high), below_size)
        if size != 1 or merged:
            key = load(block_address(h, base, mask, stride, i, size) + 8 * get(e, EXTREME_BLOCK))
        else:
            key = order_key(value_at(base, mask, stride, kind, at, i), floats, sign)
        if key > LOWEST and key >= best:
            best, place = key, i
        i += size
    return best, place


@part
def smaller(size: Any, below_size: Any) -> Any:
    """The size of a block itself, or the next below where it is not below a bound."""
    while size >= below_size and size > 1:
        size //= BLOCK
    return size


@part
def sums_of(p: Any, h: Any, m: Any) -> Any:
    """The block sums of a measure."""
    b = p + 8 * get(h, BLOCK_SUMS)
    while p + 8 * get(b, BLOCK_SUM_MEASURE) != m:
        b += 8 * BLOCK_SUM_WIDTH
    return b


@part
def range_sum(p: Any, h: Any, m: Any, base: Any, mask: Any, stride: Any, low: Any, high: Any, scale: Any) -> Any:
    """The sum of a measure's numbers in [low, high), times `scale`, as a pair.

    `scale` is a power of two, where the sum itself would leave float64's range.
    """
    return block_sum(h, m, sums_of(p, h, m), base, mask, stride, low, high, ANY_SIZE, scale)


@part
def block_sum(
    h: Any, m: Any, b: Any, base: Any, mask: Any, stride: Any, low: Any, high: Any, below_size: Any, scale: Any
) -> Any:
    """A sum from blocks smaller than `below_size`; a block whose own sum left float64's range is taken apart."""
    at = get(m, MEASURE_AT)
    slot = 8 * get(b, BLOCK_SUM_BLOCK)
    if get(m, MEASURE_KIND) == MEASURE_INTEGER:
        _count, total, rest = sum_of_integers(base, mask, stride, at, low, high)
        return total, rest
    merged = get(h, SUMMARY) != 0
    total, rest = 0.0, 0.0
    i = low
    while i < high:
        more, more_rest, unit = 0.0, 0.0, scale
        size = smaller(block_at(i, high), below_size)
        while size > 1:
            a = block_address(h, base, mask, stride, i, size) + slot
            more, more_rest = number(load(a)), number(load(a + 8))
            if abs(more) < math.inf:
                break
            size //= BLOCK
        if size == 1:
            more, more_rest = 0.0, 0.0
            value = load(base + 8 * ((i & mask) * stride + at))
            if merged:
                # In the place of a value it has the unit of its sum: see `merge`.
                a = block_address(h, base, mask, stride, i, size) + slot
                more, more_rest, unit = number(load(a)), number(load(a + 8)), number(value) * scale
            elif value != NULL:
                more = number(value)
        total, rest = add_pair(total, rest, more * unit, more_rest * unit)
        i += size
    return total, rest


@part
def sum_of_integers(base: Any, mask: Any, stride: Any, at: Any, low: Any, high: Any) -> Any:
    """How many integers [low, high) has, and their exact sum as a pair of float64."""
    a = base + 8 * ((low & mask) * stride + at)
    b = base + 8 * ((high & mask) * stride + at)
    sum_high, sum_low = subtract_wide(load(b + 8) >> 32, load(b), load(a + 8) >> 32, load(a))
    total, rest = pair_of_wide(sum_high, sum_low)
    return (load(b + 8) - load(a + 8)) & LOW32, total, rest


@part
def mean_between(
    h: Any, m: Any, b: Any, base: Any, mask: Any, stride: Any, low: Any, high: Any, below_size: Any
) -> Any:
    """How many values [low, high) has, and their mean as a pair (0 where there is none)."""
    counter = get(m, MEASURE_COUNTER)
    first = load(base + 8 * ((low & mask) * stride + counter))
    count = (load(base + 8 * ((high & mask) * stride + counter)) - first) & LOW32
    if count == 0:
        return count, 0.0, 0.0
    total, rest = block_sum(h, m, b, base, mask, stride, low, high, below_size, 1.0)
    mean, rest = divide_pair(total, rest, float(count))
    return count, mean, rest


@part
def squares_about(
    h: Any, m: Any, b: Any, base: Any, mask: Any, stride: Any, low: Any, high: Any, below_size: Any, mean: Any,
    rest: Any,
) -> Any:  # fmt: skip
    """The sum of (value - mean)^2 over [low, high); of a block it is known about its own mean.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    kind, at = get(m, MEASURE_KIND), get(m, MEASURE_AT)
    slot = 8 * get(b, BLOCK_SUM_BLOCK)
    merged = get(h, SUMMARY) != 0
    total, carry = 0.0, 0.0
    i = low
    while i < high:
        size = smaller(block_at(i, high), below_size)
        more, d = 0.0, 0.0
        weight = 0.0
        if size == 1 and not merged:
            value = value_at(base, mask, stride, kind, at, i)
            if value != NULL:
                near, exact = number(value), 0.0
                if kind == MEASURE_INTEGER:
                    near, exact = add_pair(float(value & ~LOW32), 0.0, float(value & LOW32), 0.0)
                d, e = add_pair(near, exact, -mean, -rest)
                d += e
                weight = 1.0
        else:
            count, block_mean, block_rest = mean_between(h, m, b, base, mask, stride, i, i + size, size + 1)
            if count != 0:
                more = number(load(block_address(h, base, mask, stride, i, size) + slot + 16))
                d, e = add_pair(block_mean, block_rest, -mean, -rest)
                d += e
                weight = float(count)
        total, carry = add_pair(total, carry, more, 0.0)
        total, carry = add_pair(total, carry, weight * d * d, 0.0)
        i += size
    return total
