"""What a review desk of a given size finds a day when it looks at the highest scores first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.learning.measures.ranking import Weights, checked, weighed

__all__ = ["CardDays", "Day", "EventDays", "card_precision", "precision_recall_at_capacity"]


def precision_recall_at_capacity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, days: npt.ArrayLike, capacity: float, weights: Weights = None
) -> tuple[float, float]:
    """Precision and recall of looking at the `capacity` highest scores of each day, as means over the days.

    Ties are looked at by row order. A day with fewer events than that is looked at whole; one without fraud has no
    recall and is left out of its mean, which is NaN where no day has any. With `weights`, the desk looks at events of
    that total weight - of the last one at a part - which is what a sampled set says of the whole. Raises InputError as
    `metrics.roc_auc`, and where `days` has another length or `capacity` is not above 0.

    >>> precision_recall_at_capacity([1, 0, 1, 1], [0.9, 0.8, 0.2, 0.7], days=[1, 1, 2, 2], capacity=1)
    (1.0, 0.75)
    """
    found = EventDays.of(labels, scores, days).find(capacity, weights)
    has_fraud = found.frauds > 0
    recall = found.hits[has_fraud] / found.frauds[has_fraud]
    return float(np.mean(found.hits / found.looked)), float(recall.mean()) if recall.size else float("nan")


def card_precision(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, cards: npt.ArrayLike, days: npt.ArrayLike, top: int = 100
) -> float:
    """The share of compromised cards among the `top` cards of a day, as a mean over the days.

    A card ranks by its highest score of the day, ties by card, ascending; one that was found on a day before is left
    out. Days have `top` places even where they have fewer cards. There are no weights: the cards of a sample are not
    those of a day. Raises InputError as `metrics.roc_auc`, and where `cards` or `days` has another length or `top` is
    below 1. Source: Fraud Detection Handbook, chapter 4, card precision top-k.

    >>> card_precision([1, 0, 1, 0], [0.9, 0.8, 0.9, 0.1], cards=[7, 8, 7, 8], days=[1, 1, 2, 2], top=1)
    0.5
    """
    return CardDays.of(labels, scores, cards, days).precision(top)


@dataclass(frozen=True, slots=True)
class Day:
    """What was found, an element a day: weights of events looked at, of frauds among them, and of all frauds."""

    looked: npt.NDArray[np.float64]
    hits: npt.NDArray[np.float64]
    frauds: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EventDays:
    """Events by day, in each by score, highest first; sorted once for any capacity and weights."""

    order: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    fraud: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike, days: npt.ArrayLike) -> Self:
        truth, score = checked(labels, scores)
        given = np.asarray(days)
        if given.shape != truth.shape:
            raise InputError(f"days {given.shape} differ from events {truth.shape} (hint: one for every event)")
        day = np.unique(given, return_inverse=True)[1].astype(np.int64)
        order = np.lexsort((-score, day))
        day = day[order]
        return cls(order, day, np.searchsorted(day, np.arange(int(day[-1]) + 1)), truth[order])

    def find(self, capacity: float, weights: Weights = None) -> Day:
        """What a desk finds that looks at events of a total weight of `capacity` each day."""
        if not capacity > 0:
            raise InputError(f"capacity is {capacity} (hint: events that are looked at in a day, above 0)")
        weight = np.ones(self.day.size) if weights is None else weighed(weights, self.day.size)[self.order]
        before = np.cumsum(weight) - weight
        seen = np.clip(capacity - (before - before[self.starts][self.day]), 0, weight)
        count = self.starts.size
        looked, hits, frauds = (
            np.bincount(self.day, part, count).astype(np.float64)
            for part in (seen, seen * self.fraud, weight * self.fraud)
        )
        return Day(looked, hits, frauds)


@dataclass(frozen=True, slots=True)
class CardDays:
    """Cards by day, in each by their highest score; `starts` has where each day begins, and the end."""

    cards: int
    card: npt.NDArray[np.int64]
    fraud: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike, cards: npt.ArrayLike, days: npt.ArrayLike) -> Self:
        truth, score = checked(labels, scores)
        card, day = np.asarray(cards), np.asarray(days)
        if card.shape != truth.shape or day.shape != truth.shape:
            raise InputError("cards and days need one value for every event")
        names, card = np.unique(card, return_inverse=True)
        day = np.unique(day, return_inverse=True)[1]
        order = np.lexsort((card, day))
        card, day, truth, score = card[order], day[order], truth[order], score[order]
        first = np.flatnonzero(np.append(True, (card[1:] != card[:-1]) | (day[1:] != day[:-1])))
        card, day = card[first], day[first]
        fraud, highest = np.logical_or.reduceat(truth, first), np.maximum.reduceat(score, first)
        ranked = np.lexsort((card, -highest, day))
        starts = np.searchsorted(day[ranked], np.arange(int(day.max()) + 2))
        return cls(names.size, card[ranked].astype(np.int64), fraud[ranked], starts)

    def precision(self, top: int, times: npt.NDArray[np.int64] | None = None) -> float:
        """Card precision, where each card is there so many `times`: each of its copies is a card of its own."""
        if top < 1:
            raise InputError(f"top is {top} (hint: cards that are looked at in a day, at least 1)")
        left = np.ones(self.cards, np.int64) if times is None else times.copy()
        shares = []
        for begin, end in zip(self.starts[:-1], self.starts[1:]):
            card = self.card[begin:end]
            if times is not None and not times[card].any():
                continue  # nobody of this day was drawn: in those rows there is no such day
            copies = left[card]
            looked = np.clip(top - (np.cumsum(copies) - copies), 0, copies)
            hits = np.where(self.fraud[begin:end], looked, 0)
            left[card] -= hits
            shares.append(int(hits.sum()) / top)
        return float(np.mean(shares))
