"""The curves behind the measures, thinned for a page, and how far scores can be read as chances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.learning.measures.ranking import Counts, Ranking, Weights, checked, weighed

__all__ = [
    "Curve",
    "Reliability",
    "brier",
    "expected_calibration_error",
    "precision_recall_curve",
    "reliability",
    "reliability_of",
    "roc_curve",
    "thinned",
]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve and the score from which on each holds; the highest first. Empty where it is not defined."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of events by score, lowest first: their mean score, their share of fraud and their weight."""

    score: npt.NDArray[np.float64]
    fraud: npt.NDArray[np.float64]
    events: npt.NDArray[np.float64]

    def error(self) -> float:
        """The mean distance between score and share of fraud, bins weighed by their events."""
        return float(np.sum(self.events * np.abs(self.score - self.fraud)) / np.sum(self.events))


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike, *, weights: Weights = None, points: int = 200) -> Curve:
    """Recall (y) over the false positive rate (x), from (0, 0) at an infinite threshold to (1, 1).

    Thinned to at most `points`, the ends where they were; empty where there is only one class. Raises InputError as
    `metrics.roc_auc`.

    >>> curve = roc_curve([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    >>> curve.x.tolist(), curve.y.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    ranking = Ranking.of(labels, scores)
    above = ranking.above(weights)
    if not above.frauds[-1] or not above.goods[-1]:
        return _none()
    x, y = above.goods / above.goods[-1], above.frauds / above.frauds[-1]
    kept = thinned(x, y, points)
    return Curve(x[kept], y[kept], np.append(np.inf, ranking.score[ranking.ends])[kept])


def precision_recall_curve(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, weights: Weights = None, points: int = 200
) -> Curve:
    """Precision (y) over recall (x), from the highest score to the lowest.

    Thinned as `roc_curve`; empty where there is no fraud. Raises InputError as `metrics.roc_auc`.

    >>> curve = precision_recall_curve([0, 1, 1], [0.9, 0.8, 0.7])
    >>> curve.x.tolist(), curve.y.round(3).tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.5, 0.667])
    """
    ranking = Ranking.of(labels, scores)
    above = ranking.above(weights)
    seen = np.flatnonzero(above.frauds + above.goods)
    if not above.frauds[-1]:
        return _none()
    frauds, goods = above.frauds[seen], above.goods[seen]
    x, y = frauds / above.frauds[-1], frauds / (frauds + goods)
    kept = thinned(x, y, points)
    return Curve(x[kept], y[kept], ranking.score[ranking.ends][seen - 1][kept])


def brier(labels: npt.ArrayLike, scores: npt.ArrayLike, *, weights: Weights = None) -> float:
    """The mean squared distance between a chance of fraud and what became of it (Brier, 1950); 0 is perfect.

    Raises InputError as `metrics.roc_auc`, and where a score is not between 0 and 1.

    >>> brier([0, 1], [0.25, 0.5])
    0.15625
    """
    truth, score = _chances(labels, scores)
    return float(np.average((score - truth) ** 2, weights=None if weights is None else weighed(weights, truth.size)))


def expected_calibration_error(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, bins: int = 10, weights: Weights = None
) -> float:
    """How far, on average, scores are from the share of fraud among events of such a score; bins as `reliability`.

    Raises InputError as `brier`. Source: Naeini, Cooper and Hauskrecht, 2015, with bins of equal counts, since nearly
    all scores of a rare class would share a bin of equal width.

    >>> round(expected_calibration_error([0, 0, 1, 1], [0.2, 0.2, 0.7, 0.7], bins=2), 12)
    0.25
    """
    return reliability(labels, scores, bins=bins, weights=weights).error()


def reliability(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, bins: int = 10, weights: Weights = None
) -> Reliability:
    """Mean score and share of fraud in bins of as equal counts as ties allow: events of one score stay together.

    An event is in bin number floor(bins * share of events that score lower); bins without events are left out. Raises
    InputError as `brier`, and where `bins` is below 1.

    >>> reliability([0, 0, 1, 1], [0.2, 0.2, 0.7, 0.7], bins=2).fraud.tolist()
    [0.0, 1.0]
    """
    _chances(labels, scores)
    if bins < 1:
        raise InputError(f"bins is {bins} (hint: at least 1)")
    ranking = Ranking.of(labels, scores)
    counts = np.ones(ranking.order.size, np.int64) if weights is None else weighed(weights, ranking.order.size)
    return reliability_of(ranking, counts[ranking.order], bins)


def reliability_of(ranking: Ranking, weights: Counts, bins: int = 10) -> Reliability:
    """As `reliability`, by weights in the order of the ranking."""
    above = np.cumsum(weights)[ranking.ends]
    total = above[-1]
    shares = np.arange(1, bins + 1) * total
    # Bins lie one after another, the highest scores first; whole numbers are divided without rounding.
    groups = np.append(0, np.searchsorted(above, shares / bins if above.dtype.kind == "f" else shares // bins, "right"))
    begins, held = (np.append(0, each)[groups] for each in (ranking.ends + 1, above))
    held = np.diff(held)
    mine = np.append(0, np.cumsum(weights[ranking.frauds]))[np.searchsorted(ranking.frauds, begins)]
    there = held > 0
    score = np.add.reduceat(weights * ranking.score, begins[:-1][there])
    fraud = np.diff(mine)[there]
    held = held[there].astype(np.float64)
    return Reliability((score / held)[::-1], (fraud / held)[::-1], held[::-1])


def thinned(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], points: int) -> npt.NDArray[np.int64]:
    """Indices of at most `points` points, the first and the last among them, at even steps along the curve."""
    if x.size <= points:
        return np.arange(x.size)
    along = np.append(0.0, np.cumsum(_steps(x) + _steps(y)))
    kept = np.searchsorted(along, np.linspace(0, along[-1], points - 1))
    return np.unique(np.append(np.minimum(kept, x.size - 1), [0, x.size - 1])).astype(np.int64)


def _steps(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.abs(np.diff(values)) / (float(np.ptp(values)) or 1.0)


def _chances(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    truth, score = checked(labels, scores)
    if score.min() < 0 or score.max() > 1:
        raise InputError("a score is not between 0 and 1 (hint: only a chance of fraud can be compared with its share)")
    return truth, score


def _none() -> Curve:
    return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
