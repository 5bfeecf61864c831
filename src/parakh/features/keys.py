"""Whose history an entry belongs to: every key becomes a dense code before the histories are gone over.

A key of one text is the text's own code. Other keys are numbered by a table of pairs: a number alone is the pair of it
and 0, three and more parts are a chain of pairs. Events that labels may reach later are noted under the number that the
engine holds them by.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import kernel, load, load8, load32, part, store, store8, store32
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
    parts, table, mask = load(pairs + 8 * PAIR_PARTS), load(pairs + 8 * PAIR_TABLE), load(pairs + 8 * PAIR_MASK)
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
    code = load(pairs + 8 * PAIR_COUNT)
    if code >= load(pairs + 8 * PAIR_ROOM):
        return FULL
    store(parts + 16 * code, a)
    store(parts + 16 * code + 8, b)
    store32(table + 4 * i, code + 1)
    store(pairs + 8 * PAIR_COUNT, code + 1)
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
    slots = p + 8 * load(key + 8 * KEY_SLOTS)
    parts = load(key + 8 * KEY_PARTS)
    for k in range(parts):
        if words[load(slots + 8 * k), row] == NULL:
            return NULL
    code = words[load(slots), row]
    table = load(key + 8 * KEY_PAIRS)
    if table < 0:
        return code
    for k in range(1, max(parts, 2)):
        pairs = c + 8 * (load(p + 8 * PROGRAM_PAIR_CONTROL) + PAIR_CONTROL * table)
        code = pair_code(pairs, code, words[load(slots + 8 * k), row] if k < parts else 0, insert)
        if code < 0:
            break
        table += 1
    return code


@part
def prepare(c: Any, p: Any, entries: Any, words: Any, labels: Any) -> Any:
    """Finds the codes of all keys of a batch, notes the events that are held, and matches labels with them."""
    keys = load(p + 8 * PROGRAM_KEYS)
    label_count = load(p + 8 * PROGRAM_LABELS)
    holds = load(p + 8 * PROGRAM_HELD) != 0
    note = c + 8 * load(p + 8 * PROGRAM_HELD_CONTROL)
    for n in range(load(c + 8 * NEXT), entries.shape[0]):
        kind = entries[n, ENTRY_KIND]
        if kind == LABEL_ENTRY:
            match_label(c, p, keys, np.int64(labels.ctypes.data) + 8 * entries[n, ENTRY_ROW] * labels.shape[1])
            continue
        late = kind >= LATE_BIT
        if late:
            kind -= LATE_BIT
        of_type = p + 8 * (load(p + 8 * PROGRAM_TYPES) + kind * TYPE_WIDTH)
        held = entries[n, ENTRY_HELD] if holds else -1
        if held >= load(note + 8 * HELD_ROOM):
            store(c + 8 * NEXT, n)
            store(c + 8 * AMOUNT, held + 1)
            return NEED_HELD
        codes = load(c + 8 * CODES) + 8 * keys * n
        count = load(of_type + 8 * TYPE_KEY_COUNT)
        key = p + 8 * load(of_type + 8 * TYPE_KEYS)
        for k in range(count):
            code = key_code(c, p, key, words, entries[n, ENTRY_ROW], not late and load(key + 8 * KEY_WRITES) != 0)
            if code == FULL:
                store(c + 8 * NEXT, n)
                store(c + 8 * WHICH, load(key + 8 * KEY_PAIRS))
                store(c + 8 * AMOUNT, load(key + 8 * KEY_PARTS))
                return NEED_PAIRS
            store(codes + 8 * k, code)
            if held >= 0:
                store32(load(note + 8 * HELD_CODES) + 4 * (held * keys + k), max(code, -1))
            key += 8 * KEY_WIDTH
        if held >= 0:
            store(load(note + 8 * HELD_TIMES) + 8 * held, entries[n, ENTRY_TIME])
            store(load(note + 8 * HELD_SEQUENCES) + 8 * held, load(c + 8 * SEQUENCE) + n)
            store8(load(note + 8 * HELD_TYPES) + held, kind)
            for k in range(label_count):
                store8(load(note + 8 * HELD_RANKS) + held * label_count + k, -1)
    return NEED_NOTHING


@part
def match_label(c: Any, p: Any, keys: Any, update: Any) -> Any:
    """Decides whether a label holds over what its event has, and notes where the event's records are."""
    store(update + 8 * LABEL_ACCEPTED, 0)
    note = c + 8 * load(p + 8 * PROGRAM_HELD_CONTROL)
    held = load(update + 8 * LABEL_HELD)
    if held < 0 or held >= load(note + 8 * HELD_ROOM):
        return
    if load8(load(note + 8 * HELD_TYPES) + held) & 255 != load(update + 8 * LABEL_TYPE):
        return
    place = load(note + 8 * HELD_RANKS) + held * load(p + 8 * PROGRAM_LABELS) + load(update + 8 * LABEL_INDEX)
    rank = load(update + 8 * LABEL_RANK)
    if (~rank if rank < 0 else rank) < load8(place):
        return
    store8(place, max(rank, -1))
    store(update + 8 * LABEL_ACCEPTED, 1)
    store(update + 8 * LABEL_TIME, load(load(note + 8 * HELD_TIMES) + 8 * held))
    store(update + 8 * LABEL_SEQUENCE, load(load(note + 8 * HELD_SEQUENCES) + 8 * held))
    for k in range(keys):
        store(update + 8 * (LABEL_CODES + k), load32(load(note + 8 * HELD_CODES) + 4 * (held * keys + k)))
