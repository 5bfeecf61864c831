"""What an evaluation is given, checked: the events that have a score, and in words what is not known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.learning.measures.ranking import weighed
from parakh.learning.measures.segments import coded, local_days

__all__ = ["Events"]


class Events:
    """The events that have a score: arrays of one length, None where nothing was given; arguments as in `evaluate`.

    `day` is counted in the zone since 1970, `card` numbers whom an event belongs to. Raises InputError as `evaluate`.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        scores: npt.ArrayLike,
        *,
        amounts: npt.ArrayLike | None,
        time_us: npt.ArrayLike | None,
        cards: Any,
        weights: npt.ArrayLike | None,
        segments: Mapping[str, Any],
        zone: str,
    ) -> None:
        label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
        if label.ndim != 1 or label.shape != score.shape:
            raise InputError(
                f"labels {label.shape} and scores {score.shape} differ (hint: one of each for every event)"
            )
        if not label.size:
            raise InputError("no events to evaluate (hint: is the span or the segment empty?)")
        self.rows = np.flatnonzero(~np.isnan(score))
        self.unscored = label.size - self.rows.size
        self.label, self.score = label[self.rows], score[self.rows]
        self.amount = self._of("amounts", amounts, np.float64)
        self.weight = None if weights is None else weighed(weights, label.size)[self.rows]
        self.time = self._of("time_us", time_us, np.int64)
        self.zone = zone
        self.day: npt.NDArray[np.int64] | None = None if self.time is None else local_days(self.time, zone)
        self.card = None
        if cards is not None:
            codes = self._of("cards", coded(cards)[0], np.int64)
            alone = codes < 0  # nobody's events stand each for itself
            self.card = np.where(alone, np.arange(codes.size) + codes.max(initial=0) + 1, codes)
        self.segments = {name: _taken(name, values, self.rows, label.size) for name, values in segments.items()}

    def _of(self, name: str, values: npt.ArrayLike | None, kind: Any) -> Any:
        if values is None:
            return None
        array = np.asarray(values, dtype=kind)
        if array.shape != (self.rows.size + self.unscored,):
            raise InputError(f"{name} {array.shape} has not one value for every event")
        return array[self.rows]

    def notes(self, chance: bool) -> list[str]:
        """What is missing, in words."""
        found = []
        if self.unscored:
            found.append(f"{self.unscored:,} events have no score and are left out")
        if self.label.size and (self.label.all() or not self.label.any()):
            found.append(f"every event is {'fraud' if self.label.all() else 'good'}: nothing can be told apart")
        elif self.label.size and float(np.ptp(self.score)) == 0:
            found.append("all scores are equal")
        if self.time is None:
            found.append("no times: what is found in a day is not known, and reviews have no limit")
        elif self.day is not None and self.day.size and int(np.ptp(self.day)) == 0:
            found.append("one day only: what is found in a day has no interval")
        if self.card is None:
            found.append("no cards: card_precision is not known, and events are drawn one by one")
        elif self.weight is not None and np.any(self.weight != 1):
            found.append("a sampled set: card_precision needs every event of a card")
        if self.amount is None:
            found.append("no amounts: expected_loss is not known")
        elif missing := int(np.isnan(self.amount).sum()):
            found.append(f"{missing:,} events have no amount: they cost what is fixed alone")
        if self.label.size and not chance:
            found.append("scores are not between 0 and 1: brier and calibration_error need chances")
        return found


def _taken(name: str, values: Any, rows: npt.NDArray[np.int64], events: int) -> Any:
    if len(values) != events:
        raise InputError(f"segment {name} has {len(values):,} values for {events:,} events")
    if hasattr(values, "take") and not isinstance(values, np.ndarray):
        return values.take(rows)
    return np.asarray(values)[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows.tolist()]
