"""What a policy did in parts of a history - all of it, a week, a value of a field - in events, amounts and cost.

Only matured events tell right from wrong; those that are immature count as events and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.learning.history import History
from parakh.rules.definition import Outcome

__all__ = ["Figures", "Sums", "figures_by", "sums_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Events and what became of them; `amount` is of all events, amounts in major units (0 where there is none)."""

    events: int
    amount: float
    matured: int
    matured_amount: float
    frauds: int
    fraud_amount: float

    @property
    def good(self) -> int:
        """Matured and not known to be fraud."""
        return self.matured - self.frauds

    @property
    def precision(self) -> float:
        """The share of fraud among the matured, NaN where there are none."""
        return ratio(self.frauds, self.matured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came and what was stopped of it - challenged, reviewed or blocked; `cost` is over matured events."""

    name: str
    all: Sums
    stopped: Sums
    reviews: int
    cost: float

    @property
    def recall(self) -> float:
        """The share of frauds that was stopped."""
        return ratio(self.stopped.frauds, self.all.frauds)

    @property
    def recall_by_amount(self) -> float:
        """The share of the frauds' amount that was stopped."""
        return ratio(self.stopped.fraud_amount, self.all.fraud_amount)

    @property
    def precision_by_amount(self) -> float:
        """The share of fraud in the amount that was stopped."""
        return ratio(self.stopped.fraud_amount, self.stopped.matured_amount)

    @property
    def friction(self) -> float:
        """The share of good events that was stopped."""
        return ratio(self.stopped.good, self.all.good)

    def as_data(self) -> dict[str, Any]:
        """As JSON takes it, with the shares; NaN stays to be blanked."""
        return asdict(self) | {
            "precision": self.stopped.precision,
            "precision_by_amount": self.precision_by_amount,
            "recall": self.recall,
            "recall_by_amount": self.recall_by_amount,
            "friction": self.friction,
        }


def ratio(part: float, whole: float) -> float:
    """A share, NaN of nothing."""
    return part / whole if whole else float("nan")


def sums_by(history: History, number: NDArray[np.int64], groups: int, where: NDArray[np.bool_]) -> list[Sums]:
    """The sums of each group: `number` says which an event is in, `where` which events count."""
    amount = np.nan_to_num(history.amount)
    matured, fraud = where & history.matured, where & history.fraud

    def count(mask: NDArray[np.bool_]) -> list[int]:
        found: list[int] = np.bincount(number[mask], minlength=groups).tolist()
        return found

    def add(mask: NDArray[np.bool_]) -> list[float]:
        found: list[float] = np.bincount(number[mask], weights=amount[mask], minlength=groups).tolist()
        return found

    columns = zip(count(where), add(where), count(matured), add(matured), count(fraud), add(fraud), strict=True)
    names = ("events", "amount", "matured", "matured_amount", "frauds", "fraud_amount")
    return [Sums(**dict(zip(names, row, strict=True))) for row in columns]


def figures_by(
    history: History, cost: NDArray[np.float64], number: NDArray[np.int64], names: Sequence[str]
) -> tuple[Figures, ...]:
    """The figures of each group that has events; `cost` has one element an event, 0 where it is not matured."""
    groups = len(names)
    everything = sums_by(history, number, groups, np.ones(len(history), np.bool_))
    stopped = sums_by(history, number, groups, history.outcome > 0)
    reviews = np.bincount(number[history.outcome == Outcome.REVIEW], minlength=groups).tolist()
    costs = np.bincount(number, weights=cost, minlength=groups).tolist()
    return tuple(
        Figures(name=name, all=everything[i], stopped=stopped[i], reviews=reviews[i], cost=costs[i])
        for i, name in enumerate(names)
        if everything[i].events
    )
