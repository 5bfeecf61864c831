"""Where the windows of one key stand: which records each holds, and what is remembered of them.

A window is (L, U] for the time it is read at, both rising with time, so a reading later than all before only moves two
places forward. A reading earlier than one before (an event out of order) looks its places up and moves nothing.
"""

from __future__ import annotations

from typing import Any

from parakh.features.memory import get, load, part, put, store
from parakh.features.repeats import is_first, is_last
from parakh.features.rings import order_key, upper, value_at
from parakh.features.tables import (
    ARENA,
    CACHED,
    DELAY_COUNT,
    DELAY_HIGH,
    DELAY_US,
    DELAY_WIDTH,
    DELAYS,
    EXTREME_FLOAT,
    EXTREME_SIGN,
    LOWEST,
    SCRATCH,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    SLOT_TIME,
    STRIDE,
    WINDOW_CALENDAR,
    WINDOW_COUNT,
    WINDOW_DELAY,
    WINDOW_DISTINCT_COUNT,
    WINDOW_DISTINCTS,
    WINDOW_EXTREME_COUNT,
    WINDOW_EXTREMES,
    WINDOW_KIND,
    WINDOW_LOW,
    WINDOW_REACH,
    WINDOW_RESOLUTION,
    WINDOW_STEP,
    WINDOW_WIDTH,
    WINDOWS,
)

__all__ = ["advance", "enter_all", "locate", "lower_bound", "window_end"]


@part
def lower_bound(w: Any, time: Any, bound: Any, count: Any) -> Any:
    """The L of a window (L, U] that is read at `time`."""
    kind = get(w, WINDOW_KIND)
    if kind == WINDOW_CALENDAR:
        return load(bound + 8 * get(w, WINDOW_STEP) * count)
    low = time - get(w, WINDOW_REACH)
    if kind == WINDOW_RESOLUTION:
        step = get(w, WINDOW_STEP)
        return low // step * step + step - 1
    return low


@part
def window_end(p: Any, h: Any, s: Any, w: Any) -> Any:
    """The first record that has not entered a window."""
    d = p + 8 * (get(h, DELAYS) + DELAY_WIDTH * get(w, WINDOW_DELAY))
    place = get(d, DELAY_HIGH)
    return load(s + 8 * (place if place != 0 else SLOT_TAIL))


@part
def advance(c: Any, p: Any, h: Any, s: Any, time: Any, bound: Any, count: Any) -> Any:
    """Moves a slot's windows on to `time`, which is not before the time they stand at; notes where they stand."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    step = 8 * stride
    scratch = get(c, SCRATCH)
    put(s, SLOT_TIME, time)
    delays = p + 8 * get(h, DELAYS)
    for k in range(get(h, DELAY_COUNT)):
        d = delays + 8 * DELAY_WIDTH * k
        if get(d, DELAY_HIGH) != 0:
            place = s + 8 * get(d, DELAY_HIGH)
            until = time - get(d, DELAY_US)
            if get(h, CACHED) != 0:
                i = load(place)
                while i < tail and load(base + (i & mask) * step) <= until:
                    store(place, i + 1)
                    enter(c, p, h, s, base, mask, stride, k, i)
                    i += 1
            else:
                store(place, upper(base, mask, stride, head, tail, load(place), until))
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        from_time = lower_bound(w, time, bound, count)
        low = load(s + 8 * get(w, WINDOW_LOW))
        high = tail
        d = delays + 8 * DELAY_WIDTH * get(w, WINDOW_DELAY)
        if get(d, DELAY_HIGH) != 0:
            high = load(s + 8 * get(d, DELAY_HIGH))
        distincts = get(w, WINDOW_DISTINCT_COUNT)
        if distincts == 0:
            if low < tail and load(base + (low & mask) * step) <= from_time:
                low = upper(base, mask, stride, head, tail, low, from_time)
        else:
            while low < tail and load(base + (low & mask) * step) <= from_time:
                pair = p + 8 * get(w, WINDOW_DISTINCTS)
                for _ in range(distincts):
                    running = s + 8 * load(pair)
                    store(running, load(running) - is_last(base, mask, stride, load(pair + 8), low, high))
                    pair += 16
                low += 1
        store(s + 8 * get(w, WINDOW_LOW), low)
        store(scratch, low)
        store(scratch + 8, high)
        scratch += 16
        w += 8 * WINDOW_WIDTH


@part
def locate(c: Any, p: Any, h: Any, s: Any, time: Any, bound: Any, count: Any) -> Any:
    """Notes where the windows stand for a reading at `time`, before the time they have been moved to."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    scratch = get(c, SCRATCH)
    w = p + 8 * get(h, WINDOWS)
    place = upper(base, mask, stride, head, tail, tail, time)
    for _ in range(get(h, WINDOW_COUNT)):
        d = p + 8 * (get(h, DELAYS) + DELAY_WIDTH * get(w, WINDOW_DELAY))
        high = place
        if get(d, DELAY_HIGH) != 0:
            hint = load(s + 8 * get(d, DELAY_HIGH))
            high = upper(base, mask, stride, head, tail, hint, time - get(d, DELAY_US))
        from_time = lower_bound(w, time, bound, count)
        hint = load(s + 8 * get(w, WINDOW_LOW))
        store(scratch, min(high, upper(base, mask, stride, head, tail, hint, from_time)))
        store(scratch + 8, high)
        scratch += 16
        w += 8 * WINDOW_WIDTH
    return place


@part
def enter(c: Any, p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, delay: Any, i: Any) -> Any:
    """Tells the windows of one delay that record i is now among theirs (their upper end has been moved already)."""
    high = get(s, SLOT_TAIL)
    place = load(p + 8 * (get(h, DELAYS) + DELAY_WIDTH * delay + DELAY_HIGH))
    if place != 0:
        high = get(s, place)
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        low = load(s + 8 * get(w, WINDOW_LOW))
        if get(w, WINDOW_DELAY) == delay and low <= i:
            pair = p + 8 * get(w, WINDOW_DISTINCTS)
            for _ in range(get(w, WINDOW_DISTINCT_COUNT)):
                running = s + 8 * load(pair)
                fresh = is_first(base, mask, stride, load(pair + 8), i, low)
                fresh &= is_last(base, mask, stride, load(pair + 8), i, high)
                store(running, load(running) + fresh)
                pair += 16
            pair = p + 8 * get(w, WINDOW_EXTREMES)
            for _ in range(get(w, WINDOW_EXTREME_COUNT)):
                e = p + 8 * load(pair + 8)
                cache = s + 8 * load(pair)
                value = value_at(base, mask, stride, load(e), load(e + 8), i)
                key = order_key(value, get(e, EXTREME_FLOAT), get(e, EXTREME_SIGN))
                if key > LOWEST and key >= load(cache + 8):
                    store(cache, i)
                    store(cache + 8, key)
                pair += 16
        w += 8 * WINDOW_WIDTH


@part
def enter_all(c: Any, p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, place: Any) -> Any:
    """Tells every window that has the record at `place` between its ends."""
    d = p + 8 * get(h, DELAYS)
    for k in range(get(h, DELAY_COUNT)):
        high = get(d, DELAY_HIGH)
        if high == 0 or place < get(s, high):
            enter(c, p, h, s, base, mask, stride, k, place)
        d += 8 * DELAY_WIDTH
