"""How well a score tells fraud from the rest, in the terms of the field: exact, ties included, with NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError

__all__ = ["average_precision", "card_precision", "recall_at_false_positive_rate", "roc_auc"]


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The chance that a fraud scores above a good event, a tie counted half (Hanley and McNeil, 1982).

    `labels` and `scores` have one value a row. NaN where there is only one class: nothing can be compared.
    Raises InputError where there are no rows, lengths differ, a label is not 0 or 1, or a score is NaN.

    >>> roc_auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    frauds, goods = _counts_above(labels, scores)
    if not frauds[-1] or not goods[-1]:
        return float("nan")
    # Twice the pairs that stand right: integers below 2**63 up to three thousand million rows.
    pairs = int(np.sum(np.diff(goods) * (frauds[1:] + frauds[:-1])))
    return pairs / (2 * int(frauds[-1]) * int(goods[-1]))


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The precision at each score, weighted by the recall it adds, as scikit-learn's `average_precision_score`.

    NaN where there is no fraud. Raises InputError as `roc_auc`.

    >>> average_precision([0, 1, 1], [0.9, 0.8, 0.7])
    0.5833333333333333
    """
    frauds, goods = _counts_above(labels, scores)
    if not frauds[-1]:
        return float("nan")
    precision = frauds[1:] / (frauds[1:] + goods[1:])
    return float(np.sum(np.diff(frauds) * precision) / frauds[-1])


def recall_at_false_positive_rate(labels: npt.ArrayLike, scores: npt.ArrayLike, *, rate: float = 0.01) -> float:
    """The largest share of frauds caught by a threshold that stops at most `rate` of the good events.

    Thresholds are scores: tied events go together. NaN where there is only one class. Raises InputError as `roc_auc`,
    and where `rate` is not between 0 and 1.

    >>> recall_at_false_positive_rate([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.5
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate is {rate} (hint: a share between 0 and 1)")
    frauds, goods = _counts_above(labels, scores)
    if not frauds[-1] or not goods[-1]:
        return float("nan")
    within = goods / goods[-1] <= rate
    return float(frauds[within].max() / frauds[-1])


def card_precision(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, cards: npt.ArrayLike, days: npt.ArrayLike, top: int = 100
) -> float:
    """The share of compromised cards among the `top` cards of a day, as a mean over the days.

    A card ranks by its highest score of the day, ties by card, ascending; one that was found on a day before is left
    out. Days have `top` places even where they have fewer cards. Raises InputError as `roc_auc`, and where `cards` or
    `days` has another length or `top` is below 1. Source: Fraud Detection Handbook, chapter 4, card precision top-k.

    >>> card_precision([1, 0, 1, 0], [0.9, 0.8, 0.9, 0.1], cards=[7, 8, 7, 8], days=[1, 1, 2, 2], top=1)
    0.5
    """
    _counts_above(labels, scores)
    truth, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    card, day = np.asarray(cards), np.asarray(days)
    if card.shape != truth.shape or day.shape != truth.shape or top < 1:
        raise InputError("cards and days need one value for every event, and top at least 1")
    names, card = np.unique(card, return_inverse=True)
    found = np.zeros(names.size, dtype=np.bool_)
    shares = []
    for one in np.unique(day):
        rows = np.flatnonzero((day == one) & ~found[card])
        highest = np.full(names.size, -np.inf)
        np.maximum.at(highest, card[rows], score[rows])
        fraud = np.zeros(names.size, dtype=np.bool_)
        fraud[card[rows[truth[rows] == 1]]] = True
        first = np.argsort(-highest, kind="stable")[:top]
        hits = first[fraud[first]]
        found[hits] = True
        shares.append(hits.size / top)
    return float(np.mean(shares))


def _counts_above(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frauds and good events at or above each distinct score, highest first, after a leading zero."""
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
    order = np.argsort(-score)
    ranked = score[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), truth.size - 1)
    frauds = np.cumsum(truth[order].astype(np.int64))[last]
    return np.append(0, frauds), np.append(0, last + 1 - frauds)
