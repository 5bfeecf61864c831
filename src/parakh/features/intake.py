"""An event taken into a key's history, and a label that changes what was taken in.

A record is put in at its place in time, after its equals; what windows remember is corrected by that record alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.answers import answer
from parakh.features.buckets import answer_with_buckets, locate_buckets
from parakh.features.index import index_records
from parakh.features.measures import put_value
from parakh.features.memory import get, load, number, part, put, store, word
from parakh.features.repeats import grow_hash, hash_needs, is_first, is_last, link, stretch_links, unlink
from parakh.features.rings import move_up, order_key, shift_places, upper
from parakh.features.slots import slot_of
from parakh.features.tables import (
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
    STEP,
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
    place = get(s, SLOT_TAIL)
    if not in_order:
        place = locate(c, p, h, s, time, bound, count)
    if get(h, STEP) != 0:
        locate_buckets(c, p, h, s, time, bound, count)
    first = NONE
    for after in range(2):
        more = 0
        if after == 1 and group != NONE:
            take_event(c, p, h, hc, s, time, place, group, sequence, out, rows)
            more = 1
        if read != NONE:
            last = load(read + 8 * (READ_COUNT if after == 1 else READ_BEFORE))
            features = p + 8 * get(read, READ_FEATURES)
            if get(h, STEP) != 0:
                answer_with_buckets(c, p, h, s, features, first, last, more, out, rows, mark)
            else:
                answer(c, p, h, s, time, in_order, features, first, last, more, out, rows, mark)
            first = last


@part
def take_event(
    c: Any, p: Any, h: Any, hc: Any, s: Any, time: Any, place: Any, group: Any, sequence: Any, out: Any, rows: Any
) -> Any:
    """Puts the event's record in at `place`. The room was reserved."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    tail = get(s, SLOT_TAIL)
    if place < tail:
        if get(h, LINK_COUNT) != 0:
            stretch_links(c, p, h, s, place)
        shift_places(p, h, s, place)
    move_up(base, mask, stride, place, tail)
    tail += 1
    put(s, SLOT_TAIL, tail)
    put(hc, HISTORY_RECORDS, get(hc, HISTORY_RECORDS) + 1)
    here = base + 8 * (place & mask) * stride
    store(here, time)
    bits = get(group, GROUP_INITIAL_BITS)
    pair = p + 8 * get(group, GROUP_BITS)
    for _ in range(get(group, GROUP_BITS_COUNT)):
        if load(out + 8 * rows * load(pair)) == 1:
            bits |= 1 << load(pair + 8)
        pair += 16
    if get(h, META) != 0:
        store(here + 8 * get(h, META), (sequence << META_BITS) | bits)
    m = p + 8 * get(h, MEASURES)
    x = p + 8 * get(group, GROUP_INPUTS)
    for _ in range(get(h, MEASURE_COUNT)):
        value = get(x, INPUT_INITIAL)
        if get(x, INPUT_ARGUMENT) >= 0:
            value = load(out + 8 * rows * get(x, INPUT_ARGUMENT))
        if get(x, INPUT_FLOAT) != 0:
            value = number_word(value)
        if get(x, INPUT_FILTER) >= 0 and load(out + 8 * rows * get(x, INPUT_FILTER)) != 1:
            value = NULL
        if get(m, MEASURE_RAW) >= 0:
            store(here + 8 * get(m, MEASURE_RAW), value)
        if (bits & get(m, MEASURE_BITS)) != get(m, MEASURE_BITS):
            value = NULL
        put_value(m, s, base, mask, stride, place, tail, NULL, value)
        if get(m, MEASURE_LINK) >= 0:
            link(c, h, s, get(m, MEASURE_LINK), get(m, MEASURE_IDENTITY), place, value)
        m += 8 * MEASURE_WIDTH
        x += 8 * INPUT_WIDTH
    if place < tail - 1 or tail & 31 == 0:
        index_records(p, h, s, place, tail, get(c, ARENA))
    if get(h, CACHED) != 0:
        enter_all(c, p, h, s, base, mask, stride, place)


@part
def take_label(c: Any, p: Any, h: Any, hc: Any, update: Any) -> Any:
    """Lets an accepted label change what depends on it in one history, or says what that needs."""
    links = get(h, LINK_COUNT)
    if links != 0:
        grow_hash(c)
        if hash_needs(c, links):
            return NEED_HASH
    effect = p + 8 * get(h, LABELS)
    for _ in range(get(h, LABEL_COUNT)):
        if get(effect, LABEL_EFFECT_TYPE) == get(update, LABEL_TYPE) and load(effect + 8 * LABEL_EFFECT_LABEL) == get(
            update, LABEL_INDEX
        ):
            code = load(update + 8 * (LABEL_CODES + get(effect, LABEL_EFFECT_KEY)))
            s = slot_of(c, hc, code) if code >= 0 else 0
            if s != 0:
                place = find_record(c, h, s, get(update, LABEL_TIME), get(update, LABEL_SEQUENCE))
                if place >= 0:
                    relabel(c, p, h, s, place, effect, update)
        effect += 8 * LABEL_EFFECT_WIDTH
    return NEED_NOTHING


@part
def find_record(c: Any, h: Any, s: Any, time: Any, sequence: Any) -> Any:
    """The place of the record of an event, -1 where it is no longer kept."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
    low, high = head, upper(base, mask, stride, head, tail, tail, time)
    meta = get(h, META)
    end = high
    while low < high:
        middle = (low + high) >> 1
        a = base + 8 * (middle & mask) * stride
        if load(a) < time or (get(a, meta) >> META_BITS) < sequence:
            low = middle + 1
        else:
            high = middle
    if low == end:
        return -1
    a = base + 8 * (low & mask) * stride
    return low if load(a) == time and (get(a, meta) >> META_BITS) == sequence else -1


@part
def relabel(c: Any, p: Any, h: Any, s: Any, place: Any, effect: Any, update: Any) -> Any:
    """Sets a record's condition bits and arguments to what a label makes of them."""
    base = get(c, ARENA) + 8 * get(s, SLOT_RING)
    mask, stride = get(s, SLOT_MASK), get(h, STRIDE)
    here = base + 8 * (place & mask) * stride
    bits = load(here + 8 * get(h, META))
    new_bits = bits
    settings = p + 8 * get(effect, LABEL_EFFECTS)
    setting_count = get(effect, LABEL_EFFECT_COUNT)
    for k in range(setting_count):
        x = settings + 8 * SETTING_WIDTH * k
        if get(x, SETTING_BIT) >= 0:
            bit = 1 << get(x, SETTING_BIT)
            new_bits = new_bits & ~bit
            if load(update + 8 * get(x, SETTING_COLUMN)) == 1:
                new_bits = new_bits | bit
    store(here + 8 * get(h, META), new_bits)
    changed = False
    m = p + 8 * get(h, MEASURES)
    for _ in range(get(h, MEASURE_COUNT)):
        wanted, raw = get(m, MEASURE_BITS), get(m, MEASURE_RAW)
        old: Any = 1
        new: Any = 1
        if raw >= 0:
            old = get(here, raw)
            new = old
            for k in range(setting_count):
                x = settings + 8 * SETTING_WIDTH * k
                if get(x, SETTING_BIT) < 0 and get(x, SETTING_RAW) == raw:
                    new = load(update + 8 * get(x, SETTING_COLUMN))
                    if get(x, SETTING_FLOAT) != 0:
                        new = number_word(new)
            put(here, raw, new)
        if (bits & wanted) != wanted:
            old = NULL
        if (new_bits & wanted) != wanted:
            new = NULL
        if (wanted != 0 or raw >= 0) and old != new:
            changed = True
            replace_value(c, p, h, s, m, base, mask, stride, place, old, new)
        m += 8 * MEASURE_WIDTH
    if changed:
        index_records(p, h, s, place, place + 1, get(c, ARENA))


@part
def replace_value(
    c: Any, p: Any, h: Any, s: Any, m: Any, base: Any, mask: Any, stride: Any, place: Any, old: Any, new: Any
) -> Any:
    """Changes one measure of a record and what the windows remember of it."""
    at, linked = get(m, MEASURE_AT), get(m, MEASURE_LINK)
    identity = get(m, MEASURE_IDENTITY)
    if linked >= 0:
        count_value(p, h, s, base, mask, stride, at, place, -ONE)
        unlink(c, h, s, linked, identity, place, old)
    put_value(m, s, base, mask, stride, place, get(s, SLOT_TAIL), old, new)
    if linked >= 0:
        link(c, h, s, linked, identity, place, new)
        count_value(p, h, s, base, mask, stride, at, place, ONE)
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        pair = p + 8 * get(w, WINDOW_EXTREMES)
        for _ in range(get(w, WINDOW_EXTREME_COUNT)):
            e = p + 8 * load(pair + 8)
            if p + 8 * get(e, EXTREME_MEASURE) == m and place < window_end(p, h, s, w):
                cache = s + 8 * load(pair)
                floats, sign = get(e, EXTREME_FLOAT), get(e, EXTREME_SIGN)
                if load(s + 8 * get(w, WINDOW_LOW)) <= place:
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
    w = p + 8 * get(h, WINDOWS)
    for _ in range(get(h, WINDOW_COUNT)):
        low, high = load(s + 8 * get(w, WINDOW_LOW)), window_end(p, h, s, w)
        if low <= place < high:
            pair = p + 8 * get(w, WINDOW_DISTINCTS)
            for _ in range(get(w, WINDOW_DISTINCT_COUNT)):
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
