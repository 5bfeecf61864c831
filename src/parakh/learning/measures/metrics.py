"""How well a score tells fraud from the rest, in the terms of the field: exact, ties included, with NumPy alone."""

from __future__ import annotations

import numpy.typing as npt

from parakh.errors import InputError
from parakh.learning.measures.curves import (
    brier,
    expected_calibration_error,
    precision_recall_curve,
    reliability,
    roc_curve,
)
from parakh.learning.measures.desk import card_precision, precision_recall_at_capacity
from parakh.learning.measures.ranking import Ranking, Weights

__all__ = [
    "average_precision",
    "brier",
    "card_precision",
    "expected_calibration_error",
    "precision_recall_at_capacity",
    "precision_recall_curve",
    "recall_at_false_positive_rate",
    "reliability",
    "roc_auc",
    "roc_curve",
]


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, *, weights: Weights = None) -> float:
    """The chance that a fraud scores above a good event, a tie counted half (Hanley and McNeil, 1982).

    `labels` and `scores` have one value a row, `weights` too: 1 / share for what was sampled. NaN where there is only
    one class: nothing can be compared. Raises InputError where there are no rows, lengths differ, a label is not 0 or
    1, a score is NaN, or a weight negative.

    >>> roc_auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    return Ranking.of(labels, scores).above(weights).roc_auc()


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike, *, weights: Weights = None) -> float:
    """The precision at each score, weighted by the recall it adds, as scikit-learn's `average_precision_score`.

    NaN where there is no fraud. Raises InputError as `roc_auc`.

    >>> average_precision([0, 1, 1], [0.9, 0.8, 0.7])
    0.5833333333333333
    """
    return Ranking.of(labels, scores).above(weights).average_precision()


def recall_at_false_positive_rate(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, rate: float = 0.01, weights: Weights = None
) -> float:
    """The largest share of frauds caught by a threshold that stops at most `rate` of the good events.

    Thresholds are scores: tied events go together. NaN where there is only one class. Raises InputError as `roc_auc`,
    and where `rate` is not between 0 and 1.

    >>> recall_at_false_positive_rate([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.5
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate is {rate} (hint: a share between 0 and 1)")
    return Ranking.of(labels, scores).above(weights).recall_at(rate)
