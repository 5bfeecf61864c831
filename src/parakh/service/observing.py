"""What is counted of each micro-batch: what became of its events, how long it took, and what it had to do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.policy import DEGRADED
from parakh.service.desk import Desk, Item
from parakh.service.modelguard import ModelGuard
from parakh.service.telemetry import Telemetry

__all__ = ["Observer"]

_STATUSES = ("refused", "accepted", "duplicate", "conflict")


@dataclass(frozen=True, slots=True)
class Observer:
    """Counts what the desk did."""

    telemetry: Telemetry
    desk: Desk
    guard: ModelGuard

    def decided(self, items: Sequence[Item], decisions: Decisions, waits_s: Sequence[float], took_s: float) -> None:
        """Count a micro-batch; `waits_s` is how long what it was made of has waited: each event, or a piece whole."""
        telemetry, plans = self.telemetry, self.desk.engine.plan.types
        for type_index, counts in self._statuses(items, decisions.statuses).items():
            for status, count in enumerate(counts):
                if count:
                    telemetry.events(plans[type_index].event.name, _STATUSES[status], count)
        telemetry.stage_done("decide", took_s, len(items))
        for wait in waits_s:
            telemetry.stage_done("queue", wait, len(items) // len(waits_s))
        for part in decisions.parts:
            telemetry.batch_decided(part.schema.event_type, part.judgement.outcome)
            telemetry.rules_hit(part.schema.event_type, part.judgement.hits)
            degraded = int(np.count_nonzero(part.flags & DEGRADED))
            if degraded:
                self._degraded(degraded)

    @staticmethod
    def _statuses(items: Sequence[Item], statuses: NDArray[np.uint8]) -> dict[int, list[int]]:
        """How many events of each type have each status."""
        kinds = [item.type_index for item in items]
        if kinds.count(kinds[0]) == len(kinds):
            return {kinds[0]: np.bincount(statuses, minlength=len(_STATUSES)).tolist()}
        of_kinds = np.array(kinds)
        return {kind: np.bincount(statuses[of_kinds == kind]).tolist() for kind in set(kinds)}

    def _degraded(self, count: int) -> None:
        """Decisions without something that they need; an enrichment that is missing was counted when it was asked."""
        if self.desk.engine.full is not None:
            self.telemetry.degraded("state", count)
        for name in self.guard.unanswered:
            self.telemetry.degraded(name, count)
