"""One thing that is watched for drift: its rate or index by period, what chance explains, and whether it is beyond.

A `Draft` has the histograms; judged, it is a `Track`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from parakh.learning.plain import plain

__all__ = ["ALARMED", "CALM", "WATCHED", "Draft", "Track"]

CALM, WATCHED, ALARMED = 0, 1, 2
_MISSING: Final = 0.02
"""By how much a share of missing values has to change for an alarm, beyond chance."""
_FACTOR: Final = 1.25
"""The factor by which a rate has to rise or fall for an alarm, beyond chance; less is for watching."""
_VOLUME: Final = 1.5
_LONGEST_BREAK: Final = 12
"""Periods in a row that may look calm against a reference which holds part of a change."""

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One thing that is watched; arrays have one element a period, NaN where there was nothing to count.

    kind: stability (of an input or a score), missing, hit_rate (of a rule), label_rate, received (events a day).
    `low` and `high` are where chance ends; `state` is 0 calm, 1 to be watched, 2 alarm. Where the reference lets one
    expect another rate of each period, `usual` has them. `began` is the period since which it is out, up to the
    newest: -1 the last before what is watched; None where it is not out. Of stability: `baseline`, the `counts` of the
    periods by its bins, and their means.
    """

    kind: str
    subject: str
    reference: float
    value: _Numbers
    count: npt.NDArray[np.int64]
    low: _Numbers
    high: _Numbers
    state: npt.NDArray[np.int8]
    usual: _Numbers | None = None
    began: int | None = None
    mean: _Numbers | None = None
    baseline: Baseline | None = None
    counts: Counts | None = None

    @property
    def last(self) -> int | None:
        """The newest period in which there was something to count."""
        there = np.flatnonzero(~np.isnan(self.value))
        return int(there[-1]) if there.size else None

    def before(self, period: int) -> float:
        """The rate that the reference lets one expect of a period."""
        return self.reference if self.usual is None else float(self.usual[period])

    def as_data(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {
            "kind": self.kind, "subject": self.subject, "reference": plain(self.reference),
            "value": plain(self.value.tolist()), "count": self.count.tolist(),
            "low": plain(self.low.tolist()), "high": plain(self.high.tolist()),
            "usual": None if self.usual is None else plain(self.usual.tolist()),
            "state": [("calm", "watch", "alarm")[s] for s in self.state.tolist()],
        }  # fmt: skip
        if self.mean is not None:
            told["mean"] = plain(self.mean.tolist())
        return told


@dataclass(frozen=True, slots=True)
class Draft:
    """A track before it is judged: how its reference and each period fall into bins, and histograms of days.

    `reference` may have a row a period; `rate` is then that of all of it. `onward` gives the same thing from a
    period on, held against what came before that (0 the first of all that is watched, -1 the one before it), and None
    where too little did.
    """

    kind: str
    subject: str
    reference: Counts
    counts: Counts
    days: Counts
    groups: npt.NDArray[np.int64] | None
    baseline: Baseline | None = None
    means: _Numbers | None = None
    spread: float | None = None
    rate: float | None = None
    onward: Callable[[int], Draft | None] | None = None

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
        references = np.broadcast_to(self.reference, self.counts.shape)
        all_trials = references.sum(axis=1)
        rates = np.divide(references[:, -1], all_trials, out=np.full(rows.size, np.nan), where=all_trials > 0)
        for number in np.flatnonzero(rows > 0).tolist():
            reference = references[number]
            if self.kind == "stability":
                value[number] = stability_index(reference, self.counts[number])
                low[number], high[number] = 0.0, chance_index(
                    reference, float(rows[number]), chance=chance, dispersion=spread
                )  # fmt: skip
                if value[number] > max(WATCH, high[number]):
                    state[number] = ALARMED if value[number] > ALARM else WATCHED
                continue
            value[number] = self.counts[number, -1] / rows[number]
            low[number], high[number] = usual_range(
                float(reference[-1]), float(all_trials[number]), float(rows[number]), chance=chance,
                dispersion=spread, share=self.kind != "received",
            )  # fmt: skip
            if not low[number] <= value[number] <= high[number]:
                state[number] = WATCHED + self._is_much(float(value[number]), float(rates[number]))
        return Track(
            kind=self.kind, subject=self.subject, reference=self._known(), value=value,
            count=np.where(self.kind == "received", self.counts[:, -1], rows).astype(np.int64), low=low, high=high,
            state=state, usual=rates if self.reference.ndim > 1 else None, began=self._began(value, state, chance),
            mean=self.means, baseline=self.baseline,
            counts=self.counts if self.kind == "stability" else None,
        )  # fmt: skip

    def _known(self) -> float:
        if self.kind == "stability":
            return 0.0
        if self.rate is not None:
            return self.rate
        return float(self.reference[-1] / self.reference.sum()) if self.compared else math.nan

    def _began(self, value: _Numbers, state: npt.NDArray[np.int8], chance: float) -> int | None:
        """The period since which it is out without a break, up to the newest; None where it is not out now.

        A reference that reaches into the change holds part of it, and what differs little from that may look calm. So
        the beginning is the farthest back from which on all is out against what came before it.
        """
        there = np.flatnonzero(~np.isnan(value))
        if not there.size or not state[there[-1]]:
            return None
        calm = there[state[there] == CALM]
        began = int(there[0] if not calm.size else there[there > calm[-1]][0])
        if self.onward is None:
            return began
        at = began
        while (at := at - 1) >= began - _LONGEST_BREAK:
            draft = self.onward(at)
            if draft is None:
                break
            track = draft.judged(chance)
            out = track.state[~np.isnan(track.value)] != CALM
            if not math.isnan(track.value[0]) and out.all():
                began = at
        return began

    def _is_much(self, value: float, known: float) -> bool:
        if self.kind == "missing":
            return abs(value - known) >= _MISSING
        factor = _VOLUME if self.kind == "received" else _FACTOR
        return value >= factor * known or value <= known / factor
