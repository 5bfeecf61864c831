"""The keys of a history: made when first written, forgotten when nothing they hold can be reached any more.

What is forgotten does not depend on when memory is given back: a key whose last record lies too far back is empty,
swept or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.index import index_records
from parakh.features.memory import get, load, part, put, store
from parakh.features.repeats import HASHED, forget_values, grow_hash, hash_needs, remember_values
from parakh.features.rings import (
    clear_slot,
    free_list,
    give_back,
    grow_ring,
    low_end,
    new_slot,
    ring_words,
    room_for,
    size_class,
)
from parakh.features.tables import (
    AMOUNT,
    ARENA,
    BUCKET_HISTORY,
    BUCKET_NUMBER,
    BUCKETS,
    HEADER,
    HISTORY_KEYS,
    HISTORY_RECORDS,
    HISTORY_ROOM,
    HISTORY_SLOTS,
    LINK_COUNT,
    LOWEST,
    NEED_ARENA,
    NEED_HASH,
    NEED_NOTHING,
    NEED_SLOTS,
    NONE,
    ROOM,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STEP,
    STRIDE,
    TOP,
    WHICH,
)

__all__ = [
    "FOR_SLOTS",
    "drop_all",
    "drop_expired",
    "forget_all_expired",
    "make_slot",
    "narrow",
    "newest",
    "reserve",
    "slot_of",
]

SMALLEST_MASK = np.int64(1)  # two records: one, and the totals
FOR_SLOTS = np.int64(0)


@part
def slot_of(c: Any, hc: Any, code: Any) -> Any:
    """The address of a key's slot, 0 where it has none."""
    if code >= get(hc, HISTORY_ROOM):
        return 0
    offset = load(get(hc, HISTORY_SLOTS) + 8 * code)
    return get(c, ARENA) + 8 * offset if offset != 0 else 0


@part
def make_slot(c: Any, p: Any, h: Any, hc: Any, history: Any, code: Any) -> Any:
    """Gives a key an empty slot, or says what that needs."""
    if code >= get(hc, HISTORY_ROOM):
        put(c, WHICH, history)
        put(c, AMOUNT, code + 1)
        return NEED_SLOTS
    words = get(h, HEADER) + ring_words(h, SMALLEST_MASK)
    if get(c, TOP) + words > get(c, ROOM):
        slots = free_list(c, p, history, FOR_SLOTS)
        rings = free_list(c, p, history, size_class(SMALLEST_MASK))
        if load(slots) == 0 or load(rings) == 0:
            put(c, AMOUNT, words)
            return NEED_ARENA
    offset = new_slot(c, p, h, history, code, SMALLEST_MASK)
    store(get(hc, HISTORY_SLOTS) + 8 * code, offset)
    put(hc, HISTORY_KEYS, get(hc, HISTORY_KEYS) + 1)
    return NEED_NOTHING


@part
def reserve(c: Any, p: Any, h: Any, hc: Any, history: Any, s: Any, forgotten: Any) -> Any:
    """Makes room for one more record and its links, or says what that needs."""
    links = get(h, LINK_COUNT)
    if links != 0:
        grow_hash(c)
        if hash_needs(c, links):
            return NEED_HASH
    mask = get(s, SLOT_MASK)
    if get(s, SLOT_TAIL) - get(s, SLOT_HEAD) + 2 <= mask + 1:
        return NEED_NOTHING
    drop_expired(c, p, h, hc, s, forgotten)
    used = get(s, SLOT_TAIL) - get(s, SLOT_HEAD) + 2
    if used <= mask + 1 and (mask < 15 or used <= (mask + 1) // 8 * 7):
        return NEED_NOTHING
    wider = 2 * mask + 1
    words = ring_words(h, wider)
    if not room_for(c, free_list(c, p, history, size_class(wider)), words):
        if used <= mask + 1:
            return NEED_NOTHING
        put(c, AMOUNT, words)
        return NEED_ARENA
    move_ring(c, p, h, history, s, wider)
    return NEED_NOTHING


@part
def move_ring(c: Any, p: Any, h: Any, history: Any, s: Any, mask: Any) -> Any:
    """Gives a slot a ring of another capacity; small rings have no values in the hash."""
    old = get(s, SLOT_MASK)
    crosses = get(h, LINK_COUNT) != 0 and (old < HASHED) != (mask < HASHED)
    if crosses and mask < old:
        for i in range(get(s, SLOT_HEAD), get(s, SLOT_TAIL)):
            forget_values(c, p, h, s, i)
    grow_ring(c, p, h, history, s, mask)
    index_records(p, h, s, get(s, SLOT_HEAD), get(s, SLOT_TAIL), get(c, ARENA))
    if crosses and mask > old:
        for i in range(get(s, SLOT_HEAD), get(s, SLOT_TAIL)):
            remember_values(c, p, h, s, i)


@part
def drop_expired(c: Any, p: Any, h: Any, hc: Any, s: Any, forgotten: Any) -> Any:
    """Lets go of the records that no reading can reach any more."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, step = get(s, SLOT_MASK), 8 * get(h, STRIDE)
    head = get(s, SLOT_HEAD)
    limit = low_end(p, h, s)
    start = head
    links = get(h, LINK_COUNT)
    while head < limit and load(base + (head & mask) * step) <= forgotten:
        if links != 0:
            forget_values(c, p, h, s, head)
        head += 1
    put(s, SLOT_HEAD, head)
    put(hc, HISTORY_RECORDS, get(hc, HISTORY_RECORDS) - (head - start))


@part
def forget_all_expired(c: Any, p: Any, h: Any, hc: Any, s: Any, forgotten: Any) -> Any:
    """Starts a slot anew where all its records are forgotten, as if it had been swept."""
    if get(s, SLOT_TAIL) != 0 and newest(c, p, h, s) <= forgotten:
        drop_all(c, p, h, hc, s)
        clear_slot(c, p, h, s)


@part
def newest(c: Any, p: Any, h: Any, s: Any) -> Any:
    """The time of a slot's last record, before every time where it has none."""
    tail = get(s, SLOT_TAIL)
    if get(s, SLOT_HEAD) < tail:
        base = get(c, ARENA) + 8 * get(s, SLOT_RING)
        return load(base + 8 * ((tail - 1) & get(s, SLOT_MASK)) * get(h, STRIDE))
    if get(h, STEP) != 0:
        s2 = s + 8 * get(h, BUCKETS)
        tail = get(s2, SLOT_TAIL)
        if get(s2, SLOT_HEAD) < tail:
            stride = get(p + 8 * get(h, BUCKET_HISTORY), STRIDE)
            base = get(c, ARENA) + 8 * get(s2, SLOT_RING)
            return load(base + 8 * ((tail - 1) & get(s2, SLOT_MASK)) * stride)
    return LOWEST


@part
def drop_all(c: Any, p: Any, h: Any, hc: Any, s: Any) -> Any:
    """Lets go of all records of a slot, which is to be cleared or given back; merged ones give their ring back."""
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    if get(h, LINK_COUNT) != 0:
        for i in range(head, tail):
            forget_values(c, p, h, s, i)
    dropped = tail - head
    if get(h, STEP) != 0:
        s2 = s + 8 * get(h, BUCKETS)
        dropped += get(s2, SLOT_TAIL) - get(s2, SLOT_HEAD)
        ring = get(s2, SLOT_RING)
        if ring != NONE:
            give_back(c, free_list(c, p, get(h, BUCKET_NUMBER), size_class(get(s2, SLOT_MASK))), ring)
    put(hc, HISTORY_RECORDS, get(hc, HISTORY_RECORDS) - dropped)


@part
def narrow(c: Any, p: Any, h: Any, history: Any, s: Any) -> Any:
    """Gives a slot a smaller ring where that is worth the move, and where there is room for it."""
    mask = get(s, SLOT_MASK)
    used = get(s, SLOT_TAIL) - get(s, SLOT_HEAD) + 2
    narrower = mask
    while narrower > 1 and used * 2 <= narrower + 1:
        narrower >>= 1
    if narrower < mask >> 1 and room_for(c, free_list(c, p, history, size_class(narrower)), ring_words(h, narrower)):
        move_ring(c, p, h, history, s, narrower)
