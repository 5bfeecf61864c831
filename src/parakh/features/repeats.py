"""Equal values of one key, linked: each record knows how far back and how far ahead the same value stands.

A value is new to a window when the one before it lies outside, and leaves it when the one after it does: distinct
counts are kept by steps of one, for every window from the same links. Where a value stood last is looked for in the
records of a small ring; for the keys with larger ones, a hash table over all keys has it.

The table grows while it is used, a little for each event: from nine sixteenths full on the next one, of twice its size,
is cleared; once this one is three quarters full that takes its place, and what stands in the one before is moved. At
once that would stop a service for 160 ms at two million values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import get, kernel, load, part, put, store
from parakh.features.tables import (
    ARENA,
    BEFORE,
    BEFORE_SLOTS,
    CLEARED,
    COMING,
    COMING_SLOTS,
    GROWTH,
    HASH,
    HASH_MASK,
    HASH_USED,
    LEFT,
    LINK_COUNT,
    LINKS,
    LOW30,
    LOW32,
    NONE,
    NULL,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STRIDE,
)

__all__ = [
    "HASHED",
    "distinct_between",
    "forget_values",
    "grow_hash",
    "hash_needs",
    "is_first",
    "is_last",
    "link",
    "remember_values",
    "settle",
    "stretch_links",
    "unlink",
]


HASHED = 63
"""The least mask of a ring whose values stand in the hash."""


_CLEARED, _MOVED = 64, 8
"""Slots that are cleared, or looked at to be moved, for each event: both are done before there is need of more room."""


@part
def grow_hash(c: Any) -> Any:
    """Does a step of the hash's growth, where it grows."""
    g = get(c, GROWTH)
    if get(g, LEFT) != 0:
        move_values(c, g, _MOVED)
    elif get(g, COMING) != 0:
        clear_coming(g, _CLEARED)


@part
def hash_needs(c: Any, links: Any) -> Any:
    """Whether the hash wants another array or one less, or has no room for a ring that begins to be hashed."""
    g, used, slots = get(c, GROWTH), get(c, HASH_USED), get(c, HASH_MASK) + 1
    if get(g, BEFORE) != 0:
        if get(g, LEFT) == 0:
            return True
    elif get(g, COMING) == 0 and used * 16 > slots * 9:
        return True
    return (used + links * (HASHED + 1)) * 4 > slots * 3


@part
def clear_coming(g: Any, slots: Any) -> Any:
    """Clears so many slots of the next table."""
    cleared = get(g, CLEARED)
    end = min(cleared + slots, get(g, COMING_SLOTS))
    for a in range(get(g, COMING) + 16 * cleared, get(g, COMING) + 16 * end, 8):
        store(a, 0)
    put(g, CLEARED, end)


@part
def move_values(c: Any, g: Any, slots: Any) -> Any:
    """Moves what stands in so many slots of the table before, from its end. A chain that goes over the end is followed
    to its end: what stands behind a slot that is emptied moves up.
    """
    table, mask, i = get(g, BEFORE), get(g, BEFORE_SLOTS) - 1, get(g, LEFT) - 1
    last = max(0, i + 1 - slots)
    while i >= last:
        a = table + 16 * i
        held = load(a + 8)
        if held == 0:
            i -= 1
            continue
        b = find(get(c, HASH), get(c, HASH_MASK), load(a), held >> 30)
        store(b, load(a))
        store(b + 8, held)
        take_out(table, mask, a)
    put(g, LEFT, i + 1)


@kernel
def settle(control: Any) -> Any:
    """Moves all that stands in the table before, and clears all of the next one."""
    c = np.int64(control.ctypes.data)
    g = get(c, GROWTH)
    move_values(c, g, get(g, LEFT))
    if get(g, COMING) != 0:
        clear_coming(g, get(g, COMING_SLOTS))


@part
def home(value: Any, identity: Any, mask: Any) -> Any:
    x = value * 0x9E3779B97F4A7C1 + identity * 0x2545F4914F6CDD1D
    x ^= (x >> 32) & LOW32
    x *= 0x2127599BF4325C37
    x ^= (x >> 29) & 0x7FFFFFFFF
    return x & mask


@part
def find(table: Any, mask: Any, value: Any, identity: Any) -> Any:
    """The address of an entry, or of the empty one where it would go. An entry: value, identity << 30 | record."""
    i = home(value, identity, mask)
    while True:
        a = table + 16 * i
        held = load(a + 8)
        if held == 0 or (load(a) == value and (held >> 30) == identity):
            return a
        i = (i + 1) & mask


@part
def entry_of(c: Any, value: Any, identity: Any) -> Any:
    """As `find`, in the table that is used: an entry that stands in the one before is moved first."""
    a = find(get(c, HASH), get(c, HASH_MASK), value, identity)
    g = get(c, GROWTH)
    if load(a + 8) == 0 and get(g, LEFT) != 0:
        b = find(get(g, BEFORE), get(g, BEFORE_SLOTS) - 1, value, identity)
        held = load(b + 8)
        if held != 0:
            store(a, value)
            store(a + 8, held)
            take_out(get(g, BEFORE), get(g, BEFORE_SLOTS) - 1, b)
    return a


@part
def remove(c: Any, a: Any) -> Any:
    """Takes an entry out of the table that is used."""
    put(c, HASH_USED, get(c, HASH_USED) - 1)
    take_out(get(c, HASH), get(c, HASH_MASK), a)


@part
def take_out(table: Any, mask: Any, a: Any) -> Any:
    """Takes an entry out and moves those behind it up."""
    hole = (a - table) >> 4
    i = hole
    while True:
        i = (i + 1) & mask
        b = table + 16 * i
        held = load(b + 8)
        if held == 0:
            break
        if ((i - home(load(b), held >> 30, mask)) & mask) >= ((i - hole) & mask):
            store(table + 16 * hole, load(b))
            store(table + 16 * hole + 8, held)
            hole = i
    store(table + 16 * hole + 8, 0)


@part
def ring_of(c: Any, h: Any, s: Any) -> Any:
    return (
        get(c, ARENA) + 8 * get(s, SLOT_RING),
        get(s, SLOT_MASK),
        get(h, STRIDE),
    )


@part
def identity_of(c: Any, s: Any, number: Any) -> Any:
    """A name for the values of one measure of one key: a slot has more words than links."""
    return ((s - get(c, ARENA)) >> 3) + number


@part
def link(c: Any, h: Any, s: Any, at: Any, number: Any, place: Any, value: Any) -> Any:
    """Links the record at `place` to its equals. `at` is the record offset of the link. The hash has room."""
    base, mask, stride = ring_of(c, h, s)
    here = base + 8 * ((place & mask) * stride + at)
    if value == NULL:
        store(here, 0)
        return
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    entry, last = NONE, head - 1
    if mask >= HASHED:
        identity = identity_of(c, s, number)
        entry = entry_of(c, value, identity)
        held = load(entry + 8)
        if held == 0:
            store(entry, value)
            put(c, HASH_USED, get(c, HASH_USED) + 1)
            store(entry + 8, (identity << 30) | (place & LOW30))
        else:
            last = tail - ((tail - held) & LOW30)
            if last < place:
                store(entry + 8, (identity << 30) | (place & LOW30))
    else:
        for i in range(tail - 1, head - 1, -1):
            if i != place and load(base + 8 * ((i & mask) * stride + at - 1)) == value:
                last = i
                break
    if last < head:
        store(here, 0)
        return
    back, ahead = place - last, 0
    if last > place:
        following = last
        while True:
            a = base + 8 * ((following & mask) * stride + at)
            back = (load(a) >> 32) & LOW32
            if back == 0 or following - back < place:
                break
            following -= back
        ahead = following - place
        store(a, (ahead << 32) | (load(a) & LOW32))
        back = back - ahead if back != 0 else 0
    store(here, (back << 32) | ahead)
    if back != 0 and place - back >= head:
        a = base + 8 * (((place - back) & mask) * stride + at)
        store(a, (load(a) & ~LOW32) | back)


@part
def unlink(c: Any, h: Any, s: Any, at: Any, number: Any, place: Any, value: Any) -> Any:
    """Takes the record at `place` out of the chain of its equals."""
    if value == NULL:
        return
    base, mask, stride = ring_of(c, h, s)
    here = load(base + 8 * ((place & mask) * stride + at))
    back, ahead = (here >> 32) & LOW32, here & LOW32
    held_before = back != 0 and place - back >= get(s, SLOT_HEAD)
    if ahead != 0:
        a = base + 8 * (((place + ahead) & mask) * stride + at)
        store(a, ((back + ahead if back != 0 else 0) << 32) | (load(a) & LOW32))
    elif mask >= HASHED:
        identity = identity_of(c, s, number)
        entry = entry_of(c, value, identity)
        if held_before:
            store(entry + 8, (identity << 30) | ((place - back) & LOW30))
        else:
            remove(c, entry)
    if held_before:
        a = base + 8 * (((place - back) & mask) * stride + at)
        store(a, (load(a) & ~LOW32) | (back + ahead if ahead != 0 else 0))


@part
def stretch_links(c: Any, p: Any, h: Any, s: Any, place: Any) -> Any:
    """Makes the links that cross `place` one longer, before a record is put in there."""
    base, mask, stride = ring_of(c, h, s)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    for number in range(get(h, LINK_COUNT)):
        at = load(p + 8 * (get(h, LINKS) + number))
        identity = identity_of(c, s, number)
        # From the end, so that no two entries of the hash ever name the same record.
        for i in range(tail - 1, place - 1, -1):
            a = base + 8 * ((i & mask) * stride + at)
            value = load(a - 8)
            if value == NULL:
                continue
            both = load(a)
            back = (both >> 32) & LOW32
            if back != 0 and i - back < place:
                store(a, ((back + 1) << 32) | (both & LOW32))
                if i - back >= head:
                    b = base + 8 * (((i - back) & mask) * stride + at)
                    store(b, load(b) + 1)
            if mask >= HASHED and both & LOW32 == 0:
                entry = entry_of(c, value, identity)
                store(entry + 8, (identity << 30) | ((i + 1) & LOW30))


@part
def forget_values(c: Any, p: Any, h: Any, s: Any, i: Any) -> Any:
    """Takes the values of a record out of the hash where no later record has them."""
    base, mask, stride = ring_of(c, h, s)
    if mask < HASHED:
        return
    for number in range(get(h, LINK_COUNT)):
        a = base + 8 * ((i & mask) * stride + load(p + 8 * (get(h, LINKS) + number)))
        value = load(a - 8)
        if value != NULL and load(a) & LOW32 == 0:
            entry = entry_of(c, value, identity_of(c, s, number))
            remove(c, entry)


@part
def remember_values(c: Any, p: Any, h: Any, s: Any, i: Any) -> Any:
    """Enters the values of a record into the hash where no later record has them. The hash has room."""
    base, mask, stride = ring_of(c, h, s)
    for number in range(get(h, LINK_COUNT)):
        a = base + 8 * ((i & mask) * stride + load(p + 8 * (get(h, LINKS) + number)))
        value = load(a - 8)
        if value != NULL and load(a) & LOW32 == 0:
            identity = identity_of(c, s, number)
            entry = entry_of(c, value, identity)
            store(entry, value)
            store(entry + 8, (identity << 30) | (i & LOW30))
            put(c, HASH_USED, get(c, HASH_USED) + 1)


@part
def is_first(base: Any, mask: Any, stride: Any, at: Any, i: Any, low: Any) -> Any:
    """1 where record i has a value (at `at`, its link after it) that no record of [low, i) has."""
    a = base + 8 * ((i & mask) * stride + at)
    back = (load(a + 8) >> 32) & LOW32
    return 1 if load(a) != NULL and (back == 0 or i - back < low) else 0


@part
def is_last(base: Any, mask: Any, stride: Any, at: Any, i: Any, high: Any) -> Any:
    """1 where record i has a value that no record of (i, high) has."""
    a = base + 8 * ((i & mask) * stride + at)
    ahead = load(a + 8) & LOW32
    return 1 if load(a) != NULL and (ahead == 0 or i + ahead >= high) else 0


@part
def distinct_between(
    base: Any, mask: Any, stride: Any, at: Any, low: Any, high: Any, known_low: Any, known_high: Any, known: Any
) -> Any:
    """How many different values [low, high) has, by the shorter way: from the count that is known of
    [known_low, known_high), or afresh.
    """
    if low >= high:
        return 0
    count = 0
    way = abs(known_low - low) + abs(known_high - high)
    if known_low <= high and known_low < known_high and low <= known_high and way < high - low:
        count = known
        for i in range(high, known_high):
            count -= is_first(base, mask, stride, at, i, known_low)
        for i in range(known_high, high):
            count += is_first(base, mask, stride, at, i, known_low)
        for i in range(low, known_low):
            count += is_last(base, mask, stride, at, i, high)
        for i in range(known_low, low):
            count -= is_last(base, mask, stride, at, i, high)
        return count
    for i in range(low, high):
        count += is_first(base, mask, stride, at, i, low)
    return count
