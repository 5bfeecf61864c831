"""Whose history an entry belongs to: every key becomes a dense code before the histories are gone over.

A key of one text is the text's own code. Other keys are numbered by a table of pairs: a number alone is the pair of it
and 0, three and more parts are a chain of pairs. Events that labels may reach later are noted under the number that the
engine holds them by.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import get, kernel, load, load8, load32, part, put, store, store8, store32
from parakh.features.tables import (
    AMOUNT,
    CODES,
    ENTRY_HELD,
    ENTRY_KIND,
    ENTRY_ROW,
    ENTRY_TIME,
    HELD_CODES,
    HELD_RANKS,
    HELD_ROOM,
    HELD_SEQUENCES,
    HELD_TIMES,
    HELD_TYPES,
    KEY_PAIRS,
    KEY_PARTS,
    KEY_SLOTS,
    KEY_WIDTH,
    KEY_WRITES,
    LABEL_ACCEPTED,
    LABEL_CODES,
    LABEL_ENTRY,
    LABEL_HELD,
    LABEL_INDEX,
    LABEL_RANK,
    LABEL_SEQUENCE,
    LABEL_TIME,
    LABEL_TYPE,
    LATE_BIT,
    LOW32,
    NEED_HELD,
    NEED_NOTHING,
    NEED_PAIRS,
    NEXT,
    NULL,
    PAIR_CONTROL,
    PAIR_COUNT,
    PAIR_MASK,
    PAIR_PARTS,
    PAIR_ROOM,
    PAIR_TABLE,
    PROGRAM_HELD,
    PROGRAM_HELD_CONTROL,
    PROGRAM_KEYS,
    PROGRAM_LABELS,
    PROGRAM_PAIR_CONTROL,
    PROGRAM_TYPES,
    SEQUENCE,
    TYPE_KEY_COUNT,
    TYPE_KEYS,
    TYPE_WIDTH,
    WHICH,
)

__all__ = ["fill_pairs", "pair_code", "prepare"]

UNKNOWN = -1
FULL = -2


@part
def pair_home(a: Any, b: Any, mask: Any) -> Any:
    x = a * 0x1E3779B97F4A7C15 + b * 0x2545F4914F6CDD1D
    x ^= (x >> 32) & LOW32
    x *= 0x2127599BF4325C37
    x ^= (x >> 29) & 0x7FFFFFFFF
    return x & mask


@part
def pair_code(pairs: Any, a: Any, b: Any, insert: Any) -> Any:
    """The code of a pair; UNKNOWN where it has none and is not to get one, FULL where there is no room."""
    parts, table, mask = get(pairs, PAIR_PARTS), get(pairs, PAIR_TABLE), get(pairs, PAIR_MASK)
    i = pair_home(a, b, mask)
    while True:
        code = load32(table + 4 * i) - 1
        if code < 0:
            break
        if load(parts + 16 * code) == a and load(parts + 16 * code + 8) == b:
            return code
        i = (i + 1) & mask
    if not insert:
        return UNKNOWN
    code = get(pairs, PAIR_COUNT)
    if code >= get(pairs, PAIR_ROOM):
        return FULL
    store(parts + 16 * code, a)
    store(parts + 16 * code + 8, b)
    store32(table + 4 * i, code + 1)
    put(pairs, PAIR_COUNT, code + 1)
    return code


@kernel
def fill_pairs(parts: Any, count: Any, table: Any, mask: Any) -> Any:
    """Enters `count` pairs into an empty table."""
    for code in range(count):
        i = pair_home(load(parts + 16 * code), load(parts + 16 * code + 8), mask)
        while load32(table + 4 * i) != 0:
            i = (i + 1) & mask
        store32(table + 4 * i, code + 1)


@part
def key_code(c: Any, p: Any, key: Any, words: Any, row: Any, insert: Any) -> Any:
    """The code of one key of an event; NULL where a part is NULL."""
    slots = p + 8 * get(key, KEY_SLOTS)
    parts = get(key, KEY_PARTS)
    for k in range(parts):
        if words[get(slots, k), row] == NULL:
            return NULL
    code = words[load(slots), row]
    table = get(key, KEY_PAIRS)
    if table < 0:
        return code
    for k in range(1, max(parts, 2)):
        pairs = c + 8 * (get(p, PROGRAM_PAIR_CONTROL) + PAIR_CONTROL * table)
        code = pair_code(pairs, code, words[get(slots, k), row] if k < parts else 0, insert)
        if code < 0:
            break
        table += 1
    return code


@part
def prepare(c: Any, p: Any, entries: Any, words: Any, labels: Any) -> Any:
    """Finds the codes of all keys of a batch, notes the events that are held, and matches labels with them."""
    keys = get(p, PROGRAM_KEYS)
    label_count = get(p, PROGRAM_LABELS)
    holds = get(p, PROGRAM_HELD) != 0
    note = c + 8 * get(p, PROGRAM_HELD_CONTROL)
    for n in range(get(c, NEXT), entries.shape[0]):
        kind = entries[n, ENTRY_KIND]
        if kind == LABEL_ENTRY:
            match_label(c, p, keys, np.int64(labels.ctypes.data) + 8 * entries[n, ENTRY_ROW] * labels.shape[1])
            continue
        late = kind >= LATE_BIT
        if late:
            kind -= LATE_BIT
        of_type = p + 8 * (get(p, PROGRAM_TYPES) + kind * TYPE_WIDTH)
        held = entries[n, ENTRY_HELD] if holds else -1
        if held >= get(note, HELD_ROOM):
            put(c, NEXT, n)
            put(c, AMOUNT, held + 1)
            return NEED_HELD
        codes = get(c, CODES) + 8 * keys * n
        count = get(of_type, TYPE_KEY_COUNT)
        key = p + 8 * get(of_type, TYPE_KEYS)
        for k in range(count):
            code = key_code(c, p, key, words, entries[n, ENTRY_ROW], not late and get(key, KEY_WRITES) != 0)
            if code == FULL:
                put(c, NEXT, n)
                put(c, WHICH, get(key, KEY_PAIRS))
                put(c, AMOUNT, get(key, KEY_PARTS))
                return NEED_PAIRS
            put(codes, k, code)
            if held >= 0:
                store32(get(note, HELD_CODES) + 4 * (held * keys + k), max(code, -1))
            key += 8 * KEY_WIDTH
        if held >= 0:
            store(get(note, HELD_TIMES) + 8 * held, entries[n, ENTRY_TIME])
            store(get(note, HELD_SEQUENCES) + 8 * held, get(c, SEQUENCE) + n)
            store8(get(note, HELD_TYPES) + held, kind)
            for k in range(label_count):
                store8(get(note, HELD_RANKS) + held * label_count + k, -1)
    return NEED_NOTHING


@part
def match_label(c: Any, p: Any, keys: Any, update: Any) -> Any:
    """Decides whether a label holds over what its event has, and notes where the event's records are."""
    put(update, LABEL_ACCEPTED, 0)
    note = c + 8 * get(p, PROGRAM_HELD_CONTROL)
    held = get(update, LABEL_HELD)
    if held < 0 or held >= get(note, HELD_ROOM):
        return
    if load8(get(note, HELD_TYPES) + held) & 255 != get(update, LABEL_TYPE):
        return
    place = get(note, HELD_RANKS) + held * get(p, PROGRAM_LABELS) + get(update, LABEL_INDEX)
    rank = get(update, LABEL_RANK)
    if (~rank if rank < 0 else rank) < load8(place):
        return
    store8(place, max(rank, -1))
    put(update, LABEL_ACCEPTED, 1)
    put(update, LABEL_TIME, load(get(note, HELD_TIMES) + 8 * held))
    put(update, LABEL_SEQUENCE, load(get(note, HELD_SEQUENCES) + 8 * held))
    for k in range(keys):
        store(update + 8 * (LABEL_CODES + k), load32(get(note, HELD_CODES) + 4 * (held * keys + k)))
