"""Events in the order of a score: sorted once, then any weights - or draws of a bootstrap - are counted in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError

__all__ = ["RANKED", "Above", "Ranking", "Weights", "checked", "weighed"]

Weights: TypeAlias = npt.ArrayLike | None
"""How much each event counts: 1 where None. Whole numbers are as good as repeating the rows, to the bit."""

Counts: TypeAlias = npt.NDArray[Any]
"""Whole numbers where weights are, else float64."""


@dataclass(frozen=True, slots=True)
class Above:
    """Frauds and good events at or above each distinct score, highest first, after a leading zero."""

    frauds: Counts
    goods: Counts

    def roc_auc(self) -> float:
        """The chance that a fraud scores above a good event, a tie counted half."""
        if not self.frauds[-1] or not self.goods[-1]:
            return float("nan")
        # Twice the pairs that stand right: integers below 2**63 up to three thousand million rows.
        pairs = np.sum(np.diff(self.goods) * (self.frauds[1:] + self.frauds[:-1])).item()
        return float(pairs / (2 * self.frauds[-1].item() * self.goods[-1].item()))

    def average_precision(self) -> float:
        """The precision at each score, weighted by the recall it adds."""
        if not self.frauds[-1]:
            return float("nan")
        added = np.diff(self.frauds)
        rows = np.flatnonzero(added)
        frauds, goods = self.frauds[rows + 1], self.goods[rows + 1]
        return float(np.sum(added[rows] * (frauds / (frauds + goods))) / self.frauds[-1])

    def recall_at(self, rate: float) -> float:
        """The largest share of frauds above a score that has at most `rate` of the good events above it."""
        if not self.frauds[-1] or not self.goods[-1]:
            return float("nan")
        last = int(np.searchsorted(self.goods / self.goods[-1], rate, side="right")) - 1
        return float(self.frauds[last] / self.frauds[-1])


RANKED: dict[str, Callable[[Above], float]] = {
    "roc_auc": Above.roc_auc,
    "average_precision": Above.average_precision,
    "recall_at_fpr_1pct": lambda above: above.recall_at(0.01),
}
"""Measures of a ranking by name."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows by score, highest first, ties by row: `order` of the rows, and where each distinct score ends in it.

    `fraud` and `score` are in that order; `frauds` are the places of frauds in it. `steps` are where the scores that a
    fraud has begin, and end: what is between them holds good events alone, and may be counted at once.
    """

    order: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    fraud: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]
    frauds: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike) -> Self:
        """The ranking; raises InputError as `metrics.roc_auc`.

        >>> Ranking.of([0, 1, 1], [0.2, 0.9, 0.9]).order.tolist()
        [1, 2, 0]
        """
        truth, score = checked(labels, scores)
        order = np.argsort(-score, kind="stable")
        return cls.ranked(order, truth[order], score[order])

    @classmethod
    def ranked(cls, order: npt.NDArray[np.int64], fraud: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> Self:
        """Rows that stand in the order of their scores, with their labels and scores in it."""
        ends = np.append(np.flatnonzero(score[1:] != score[:-1]), score.size - 1)
        frauds = np.flatnonzero(fraud)
        group = np.unique(np.searchsorted(ends, frauds))
        begins = ends[group[group > 0] - 1] + 1
        steps = np.unique(np.concatenate([[0], begins, ends[group] + 1]))
        return cls(order, ends, fraud, score, frauds, steps[steps < score.size])

    def above(self, weights: Weights = None) -> Above:
        """What stands at or above each distinct score, events counted by their weights (in the order of the rows)."""
        if weights is None:
            frauds = np.cumsum(self.fraud, dtype=np.int64)[self.ends]
            return Above(np.append(0, frauds), np.append(0, self.ends + 1 - frauds))
        return self.above_ranked(weighed(weights, self.fraud.size)[self.order])

    def above_ranked(self, weights: Counts) -> Above:
        """As `above`, by weights in the order of the ranking."""
        frauds = np.cumsum(weights * self.fraud)[self.ends]
        goods = np.cumsum(weights * ~self.fraud)[self.ends]
        return Above(np.append(0, frauds), np.append(0, goods))

    def condensed(self, weights: Counts) -> Above:
        """As `above_ranked`, at the scores of frauds alone: all that the measures of RANKED need, in much less time."""
        everything = np.cumsum(np.add.reduceat(weights, self.steps))
        mine = np.append(0, np.cumsum(weights[self.frauds]))
        ends = np.append(self.steps[1:], self.fraud.size)
        frauds = mine[np.searchsorted(self.frauds, ends)]
        goods = np.maximum(everything - frauds, 0)
        return Above(np.append(0, frauds), np.append(0, goods))


def checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Labels as booleans and scores as numbers; raises InputError as `metrics.roc_auc`."""
    truth, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise InputError(f"labels {truth.shape} and scores {score.shape} differ (hint: one of each for every event)")
    if not truth.size:
        raise InputError("no events to evaluate (hint: is the span or the segment empty?)")
    if not np.all((truth == 0) | (truth == 1)):
        raise InputError("a label is neither 0 nor 1 (hint: leave unlabelled events out)")
    if np.isnan(score).any():
        row = int(np.flatnonzero(np.isnan(score))[0])
        raise InputError(f"the score of row {row} is NaN (hint: leave unscored events out, or give them a score)")
    return truth.astype(np.bool_), score


def weighed(weights: npt.ArrayLike, events: int) -> Counts:
    """The weights of events; raises InputError where there are fewer or more, or one is negative or not a number."""
    values = np.asarray(weights)
    if values.shape != (events,):
        raise InputError(f"weights {values.shape} differ from events ({events},) (hint: one for every event)")
    if not np.all(values >= 0) or values.dtype.kind not in "iufb":
        raise InputError("a weight is negative or no number (hint: 1 / share for what was sampled)")
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)
