"""The records of one key: a ring in the arena, in the order of time, equal times in the order of the log.

A slot is a key's header; its ring has a power of two of records, each with a fixed number of words. The record at
`tail` is not an event: it carries the running totals, which are the sums before the next record. From 64 records on a
ring is followed by an index: for each 32 complete records, and each 1024, the extremes and the sums of numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.exact import add_pair
from parakh.features.memory import load, number, part, store, word
from parakh.features.tables import (
    ARENA,
    BLOCK_SUM_AT,
    BLOCK_SUM_BLOCK,
    BLOCK_SUM_COUNT,
    BLOCK_SUM_WIDTH,
    BLOCK_SUMS,
    DELAY_COUNT,
    DELAY_HIGH,
    DELAY_WIDTH,
    DELAYS,
    EXTREME_AT,
    EXTREME_BLOCK,
    EXTREME_COUNT,
    EXTREME_FLOAT,
    EXTREME_KIND,
    EXTREME_SIGN,
    EXTREME_WIDTH,
    EXTREMES,
    FREE_CLASSES,
    HEADER,
    INDEXED,
    LOW32,
    LOWEST,
    MEASURE_INTEGER,
    NONE,
    NULL,
    PROGRAM_FREE,
    ROOM,
    SLOT_CODE,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    SLOT_TIME,
    STRIDE,
    TOP,
    WINDOW_COUNT,
    WINDOW_EXTREME_COUNT,
    WINDOW_EXTREMES,
    WINDOW_LOW,
    WINDOW_WIDTH,
    WINDOWS,
)

__all__ = [
    "block_key",
    "clear_slot",
    "free_list",
    "give_back",
    "grow_ring",
    "index_records",
    "key_value",
    "low_end",
    "new_slot",
    "order_key",
    "range_sum",
    "ring_words",
    "room_for",
    "shift_places",
    "size_class",
    "take",
    "upper",
    "value_at",
]

BLOCK = np.int64(32)
SUPER = np.int64(1024)


# -- memory -----------------------------------------------------------------------------------------------------------


@part
def ring_words(h: Any, mask: Any) -> Any:
    """The words of a ring with its index."""
    capacity = mask + 1
    blocks = 0
    if mask >= 2 * BLOCK - 1:
        blocks = capacity // BLOCK + capacity // SUPER
    return capacity * load(h + 8 * STRIDE) + blocks * load(h + 8 * INDEXED)


@part
def size_class(mask: Any) -> Any:
    size = 1
    while mask > 0:
        mask >>= 1
        size += 1
    return size


@part
def room_for(c: Any, free: Any, words: Any) -> Any:
    """Whether `take` would succeed."""
    return load(free) != 0 or load(c + 8 * TOP) + words <= load(c + 8 * ROOM)


@part
def take(c: Any, free: Any, words: Any) -> Any:
    """An arena offset of so many words: from the free list, or from the top. The room was asked for before."""
    offset = load(free)
    if offset != 0:
        store(free, load(load(c + 8 * ARENA) + 8 * offset))
        return offset
    offset = load(c + 8 * TOP)
    store(c + 8 * TOP, offset + words)
    return offset


@part
def give_back(c: Any, free: Any, offset: Any) -> Any:
    store(load(c + 8 * ARENA) + 8 * offset, load(free))
    store(free, offset)


@part
def free_list(c: Any, p: Any, history: Any, size: Any) -> Any:
    """The address of a free list: size 0 for slots, `size_class(mask)` for rings."""
    return c + 8 * (load(p + 8 * PROGRAM_FREE) + history * FREE_CLASSES + size)


@part
def new_slot(c: Any, p: Any, h: Any, history: Any, code: Any, mask: Any) -> Any:
    """The arena offset of a new, empty slot with a ring."""
    header = load(h + 8 * HEADER)
    offset = take(c, free_list(c, p, history, NONE), header)
    ring = take(c, free_list(c, p, history, size_class(mask)), ring_words(h, mask))
    s = load(c + 8 * ARENA) + 8 * offset
    store(s + 8 * SLOT_RING, ring)
    store(s + 8 * SLOT_MASK, mask)
    store(s + 8 * SLOT_CODE, code)
    clear_slot(c, p, h, s)
    return offset


@part
def clear_slot(c: Any, p: Any, h: Any, s: Any) -> Any:
    """Makes a slot as new: no records, totals of zero."""
    for k in range(SLOT_HEAD, load(h + 8 * HEADER)):
        if k != SLOT_CODE:
            store(s + 8 * k, 0)
    store(s + 8 * SLOT_TIME, LOWEST)
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        pair = p + 8 * load(w + 8 * WINDOW_EXTREMES)
        for _ in range(load(w + 8 * WINDOW_EXTREME_COUNT)):
            cache = s + 8 * load(pair)
            store(cache, -1)
            store(cache + 8, LOWEST)
            pair += 16
        w += 8 * WINDOW_WIDTH
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    for k in range(load(h + 8 * STRIDE)):
        store(base + 8 * k, 0)


@part
def grow_ring(c: Any, p: Any, h: Any, history: Any, s: Any, mask: Any) -> Any:
    """Moves a slot's records to a ring of another capacity; the room was asked for before."""
    arena = load(c + 8 * ARENA)
    stride = load(h + 8 * STRIDE)
    old_mask = load(s + 8 * SLOT_MASK)
    old_ring = load(s + 8 * SLOT_RING)
    ring = take(c, free_list(c, p, history, size_class(mask)), ring_words(h, mask))
    source = arena + 8 * old_ring
    base = arena + 8 * ring
    head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
    for i in range(head, tail + 1):
        a = source + 8 * (i & old_mask) * stride
        b = base + 8 * (i & mask) * stride
        for k in range(stride):
            store(b + 8 * k, load(a + 8 * k))
    store(s + 8 * SLOT_RING, ring)
    store(s + 8 * SLOT_MASK, mask)
    give_back(c, free_list(c, p, history, size_class(old_mask)), old_ring)
    index_records(p, h, s, base, mask, stride, head, tail)


# -- records ----------------------------------------------------------------------------------------------------------


@part
def upper(base: Any, mask: Any, stride: Any, head: Any, tail: Any, hint: Any, time: Any) -> Any:
    """The first record in [head, tail] whose time is greater, sought outwards from `hint`."""
    step = 8 * stride
    low = head
    high = tail
    if hint < tail and load(base + (hint & mask) * step) <= time:
        low = hint + 1
        gap = 1
        while low < tail:
            probe = min(low + gap, tail) - 1
            if load(base + (probe & mask) * step) > time:
                high = probe
                break
            low = probe + 1
            gap *= 2
    else:
        high = min(hint, tail)
        gap = 1
        while high > head:
            probe = max(high - gap, head)
            if load(base + (probe & mask) * step) <= time:
                low = probe + 1
                break
            high = probe
            gap *= 2
    while low < high:
        middle = (low + high) >> 1
        if load(base + (middle & mask) * step) <= time:
            low = middle + 1
        else:
            high = middle
    return low


@part
def value_at(base: Any, mask: Any, stride: Any, kind: Any, at: Any, i: Any) -> Any:
    """The value of a measure at a record, NULL where it has none: integers are the difference of two sums."""
    a = base + 8 * ((i & mask) * stride + at)
    if kind == MEASURE_INTEGER:
        b = base + 8 * (((i + 1) & mask) * stride + at)
        if (load(b + 8) - load(a + 8)) & LOW32 == 0:
            return NULL
        return load(b) - load(a)
    return load(a)


@part
def order_key(value: Any, floats: Any, sign: Any) -> Any:
    """An integer that orders as sign * value does; LOWEST for NULL."""
    if value == NULL:
        return LOWEST
    if floats:
        value = value ^ ((value >> 63) & 0x7FFFFFFFFFFFFFFF)
    return value * sign


@part
def key_value(key: Any, floats: Any, sign: Any) -> Any:
    """The value whose order key this is."""
    if key == LOWEST:
        return NULL
    value = key * sign
    if floats:
        value = value ^ ((value >> 63) & 0x7FFFFFFFFFFFFFFF)
    return value


@part
def low_end(p: Any, h: Any, s: Any) -> Any:
    """The first record that some window still holds or has yet to take in."""
    low = load(s + 8 * SLOT_TAIL)
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        low = min(low, load(s + 8 * load(w + 8 * WINDOW_LOW)))
        w += 8 * WINDOW_WIDTH
    d = p + 8 * load(h + 8 * DELAYS)
    for _ in range(load(h + 8 * DELAY_COUNT)):
        high = load(d + 8 * DELAY_HIGH)
        if high != 0:
            low = min(low, load(s + 8 * high))
        d += 8 * DELAY_WIDTH
    return low


@part
def shift_places(p: Any, h: Any, s: Any, place: Any) -> Any:
    """Tells windows and caches that a record was put in at `place`, before others."""
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        low = s + 8 * load(w + 8 * WINDOW_LOW)
        if load(low) > place:
            store(low, load(low) + 1)
        pair = p + 8 * load(w + 8 * WINDOW_EXTREMES)
        for _ in range(load(w + 8 * WINDOW_EXTREME_COUNT)):
            cache = s + 8 * load(pair)
            if load(cache) >= place:
                store(cache, load(cache) + 1)
            pair += 16
        w += 8 * WINDOW_WIDTH
    d = p + 8 * load(h + 8 * DELAYS)
    for _ in range(load(h + 8 * DELAY_COUNT)):
        high = load(d + 8 * DELAY_HIGH)
        if high != 0 and load(s + 8 * high) > place:
            store(s + 8 * high, load(s + 8 * high) + 1)
        d += 8 * DELAY_WIDTH


# -- the index --------------------------------------------------------------------------------------------------------


@part
def block_address(h: Any, base: Any, mask: Any, stride: Any, i: Any, size: Any) -> Any:
    """Where the index has the block of `size` records (32 or 1024) that begins at i."""
    blocks = base + 8 * (mask + 1) * stride
    before = (i & mask) // size
    if size == SUPER:
        before += (mask + 1) // BLOCK
    return blocks + 8 * before * load(h + 8 * INDEXED)


@part
def index_block(p: Any, h: Any, base: Any, mask: Any, stride: Any, i: Any, size: Any) -> Any:
    """Writes the index of one complete block: of 32 records, or of 32 blocks."""
    target = block_address(h, base, mask, stride, i, size)
    piece = size // BLOCK
    e = p + 8 * load(h + 8 * EXTREMES)
    for _ in range(load(h + 8 * EXTREME_COUNT)):
        best = LOWEST
        slot = 8 * load(e + 8 * EXTREME_BLOCK)
        for k in range(i, i + size, piece):
            if size == SUPER:
                key = load(block_address(h, base, mask, stride, k, piece) + slot)
            else:
                value = value_at(base, mask, stride, load(e + 8 * EXTREME_KIND), load(e + 8 * EXTREME_AT), k)
                key = order_key(value, load(e + 8 * EXTREME_FLOAT), load(e + 8 * EXTREME_SIGN))
            best = max(best, key)
        store(target + slot, best)
        e += 8 * EXTREME_WIDTH
    b = p + 8 * load(h + 8 * BLOCK_SUMS)
    for _ in range(load(h + 8 * BLOCK_SUM_COUNT)):
        slot = 8 * load(b + 8 * BLOCK_SUM_BLOCK)
        high, low = 0.0, 0.0
        for k in range(i, i + size, piece):
            more, rest = 0.0, 0.0
            if size == SUPER:
                of_block = block_address(h, base, mask, stride, k, piece) + slot
                more, rest = number(load(of_block)), number(load(of_block + 8))
            else:
                value = load(base + 8 * ((k & mask) * stride + load(b + 8 * BLOCK_SUM_AT)))
                if value != NULL:
                    more = number(value)
            high, low = add_pair(high, low, more, rest)
        store(target + slot, word(high))
        store(target + slot + 8, word(low))
        b += 8 * BLOCK_SUM_WIDTH


@part
def index_records(p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, start: Any, end: Any) -> Any:
    """Writes the index of the complete blocks that hold records of [start, end)."""
    if load(h + 8 * INDEXED) == 0:
        return
    head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
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
def block_key(h: Any, base: Any, mask: Any, stride: Any, e: Any, low: Any, high: Any) -> Any:
    """The greatest order key of an extreme in [low, high), and a place no later than where it stands."""
    indexed = mask >= 2 * BLOCK - 1
    kind, at = load(e + 8 * EXTREME_KIND), load(e + 8 * EXTREME_AT)
    floats, sign = load(e + 8 * EXTREME_FLOAT), load(e + 8 * EXTREME_SIGN)
    slot = 8 * load(e + 8 * EXTREME_BLOCK)
    best, place = LOWEST, -1
    i = low
    while i < high:
        step: Any = 1
        if indexed and i & (BLOCK - 1) == 0 and i + BLOCK <= high:
            step = SUPER if i & (SUPER - 1) == 0 and i + SUPER <= high else BLOCK
            key = load(block_address(h, base, mask, stride, i, step) + slot)
        else:
            key = order_key(value_at(base, mask, stride, kind, at, i), floats, sign)
        if key > LOWEST and key >= best:
            best, place = key, i
        i += step
    return best, place


@part
def range_sum(
    p: Any, h: Any, base: Any, mask: Any, stride: Any, at: Any, low: Any, high: Any, scale: Any
) -> Any:  # fmt: skip
    """The sum of numbers in [low, high) as a pair, added up in an order that only the records' places decide.

    `scale` multiplies every number (a power of two, where the sum would leave float64's range).
    """
    slot = -1
    b = p + 8 * load(h + 8 * BLOCK_SUMS)
    for _ in range(load(h + 8 * BLOCK_SUM_COUNT)):
        if load(b + 8 * BLOCK_SUM_AT) == at:
            slot = 8 * load(b + 8 * BLOCK_SUM_BLOCK)
        b += 8 * BLOCK_SUM_WIDTH
    indexed = mask >= 2 * BLOCK - 1 and scale == 1.0
    total_high, total_low = 0.0, 0.0  # what stands outside of complete blocks of 1024
    large_high, large_low = 0.0, 0.0
    block_high, block_low = 0.0, 0.0
    i = low
    while i < high:
        whole = (i & ~(BLOCK - 1)) >= low and (i | (BLOCK - 1)) < high
        super_whole = (i & ~(SUPER - 1)) >= low and (i | (SUPER - 1)) < high
        if indexed and whole and i & (BLOCK - 1) == 0:
            size = SUPER if super_whole and i & (SUPER - 1) == 0 else BLOCK
            a = block_address(h, base, mask, stride, i, size) + slot
            block_high, block_low = number(load(a)), number(load(a + 8))
            i += size
            if size == SUPER:
                total_high, total_low = add_pair(total_high, total_low, block_high, block_low)
                block_high, block_low = 0.0, 0.0
                continue
        else:
            value = load(base + 8 * ((i & mask) * stride + at))
            if value != NULL:
                block_high, block_low = add_pair(block_high, block_low, number(value) * scale, 0.0)
            i += 1
            if whole and i & (BLOCK - 1) != 0:
                continue
        if super_whole:
            large_high, large_low = add_pair(large_high, large_low, block_high, block_low)
            if i & (SUPER - 1) == 0:
                total_high, total_low = add_pair(total_high, total_low, large_high, large_low)
                large_high, large_low = 0.0, 0.0
        else:
            total_high, total_low = add_pair(total_high, total_low, block_high, block_low)
        block_high, block_low = 0.0, 0.0
    return total_high, total_low
