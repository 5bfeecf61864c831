"""An event taken into a key's history, and a label that changes what was taken in.

A record is put in at its place in time, after its equals; what windows remember is corrected by that record alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.answers import answer
from parakh.features.index import index_records
from parakh.features.measures import put_value
from parakh.features.memory import load, number, part, store, word
from parakh.features.repeats import hash_is_full, is_first, is_last, link, stretch_links, unlink
from parakh.features.rings import order_key, shift_places, upper
from parakh.features.slots import slot_of
from parakh.features.tables import (
    AMOUNT,
    ARENA,
    CACHED,
    EXTREME_FLOAT,
    EXTREME_MEASURE,
    EXTREME_SIGN,
    GROUP_BITS,
    GROUP_BITS_COUNT,
    GROUP_INITIAL_BITS,
    GROUP_INPUTS,
    HISTORY_RECORDS,
    INPUT_ARGUMENT,
    INPUT_FILTER,
    INPUT_FLOAT,
    INPUT_INITIAL,
    INPUT_WIDTH,
    LABEL_CODES,
    LABEL_COUNT,
    LABEL_EFFECT_COUNT,
    LABEL_EFFECT_KEY,
    LABEL_EFFECT_LABEL,
    LABEL_EFFECT_TYPE,
    LABEL_EFFECT_WIDTH,
    LABEL_EFFECTS,
    LABEL_INDEX,
    LABEL_SEQUENCE,
    LABEL_TIME,
    LABEL_TYPE,
    LABELS,
    LINK_COUNT,
    LOWEST,
    MEASURE_AT,
    MEASURE_BITS,
    MEASURE_COUNT,
    MEASURE_IDENTITY,
    MEASURE_LINK,
    MEASURE_RAW,
    MEASURE_WIDTH,
    MEASURES,
    META,
    META_BITS,
    NEED_HASH,
    NEED_NOTHING,
    NONE,
    NULL,
    READ_BEFORE,
    READ_COUNT,
    READ_FEATURES,
    SETTING_BIT,
    SETTING_COLUMN,
    SETTING_FLOAT,
    SETTING_RAW,
    SETTING_WIDTH,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    STRIDE,
    WINDOW_COUNT,
    WINDOW_DISTINCT_COUNT,
    WINDOW_DISTINCTS,
    WINDOW_EXTREME_COUNT,
    WINDOW_EXTREMES,
    WINDOW_LOW,
    WINDOW_WIDTH,
    WINDOWS,
)
from parakh.features.windows import enter_all, locate, window_end

__all__ = ["take_label", "visit"]

ONE = np.int64(1)
SOUGHT_ANEW = -2  # a cached place before every window


@part
def visit(
    c: Any, p: Any, h: Any, hc: Any, s: Any, time: Any, in_order: Any, read: Any, group: Any, sequence: Any,
    bound: Any, count: Any, out: Any, rows: Any, mark: Any,
) -> Any:  # fmt: skip
    """Answers a read (0: none) of a key whose windows stand right, and takes the event in where a group writes it."""
    place = load(s + 8 * SLOT_TAIL)
    if not in_order:
        place = locate(c, p, h, s, time, bound, count)
    first = NONE
    for after in range(2):
        more = 0
        if after == 1 and group != NONE:
            take_event(c, p, h, hc, s, time, place, group, sequence, out, rows)
            more = 1
        if read != NONE:
            last = load(read + 8 * (READ_COUNT if after == 1 else READ_BEFORE))
            features = p + 8 * load(read + 8 * READ_FEATURES)
            answer(c, p, h, s, time, in_order, features, first, last, more, out, rows, mark)
            first = last


@part
def take_event(
    c: Any, p: Any, h: Any, hc: Any, s: Any, time: Any, place: Any, group: Any, sequence: Any, out: Any, rows: Any
) -> Any:
    """Puts the event's record in at `place`. The room was reserved."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    tail = load(s + 8 * SLOT_TAIL)
    if place < tail:
        if load(h + 8 * LINK_COUNT) != 0:
            stretch_links(c, p, h, s, place)
        shift_places(p, h, s, place)
    for i in range(tail, place - 1, -1):
        a = base + 8 * (i & mask) * stride
        b = base + 8 * ((i + 1) & mask) * stride
        for k in range(stride):
            store(b + 8 * k, load(a + 8 * k))
    tail += 1
    store(s + 8 * SLOT_TAIL, tail)
    store(hc + 8 * HISTORY_RECORDS, load(hc + 8 * HISTORY_RECORDS) + 1)
    here = base + 8 * (place & mask) * stride
    store(here, time)
    bits = load(group + 8 * GROUP_INITIAL_BITS)
    pair = p + 8 * load(group + 8 * GROUP_BITS)
    for _ in range(load(group + 8 * GROUP_BITS_COUNT)):
        if load(out + 8 * rows * load(pair)) == 1:
            bits |= 1 << load(pair + 8)
        pair += 16
    if load(h + 8 * META) != 0:
        store(here + 8 * load(h + 8 * META), (sequence << META_BITS) | bits)
    m = p + 8 * load(h + 8 * MEASURES)
    x = p + 8 * load(group + 8 * GROUP_INPUTS)
    for _ in range(load(h + 8 * MEASURE_COUNT)):
        value = load(x + 8 * INPUT_INITIAL)
        if load(x + 8 * INPUT_ARGUMENT) >= 0:
            value = load(out + 8 * rows * load(x + 8 * INPUT_ARGUMENT))
        if load(x + 8 * INPUT_FLOAT) != 0:
            value = number_word(value)
        if load(x + 8 * INPUT_FILTER) >= 0 and load(out + 8 * rows * load(x + 8 * INPUT_FILTER)) != 1:
            value = NULL
        if load(m + 8 * MEASURE_RAW) >= 0:
            store(here + 8 * load(m + 8 * MEASURE_RAW), value)
        if (bits & load(m + 8 * MEASURE_BITS)) != load(m + 8 * MEASURE_BITS):
            value = NULL
        put_value(m, s, base, mask, stride, place, tail, NULL, value)
        if load(m + 8 * MEASURE_LINK) >= 0:
            link(c, h, s, load(m + 8 * MEASURE_LINK), load(m + 8 * MEASURE_IDENTITY), place, value)
        m += 8 * MEASURE_WIDTH
        x += 8 * INPUT_WIDTH
    if place < tail - 1 or tail & 31 == 0:
        index_records(p, h, s, place, tail, load(c + 8 * ARENA))
    if load(h + 8 * CACHED) != 0:
        enter_all(c, p, h, s, base, mask, stride, place)


@part
def take_label(c: Any, p: Any, h: Any, hc: Any, update: Any) -> Any:
    """Lets an accepted label change what depends on it in one history, or says what that needs."""
    links = load(h + 8 * LINK_COUNT)
    if links != 0 and hash_is_full(c, links):
        store(c + 8 * AMOUNT, links)
        return NEED_HASH
    effect = p + 8 * load(h + 8 * LABELS)
    for _ in range(load(h + 8 * LABEL_COUNT)):
        if load(effect + 8 * LABEL_EFFECT_TYPE) == load(update + 8 * LABEL_TYPE) and load(
            effect + 8 * LABEL_EFFECT_LABEL
        ) == load(update + 8 * LABEL_INDEX):
            code = load(update + 8 * (LABEL_CODES + load(effect + 8 * LABEL_EFFECT_KEY)))
            s = slot_of(c, hc, code) if code >= 0 else 0
            if s != 0:
                place = find_record(c, h, s, load(update + 8 * LABEL_TIME), load(update + 8 * LABEL_SEQUENCE))
                if place >= 0:
                    relabel(c, p, h, s, place, effect, update)
        effect += 8 * LABEL_EFFECT_WIDTH
    return NEED_NOTHING


@part
def find_record(c: Any, h: Any, s: Any, time: Any, sequence: Any) -> Any:
    """The place of the record of an event, -1 where it is no longer kept."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
    low, high = head, upper(base, mask, stride, head, tail, tail, time)
    meta = load(h + 8 * META)
    end = high
    while low < high:
        middle = (low + high) >> 1
        a = base + 8 * (middle & mask) * stride
        if load(a) < time or (load(a + 8 * meta) >> META_BITS) < sequence:
            low = middle + 1
        else:
            high = middle
    if low == end:
        return -1
    a = base + 8 * (low & mask) * stride
    return low if load(a) == time and (load(a + 8 * meta) >> META_BITS) == sequence else -1


@part
def relabel(c: Any, p: Any, h: Any, s: Any, place: Any, effect: Any, update: Any) -> Any:
    """Sets a record's condition bits and arguments to what a label makes of them."""
    base = load(c + 8 * ARENA) + 8 * load(s + 8 * SLOT_RING)
    mask, stride = load(s + 8 * SLOT_MASK), load(h + 8 * STRIDE)
    here = base + 8 * (place & mask) * stride
    bits = load(here + 8 * load(h + 8 * META))
    new_bits = bits
    settings = p + 8 * load(effect + 8 * LABEL_EFFECTS)
    setting_count = load(effect + 8 * LABEL_EFFECT_COUNT)
    for k in range(setting_count):
        x = settings + 8 * SETTING_WIDTH * k
        if load(x + 8 * SETTING_BIT) >= 0:
            bit = 1 << load(x + 8 * SETTING_BIT)
            new_bits = new_bits & ~bit
            if load(update + 8 * load(x + 8 * SETTING_COLUMN)) == 1:
                new_bits = new_bits | bit
    store(here + 8 * load(h + 8 * META), new_bits)
    changed = False
    m = p + 8 * load(h + 8 * MEASURES)
    for _ in range(load(h + 8 * MEASURE_COUNT)):
        wanted, raw = load(m + 8 * MEASURE_BITS), load(m + 8 * MEASURE_RAW)
        old: Any = 1
        new: Any = 1
        if raw >= 0:
            old = load(here + 8 * raw)
            new = old
            for k in range(setting_count):
                x = settings + 8 * SETTING_WIDTH * k
                if load(x + 8 * SETTING_BIT) < 0 and load(x + 8 * SETTING_RAW) == raw:
                    new = load(update + 8 * load(x + 8 * SETTING_COLUMN))
                    if load(x + 8 * SETTING_FLOAT) != 0:
                        new = number_word(new)
            store(here + 8 * raw, new)
        if (bits & wanted) != wanted:
            old = NULL
        if (new_bits & wanted) != wanted:
            new = NULL
        if (wanted != 0 or raw >= 0) and old != new:
            changed = True
            replace_value(c, p, h, s, m, base, mask, stride, place, old, new)
        m += 8 * MEASURE_WIDTH
    if changed:
        index_records(p, h, s, place, place + 1, load(c + 8 * ARENA))


@part
def replace_value(
    c: Any, p: Any, h: Any, s: Any, m: Any, base: Any, mask: Any, stride: Any, place: Any, old: Any, new: Any
) -> Any:
    """Changes one measure of a record and what the windows remember of it."""
    at, linked = load(m + 8 * MEASURE_AT), load(m + 8 * MEASURE_LINK)
    identity = load(m + 8 * MEASURE_IDENTITY)
    if linked >= 0:
        count_value(p, h, s, base, mask, stride, at, place, -ONE)
        unlink(c, h, s, linked, identity, place, old)
    put_value(m, s, base, mask, stride, place, load(s + 8 * SLOT_TAIL), old, new)
    if linked >= 0:
        link(c, h, s, linked, identity, place, new)
        count_value(p, h, s, base, mask, stride, at, place, ONE)
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        pair = p + 8 * load(w + 8 * WINDOW_EXTREMES)
        for _ in range(load(w + 8 * WINDOW_EXTREME_COUNT)):
            e = p + 8 * load(pair + 8)
            if p + 8 * load(e + 8 * EXTREME_MEASURE) == m and place < window_end(p, h, s, w):
                cache = s + 8 * load(pair)
                floats, sign = load(e + 8 * EXTREME_FLOAT), load(e + 8 * EXTREME_SIGN)
                if load(s + 8 * load(w + 8 * WINDOW_LOW)) <= place:
                    new_key, old_key = order_key(new, floats, sign), order_key(old, floats, sign)
                    if new_key > LOWEST and new_key >= load(cache + 8):
                        store(cache, place)
                        store(cache + 8, new_key)
                    elif old_key == load(cache + 8):
                        store(cache, SOUGHT_ANEW)
            pair += 16
        w += 8 * WINDOW_WIDTH


@part
def count_value(p: Any, h: Any, s: Any, base: Any, mask: Any, stride: Any, at: Any, place: Any, by: Any) -> Any:
    """Adds `by` to the distinct counts of the windows where the value of a record stands alone."""
    w = p + 8 * load(h + 8 * WINDOWS)
    for _ in range(load(h + 8 * WINDOW_COUNT)):
        low, high = load(s + 8 * load(w + 8 * WINDOW_LOW)), window_end(p, h, s, w)
        if low <= place < high:
            pair = p + 8 * load(w + 8 * WINDOW_DISTINCTS)
            for _ in range(load(w + 8 * WINDOW_DISTINCT_COUNT)):
                if load(pair + 8) == at:
                    alone = is_first(base, mask, stride, at, place, low) & is_last(base, mask, stride, at, place, high)
                    running = s + 8 * load(pair)
                    store(running, load(running) + by * alone)
                pair += 16
        w += 8 * WINDOW_WIDTH


@part
def number_word(value: Any) -> Any:
    """A float's word as a measure keeps it: NULL for NaN, one zero."""
    x = number(value)
    if x != x:
        return NULL
    return word(x + 0.0)
