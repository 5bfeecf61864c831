"""The sweep: idle keys give back what nothing can reach any more, a few at a time.

It never changes an answer. A key without reachable records is empty, swept or not; the windows of the others are moved
to the earliest time that may still be read, which a reading would do as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.features.buckets import sweep_buckets
from parakh.features.memory import get, kernel, load, put, sources_digest
from parakh.features.rings import free_list, give_back, size_class
from parakh.features.slots import FOR_SLOTS, drop_all, drop_expired, narrow, newest
from parakh.features.tables import (
    ARENA,
    CLOCK,
    HISTORY_CONTROL,
    HISTORY_KEYS,
    HISTORY_ROOM,
    HISTORY_SLOTS,
    HISTORY_WIDTH,
    LATENESS,
    LONGEST,
    PROGRAM_HISTORIES,
    PROGRAM_HISTORY_CONTROL,
    SLOT_HEAD,
    SLOT_MASK,
    SLOT_RING,
    SLOT_TIME,
    SOURCES,
    STEP,
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
        clock = get(c, CLOCK)
        earliest = clock - get(c, LATENESS)
        forgotten = earliest - get(h, LONGEST)
        slots, arena = get(hc, HISTORY_SLOTS), get(c, ARENA)
        stride = get(h, STRIDE)
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
            if newest(c, p, h, s) <= forgotten:
                drop_all(c, p, h, hc, s)
                put(hc, HISTORY_KEYS, get(hc, HISTORY_KEYS) - 1)
                give_back(c, free_list(c, p, history, size_class(get(s, SLOT_MASK))), get(s, SLOT_RING))
                give_back(c, free_list(c, p, history, FOR_SLOTS), offset)
                put(slots, code, 0)
            elif get(h, STEP) != 0:
                sweep_buckets(c, p, h, hc, history, s, clock)
            elif load(arena + 8 * (get(s, SLOT_RING) + (get(s, SLOT_HEAD) & get(s, SLOT_MASK)) * stride)) <= forgotten:
                if get(s, SLOT_TIME) < earliest:
                    advance(c, p, h, s, earliest, np.int64(bounds.ctypes.data), np.int64(1))
                drop_expired(c, p, h, hc, s, forgotten)
                narrow(c, p, h, history, s)
        return last, seen

    return sweep_keys


sweep_keys: Any = _entry(sources_digest())
"""`sweep_keys(control, program, history, first, last, most, bounds)`: see `_entry`."""
