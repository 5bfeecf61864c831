"""The sweep: idle keys give back what nothing can reach any more, a few at a time.

It never changes an answer. A key without reachable records is empty, swept or not; the windows of the others are moved
to the earliest time that may still be read, which a reading would do as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.memory import kernel, load, sources_digest, store
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
        store(c + 8 * SOURCES, sources)
        h = p + 8 * (load(p + 8 * PROGRAM_HISTORIES) + history * HISTORY_WIDTH)
        hc = c + 8 * (load(p + 8 * PROGRAM_HISTORY_CONTROL) + history * HISTORY_CONTROL)
        earliest = load(c + 8 * CLOCK) - load(c + 8 * LATENESS)
        forgotten = earliest - load(h + 8 * LONGEST)
        slots, arena = load(hc + 8 * HISTORY_SLOTS), load(c + 8 * ARENA)
        step = 8 * load(h + 8 * STRIDE)
        seen = 0
        last = min(last, load(hc + 8 * HISTORY_ROOM))
        for code in range(first, last):
            if seen == most:
                return code, seen
            offset = load(slots + 8 * code)
            if offset == 0:
                continue
            seen += 1
            s = arena + 8 * offset
            ring, mask = load(s + 8 * SLOT_RING), load(s + 8 * SLOT_MASK)
            head, tail = load(s + 8 * SLOT_HEAD), load(s + 8 * SLOT_TAIL)
            base = arena + 8 * ring
            if head == tail or load(base + ((tail - 1) & mask) * step) <= forgotten:
                if load(h + 8 * LINK_COUNT) != 0:
                    for i in range(head, tail):
                        forget_values(c, p, h, s, i)
                store(hc + 8 * HISTORY_RECORDS, load(hc + 8 * HISTORY_RECORDS) - (tail - head))
                store(hc + 8 * HISTORY_KEYS, load(hc + 8 * HISTORY_KEYS) - 1)
                give_back(c, free_list(c, p, history, size_class(mask)), ring)
                give_back(c, free_list(c, p, history, FOR_SLOTS), offset)
                store(slots + 8 * code, 0)
                continue
            if load(base + (head & mask) * step) <= forgotten:
                if load(s + 8 * SLOT_TIME) < earliest:
                    advance(c, p, h, s, earliest, np.int64(bounds.ctypes.data), np.int64(1))
                drop_expired(c, p, h, hc, s, forgotten)
                used = tail - load(s + 8 * SLOT_HEAD) + 2
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
