"""Costs of decisions against the sentence that says them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.errors import InputError
from parakh.learning.measures.costs import Costs

COSTS = Costs(fraud_share=0.9, fraud_fixed=5, review=2, challenge=0.2, block_share=0.05, block_fixed=1,
              challenge_stops=0.8, review_stops=0.95)  # fmt: skip


def said(costs: Costs, outcome: int, fraud: bool, amount: float) -> float:
    """The same, an event at a time."""
    amount = 0.0 if math.isnan(amount) or amount < 0 else amount
    if fraud:
        passes = {0: 1.0, 1: 1 - costs.challenge_stops, 2: 1 - costs.review_stops, 3: 0.0}[outcome]
        return passes * (costs.fraud_share * amount + costs.fraud_fixed) + (costs.review if outcome == 2 else 0)
    return {0: 0.0, 1: costs.challenge, 2: costs.review, 3: costs.block_share * amount + costs.block_fixed}[outcome]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(-10, 1e6) | st.just(math.nan)), max_size=20))
def test_costs_are_what_they_say(events: list[tuple[int, bool, float]]) -> None:
    outcome = np.array([event[0] for event in events], np.int8)
    fraud = np.array([event[1] for event in events], np.bool_)
    amount = np.array([event[2] for event in events], np.float64)
    assert COSTS.of(outcome, fraud, amount) == pytest.approx([said(COSTS, *event) for event in events])


@pytest.mark.parametrize("wrong", [{"review": -1.0}, {"challenge_stops": 1.5}, {"fraud_share": math.nan}])
def test_a_cost_that_is_none_says_so(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Costs(**wrong)


def test_what_does_not_fit_says_what() -> None:
    with pytest.raises(InputError, match="differ in length"):
        COSTS.of([0, 1], [True], [1.0, 2.0])
    with pytest.raises(InputError, match="none of 0"):
        COSTS.of([4], [True], [1.0])
