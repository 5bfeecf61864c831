"""Scored events and every measure of them at once: one sort, then a pass a draw of the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from parakh.learning.measures.costs import Costs
from parakh.learning.measures.curves import reliability_of, thinned
from parakh.learning.measures.intervals import draws, interval_of
from parakh.learning.measures.ranking import RANKED, Counts, Ranking, Weights, weighed
from parakh.rules.definition import Outcome

__all__ = ["MEASURES", "LossCurve", "Measured", "Scored"]

MEASURES = (*RANKED, "expected_loss", "brier", "calibration_error")
"""The measures of events one by one, in the order of `Scored.measures`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure and the interval in which it lies with other events of the same kind; NaN where it is not known."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: npt.NDArray[np.float64]) -> Self:
        """A value and the interval of those that were drawn, unknown where the value is."""
        interval = interval_of(drawn * (1.0 if value == value else np.nan))
        return cls(value, interval.low, interval.high)


@dataclass(frozen=True, slots=True)
class LossCurve:
    """What a single threshold costs: reviewed events, loss per event in major units and recall; highest score first."""

    threshold: npt.NDArray[np.float64]
    reviewed: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Events in the order of their score, with what a measure needs to know of each.

    `weight` is how much each counts. `allowed` and `reviewed` are what each costs where it is let through and where it
    is reviewed, None where amounts are not known. `limit` is how much weight may be reviewed in all; `threshold` a
    score from which on is reviewed: where it is None the best one within the limit is taken. `chance` says that
    scores are chances of fraud, `plain` that every weight is 1.
    """

    ranking: Ranking
    weight: Counts
    allowed: npt.NDArray[np.float64] | None
    reviewed: npt.NDArray[np.float64] | None
    limit: float
    threshold: float | None
    chance: bool
    plain: bool

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        scores: npt.ArrayLike,
        *,
        amounts: npt.NDArray[np.float64] | None,
        weights: Weights,
        costs: Costs,
        limit: float,
    ) -> Self:
        """Sort the events; raises InputError as `metrics.roc_auc`."""
        ranking = Ranking.of(labels, scores)
        count = ranking.order.size
        weight = np.ones(count, np.int64) if weights is None else weighed(weights, count)[ranking.order]
        allowed = reviewed = None
        if amounts is not None:
            amount = amounts[ranking.order]
            allowed = costs.of(np.full(count, Outcome.ALLOW), ranking.fraud, amount)
            reviewed = costs.of(np.full(count, Outcome.REVIEW), ranking.fraud, amount)
        chance = bool(ranking.score[0] <= 1 and ranking.score[-1] >= 0)
        return cls(ranking, weight, allowed, reviewed, limit, None, chance, weights is None)

    def part(self, where: npt.NDArray[np.bool_], threshold: float | None) -> Scored:
        """Those of the events (`where` in the order of the score), judged by a given threshold."""
        whole = self.ranking
        ranking = Ranking.ranked(whole.order[where], whole.fraud[where], whole.score[where])
        allowed, reviewed = (None if v is None else v[where] for v in (self.allowed, self.reviewed))
        return Scored(ranking, self.weight[where], allowed, reviewed, self.limit, threshold, self.chance, self.plain)

    def measures(self, times: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """The values of MEASURES where each event is there so many `times` (in the order of the score)."""
        weight = self.weight if times is None else times if self.plain else self.weight * times
        above = self.ranking.condensed(weight)
        values = [measure(above) for measure in RANKED.values()]
        total = float(weight.sum())
        values.append(self._loss(weight) / total if total else float("nan"))
        if not self.chance or not total:
            return np.array([*values, np.nan, np.nan])
        score, frauds = self.ranking.score, self.ranking.frauds
        # (score - 1)^2 is score^2 less (2 score - 1).
        away = float((weight * (score * score)).sum() - (weight[frauds] * (2 * score[frauds] - 1)).sum())
        return np.array([*values, away / total, reliability_of(self.ranking, weight).error()])

    def best(self) -> tuple[float, float]:
        """The threshold that costs least within the limit, infinite where that is to review nothing; and its loss."""
        curve = self.loss_curve(points=self.ranking.ends.size + 1)
        within = np.flatnonzero(curve.reviewed <= self.limit)
        least = within[np.argmin(curve.loss[within])]
        return float(curve.threshold[least]), float(curve.loss[least])

    def loss_curve(self, points: int = 200) -> LossCurve:
        """The loss over all thresholds, thinned to at most so many; empty where amounts are not known."""
        if self.allowed is None or self.reviewed is None:
            return LossCurve(*(np.zeros(0) for _ in range(4)))
        ends = self.ranking.ends
        saved = np.append(0.0, np.cumsum(self.weight * (self.allowed - self.reviewed))[ends])
        loss = (float((self.weight * self.allowed).sum()) - saved) / float(self.weight.sum())
        reviewed = np.append(0.0, np.cumsum(self.weight)[ends])
        frauds = np.append(0.0, np.cumsum(self.weight * self.ranking.fraud)[ends])
        recall = frauds / frauds[-1] if frauds[-1] else np.full(frauds.size, np.nan)
        kept = thinned(np.log1p(reviewed), loss, points)
        threshold = np.append(np.inf, self.ranking.score[ends])
        return LossCurve(threshold[kept], reviewed[kept], loss[kept], recall[kept])

    def measured(self, groups: npt.NDArray[np.int64] | None, *, rounds: int, seed: int) -> dict[str, Measured]:
        """Every measure with its interval; events are drawn by class, or by `groups` (in the order of the score).

        One class only, or fewer than two events or groups, leave intervals unknown.
        """
        values = self.measures()
        drawn = np.full((1, values.size), np.nan)
        fraud = self.ranking.fraud
        several = fraud.size > 1 if groups is None else bool((groups != groups[0]).any())
        if several and fraud.any() and not fraud.all():
            events = fraud.size if groups is None else groups
            drawn = np.array([self.measures(t) for t in draws(events, strata=fraud, rounds=rounds, seed=seed)])
        return {name: Measured.of(value, column) for name, value, column in zip(MEASURES, values.tolist(), drawn.T)}

    def _loss(self, weight: Counts) -> float:
        """What these events cost in all."""
        if self.allowed is None or self.reviewed is None:
            return float("nan")
        spent = float((weight * self.allowed).sum())
        if self.threshold is not None:
            last = int(np.searchsorted(-self.ranking.score, -self.threshold, side="right"))
            return spent - float((weight[:last] * (self.allowed[:last] - self.reviewed[:last])).sum())
        within = self.ranking.ends[: int(np.searchsorted(np.cumsum(weight)[self.ranking.ends], self.limit, "right"))]
        if not within.size:
            return spent
        rows = int(within[-1]) + 1
        saved = np.cumsum(weight[:rows] * (self.allowed[:rows] - self.reviewed[:rows]))
        return spent - float(saved[within].max(initial=0.0))
