"""Thresholds: the choice is the best there is, found by trying all on small data, and stands where it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.learning.measures.costs import Costs
from parakh.learning.promotion.thresholds import Events, Ladder, Places, Thresholds
from parakh.rules.definition import Outcome

BANDED = (Outcome.BLOCK, Outcome.REVIEW, Outcome.CHALLENGE)
COSTS = Costs(review=3.0, challenge=0.5, block_share=0.1, block_fixed=1.0, challenge_stops=0.8, review_stops=0.95)


def random_events(seed: int, size: int, *, weighted: bool = False) -> Events:
    random = np.random.default_rng(seed)
    score = np.round(random.random(size), 1 if seed % 2 else 3)
    fraud = random.random(size) < 0.1 + 0.6 * score
    score[random.random(size) < 0.1] = np.nan
    amount = np.round(random.gamma(1.5, 20.0, size), 2)
    amount[random.random(size) < 0.05] = np.nan
    asked = random.choice([-1, 0, 1, 2, 3], size, p=[0.7, 0.05, 0.1, 0.1, 0.05]).astype(np.int8)
    decided = (asked >= 0) & (random.random(size) < 0.3)
    weight = random.choice([0.0, 1.0, 20.0], size, p=[0.1, 0.8, 0.1]) if weighted else np.ones(size)
    return Events(score=score, fraud=fraud, amount=amount, asked=asked, decided=decided, weight=weight)


def measured(events: Events, thresholds: Thresholds) -> tuple[float, int, float]:
    """Loss, reviews and good events stopped, event by event."""
    loss, reviews, stopped = 0.0, 0, 0.0
    for i in range(events.score.size):
        banded = -1
        for outcome in BANDED:
            threshold = thresholds.of(outcome)
            if threshold is not None and events.score[i] >= threshold:
                banded = max(banded, int(outcome))
        asked = int(events.asked[i])
        found = asked if events.decided[i] else max(asked, banded)
        found = max(found, 0)
        one = slice(i, i + 1)
        loss += float(COSTS.of([found], events.fraud[one], events.amount[one])[0]) * events.weight[i]
        reviews += found == Outcome.REVIEW
        stopped += (found > 0 and not events.fraud[i]) * events.weight[i]
    return loss, reviews, stopped


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(0, 14),
    capacity=st.sampled_from([0, 1, 2, 4, np.inf]),
    most=st.sampled_from([0, 1, 3, 25, np.inf]),
    bands=st.sets(st.sampled_from(BANDED)),
    weighted=st.booleans(),
)
def test_nothing_is_better_than_the_choice(
    seed: int, size: int, capacity: float, most: float, bands: set[Outcome], weighted: bool
) -> None:
    events = random_events(seed, size, weighted=weighted)
    ladder = Ladder(events, COSTS)
    choices: list[list[float | None]] = [
        [None, *ladder.scores.tolist()] if outcome in bands else [None] for outcome in BANDED
    ]
    within = []
    for block, review, challenge in itertools.product(*choices):
        loss, reviews, stopped = measured(events, Thresholds(block=block, review=review, challenge=challenge))
        if reviews <= capacity and stopped <= most + 1e-9:
            within.append(loss)
    best = ladder.best(reviews=capacity, stopped=most, bands=bands)
    if best is None:
        assert not within
        return
    thresholds = ladder.thresholds(best)
    assert all(thresholds.of(outcome) is None for outcome in BANDED if outcome not in bands)
    loss, reviews, stopped = measured(events, thresholds)
    assert loss == pytest.approx(min(within), abs=1e-6)
    assert reviews <= capacity
    assert stopped <= most + 1e-9
    assert (ladder.loss(best), ladder.reviews(best), ladder.stopped(best)) == pytest.approx((loss, reviews, stopped))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32), size=st.integers(1, 200), places=st.lists(st.integers(0, 200), min_size=3, max_size=3)
)
def test_short_numbers_stand_at_their_places(seed: int, size: int, places: list[int]) -> None:
    events = random_events(seed, size)
    ladder = Ladder(events, COSTS)
    wanted = Places(*sorted(min(place, ladder.scores.size) for place in places))
    thresholds = ladder.thresholds(wanted)
    assert ladder.places(thresholds) == wanted
    found = events.outcomes(thresholds.asked(events.score))
    assert float(COSTS.of(found, events.fraud, events.amount).sum()) == pytest.approx(ladder.loss(wanted))


def test_many_events_are_quick_and_the_limits_bind() -> None:
    random = np.random.default_rng(5)
    size = 200_000
    fraud = random.random(size) < 0.01
    score = np.clip(np.where(fraud, random.beta(5, 2, size), random.beta(1, 12, size)), 0, 1)
    nothing = np.full(size, -1, np.int8)
    events = Events(
        score=score, fraud=fraud, amount=random.gamma(1.5, 60, size), asked=nothing,
        decided=np.zeros(size, np.bool_), weight=np.ones(size),
    )  # fmt: skip
    ladder = Ladder(events, Costs())
    free = ladder.best()
    tight = ladder.best(reviews=100, stopped=500)
    assert free is not None
    assert tight is not None
    assert ladder.reviews(tight) <= 100 < ladder.reviews(free)
    assert ladder.stopped(tight) <= 500 < ladder.stopped(free)
    assert ladder.loss(free) < ladder.loss(tight) < ladder.loss(Places(0, 0, 0))
