"""The sweep: idle keys give back what nothing can reach any more, a few at a time.

It never changes an answer. A key without reachable records is empty, swept or not; the windows of the others are moved
to the earliest time that may still be read, which a reading would do as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import get, kernel, load, put, sources_digest
from parakh.features.repeats import forget_values
from parakh.features.rings import free_list, give_back, ring_words, room_for, size_class
from parakh.features.slots import FOR_SLOTS, drop_expired, move_ring
from parakh.features.tables import (
    ARENA,
    CLOCK,
    HISTORY_CONTROL,
    HISTORY_KEYS,
    HISTORY_RECORDS,
    HISTORY_ROOM,
    HISTORY_SLOTS,
    HISTORY_WIDTH,
    LATENESS,
    LINK_COUNT,
    LONGEST,
    PROGRAM_HISTORIES,
    PROGRAM_HISTORY_CONTROL,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TAIL,
    SLOT_TIME,
    SOURCES,
    STRIDE,
)
from parakh.features.windows import advance

__all__ = ["sweep_keys"]


def _entry(sources: int) -> Any:
    @kernel
    def sweep_keys(control: Any, program: Any, history: Any, first: Any, last: Any, most: Any, bounds: Any) -> Any:
        """Sweeps keys of a history with codes in [first, last), `most` at most: (the code it came to, keys looked at).

        bounds: int64[calendars, 1], where calendar windows begin for a reading at clock - lateness.
        """
        c = np.int64(control.ctypes.data)
        p = np.int64(program.ctypes.data)
        put(c, SOURCES, sources)
        h = p + 8 * (get(p, PROGRAM_HISTORIES) + history * HISTORY_WIDTH)
        hc = c + 8 * (get(p, PROGRAM_HISTORY_CONTROL) + history * HISTORY_CONTROL)
        earliest = get(c, CLOCK) - get(c, LATENESS)
        forgotten = earliest - get(h, LONGEST)
        slots, arena = get(hc, HISTORY_SLOTS), get(c, ARENA)
        step = 8 * get(h, STRIDE)
        seen = 0
        last = min(last, get(hc, HISTORY_ROOM))
        for code in range(first, last):
            if seen == most:
                return code, seen
            offset = get(slots, code)
            if offset == 0:
                continue
            seen += 1
            s = arena + 8 * offset
            ring, mask = get(s, SLOT_RING), get(s, SLOT_MASK)
            head, tail = get(s, SLOT_HEAD), get(s, SLOT_TAIL)
            base = arena + 8 * ring
            if head == tail or load(base + ((tail - 1) & mask) * step) <= forgotten:
                if get(h, LINK_COUNT) != 0:
                    for i in range(head, tail):
                        forget_values(c, p, h, s, i)
                put(hc, HISTORY_RECORDS, get(hc, HISTORY_RECORDS) - (tail - head))
                put(hc, HISTORY_KEYS, get(hc, HISTORY_KEYS) - 1)
                give_back(c, free_list(c, p, history, size_class(mask)), ring)
                give_back(c, free_list(c, p, history, FOR_SLOTS), offset)
                put(slots, code, 0)
                continue
            if load(base + (head & mask) * step) <= forgotten:
                if get(s, SLOT_TIME) < earliest:
                    advance(c, p, h, s, earliest, np.int64(bounds.ctypes.data), np.int64(1))
                drop_expired(c, p, h, hc, s, forgotten)
                used = tail - get(s, SLOT_HEAD) + 2
                narrow = mask
                while narrow > 1 and used * 2 <= narrow + 1:
                    narrow >>= 1
                # Only when it is worth the move, and where there is room: the old ring is free afterwards.
                worth = narrow < mask >> 1
                if worth and room_for(c, free_list(c, p, history, size_class(narrow)), ring_words(h, narrow)):
                    move_ring(c, p, h, history, s, narrow)
        return last, seen

    return sweep_keys


sweep_keys: Any = _entry(sources_digest())
"""`sweep_keys(control, program, history, first, last, most, bounds)`: see `_entry`."""
