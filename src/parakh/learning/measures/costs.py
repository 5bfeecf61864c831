"""What a decision costs: fraud that passes, work on reviews, and good people who are stopped; in money."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.rules.definition import Outcome

__all__ = ["Costs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """A cost matrix whose entries depend on the amount (Elkan, 2001), in major units of the amounts' currency.

    A fraud that passes costs `fraud_share` of its amount and `fraud_fixed`; one that is challenged or reviewed still
    passes in a share of cases, 1 less `challenge_stops` or `review_stops`. A review costs `review` whatever it finds. A
    good event costs `challenge` where it is challenged, `block_share` of its amount and `block_fixed` where it is
    blocked. Raises InputError where a cost is negative or not a number, or a share of what is stopped is above 1.

    >>> Costs(review=3.0).of([0, 3, 2, 2], [True, True, True, False], [50.0, 50.0, 50.0, 50.0])
    array([50.,  0.,  3.,  3.])
    """

    fraud_share: float = 1.0
    fraud_fixed: float = 0.0
    review: float = 2.0
    challenge: float = 0.2
    block_share: float = 0.05
    block_fixed: float = 1.0
    challenge_stops: float = 0.9
    review_stops: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            most = 1.0 if item.name.endswith("_stops") else float("inf")
            if not (0 <= value <= most and value < float("inf")):
                hint = "a share between 0 and 1" if most == 1.0 else "a cost of 0 or more, in major units"
                raise InputError(f"{item.name} is {value} (hint: {hint})")

    def of(
        self, outcome: npt.ArrayLike, fraud: npt.ArrayLike, amount: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.float64]:
        """What each event costs, in major units.

        `outcome` holds `Outcome`s, `fraud` booleans, `amount` major units, NaN where there is none: such events, and
        all where `amount` is None, cost the fixed parts alone, as do amounts below 0. Raises InputError where lengths
        differ or an outcome is none.
        """
        what, bad = np.asarray(outcome), np.asarray(fraud, dtype=np.bool_)
        money = np.zeros(what.shape) if amount is None else np.asarray(amount, dtype=np.float64)
        if not what.shape == bad.shape == money.shape or what.ndim != 1:
            raise InputError(f"outcomes {what.shape}, frauds {bad.shape} and amounts {money.shape} differ in length")
        if what.size and not (what.min() >= Outcome.ALLOW and what.max() <= Outcome.BLOCK):
            raise InputError("an outcome is none of 0 (allow), 1 (challenge), 2 (review), 3 (block)")
        money = np.maximum(np.nan_to_num(money, nan=0.0), 0.0)
        passes = np.array([1.0, 1.0 - self.challenge_stops, 1.0 - self.review_stops, 0.0])[what]
        lost = passes * (self.fraud_share * money + self.fraud_fixed)
        friction = np.array([0.0, self.challenge, 0.0, self.block_fixed])[what]
        friction += np.where(what == Outcome.BLOCK, self.block_share * money, 0.0)
        return np.where(bad, lost, friction) + np.where(what == Outcome.REVIEW, self.review, 0.0)
