"""Which entry of the log comes next: the kernel that merges decoded streams, labels of files and labels that wait.

Labels that stood in their event's row wait in a binary heap, by the time at which they become known and then by the
order of their events; one row of words each.
"""

from __future__ import annotations

from typing import Any

from parakh.expressions.kernels import kernel

__all__ = [
    "COUNTERS", "DONE", "ENTRIES", "FULL", "HIGH", "KNOWN", "LABEL", "LABELS", "LOW", "NEXT_LABEL", "NUMBER",
    "SEQUENCE", "SERIAL", "SIZE", "TYPE", "VALUE", "WAITING", "take_entries",
]  # fmt: skip

LABEL = 255
"""The kind of an entry that is a label; that of an event is the index of its type."""

# Columns of a label that waits for its time (rows of the heap).
KNOWN, SEQUENCE, TYPE, NUMBER, HIGH, LOW, VALUE, WAITING = range(8)
# Counters of the merge.
SIZE, SERIAL, NEXT_LABEL, ENTRIES, LABELS, COUNTERS = range(6)
DONE, FULL = -1, -2


@kernel
def _before(heap: Any, left: Any, right: Any) -> Any:
    if heap[left, KNOWN] != heap[right, KNOWN]:
        return heap[left, KNOWN] < heap[right, KNOWN]
    return heap[left, SEQUENCE] < heap[right, SEQUENCE]


@kernel
def _swap(heap: Any, left: Any, right: Any) -> None:
    for item in range(WAITING):
        heap[left, item], heap[right, item] = heap[right, item], heap[left, item]


@kernel
def _pop(heap: Any, size: Any) -> None:
    """Take the first of a heap of `size` out, to its last place."""
    size -= 1
    _swap(heap, 0, size)
    here = 0
    while True:
        child = 2 * here + 1
        if child >= size:
            return
        if child + 1 < size and _before(heap, child + 1, child):
            child += 1
        if not _before(heap, child, here):
            return
        _swap(heap, child, here)
        here = child


@kernel
def _push(heap: Any, size: Any) -> None:
    """Bring the entry in the place after a heap of `size` into the heap."""
    here = size
    while here > 0 and _before(heap, here, (here - 1) // 2):
        _swap(heap, here, (here - 1) // 2)
        here = (here - 1) // 2


@kernel
def take_entries(
    keys: Any, heads: Any, stops: Any, ended: Any, stream_kinds: Any, known_at: Any, heap: Any, counters: Any,
    taken: Any, kinds: Any, rows: Any, label_of: Any, popped: Any, delay: Any, most_labels: Any,
) -> Any:  # fmt: skip
    """Append entries until the batch is full (FULL), all is taken (DONE), or a stream must be read on (its number).

    label_of: of each label taken, its number among those of files, or -1 - its row in `popped`.
    """
    while counters[ENTRIES] < kinds.shape[0]:
        best = -1
        for number in range(heads.shape[0]):
            if heads[number] < stops[number]:
                if best < 0 or keys[number, 0, heads[number]] < keys[best, 0, heads[best]]:
                    best = number
            elif ended[number] == 0:
                return number
        entry = counters[ENTRIES]
        label = counters[NEXT_LABEL]
        from_file = label < known_at.shape[0]
        waiting = counters[SIZE] > 0
        if from_file and waiting and heap[0, KNOWN] < known_at[label]:
            from_file = False
        if from_file or waiting:
            due = known_at[label] if from_file else heap[0, KNOWN]
            if best < 0 or due <= keys[best, 0, heads[best]]:
                place = counters[LABELS]
                if from_file:
                    label_of[place] = label
                    counters[NEXT_LABEL] += 1
                else:
                    counters[SIZE] -= 1
                    _pop(heap, counters[SIZE] + 1)
                    for item in range(WAITING):
                        popped[place, item] = heap[counters[SIZE], item]
                    label_of[place] = -1 - place
                kinds[entry] = LABEL
                rows[entry] = place
                counters[LABELS] += 1
                counters[ENTRIES] += 1
                continue
        if best < 0:
            return DONE
        head = heads[best]
        for place in range(most_labels):
            if keys[best, 4 + 2 * place, head] >= 0:
                last = counters[SIZE]
                heap[last, KNOWN] = keys[best, 1, head] + delay
                heap[last, SEQUENCE] = counters[SERIAL]
                heap[last, TYPE] = stream_kinds[best]
                heap[last, NUMBER] = keys[best, 4 + 2 * place, head]
                heap[last, HIGH] = keys[best, 2, head]
                heap[last, LOW] = keys[best, 3, head]
                heap[last, VALUE] = keys[best, 5 + 2 * place, head]
                _push(heap, last)
                counters[SIZE] += 1
                counters[SERIAL] += 1
        kinds[entry] = stream_kinds[best]
        rows[entry] = taken[best]
        taken[best] += 1
        heads[best] = head + 1
        counters[ENTRIES] += 1
    return FULL
