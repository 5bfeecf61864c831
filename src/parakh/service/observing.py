"""What is counted of each micro-batch: what became of its events, how long it took, and what it had to do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from parakh.decisions.plan import TypePlan
from parakh.decisions.policy import DEGRADED
from parakh.service.desk import Desk, Item, Taken
from parakh.service.modelguard import ModelGuard
from parakh.service.telemetry import Telemetry

__all__ = ["Observer"]

_STATUSES = ("refused", "accepted", "duplicate", "conflict")
_TOGETHER = 16
"""So many micro-batches are counted one after another: each costs a fraction of what it would alone."""


class _Seen(msgspec.Struct, frozen=True):
    """A micro-batch that is to be counted, and what it was decided without."""

    taken: Taken
    waits_s: Sequence[float]
    took_s: float
    types: Sequence[TypePlan]
    without: set[str]


@dataclass(slots=True)
class Observer:
    """Counts what the desk did: when the log has it and its callers know, so that none of them waits for that."""

    telemetry: Telemetry
    desk: Desk
    guard: ModelGuard
    _seen: list[_Seen] = field(default_factory=list)

    def decided(self, taken: Taken, waits_s: Sequence[float], took_s: float) -> None:
        """A micro-batch was decided; `waits_s` is how long what it was made of has waited: each event, or a piece."""
        engine, without = self.desk.engine, self.guard.unanswered
        if engine.full is not None:
            without = without | {"state"}
        self._seen.append(_Seen(taken, waits_s, took_s, engine.plan.types, without))

    def refused(self, item: Item) -> None:
        """An event was refused that the engine is not to see."""
        self.telemetry.events(self.desk.engine.plan.types[item.type_index].event.name, "refused", 1)

    def committed(self, events: int, seconds: float) -> None:
        """The log has so many events more, the first of which waited so long for it."""
        self.telemetry.committed(events, seconds)
        if len(self._seen) >= _TOGETHER:
            self.count()

    def count(self) -> None:
        """Count all that was decided; before another version's names count."""
        seen, self._seen = self._seen, []
        for one in seen:
            self._count(one)

    def _count(self, seen: _Seen) -> None:
        telemetry = self.telemetry
        taken, waits_s = seen.taken, seen.waits_s
        events = len(taken.statuses)
        for type_index, counts in self._statuses(taken).items():
            for status, count in enumerate(counts):
                if count:
                    telemetry.events(seen.types[type_index].event.name, _STATUSES[status], count)
        telemetry.stage_done("decide", seen.took_s, events)
        for wait in waits_s:
            telemetry.stage_done("queue", wait, events // len(waits_s))
        for judged in taken.judged:
            telemetry.batch_decided(judged.event_type, np.frombuffer(judged.outcome, np.int8))
            hits = np.frombuffer(judged.hits, np.uint64).reshape(len(judged.outcome), -1)
            telemetry.rules_hit(judged.event_type, hits)
            for outcome, count in judged.held_out.items():
                telemetry.held_out(judged.event_type, outcome, count)
            flags = judged.flags
            degraded = 0 if flags.count(0) == len(flags) else sum(1 for flag in flags if flag & DEGRADED)
            if degraded:
                # An enrichment that is missing was counted when it was asked.
                for name in seen.without:
                    telemetry.degraded(name, degraded)

    @staticmethod
    def _statuses(taken: Taken) -> dict[int, list[int]]:
        """How many events of each type have each status."""
        kinds, statuses = taken.kinds, taken.statuses
        if kinds.count(kinds[0]) == len(kinds):
            return {kinds[0]: [statuses.count(status) for status in range(len(_STATUSES))]}
        of_kinds, said = np.frombuffer(kinds, np.uint8), np.frombuffer(statuses, np.uint8)
        return {kind: np.bincount(said[of_kinds == kind]).tolist() for kind in set(kinds)}
