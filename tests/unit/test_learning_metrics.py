"""Metrics of a score against slow definitions and, where it is installed, scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parakh.errors import InputError
from parakh.learning.metrics import average_precision, card_precision, recall_at_false_positive_rate, roc_auc


@pytest.mark.parametrize("seed", range(30))
def test_metrics_equal_their_definitions_with_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.append([0, 1], random.integers(0, 2, 60))
    scores = random.integers(0, 12, 62) / 12
    frauds, goods = scores[labels == 1], scores[labels == 0]
    pairs = [(f > g) + (f == g) / 2 for f in frauds for g in goods]
    assert roc_auc(labels, scores) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12), seed
    wanted = sum(labels[scores >= f].mean() for f in frauds) / len(frauds)
    assert average_precision(labels, scores) == pytest.approx(wanted, abs=1e-12), seed
    cuts = [np.inf, *scores]
    best = max((frauds >= cut).mean() for cut in cuts if (goods >= cut).mean() <= 0.1)
    assert recall_at_false_positive_rate(labels, scores, rate=0.1) == pytest.approx(best), seed


@pytest.mark.parametrize("seed", range(30))
def test_metrics_equal_scikit_learn(seed: int) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    labels = np.append([0, 1], random.integers(0, 2, 500))
    scores = random.integers(0, 40, 502) / 40
    assert roc_auc(labels, scores) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-12), seed
    wanted = oracle.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(wanted, abs=1e-12), seed


def test_one_class_is_nan() -> None:
    assert math.isnan(roc_auc([1, 1], [0.1, 0.2]))
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert math.isnan(recall_at_false_positive_rate([0, 0], [0.1, 0.2]))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "no events"),
        ([0, 1], [0.1], "differ"),
        ([0, 2], [0.1, 0.2], "neither 0 nor 1"),
        ([0, 1], [0.1, math.nan], "row 1 is NaN"),
    ],
)
def test_bad_input_says_what(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        roc_auc(labels, scores)


def test_bad_rate_says_what() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        recall_at_false_positive_rate([0, 1], [0.1, 0.2], rate=1.5)


def test_a_card_found_before_leaves_its_place_and_one_missed_does_not() -> None:
    cards, days = [1, 2, 3, 1, 2, 3], [1, 1, 1, 2, 2, 2]
    scores = [0.9, 0.5, 0.4, 0.9, 0.8, 0.1]
    assert card_precision([1, 1, 0, 1, 1, 0], scores, cards=cards, days=days, top=1) == 1.0
    assert card_precision([0, 1, 0, 1, 1, 0], scores, cards=cards, days=days, top=1) == 0.5


def test_card_precision_says_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="one value for every event"):
        card_precision([0, 1], [0.1, 0.2], cards=[1], days=[1, 1])
