"""The records of one key: a ring in the arena, in the order of time, equal times in the order of the log.

A slot is a key's header; its ring has a power of two of records, each with a fixed number of words. The record at
`tail` is not an event: it carries the running totals, which are the sums before the next record. From 64 records on a
ring is followed by an index: for each 32 complete records, and each 1024, the extremes and the sums of numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import get, load, move_words, part, put, store
from parakh.features.tables import (
    ARENA,
    DELAY_COUNT,
    DELAY_HIGH,
    DELAY_WIDTH,
    DELAYS,
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
    "clear_slot",
    "free_list",
    "give_back",
    "grow_ring",
    "key_value",
    "low_end",
    "move_up",
    "new_slot",
    "order_key",
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
    return capacity * get(h, STRIDE) + blocks * get(h, INDEXED)


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
    return load(free) != 0 or get(c, TOP) + words <= get(c, ROOM)


@part
def take(c: Any, free: Any, words: Any) -> Any:
    """An arena offset of so many words: from the free list, or from the top. The room was asked for before."""
    offset = load(free)
    if offset != 0:
        store(free, load(get(c, ARENA) + 8 * offset))
        return offset
    offset = get(c, TOP)
    put(c, TOP, offset + words)
    return offset


@part
def give_back(c: Any, free: Any, offset: Any) -> Any:
    store(get(c, ARENA) + 8 * offset, load(free))
    store(free, offset)


@part
def free_list(c: Any, p: Any, history: Any, size: Any) -> Any:
    """The address of a free list: size 0 for slots, `size_class(mask)` for rings."""
    return c + 8 * (get(p, PROGRAM_FREE) + history * FREE_CLASSES + size)


@part
def new_slot(c: Any, p: Any, h: Any, history: Any, code: Any, mask: Any) -> Any:
    """The arena offset of a new, empty slot with a ring."""
    header = get(h, HEADER)
    offset = take(c, free_list(c, p, history, NONE), header)
    ring = take(c, free_list(c, p, history, size_class(mask)), ring_words(h, mask))
    s = get(c, ARENA) + 8 * offset
    put(s, SLOT_RING, ring)
    put(s, SLOT_MASK, mask)
    put(s, SLOT_CODE, code)
    clear_slot(c, p, h, s)
    return offset


@part
def clear_slot(c: Any, p: Any, h: Any, s: Any) -> Any:
    """Makes a slot as new: no records, totals of zero."""
    for k in range(SLOT_HEAD, get(h, HEADER)):
        if k != SLOT_CODE:
            put(s, k, 0)
    put(s, SLOT_TIME, LOWEST)
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        pair = p + 8 * get(w, WINDOW_EXTREMES)
        for _ in range(get(w, WINDOW_EXTREME_COUNT)):
            cache = s + 8 * load(pair)
            store(cache, -1)
            store(cache + 8, LOWEST)
            pair += 16
        w += 8 * WINDOW_WIDTH
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    for k in range(get(h, STRIDE)):
        put(base, k, 0)


@part
def grow_ring(c: Any, p: Any, h: Any, history: Any, s: Any, mask: Any) -> Any:
    """Moves a slot's records to a ring of another capacity, without its index; the room was asked for before."""
    arena = get(c, ARENA)
    stride = get(h, STRIDE)
    old_mask = get(s, SLOT_MASK)
    old_ring = get(s, SLOT_RING)
    ring = take(c, free_list(c, p, history, size_class(mask)), ring_words(h, mask))
    source = arena + 8 * old_ring
    base = arena + 8 * ring
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    for i in range(head, tail + 1):
        a = source + 8 * (i & old_mask) * stride
        b = base + 8 * (i & mask) * stride
        for k in range(stride):
            put(b, k, get(a, k))
    put(s, SLOT_RING, ring)
    put(s, SLOT_MASK, mask)
    give_back(c, free_list(c, p, history, size_class(old_mask)), old_ring)


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
def move_up(base: Any, mask: Any, stride: Any, place: Any, tail: Any) -> Any:
    """Moves the records [place, tail] up by one, the room for which is there: at most two stretches of memory."""
    first, last = place & mask, tail & mask
    if last < first or last == mask:  # they reach, or go over, the end of the ring
        if last < first:
            move_words(base + 8 * stride, base, (last + 1) * stride)
            last = mask
        move_words(base, base + 8 * mask * stride, stride)
        last -= 1
    start = base + 8 * first * stride
    move_words(start + 8 * stride, start, (last - first + 1) * stride)


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
    low = get(s, SLOT_TAIL)
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        low = min(low, load(s + 8 * get(w, WINDOW_LOW)))
        w += 8 * WINDOW_WIDTH
    d = p + 8 * get(h, DELAYS)
    for _ in range(get(h, DELAY_COUNT)):
        high = get(d, DELAY_HIGH)
        if high != 0:
            low = min(low, get(s, high))
        d += 8 * DELAY_WIDTH
    return low


@part
def shift_places(p: Any, h: Any, s: Any, place: Any) -> Any:
    """Tells windows and caches that a record was put in at `place`, before others."""
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        low = s + 8 * get(w, WINDOW_LOW)
        if load(low) > place:
            store(low, load(low) + 1)
        pair = p + 8 * get(w, WINDOW_EXTREMES)
        for _ in range(get(w, WINDOW_EXTREME_COUNT)):
            cache = s + 8 * load(pair)
            if load(cache) >= place:
                store(cache, load(cache) + 1)
            pair += 16
        w += 8 * WINDOW_WIDTH
    d = p + 8 * get(h, DELAYS)
    for _ in range(get(h, DELAY_COUNT)):
        high = get(d, DELAY_HIGH)
        if high != 0 and get(s, high) > place:
            put(s, high, get(s, high) + 1)
        d += 8 * DELAY_WIDTH
