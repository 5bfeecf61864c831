"""A whole evaluation against its parts, and everything that real sets lack."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.errors import InputError
from parakh.learning.measures import metrics
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.evaluation import METRICS, evaluate
from parakh.learning.measures.segments import segments_of

DAY_US = 86_400_000_000
COSTS = Costs(review=1.5, review_stops=0.9)


def events(count: int = 800, seed: int = 0, *, days: int = 20) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.08
    return {
        "labels": labels,
        "scores": np.round(np.clip(0.1 + 0.5 * labels + random.normal(0, 0.2, count), 0, 1), 2),
        "amounts": random.lognormal(3, 1, count),
        "time_us": 1_735_689_600_000_000 + np.sort(random.integers(0, days * DAY_US, count)),
        "cards": random.integers(0, count // 8, count),
    }


def values(evaluation: Any) -> dict[str, float]:
    return {name: item.value for name, item in evaluation.metrics.items()}


def test_the_values_are_those_of_the_measures() -> None:
    given = events()
    labels, scores, days = given["labels"], given["scores"], given["time_us"] // DAY_US
    found = evaluate(**given, capacity=3, costs=COSTS, rounds=30)
    precision, recall = metrics.precision_recall_at_capacity(labels, scores, days=days, capacity=3)
    wanted = {
        "roc_auc": metrics.roc_auc(labels, scores),
        "average_precision": metrics.average_precision(labels, scores),
        "precision_at_capacity": precision,
        "recall_at_capacity": recall,
        "card_precision": metrics.card_precision(labels, scores, cards=given["cards"], days=days, top=3),
        "recall_at_fpr_1pct": metrics.recall_at_false_positive_rate(labels, scores),
        "brier": metrics.brier(labels, scores),
        "calibration_error": metrics.expected_calibration_error(labels, scores),
    }
    assert tuple(found.metrics) == METRICS
    assert {name: values(found)[name] for name in wanted} == pytest.approx(wanted)
    for name, item in found.metrics.items():
        assert item.low <= item.high, name
        assert item.low - 0.05 <= item.value <= item.high + 0.05, name
    assert found.notes == ()
    assert (found.days, found.drawn, found.frauds) == (20, "cards", int(labels.sum()))


def test_the_threshold_is_the_best_of_all_within_the_capacity() -> None:
    given = events(seed=3)
    labels, scores, amounts = given["labels"], given["scores"], given["amounts"]
    for capacity in (1, 2, 4, 1000):
        found = evaluate(**given, capacity=capacity, costs=COSTS, rounds=5)
        losses = {}
        for threshold in [math.inf, *np.unique(scores).tolist()]:
            reviewed = scores >= threshold
            if reviewed.sum() <= capacity * found.days:
                losses[threshold] = COSTS.of(2 * reviewed.astype(np.int8), labels, amounts).mean()
        assert found.metrics["expected_loss"].value == pytest.approx(min(losses.values()))
        assert losses[found.threshold] == pytest.approx(min(losses.values()))
        assert found.allowed_loss == pytest.approx(losses[math.inf])


def test_parts_are_evaluations_of_their_own_by_the_threshold_of_the_whole() -> None:
    given = events(seed=1)
    kind = np.array(["shop", "web", None], object)[np.random.default_rng(1).integers(0, 3, 800)]
    found = evaluate(**given, segments={"kind": kind}, costs=COSTS, rounds=5)
    assert [part.name for part in found.by_segment["kind"]] == ["shop", "web", "unknown"]
    assert sum(part.events for part in found.by_segment["kind"]) == sum(part.events for part in found.over_time) == 800
    shop = kind == "shop"
    part = found.by_segment["kind"][0]
    assert part.metrics["roc_auc"].value == metrics.roc_auc(given["labels"][shop], given["scores"][shop])
    reviewed = 2 * (given["scores"][shop] >= found.threshold).astype(np.int8)
    loss = COSTS.of(reviewed, given["labels"][shop], given["amounts"][shop]).mean()
    assert part.metrics["expected_loss"].value == pytest.approx(loss)
    week = found.over_time[1]
    assert week.name == "2025-01-06"
    there = (given["time_us"] >= week.from_us) & (given["time_us"] < week.from_us + 7 * DAY_US)
    assert week.events == there.sum()
    assert week.metrics["average_precision"].value == metrics.average_precision(
        given["labels"][there], given["scores"][there]
    )


def test_weeks_begin_at_midnight_of_the_zone() -> None:
    sunday_evening = int(np.datetime64("2025-01-05T19:00", "us").astype(np.int64))  # Monday in Kolkata
    found = evaluate([0, 1], [0.1, 0.9], time_us=[sunday_evening, sunday_evening], zone="Asia/Kolkata", rounds=1)
    assert [part.name for part in found.over_time] == ["2025-01-06"]
    assert found.over_time[0].from_us == int(np.datetime64("2025-01-05T18:30", "us").astype(np.int64))


def test_a_sampled_set_tells_of_the_whole() -> None:
    whole = events(20_000, seed=2)
    kept = whole["labels"] | (np.random.default_rng(9).random(20_000) < 0.25)
    sampled = {name: column[kept] for name, column in whole.items()}
    weights = np.where(sampled["labels"], 1.0, 4.0)
    exact, found = (
        values(evaluate(**each, capacity=50, costs=COSTS, rounds=2)) for each in (whole, sampled | {"weights": weights})
    )
    assert math.isnan(found.pop("card_precision"))
    for name, value in found.items():
        assert value == pytest.approx(exact[name], rel=0.12, abs=0.01), name


def test_the_same_twice() -> None:
    first, second = (json.dumps(evaluate(**events(), rounds=20, seed=4).as_data()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_a_note(label: int) -> None:
    given = events(40) | {"labels": np.full(40, label)}
    found = evaluate(**given, segments={"all": ["x"] * 40}, rounds=5)
    assert any("nothing can be told apart" in note for note in found.notes)
    assert math.isnan(found.metrics["roc_auc"].value)
    assert math.isnan(found.metrics["brier"].low)
    assert json.loads(json.dumps(found.as_data(), allow_nan=False))["metrics"]["roc_auc"]["value"] is None


def test_one_event_equal_scores_missing_scores_and_amounts_are_notes() -> None:
    json.dumps(evaluate([1], [0.5], amounts=[3.0], time_us=[0], cards=["a"], rounds=3).as_data(), allow_nan=False)
    assert "all scores are equal" in evaluate([0, 1, 1], [0.5] * 3, rounds=3).notes
    found = evaluate([0, 1, 0, 1], [0.1, 0.9, math.nan, 0.8], amounts=[1, math.nan, 1, 1], rounds=3)
    assert (found.events, found.unscored) == (3, 1)
    assert found.notes[0] == "1 events have no score and are left out"
    assert any("have no amount" in note for note in found.notes)
    nothing = evaluate([0, 1], [math.nan, math.nan], time_us=[0, 0], rounds=3)
    assert (nothing.events, nothing.unscored) == (0, 2)
    json.dumps(nothing.as_data(), allow_nan=False)
    raw = evaluate([0, 1, 1], [-3.0, 2.0, 0.5], rounds=3)
    assert "scores are not between 0 and 1: brier and calibration_error need chances" in raw.notes
    assert "reliability" not in raw.curves


def test_curves_and_weeks_without_fraud_do_not_fail() -> None:
    given = events(300, days=30)
    first = given["time_us"] < given["time_us"][0] + 8 * DAY_US
    found = evaluate(**given | {"labels": given["labels"] & ~first}, rounds=3)
    assert math.isnan(found.over_time[0].metrics["recall_at_capacity"].value)
    assert len(found.curves["loss"]["threshold"]) <= 200


def test_segments() -> None:
    codes, names = segments_of(np.append(np.arange(1000.0), math.nan))
    assert names[0] == "0 to 99.9"
    assert (len(names), names[-1], codes[-1]) == (11, "unknown", 10)
    assert np.bincount(codes)[:10].tolist() == [100] * 10
    words = pa.array([f"m{i:02d}" for i in range(20) for _ in range(i + 1)]).dictionary_encode()
    codes, names = segments_of(words)
    assert names == [f"m{i:02d}" for i in range(9, 20)] + ["other"]
    assert (codes == 11).sum() == sum(range(1, 10))
    assert segments_of([True, False, None])[1] == ["false", "true", "unknown"]
    assert segments_of(np.array([1.0, 2.0, math.nan]))[1] == ["1", "2", "unknown"]
    assert segments_of([None, None])[1] == ["unknown"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": [], "scores": []}, "no events"),
        ({"labels": [0], "scores": [0.1, 0.2]}, "differ"),
        ({"labels": [0, 2], "scores": [0.1, 0.2]}, "neither 0 nor 1"),
        ({"labels": [0, 1], "scores": [0.1, 0.2], "amounts": [1.0]}, "amounts"),
        ({"labels": [0, 1], "scores": [0.1, 0.2], "segments": {"kind": ["a"]}}, "segment kind"),
        ({"labels": [0, 1], "scores": [0.1, 0.2], "capacity": 0}, "capacity"),
    ],
)
def test_bad_input_says_what(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(**wrong)
