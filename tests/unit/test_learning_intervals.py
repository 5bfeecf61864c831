"""Intervals: what is drawn, that weights are as good as rows, and how often an interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parakh.errors import InputError
from parakh.learning.measures.intervals import bootstrap, draws, interval_of, paired
from parakh.learning.measures.metrics import average_precision, roc_auc
from parakh.learning.measures.ranking import Ranking


def events(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.append([0, 1], random.random(count - 2) < 0.2).astype(np.int64)
    return labels, (random.integers(0, 30, count) + 12 * labels) / 42


@pytest.mark.parametrize("seed", range(3))
def test_counting_draws_is_recomputing_on_the_rows_that_were_drawn(seed: int) -> None:
    labels, scores = events(seed)
    ranking = Ranking.of(labels, scores)
    for times in draws(labels.size, strata=labels, rounds=20, seed=seed):
        rows = np.repeat(np.arange(labels.size), times)
        above = ranking.above(times)
        assert above.roc_auc() == roc_auc(labels[rows], scores[rows]), seed
        assert above.average_precision() == average_precision(labels[rows], scores[rows]), seed


def test_strata_keep_their_size_and_groups_stay_together() -> None:
    labels, _ = events(1)
    groups = np.arange(labels.size) // 7
    for times in draws(labels.size, strata=labels, rounds=10):
        assert times[labels == 1].sum() == labels.sum()
        assert times.sum() == labels.size
    bad = np.array([labels[groups == group].max() for group in np.unique(groups)])
    for times in draws(groups, strata=labels, rounds=10):
        of_groups = np.array([set(times[groups == group]) for group in np.unique(groups)])
        assert all(len(one) == 1 for one in of_groups)
        drawn = np.array([next(iter(one)) for one in of_groups])
        assert (drawn[bad == 1].sum(), drawn.sum()) == (bad.sum(), bad.size)


def test_the_same_seed_draws_the_same() -> None:
    labels, scores = events(2)
    found = [
        bootstrap(lambda rows: roc_auc(labels[rows], scores[rows]), labels.size, strata=labels, rounds=30, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_an_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).exponential(size=150)
        interval = bootstrap(
            lambda rows, v=values: float(v[rows].mean()), values.size, rounds=100, seed=seed, level=0.9
        )
        held += interval.low <= 1 <= interval.high
    assert 0.8 <= held / 200 <= 0.96


def test_events_that_depend_on_each_other_make_an_interval_wider() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 25)
    values = random.normal(size=40)[groups] + 0.1 * random.normal(size=groups.size)
    alone, together = (
        bootstrap(lambda rows: float(values[rows].mean()), drawn, rounds=200) for drawn in (groups.size, groups)
    )
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_a_better_score_is_told_from_an_equal_one() -> None:
    random = np.random.default_rng(4)
    labels = (random.random(4000) < 0.1).astype(np.int64)
    signal = labels + random.normal(size=4000)
    blurred, other = signal + random.normal(size=4000), signal + random.normal(size=4000)
    better = paired(labels, signal, blurred, measure="roc_auc")
    assert better.low > 0
    assert better.not_better == 0
    assert better.difference == pytest.approx(roc_auc(labels, signal) - roc_auc(labels, blurred))
    same = paired(labels, blurred, other, measure="roc_auc")
    assert same.low < 0 < same.high
    assert 0.02 < same.not_better < 0.98
    assert paired(labels, signal, signal, rounds=5).not_better == 1


def test_paired_draws_whole_groups_and_counts_weights() -> None:
    labels, first = events(5)
    second = first[::-1].copy()
    groups = np.arange(labels.size) // 10
    found = paired(labels, first, second, groups=groups, weights=np.full(labels.size, 2.0), rounds=40)
    plain = paired(labels, first, second, groups=groups, rounds=40)
    assert found.difference == pytest.approx(plain.difference)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_what_cannot_be_drawn_says_what() -> None:
    with pytest.raises(InputError, match="no events to draw from"):
        bootstrap(lambda rows: 0.0, 0)
    with pytest.raises(InputError, match="at least 1"):
        bootstrap(lambda rows: 0.0, 5, rounds=0)
    with pytest.raises(InputError, match="strata"):
        bootstrap(lambda rows: 0.0, 5, strata=[0, 1])
    with pytest.raises(InputError, match="level"):
        interval_of(np.zeros(3), level=95)
    with pytest.raises(InputError, match="no measure of a ranking"):
        paired([0, 1], [0.1, 0.2], [0.2, 0.1], measure="accuracy")
    assert math.isnan(interval_of(np.array([math.nan])).low)
