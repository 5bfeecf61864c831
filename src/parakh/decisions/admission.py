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

from parakh.decisions.policy import LATE
from parakh.events.ids import CONFLICT, DUPLICATE, NEW, REFUSED, IdIndex, admit_one
from parakh.events.merge import LABEL, LogBatch, quarantine_part
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.expressions.kernels import kernel
from parakh.expressions.types import NULL_WORD
from parakh.features.state import Entries

__all__ = ["Admission", "Admitted", "Counts", "admit_all"]

_BEFORE_ALL = -(2**62)
_KIND, _ROW, _TIME, _HELD, _LATE_BIT = Entries.KIND, Entries.ROW, Entries.TIME, Entries.HELD, Entries.LATE


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
    """The events of a batch that are new, in log order.

    entries: the entry of the batch that each is. rows: its row of the frame. table: int64[n, 4], as `Entries` has it.
    clocks: the largest event time so far, after each. late: how many are.
    """

    entries: NDArray[np.int64]
    rows: NDArray[np.int64]
    table: NDArray[np.int64]
    clocks: NDArray[np.int64]
    late: int
    clock_before_us: int | None
    statuses: NDArray[np.uint8]  # of all events of the batch

    @property
    def kinds(self) -> NDArray[np.int64]:
        """The event type of each."""
        return self.table[:, Entries.KIND] % Entries.LATE


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
        self._counted = np.arange(0)

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

    def admit(self, batch: LogBatch, words: NDArray[np.int64], flags: NDArray[np.uint8]) -> Admitted:
        """Which events of a batch are new; sets LATE in the flags of those that are too late for their windows.

        The words of what is not new are made NULL in the frame.
        """
        if not batch.parts:
            return self._nothing()
        if len(batch.parts) == 1 and not batch.labels.count:
            entries = rows = self._numbers(batch.count)
            kinds, decoded = batch.kinds, batch.parts[0].decoded
            problem, id_hi, id_lo = decoded.problem, decoded.id_hi, decoded.id_lo
            digest, times = decoded.digest, decoded.times
        else:
            entries = np.flatnonzero(batch.kinds != LABEL)
            rows = batch.rows[entries].astype(np.int64)
            kinds = batch.kinds[entries]
            names = ("problem", "id_hi", "id_lo", "digest", "times")
            problem, id_hi, id_lo, digest, times = batch.columns(names, rows)
        count = entries.size
        status = np.empty(count, np.uint8)
        table = np.empty((count, Entries.WIDTH), np.int64)
        clocks = np.empty(count, np.int64)
        before, clock = self.clock_us, self.clock_or_before_all
        held, places, known = self.ids.room(count)
        accepted, late = admit_all(
            problem, id_hi, id_lo, digest, times, kinds, rows, held, places, known, clock, self._lateness_us,
            status, table, clocks, flags,
        )  # fmt: skip
        self.ids.taken(known + accepted)
        if accepted < count:
            refused = np.flatnonzero(status != NEW)
            self._refuse(batch, words, rows[refused], status[refused])
            new = np.flatnonzero(status == NEW)
            entries, rows, table, clocks = entries[new], rows[new], table[:accepted], clocks[:accepted]
        self.counts.received += count
        self.counts.accepted += accepted
        self.counts.late += late
        if accepted:
            self.clock_us = int(clocks[-1])
        return Admitted(entries, rows, table, clocks, late, before, status)

    @property
    def clock_or_before_all(self) -> int:
        """The largest event time so far; far in the past before the first event."""
        return _BEFORE_ALL if self.clock_us is None else self.clock_us

    def all_taken(self, count: int, late: int, clock_us: int) -> None:
        """So many events came, and all of them are new; their ids are put behind those that are held."""
        self.ids.taken(len(self.ids) + count)
        self.counts.received += count
        self.counts.accepted += count
        self.counts.late += late
        self.clock_us = clock_us

    def _numbers(self, count: int) -> NDArray[np.int64]:
        """0, 1, 2, ... so many; not to be written to."""
        if count > self._counted.size:
            self._counted = np.arange(2 * count)
        return self._counted[:count]

    def _nothing(self) -> Admitted:
        """Of a batch that has labels alone."""
        none = np.empty(0, np.int64)
        table = np.empty((0, Entries.WIDTH), np.int64)
        return Admitted(none, none, table, none, 0, self.clock_us, np.empty(0, np.uint8))

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
def admit_all(
    problem: Any, id_hi: Any, id_lo: Any, digest: Any, times: Any, kinds: Any, rows: Any, held: Any, places: Any,
    known: Any, clock: Any, lateness: Any, status: Any, table: Any, clocks: Any, flags: Any,
) -> Any:  # fmt: skip
    """Take events in order: their statuses, and of those that are new their entries for the windows and the clock after
    each. Returns how many are new, and how many of these are late by the clock before them.
    """
    new = late = np.int64(0)
    for index in range(problem.shape[0]):
        if problem[index] != 0:
            status[index] = REFUSED
            continue
        high, low, content = np.int64(id_hi[index]), np.int64(id_lo[index]), np.int64(digest[index])
        status[index], row = admit_one(held, places, known + new, high, low, content)
        if status[index] != NEW:
            continue
        time = times[index]
        is_late = np.int64(time < clock - lateness)
        if is_late:
            flags[rows[index]] |= np.uint8(LATE)
        late += is_late
        clock = max(clock, time)
        clocks[new] = clock
        table[new, _KIND] = np.int64(kinds[index]) + is_late * _LATE_BIT
        table[new, _ROW] = rows[index]
        table[new, _TIME] = time
        table[new, _HELD] = row
        new += 1
    return new, late
