"""Where the windows of one key stand: which records each holds, and what is remembered of them.

A window is (L, U] for the time it is read at, both rising with time, so a reading later than all before only moves two
places forward. A reading earlier than one before (an event out of order) looks its places up and moves nothing.
"""

from __future__ import annotations

from typing import Any

from parakh.features.memory import load, part, store
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

__all__ = ["advance", "enter_all", "locate", "window_end"]


@part
def lower_bound(w: Any, time: Any, bound: Any, count: Any) -> Any:
    """The L of a window (L, U] that is read at `time`."""
    kind = load(w + 8 * WINDOW_KIND)
    if kind == WINDOW_CALENDAR:
        return load(bound + 8 * load(w + 8 * WINDOW_STEP) * count)
    low = time - load(w + 8 * WINDOW_REACH)
    if kind == WINDOW_RESOLUTION:
        step = load(w + 8 * WINDOW_STEP)
        return low // step * step + step - 1
    return low


@part
def window_end(p: Any, h: Any, s: Any, w: Any) -> Any:
    """The first record that has not entered a window."""
    d = p + 8 * (load(h + 8 * DELAYS) + DELAY_WIDTH * load(w + 8 * WINDOW_DELAY))
    place = load(d + 8 * DELAY_HIGH)
    return load(s + 8 * (place if place != 0 else SLOT_TAIL))


@part
def advance(c: Any, p: Any, h: Any, s: Any, time: Any, bound: Any, count: Any) -> Any:
    """Moves a slot's windows on to `time`, which is not before the time they stand at; notes where they stand."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
    step = 8 * stride
    scratch = load(c + 8 * SCRATCH)
    store(s + 8 * SLOT_TIME, time)
    delays = p + 8 * load(h + 8 * DELAYS)
    for k in range(load(h + 8 * DELAY_COUNT)):
        d = delays + 8 * DELAY_WIDTH * k
        if load(d + 8 * DELAY_HIGH) != 0:
            place = s + 8 * load(d + 8 * DELAY_HIGH)
            until = time - load(d + 8 * DELAY_US)
            if load(h + 8 * CACHED) != 0:
                i = load(place)
                while i < tail and load(base + (i & mask) * step) <= until:
                    store(place, i + 1)
                    enter(c, p, h, s, base, mask, stride, k, i)
                    i += 1
            else:
                store(place, upper(base, mask, stride, head, tail, load(place), until))
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        from_time = lower_bound(w, time, bound, count)
        low = load(s + 8 * load(w + 8 * WINDOW_LOW))
        high = tail
        d = delays + 8 * DELAY_WIDTH * load(w + 8 * WINDOW_DELAY)
        if load(d + 8 * DELAY_HIGH) != 0:
            high = load(s + 8 * load(d + 8 * DELAY_HIGH))
        distincts = load(w + 8 * WINDOW_DISTINCT_COUNT)
        if distincts == 0:
            if low < tail and load(base + (low & mask) * step) <= from_time:
                low = upper(base, mask, stride, head, tail, low, from_time)
        else:
            while low < tail and load(base + (low & mask) * step) <= from_time:
                pair = p + 8 * load(w + 8 * WINDOW_DISTINCTS)
                for _ in range(distincts):
                    running = s + 8 * load(pair)
                    store(running, load(running) - is_last(base, mask, stride, load(pair + 8), low, high))
                    pair += 16
                low += 1
        store(s + 8 * load(w + 8 * WINDOW_LOW), low)
        store(scratch, low)
        store(scratch + 8, high)
        scratch += 16
        w += 8 * WINDOW_WIDTH


@part
def locate(c: Any, p: Any, h: Any, s: Any, time: Any, bound: Any, count: Any) -> Any:
    """Notes where the windows stand for a reading at `time`, before the time they have been moved to."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
    scratch = load(c + 8 * SCRATCH)
    w = p + 8 * load(h + 8 * WINDOWS)
    place = upper(base, mask, stride, head, tail, tail, time)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        d = p + 8 * (load(h + 8 * DELAYS) + DELAY_WIDTH * load(w + 8 * WINDOW_DELAY))
        high = place
        if load(d + 8 * DELAY_HIGH) != 0:
            hint = load(s + 8 * load(d + 8 * DELAY_HIGH))
            high = upper(base, mask, stride, head, tail, hint, time - load(d + 8 * DELAY_US))
        from_time = lower_bound(w, time, bound, count)
        hint = load(s + 8 * load(w + 8 * WINDOW_LOW))
        store(scratch, min(high, upper(base, mask, stride, head, tail, hint, from_time)))
        store(scratch + 8, high)
        scratch += 16
        w += 8 * WINDOW_WIDTH
    return place


@part
def enter(c: Any, p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, delay: Any, i: Any) -> Any:
    """Tells the windows of one delay that record i is now among theirs (their upper end has been moved already)."""
    high = load(s + 8 * SLOT_TAIL)
    place = load(p + 8 * (load(h + 8 * DELAYS) + DELAY_WIDTH * delay + DELAY_HIGH))
    if place != 0:
        high = load(s + 8 * place)
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        low = load(s + 8 * load(w + 8 * WINDOW_LOW))
        if load(w + 8 * WINDOW_DELAY) == delay and low <= i:
            pair = p + 8 * load(w + 8 * WINDOW_DISTINCTS)
            for _ in range(load(w + 8 * WINDOW_DISTINCT_COUNT)):
                running = s + 8 * load(pair)
                fresh = is_first(base, mask, stride, load(pair + 8), i, low)
                fresh &= is_last(base, mask, stride, load(pair + 8), i, high)
                store(running, load(running) + fresh)
                pair += 16
            pair = p + 8 * load(w + 8 * WINDOW_EXTREMES)
            for _ in range(load(w + 8 * WINDOW_EXTREME_COUNT)):
                e = p + 8 * load(pair + 8)
                cache = s + 8 * load(pair)
                value = value_at(base, mask, stride, load(e), load(e + 8), i)
                key = order_key(value, load(e + 8 * EXTREME_FLOAT), load(e + 8 * EXTREME_SIGN))
                if key > LOWEST and key >= load(cache + 8):
                    store(cache, i)
                    store(cache + 8, key)
                pair += 16
        w += 8 * WINDOW_WIDTH


@part
def enter_all(c: Any, p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, place: Any) -> Any:
    """Tells every window that has the record at `place` between its ends."""
    d = p + 8 * load(h + 8 * DELAYS)
    for k in range(load(h + 8 * DELAY_COUNT)):
        high = load(d + 8 * DELAY_HIGH)
        if high == 0 or place < load(s + 8 * high):
            enter(c, p, h, s, base, mask, stride, k, place)
        d += 8 * DELAY_WIDTH
