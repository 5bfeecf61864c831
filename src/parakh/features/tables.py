"""The words that plan, state and window kernels agree on: which word of which table means what.

Two flat arrays drive the kernels. The *program* is written once by the plan: types, their keys, the histories with
their windows, measures and features. The *control* is what changes: addresses, sizes and counters. All offsets count
words.
"""

from __future__ import annotations

import numpy as np

from parakh.expressions.types import NULL_WORD

__all__ = ["NULL"]

# Of one type with what is computed: a kernel is compiled once more for an argument that is a literal.
NULL = np.int64(NULL_WORD)
LOWEST = np.int64(-(2**63))  # before every time, below every order key
NONE = np.int64(0)  # no address
LOW32 = 0xFFFFFFFF
LOW30 = 0x3FFFFFFF

# An entry of a batch's log: int64[n, ENTRY_WIDTH].
ENTRY_KIND, ENTRY_ROW, ENTRY_TIME, ENTRY_HELD, ENTRY_WIDTH = range(5)
LABEL_ENTRY = 255
LATE_BIT = 256

# A label update: int64[n, LABEL_CODES + keys + outputs]; what the kernel fills in is marked.
(
    LABEL_TYPE,
    LABEL_HELD,
    LABEL_INDEX,
    LABEL_RANK,
    LABEL_ACCEPTED,  # filled in
    LABEL_TIME,  # filled in
    LABEL_SEQUENCE,  # filled in
    LABEL_CODES,  # filled in: the codes of the event's keys, then the outputs of the label's program
) = range(8)

# Control.
(
    ARENA,
    TOP,
    ROOM,
    CLOCK,
    SEQUENCE,
    LATENESS,
    HASH,
    HASH_MASK,
    HASH_USED,
    SCRATCH,
    CODES,
    GROWTH,  # where it stands how the hash grows
    PASS,
    NEXT,
    RUNNING_CLOCK,
    NEED,
    WHICH,
    AMOUNT,
    SOURCES,  # which kernels wrote the state
    CONTROL_FIXED,
) = range(20)

# What a kernel needs before it can go on.
NEED_NOTHING, NEED_ARENA, NEED_HASH, NEED_SLOTS, NEED_PAIRS, NEED_HELD = range(6)

# How the hash grows.
(
    BEFORE,  # the table before, 0 where there is none: what is left in it is on its way to the one that is used
    BEFORE_SLOTS,
    LEFT,  # slots of it, from the first, in which something may stand
    COMING,  # the next table, which is cleared; 0 where none is wanted yet
    COMING_SLOTS,
    CLEARED,  # slots of it
    GROWTH_WIDTH,
) = range(7)

FREE_CLASSES = 40  # free lists a history: 0 for slots, 1 + log2(capacity) for rings

# Control, a history.
HISTORY_SLOTS, HISTORY_ROOM, HISTORY_KEYS, HISTORY_RECORDS, HISTORY_CONTROL = range(5)
# Control, a table of pairs.
PAIR_PARTS, PAIR_COUNT, PAIR_ROOM, PAIR_TABLE, PAIR_MASK, PAIR_FREE, PAIR_CONTROL = range(7)
# Control, the events that labels may reach later.
HELD_TIMES, HELD_SEQUENCES, HELD_TYPES, HELD_CODES, HELD_RANKS, HELD_ROOM, HELD_CONTROL = range(7)

# Program.
(
    PROGRAM_TYPE_COUNT,
    PROGRAM_TYPES,
    PROGRAM_HISTORY_COUNT,
    PROGRAM_HISTORIES,
    PROGRAM_KEYS,  # the most keys that a type has
    PROGRAM_FREE,  # where these stand in the control
    PROGRAM_HISTORY_CONTROL,
    PROGRAM_PAIR_CONTROL,
    PROGRAM_HELD_CONTROL,
    PROGRAM_HELD,  # whether events are held for labels
    PROGRAM_LABELS,  # the most labels that a type has
    PROGRAM_CONTROL,  # words of the control
    PROGRAM_FIXED,
) = range(13)

# Program, an event type; GROUPS has for each history the place of the type's group, or 0.
TYPE_KEY_COUNT, TYPE_KEYS, TYPE_GROUPS, TYPE_WIDTH = range(4)
# Program, a key of a type: the code of a text itself, or of a pair in a chain of tables from KEY_PAIRS on.
KEY_PARTS, KEY_PAIRS, KEY_WRITES, KEY_SLOTS, KEY_WIDTH = range(5)

# Program, a history.
(
    STRIDE,  # words of a record
    HEADER,  # words of a slot
    META,  # the record's word of sequence and condition bits, or 0
    LONGEST,  # how far back any window reaches, microseconds
    INDEXED,  # words of a block of the index
    WINDOW_COUNT,
    WINDOWS,
    DELAY_COUNT,
    DELAYS,
    MEASURE_COUNT,
    MEASURES,
    EXTREME_COUNT,
    EXTREMES,
    BLOCK_SUM_COUNT,
    BLOCK_SUMS,
    LINK_COUNT,
    LINKS,
    LABEL_COUNT,
    LABELS,
    CACHED,  # whether entering a window has work to do
    STEP,  # the resolution of all its features, by which old records are merged; 0 where each record is kept
    LONGEST_DELAY,
    BUCKETS,  # header word of a slot of its own for merged records, as far as SLOT_BUCKET_FIXED
    BUCKET_HISTORY,  # place of the history that merged records are laid out by
    BUCKET_NUMBER,  # its number among free lists
    SUMMARY,  # of merged records: record offset of what a block of the index has; 0 where a record is one event
    HISTORY_WIDTH,
) = range(27)

META_BITS = 24

# Program, a window: (L, U] with U = t - delay.
WINDOW_FIXED, WINDOW_RESOLUTION, WINDOW_CALENDAR = range(3)
(
    WINDOW_LOW,  # header word: the first record that has not expired
    WINDOW_DELAY,  # which delay
    WINDOW_KIND,
    WINDOW_REACH,  # delay + length
    WINDOW_STEP,  # resolution, or the row of calendar bounds
    WINDOW_DISTINCT_COUNT,
    WINDOW_DISTINCTS,  # pairs: header word of the running count, record offset of the value (its link follows)
    WINDOW_EXTREME_COUNT,
    WINDOW_EXTREMES,  # pairs: header word of the cached place (its key follows), place of the extreme
    WINDOW_BUCKET,  # header word of the first merged record that has not expired
    WINDOW_WIDTH,
) = range(11)
DELAY_US, DELAY_HIGH, DELAY_WIDTH = range(3)  # DELAY_HIGH: header word of the first record that has not entered

# Program, a measure: what is kept of an aggregate's argument where its conditions hold.
MEASURE_COUNT_ONLY, MEASURE_INTEGER, MEASURE_NUMBER, MEASURE_VALUE = range(4)
(
    MEASURE_KIND,
    MEASURE_AT,  # record offset of the value (value, number) or of the sum (integer)
    MEASURE_COUNTER,  # record offset of the count, or -1
    MEASURE_SQUARES,  # record offset of the sum of squares, or -1
    MEASURE_LARGEST,  # header word of the largest magnitude seen, or 0
    MEASURE_LINK,  # record offset of the link to equal values, or -1
    MEASURE_IDENTITY,  # number of the link within the history
    MEASURE_BITS,  # condition bits that must be set, 0 where no label matters
    MEASURE_RAW,  # record offset of the argument as it is, or -1
    MEASURE_WIDTH,
) = range(10)

# Program, an extreme (max of `sign * value`).
EXTREME_KIND, EXTREME_AT, EXTREME_FLOAT, EXTREME_SIGN, EXTREME_BLOCK, EXTREME_MEASURE, EXTREME_WIDTH = range(7)
# Program, what the index keeps of a measure: its sum (two words), and its squares about the mean where they are wanted.
BLOCK_SUM_MEASURE, BLOCK_SUM_BLOCK, BLOCK_SUM_WIDTH = range(3)

# Program, a type's part in a history.
(
    GROUP_WRITE,  # the key written, or -1
    GROUP_INPUTS,
    GROUP_BITS_COUNT,
    GROUP_BITS,  # pairs: frame slot of a condition, its bit
    GROUP_INITIAL_BITS,
    GROUP_READ_COUNT,
    GROUP_READS,
    GROUP_WIDTH,
) = range(8)
# A measure's inputs at a type: frame slots or -1; INITIAL is the argument while the label is unknown.
INPUT_ARGUMENT, INPUT_FILTER, INPUT_FLOAT, INPUT_INITIAL, INPUT_WIDTH = range(5)
# Read: a key and its features; those that leave the current event out stand first.
READ_KEY, READ_FEATURES, READ_BEFORE, READ_COUNT, READ_WIDTH = range(5)

# Program, a feature.
(
    COUNT_ROWS,
    COUNT_VALUES,
    SUM_INTEGER,
    AVG_INTEGER,
    STDDEV_INTEGER,
    SUM_NUMBER,
    AVG_NUMBER,
    STDDEV_NUMBER,
    EXTREME,
    FIRST,
    LAST,
    SINCE_ROW,
    SINCE_VALUE,
    COUNT_DISTINCT,
) = range(14)
(
    FEATURE_KIND,
    FEATURE_WINDOW,
    FEATURE_OUT,  # frame slot
    FEATURE_NULL,  # the word that is NULL there
    FEATURE_PLACE,  # place of the measure, or of the extreme
    FEATURE_CACHE,  # header word of the cache or of the running count, 0 without one
    FEATURE_SCALE,  # bits of the float that money is divided by
    FEATURE_FLOAT,  # whether the value is a float
    FEATURE_WIDTH,
) = range(9)

# Program, a label's effect on a history: a type's label, the key written, and what its outputs set.
LABEL_EFFECT_TYPE, LABEL_EFFECT_LABEL, LABEL_EFFECT_KEY, LABEL_EFFECT_COUNT, LABEL_EFFECTS, LABEL_EFFECT_WIDTH = range(
    6
)
# A setting: column of the update; bit >= 0, or -1 and the record offset of the argument; whether it is a float.
SETTING_COLUMN, SETTING_BIT, SETTING_RAW, SETTING_FLOAT, SETTING_WIDTH = range(5)

# A slot's header.
(
    SLOT_RING,  # arena offset of the ring
    SLOT_MASK,  # capacity - 1
    SLOT_HEAD,
    SLOT_TAIL,  # logical numbers of records: [head, tail), and at tail the running totals
    SLOT_TIME,  # how far its windows have been moved
    SLOT_CODE,
    SLOT_FIXED,
) = range(7)
SLOT_BUCKET_FIXED = SLOT_TAIL + 1
