"""Metrics of a score against slow definitions and, where it is installed, scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.errors import InputError
from parakh.learning.measures.desk import CardDays
from parakh.learning.measures.metrics import (
    average_precision,
    brier,
    card_precision,
    expected_calibration_error,
    precision_recall_at_capacity,
    precision_recall_curve,
    recall_at_false_positive_rate,
    reliability,
    roc_auc,
    roc_curve,
)
from parakh.learning.measures.ranking import RANKED, Ranking


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


@st.composite
def scored_events(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both classes, scores with many ties, days, and how often each row is there."""
    count = draw(st.integers(2, 40))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))])
    scores = np.array(draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))) / 8
    days = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    times = np.array([1, 1, *draw(st.lists(st.integers(0, 3), min_size=count - 2, max_size=count - 2))])
    return labels, scores, days, times


@given(scored_events())
def test_whole_weights_are_as_good_as_repeated_rows(events: tuple[np.ndarray, ...]) -> None:
    labels, scores, days, times = events
    rows = np.repeat(np.arange(labels.size), times)
    for measure in (roc_auc, average_precision, recall_at_false_positive_rate):
        assert measure(labels, scores, weights=times) == measure(labels[rows], scores[rows])
    for measure in (brier, expected_calibration_error):
        assert measure(labels, scores, weights=times) == pytest.approx(measure(labels[rows], scores[rows]), abs=1e-12)
    there = times > 0  # a day of which nothing is left is no day
    weighed = precision_recall_at_capacity(
        labels[there], scores[there], days=days[there], capacity=2, weights=times[there]
    )
    repeated = precision_recall_at_capacity(labels[rows], scores[rows], days=days[rows], capacity=2)
    assert weighed == pytest.approx(repeated, nan_ok=True)


@given(scored_events())
def test_what_is_counted_at_frauds_alone_is_what_is_counted_everywhere(events: tuple[np.ndarray, ...]) -> None:
    labels, scores, _, times = events
    ranking = Ranking.of(labels, scores)
    weights = times[ranking.order]
    for measure in RANKED.values():
        assert measure(ranking.condensed(weights)) == measure(ranking.above_ranked(weights))


@given(scored_events(), st.integers(1, 5))
def test_a_desk_finds_what_one_finds_by_looking(events: tuple[np.ndarray, ...], capacity: int) -> None:
    labels, scores, days, _ = events
    precisions, recalls = [], []
    for day in sorted(set(days.tolist())):
        rows = sorted(np.flatnonzero(days == day).tolist(), key=lambda row: (-scores[row], row))
        looked = rows[:capacity]
        precisions.append(sum(labels[looked]) / len(looked))
        if sum(labels[rows]):
            recalls.append(sum(labels[looked]) / sum(labels[rows]))
    wanted = np.mean(precisions), np.mean(recalls)
    assert precision_recall_at_capacity(labels, scores, days=days, capacity=capacity) == pytest.approx(wanted)


@given(scored_events(), st.integers(1, 6))
def test_bins_hold_equal_scores_together(events: tuple[np.ndarray, ...], bins: int) -> None:
    labels, scores, _, _ = events
    number = np.array([int((scores < score).sum()) * bins // scores.size for score in scores])
    held = sorted(set(number.tolist()))
    found = reliability(labels, scores, bins=bins)
    assert found.events.tolist() == [int((number == one).sum()) for one in held]
    assert found.score == pytest.approx([scores[number == one].mean() for one in held])
    assert found.fraud == pytest.approx([labels[number == one].mean() for one in held])
    error = sum((number == one).mean() * abs((scores - labels)[number == one].mean()) for one in held)
    assert expected_calibration_error(labels, scores, bins=bins) == pytest.approx(error)


@given(scored_events())
def test_weighted_measures_and_curves_equal_scikit_learn(events: tuple[np.ndarray, ...]) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    labels, scores, _, times = events
    weights = times + 0.25
    assert roc_auc(labels, scores, weights=weights) == pytest.approx(
        oracle.roc_auc_score(labels, scores, sample_weight=weights)
    )
    assert average_precision(labels, scores, weights=weights) == pytest.approx(
        oracle.average_precision_score(labels, scores, sample_weight=weights)
    )
    assert brier(labels, scores, weights=weights) == pytest.approx(
        oracle.brier_score_loss(labels, scores, sample_weight=weights)
    )
    x, y, threshold = oracle.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    curve = roc_curve(labels, scores, weights=weights)
    assert curve.x == pytest.approx(x)
    assert curve.y == pytest.approx(y)
    assert curve.threshold.tolist() == threshold.tolist()
    precision, recall, threshold = oracle.precision_recall_curve(labels, scores, sample_weight=weights)
    curve = precision_recall_curve(labels, scores, weights=weights)
    assert curve.x[::-1] == pytest.approx(recall[:-1])  # its last point, at no threshold, is drawn by nobody
    assert curve.y[::-1] == pytest.approx(precision[:-1])
    assert curve.threshold[::-1].tolist() == threshold.tolist()


def test_a_thinned_curve_keeps_its_ends_and_stays_near() -> None:
    random = np.random.default_rng(5)
    labels = random.random(20_000) < 0.02
    scores = random.beta(1 + 4 * labels, 9)
    whole, thin = (roc_curve(labels, scores, points=points) for points in (10**6, 200))
    assert thin.x.size <= 200 < whole.x.size
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    assert np.abs(np.interp(whole.x, thin.x, thin.y) - whole.y).max() < 0.02


@given(scored_events(), st.lists(st.integers(0, 4), min_size=40, max_size=40), st.integers(1, 3))
def test_cards_that_are_drawn_twice_are_two_cards(events: tuple[np.ndarray, ...], whose: list[int], top: int) -> None:
    labels, scores, days, _ = events
    cards = np.array(whose[: labels.size])
    times = np.array([2, 1, 0, 3, 1])[np.unique(cards)]
    number = np.unique(cards, return_inverse=True)[1]
    if not times.any():
        return
    rows = np.repeat(np.arange(labels.size), times[number])
    copy = np.concatenate([np.arange(count) for count in times[number]])
    wanted = card_precision(labels[rows], scores[rows], cards=cards[rows] * 10 + copy, days=days[rows], top=top)
    assert CardDays.of(labels, scores, cards, days).precision(top, times) == pytest.approx(wanted)


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_only_chances_are_compared_with_shares(score: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        brier([0, 1], [0.5, score])


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "differ"), ([1.0, -1.0], "negative"), ([1, math.nan], "no number")]
)
def test_bad_weights_say_what(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        roc_auc([0, 1], [0.1, 0.2], weights=weights)
