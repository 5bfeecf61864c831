"""Which events are new: ids looked up, duplicates and conflicts told apart, bad ones put aside, the clock moved on.

Everything that comes in is counted here, once: received = accepted + duplicates + quarantined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.events.ids import CONFLICT, DUPLICATE, NEW, IdIndex
from parakh.events.merge import LABEL, LogBatch, quarantine_part
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.expressions.kernels import kernel
from parakh.expressions.types import NULL_WORD

__all__ = ["Admission", "Admitted", "Counts"]

_BEFORE_ALL = -(2**62)


@dataclass(slots=True)
class Counts:
    """What came in and became of it; received = accepted + duplicates + quarantined, always.

    `quarantined` counts events by reason; `late` those accepted that were too late for their windows.
    """

    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        lost = self.received - self.accepted - self.duplicates - self.quarantined.total()
        assert lost == 0, f"{lost} events are unaccounted for"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The events of a batch that are new, in log order: entry of the batch, frame row, kind, time, held row, clocks."""

    entries: NDArray[np.int64]
    rows: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    times: NDArray[np.int64]
    held: NDArray[np.int64]
    clocks: NDArray[np.int64]  # after each
    late: NDArray[np.bool_]
    late_count: int
    clock_before_us: int | None
    statuses: NDArray[np.uint8]  # of all events of the batch


class Admission:
    """The door of an engine: the ids seen so far, the clock and the counts.

    `clock_us` is the largest event time accepted so far, None before the first.
    """

    def __init__(self, lateness_us: int, quarantine: Quarantine) -> None:
        self.ids = IdIndex()
        self.counts = Counts()
        self.quarantine = quarantine
        self.clock_us: int | None = None
        self._lateness_us = lateness_us

    def facts(self) -> dict[str, Any]:
        """What a snapshot keeps beside the ids."""
        counts = self.counts
        return {
            "clock_us": self.clock_us,
            "received": counts.received,
            "accepted": counts.accepted,
            "duplicates": counts.duplicates,
            "late": counts.late,
            "quarantined": dict(counts.quarantined),
        }

    def restore(self, facts: Mapping[str, Any], ids: IdIndex) -> None:
        """Go on from a snapshot's facts and ids."""
        self.ids = ids
        self.clock_us = facts["clock_us"]
        self.counts = Counts(
            facts["received"], facts["accepted"], facts["duplicates"], facts["late"], Counter(facts["quarantined"])
        )

    def admit(self, batch: LogBatch, words: NDArray[np.int64]) -> Admitted:
        """Which events of a batch are new; the words of those that are not are made NULL in the frame."""
        if not batch.parts:
            return self._nothing()
        entries = rows = np.arange(batch.count)
        if len(batch.parts) == 1 and not batch.labels.count:
            decoded = batch.parts[0].decoded
            problem, id_hi, id_lo = decoded.problem, decoded.id_hi, decoded.id_lo
            digest, times = decoded.digest, decoded.times
        else:
            entries = np.flatnonzero(batch.kinds != LABEL)
            rows = batch.rows[entries].astype(np.int64)
            names = ("problem", "id_hi", "id_lo", "digest", "times")
            problem, id_hi, id_lo, digest, times = (batch.column(name)[rows] for name in names)
        ok = problem == 0
        status = np.empty(entries.size, np.uint8)
        held = np.empty(entries.size, np.int64)
        accepted = self.ids.admit(id_hi, id_lo, digest, ok, status, held)
        kinds = batch.kinds if entries.size == batch.count else batch.kinds[entries]
        if accepted < status.size:
            refused = np.flatnonzero(status != NEW)
            self._refuse(batch, words, rows[refused], status[refused])
            new = np.flatnonzero(status == NEW)
            entries, rows, kinds, times, held = entries[new], rows[new], kinds[new], times[new], held[new]
        self.counts.received += int(status.size)
        self.counts.accepted += accepted
        clocks = np.empty(times.size, np.int64)
        late = np.empty(times.size, np.bool_)
        before = self.clock_us
        clock = _BEFORE_ALL if before is None else before
        late_count = int(_run_clock(times, clock, self._lateness_us, clocks, late))
        self.counts.late += late_count
        if times.size:
            self.clock_us = int(clocks[-1])
        return Admitted(entries, rows, kinds, times, held, clocks, late, late_count, before, status)

    def _nothing(self) -> Admitted:
        """Of a batch that has labels alone."""
        none, small = np.empty(0, np.int64), np.empty(0, np.uint8)
        return Admitted(none, none, small, none, none, none, none.astype(np.bool_), 0, self.clock_us, small)

    def _refuse(
        self, batch: LogBatch, words: NDArray[np.int64], rows: NDArray[np.int64], status: NDArray[np.uint8]
    ) -> None:
        """Count what is not new, and put into quarantine what is not a duplicate either."""
        counts = self.counts
        # A row that is not decided on must not show the words of an earlier batch to the programs.
        words[:, rows] = NULL_WORD
        counts.duplicates += int(np.count_nonzero(status == DUPLICATE))
        for part in batch.parts:
            quarantine_part(part, self.quarantine)
            for reason in part.decoded.problem[part.decoded.problem != 0].tolist():
                counts.quarantined[Reason(reason).code] += 1
        for row in rows[status == CONFLICT].tolist():
            part = next(part for part in batch.parts if part.start <= row < part.stop)
            chunk, number = part.origin(row - part.start)
            self.quarantine.add(
                Reason.CONFLICT,
                event_type=part.decoder.event_type.name,
                source=chunk.file,
                line=chunk.line(number),
                raw=chunk.raw(number),
            )
            counts.quarantined[Reason.CONFLICT.code] += 1


@kernel
def _run_clock(times: Any, clock: Any, lateness: Any, clocks: Any, late: Any) -> Any:
    """The clock after each event, and which events are late by the clock before them; returns how many are."""
    count = 0
    for index in range(times.shape[0]):
        late[index] = times[index] < clock - lateness
        count += late[index]
        clock = max(clock, times[index])
        clocks[index] = clock
    return count
