"""One thing that is watched for drift: its rate or index by period, what chance explains, and whether it is beyond.

A `Draft` has the histograms; judged, it is a `Track`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parakh.learning.changes.drift import (
    ALARM,
    WATCH,
    Baseline,
    Counts,
    chance_index,
    dispersion,
    stability_index,
    usual_range,
)  # fmt: skip

__all__ = ["ALARMED", "CALM", "WATCHED", "Draft", "Track"]

CALM, WATCHED, ALARMED = 0, 1, 2
_MISSING: Final = 0.02
"""By how much a share of missing values has to change for an alarm, beyond chance."""
_FACTOR: Final = 1.25
"""The factor by which a rate has to rise or fall for an alarm, beyond chance; less is for watching."""
_VOLUME: Final = 1.5

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One thing that is watched; arrays have one element a period, NaN where there was nothing to count.

    kind: stability (of an input or a score), missing, hit_rate (of a rule), label_rate, received (events a day).
    `low` and `high` are where chance ends; `state` is 0 calm, 1 to be watched, 2 alarm. Of stability: `baseline`, the
    `counts` of the periods by its bins, and their means.
    """

    kind: str
    subject: str
    reference: float
    value: _Numbers
    count: npt.NDArray[np.int64]
    low: _Numbers
    high: _Numbers
    state: npt.NDArray[np.int8]
    mean: _Numbers | None = None
    baseline: Baseline | None = None
    counts: Counts | None = None

    @property
    def last(self) -> int | None:
        """The newest period in which there was something to count."""
        there = np.flatnonzero(~np.isnan(self.value))
        return int(there[-1]) if there.size else None

    def as_data(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {
            "kind": self.kind, "subject": self.subject, "reference": _finite(self.reference),
            "value": [_finite(v) for v in self.value.tolist()], "count": self.count.tolist(),
            "low": [_finite(v) for v in self.low.tolist()], "high": [_finite(v) for v in self.high.tolist()],
            "state": [("calm", "watch", "alarm")[s] for s in self.state.tolist()],
        }  # fmt: skip
        if self.mean is not None:
            told["mean"] = [_finite(v) for v in self.mean.tolist()]
        return told


@dataclass(frozen=True, slots=True)
class Draft:
    """A track before it is judged: how its reference and each period fall into bins, and histograms of days."""

    kind: str
    subject: str
    reference: Counts
    counts: Counts
    days: Counts
    groups: npt.NDArray[np.int64] | None
    baseline: Baseline | None = None
    means: _Numbers | None = None
    spread: float | None = None

    @property
    def compared(self) -> bool:
        """Whether there is something to hold it against."""
        return bool(self.reference.sum() > 0)

    def judged(self, chance: float) -> Track:
        """The track, every period with what chance explains at this probability."""
        spread = dispersion(self.days, self.groups) if self.spread is None else self.spread
        rows = self.counts.sum(axis=1)
        value, low, high = (np.full(rows.size, np.nan) for _ in range(3))
        state = np.zeros(rows.size, np.int8)
        hits, trials = float(self.reference[-1]), float(self.reference.sum())
        known = hits / trials if self.compared else math.nan
        for number in np.flatnonzero(rows > 0).tolist():
            if self.kind == "stability":
                value[number] = stability_index(self.reference, self.counts[number])
                low[number], high[number] = 0.0, chance_index(
                    self.reference, float(rows[number]), chance=chance, dispersion=spread
                )  # fmt: skip
                if value[number] > max(WATCH, high[number]):
                    state[number] = ALARMED if value[number] > ALARM else WATCHED
                continue
            value[number] = self.counts[number, -1] / rows[number]
            low[number], high[number] = usual_range(
                hits, trials, float(rows[number]), chance=chance, dispersion=spread, share=self.kind != "received"
            )
            if not low[number] <= value[number] <= high[number]:
                state[number] = WATCHED + self._is_much(float(value[number]), known)
        return Track(
            kind=self.kind, subject=self.subject, reference=0.0 if self.kind == "stability" else known, value=value,
            count=np.where(self.kind == "received", self.counts[:, -1], rows).astype(np.int64), low=low, high=high,
            state=state, mean=self.means, baseline=self.baseline,
            counts=self.counts if self.kind == "stability" else None,
        )  # fmt: skip

    def _is_much(self, value: float, known: float) -> bool:
        if self.kind == "missing":
            return abs(value - known) >= _MISSING
        factor = _VOLUME if self.kind == "received" else _FACTOR
        return value >= factor * known or value <= known / factor


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
