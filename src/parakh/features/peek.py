"""The features of one key without an event: read as an event would read them, on a copy that is thrown away.

The copy has the records of that key alone and a program in which the reading event type writes nothing, so the kernels
that answer events answer here as well, and what is told is what would be decided on. The state is not touched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.features import tables as t
from parakh.features.plan import FeaturePlan
from parakh.features.state import Entries, FeatureState

__all__ = ["peek_row"]

Words = npt.NDArray[np.int64]

_BLOCK, _SUPER = 32, 1024
_UNBOUNDED = 2**62
_LINE = 8  # words of a cache line, at which slots begin


def peek_row(state: FeatureState, event_type: int, words: Words, time_us: int) -> None:
    """Writes the features that an event of a type would read into a frame of one row, itself left out of all windows.

    words: int64[slots, 1] by the type's layout, with the fields of the key to be read; what is NULL is not read.
    time_us: the event's time, not before the state's clock. Works as long as copying the key's records takes: do not
    call it while a batch is taken in.
    """
    assert time_us >= state.clock_us, "an event later than the clock is never late"
    copy = _KeyCopy(state, event_type)
    entries = Entries.of(np.array([event_type]), np.zeros(1, np.int64), np.array([time_us]))
    flags = np.zeros(1, np.uint8)
    copy.process(words, flags, entries)  # of a state without keys: it tells the codes by which keys are held
    copy.take_keys()
    copy.process(words, flags, entries)


class _KeyCopy(FeatureState):
    """The state as far as one event reads it; tables of pairs are the original's own, and only looked up in."""

    def __init__(self, state: FeatureState, event_type: int) -> None:
        super().__init__(_reading(state.plan, event_type))
        self._event_type = event_type
        self._from = state.arrays()
        self._parts = [self._from[f"parts.{number}"] for number in range(len(self._parts))]
        self._tables = [self._from[f"tables.{number}"] for number in range(len(self._tables))]
        self._clock = state.clock_us
        self._control[t.CLOCK] = self._clock
        self._place()

    def take_keys(self) -> None:
        """Copies the keys that the entry processed before reads, one a history at most."""
        program = self._program
        of_type = int(program[t.PROGRAM_TYPES]) + self._event_type * t.TYPE_WIDTH
        groups = int(program[of_type + t.TYPE_GROUPS])
        for history in range(len(self.plan.histories)):
            group = program[int(program[groups + history]) :]
            if program[groups + history] == 0:
                continue
            reads = program[int(group[t.GROUP_READS]) :]
            for read in range(int(group[t.GROUP_READ_COUNT])):
                code = int(self._codes[reads[read * t.READ_WIDTH + t.READ_KEY]])
                slots = self._from[f"slots.{history}"]
                if 0 <= code < len(slots) and slots[code] and len(self._slots[history]) <= code:
                    self._slots[history] = np.zeros(code + 1, np.int64)
                if 0 <= code < len(slots) and slots[code] and not self._slots[history][code]:
                    self._slots[history][code] = self._copied(history, int(slots[code]))
        self._control[t.CLOCK] = self._clock
        self._place()

    def _copied(self, history: int, offset: int) -> int:
        """The offset, here, of a slot with its rings that stands at `offset` there."""
        place = int(self._program[t.PROGRAM_HISTORIES]) + history * t.HISTORY_WIDTH
        record = self._program[place : place + t.HISTORY_WIDTH]
        slot = self._from["arena"][offset : offset + int(record[t.HEADER])].copy()
        here = self._put(slot)
        slot[t.SLOT_RING] = self._put(self._ring(record, slot))
        if record[t.STEP]:
            merged = slot[int(record[t.BUCKETS]) :]
            if merged[t.SLOT_RING] != t.NONE:
                bucket = int(record[t.BUCKET_HISTORY])
                merged[t.SLOT_RING] = self._put(self._ring(self._program[bucket : bucket + t.HISTORY_WIDTH], merged))
        self._arena[here : here + len(slot)] = slot
        return here

    def _ring(self, record: Words, slot: Words) -> npt.NDArray[Any]:
        """The words of a slot's ring with its index, as `ring_words` counts them."""
        capacity = int(slot[t.SLOT_MASK]) + 1
        blocks = capacity // _BLOCK + capacity // _SUPER if capacity >= 2 * _BLOCK else 0
        size = capacity * int(record[t.STRIDE]) + blocks * int(record[t.INDEXED])
        return self._from["arena"][int(slot[t.SLOT_RING]) : int(slot[t.SLOT_RING]) + size]

    def _put(self, words: npt.NDArray[Any]) -> int:
        """Where a copy of some words now stands in the arena."""
        top = int(self._control[t.TOP])
        room = -(-len(words) // _LINE) * _LINE
        if top + room > len(self._arena):
            self._grow_arena(room)
            self._place()
        self._arena[top : top + len(words)] = words
        self._control[t.TOP] = top + room
        return top


def _reading(plan: FeaturePlan, event_type: int) -> FeaturePlan:
    """A plan by which an event type reads all that it reads and writes nothing: no record, and no key of pairs."""
    program = plan.program.copy()
    of_type = int(program[t.PROGRAM_TYPES]) + event_type * t.TYPE_WIDTH
    keys = int(program[of_type + t.TYPE_KEYS])
    for key in range(int(program[of_type + t.TYPE_KEY_COUNT])):
        program[keys + key * t.KEY_WIDTH + t.KEY_WRITES] = 0
    groups = int(program[of_type + t.TYPE_GROUPS])
    for history in range(len(plan.histories)):
        if program[groups + history]:
            program[int(program[groups + history]) + t.GROUP_WRITE] = -1
    return replace(plan, program=program, state_bytes=_UNBOUNDED)
