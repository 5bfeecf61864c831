"""What is counted of each micro-batch: what became of its events, how long it took, and what it had to do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        """Count a micro-batch; `waits_s` is how long each event has waited for it."""
        telemetry, plans = self.telemetry, self.desk.engine.plan.types
        statuses = decisions.statuses.tolist()
        counts = Counter(zip((item.type_index for item in items), statuses))
        for (type_index, status), count in counts.items():
            telemetry.events(plans[type_index].event.name, _STATUSES[status], count)
        telemetry.stage_done("decide", took_s, len(items))
        waits = np.array(waits_s)
        for number, part in enumerate(decisions.parts):
            queued = waits if number == 0 else None
            telemetry.batch_decided(part.schema.event_type, part.judgement.outcome, queued_seconds=queued)
            telemetry.rules_hit(part.schema.event_type, part.judgement.hits)
            degraded = int(np.count_nonzero(part.flags & DEGRADED))
            if degraded:
                self._degraded(degraded)
        if not decisions.parts:
            telemetry.stage_done("queue", float(waits.max(initial=0.0)), len(items))

    def _degraded(self, count: int) -> None:
        """Decisions without something that they need; an enrichment that is missing was counted when it was asked."""
        if self.desk.engine.full is not None:
            self.telemetry.degraded("state", count)
        for name in self.guard.unanswered:
            self.telemetry.degraded(name, count)
