"""The pass over a batch: every history moves its windows on, answers its features and takes events in, in log order.

First the entries' keys are found and labels are matched with their events (`prepare`); then one history after the other
goes over all entries, for histories do not see each other. A kernel that lacks room stops before it has changed
anything of that entry, says what it needs, and is called again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.answers import copy_features, empty_features
from parakh.features.buckets import merge_ended, merge_read
from parakh.features.intake import take_label, visit
from parakh.features.keys import prepare
from parakh.features.memory import get, kernel, load, part, prefetch, put, sources_digest
from parakh.features.slots import forget_all_expired, make_slot, reserve, slot_of
from parakh.features.tables import (
    ARENA,
    CLOCK,
    CODES,
    ENTRY_KIND,
    ENTRY_ROW,
    ENTRY_TIME,
    ENTRY_WIDTH,
    GROUP_READ_COUNT,
    GROUP_READS,
    GROUP_WRITE,
    HEADER,
    HISTORY_CONTROL,
    HISTORY_ROOM,
    HISTORY_SLOTS,
    HISTORY_WIDTH,
    LABEL_ACCEPTED,
    LABEL_COUNT,
    LABEL_ENTRY,
    LATE_BIT,
    LATENESS,
    LONGEST,
    LOWEST,
    NEED,
    NEED_NOTHING,
    NEXT,
    NONE,
    NULL,
    PASS,
    PROGRAM_HISTORIES,
    PROGRAM_HISTORY_CONTROL,
    PROGRAM_HISTORY_COUNT,
    PROGRAM_KEYS,
    PROGRAM_TYPES,
    READ_KEY,
    READ_WIDTH,
    RUNNING_CLOCK,
    SEQUENCE,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    SLOT_TIME,
    SOURCES,
    STEP,
    STRIDE,
    TYPE_GROUPS,
    TYPE_WIDTH,
    WINDOW_COUNT,
    WINDOW_LOW,
    WINDOW_WIDTH,
    WINDOWS,
)
from parakh.features.windows import advance

__all__ = ["run"]


def _entry(sources: int) -> Any:
    @kernel
    def run(control: Any, program: Any, entries: Any, words: Any, flags: Any, labels: Any, bounds: Any) -> Any:
        """Goes over a batch from where the control says; returns what it needs to go on, NEED_NOTHING at the end.

        entries: int64[n, ENTRY_WIDTH] in log order; words: int64[slots, rows], the frame; flags: uint8[rows];
        labels: int64[updates, ...]; bounds: int64[calendars, n], the microsecond before each calendar window begins.
        """
        c = np.int64(control.ctypes.data)
        p = np.int64(program.ctypes.data)
        put(c, SOURCES, sources)
        keys = get(p, PROGRAM_KEYS)
        if get(c, PASS) < 0:
            need = prepare(c, p, entries, words, labels)
            if need != NEED_NOTHING:
                put(c, NEED, need)
                return need
            put(c, PASS, 0)
            put(c, NEXT, 0)
            put(c, RUNNING_CLOCK, get(c, CLOCK))
        last = get(p, PROGRAM_HISTORY_COUNT)
        for history in range(get(c, PASS), last):
            need = over_history(c, p, history, keys, entries, words, flags, labels, bounds)
            if need != NEED_NOTHING:
                put(c, PASS, history)
                put(c, NEED, need)
                return need
            if history + 1 < last:
                put(c, NEXT, 0)
                put(c, RUNNING_CLOCK, get(c, CLOCK))
        if last == 0:
            for i in range(entries.shape[0]):
                if entries[i, ENTRY_KIND] < LABEL_ENTRY:
                    put(c, RUNNING_CLOCK, max(get(c, RUNNING_CLOCK), entries[i, ENTRY_TIME]))
        put(c, CLOCK, get(c, RUNNING_CLOCK))
        put(c, SEQUENCE, get(c, SEQUENCE) + entries.shape[0])
        return NEED_NOTHING

    return run


@part
def over_history(
    c: Any, p: Any, history: Any, keys: Any, entries: Any, words: Any, flags: Any, labels: Any, bounds: Any
) -> Any:
    """One history's part in a batch."""
    h = p + 8 * (get(p, PROGRAM_HISTORIES) + history * HISTORY_WIDTH)
    hc = c + 8 * (get(p, PROGRAM_HISTORY_CONTROL) + history * HISTORY_CONTROL)
    log = np.int64(entries.ctypes.data)
    count = entries.shape[0]
    frame = np.int64(words.ctypes.data)
    rows = words.shape[1]
    marks = np.int64(flags.ctypes.data)
    bound = np.int64(bounds.ctypes.data)
    first_sequence = get(c, SEQUENCE)
    forgotten = get(c, LATENESS) + get(h, LONGEST)
    merging = get(h, STEP) != 0
    clock = get(c, RUNNING_CLOCK)
    for n in range(get(c, NEXT), count):
        look_ahead(c, p, h, hc, history, keys, log, count, n)
        entry = log + 8 * ENTRY_WIDTH * n
        kind = get(entry, ENTRY_KIND)
        if kind == LABEL_ENTRY:
            if get(h, LABEL_COUNT) != 0:
                row = get(entry, ENTRY_ROW)
                update = np.int64(labels.ctypes.data) + 8 * row * labels.shape[1]
                if get(update, LABEL_ACCEPTED) != 0:
                    need = take_label(c, p, h, hc, update)
                    if need != NEED_NOTHING:
                        put(c, NEXT, n)
                        put(c, RUNNING_CLOCK, clock)
                        return need
            continue
        late = kind >= LATE_BIT
        if late:
            kind -= LATE_BIT
        time = get(entry, ENTRY_TIME)
        if not late and time > clock:
            clock = time
        group = group_of(p, history, kind)
        if group == p:
            continue
        codes = get(c, CODES) + 8 * keys * n
        row = get(entry, ENTRY_ROW)
        out = frame + 8 * row
        reads = p + 8 * get(group, GROUP_READS)
        written = LOWEST
        if get(group, GROUP_WRITE) >= 0 and not late:
            written = load(codes + 8 * get(group, GROUP_WRITE))
        if merging and not late:
            # Of all keys that are read, before one is written: what needs room comes before anything is changed.
            need = merge_read(c, p, h, hc, reads, get(group, GROUP_READ_COUNT), codes, clock)
            if need != NEED_NOTHING:
                put(c, NEXT, n)
                put(c, RUNNING_CLOCK, clock)
                return need
        own = NONE  # the read through the very key that is written
        for k in range(-1, get(group, GROUP_READ_COUNT)):
            read = reads + 8 * READ_WIDTH * k
            code = written
            writing = NONE
            if k < 0:
                if written < 0:
                    continue
                own = own_read(group, reads, codes, written)
                read = own
                writing = group
            else:
                if read == own:
                    continue
                code = load(codes + 8 * get(read, READ_KEY))
                if own != NONE and code == written:
                    copy_features(p, own, read, out, rows)
                    continue
            s = NONE
            if code >= 0 and not late:
                s = slot_of(c, hc, code)
            need = NEED_NOTHING
            if s == NONE:
                if writing == NONE:
                    empty_features(p, read, out, rows, late or code == NULL)
                    continue
                need = make_slot(c, p, h, hc, history, code)
                if need == NEED_NOTHING:
                    s = slot_of(c, hc, code)
            if need == NEED_NOTHING:
                forget_all_expired(c, p, h, hc, s, clock - forgotten)
                if merging and writing != NONE:
                    need = merge_ended(c, p, h, hc, s, clock)
            if need == NEED_NOTHING:
                in_order = time >= get(s, SLOT_TIME)
                if in_order:
                    advance(c, p, h, s, time, bound + 8 * n, count)
                if writing != NONE:
                    need = reserve(c, p, h, hc, history, s, clock - forgotten)
            if need != NEED_NOTHING:
                put(c, NEXT, n)
                put(c, RUNNING_CLOCK, clock)
                return need
            visit(
                c, p, h, hc, s, time, in_order, read, writing, first_sequence + n,
                bound + 8 * n, count, out, rows, marks + row,
            )  # fmt: skip
    put(c, RUNNING_CLOCK, clock)
    return NEED_NOTHING


@part
def own_read(group: Any, reads: Any, codes: Any, written: Any) -> Any:
    """The first read whose key is the one that is written, or NONE."""
    for k in range(get(group, GROUP_READ_COUNT)):
        read = reads + 8 * READ_WIDTH * k
        if load(codes + 8 * get(read, READ_KEY)) == written:
            return read
    return NONE


@part
def group_of(p: Any, history: Any, kind: Any) -> Any:
    """The address of an event type's part in a history; `p` itself where it has none."""
    of_type = p + 8 * (get(p, PROGRAM_TYPES) + kind * TYPE_WIDTH)
    return p + 8 * load(p + 8 * (get(of_type, TYPE_GROUPS) + history))


@part
def look_ahead(
    c: Any, p: Any, h: Any, hc: Any, history: Any, keys: Any, log: Any, count: Any, n: Any
) -> Any:  # fmt: skip
    """Asks for the memory that entries soon to come will touch: the slot's place, then the slot, then its ring."""
    arena = get(c, ARENA)
    for stage in range(3):
        ahead = n + 12 - 4 * stage
        if ahead >= count:
            continue
        kind = load(log + 8 * (ENTRY_WIDTH * ahead + ENTRY_KIND))
        if kind >= LABEL_ENTRY:
            continue
        group = group_of(p, history, kind)
        if group == p:
            continue
        key = get(group, GROUP_WRITE)
        if key < 0:
            key = load(p + 8 * (get(group, GROUP_READS) + READ_KEY))
        code = load(get(c, CODES) + 8 * (keys * ahead + key))
        if code < 0 or code >= get(hc, HISTORY_ROOM):
            continue
        place = get(hc, HISTORY_SLOTS) + 8 * code
        if stage == 0:
            prefetch(place)
            continue
        s = arena + 8 * load(place)
        if stage == 1:
            for k in range(0, get(h, HEADER), 8):
                prefetch(s + 8 * k)
        else:
            base = arena + 8 * get(s, SLOT_RING)
            mask = get(s, SLOT_MASK)
            step = 8 * get(h, STRIDE)
            tail = get(s, SLOT_TAIL)
            prefetch(base + (tail & mask) * step)
            w = p + 8 * get(h, WINDOWS)
            for _ in range(get(h, WINDOW_COUNT)):
                prefetch(base + (load(s + 8 * get(w, WINDOW_LOW)) & mask) * step)
                w += 8 * WINDOW_WIDTH


run: Any = _entry(sources_digest())
"""`run(control, program, entries, words, flags, labels, bounds)`: see `_entry`."""
