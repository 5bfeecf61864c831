"""LightGBM files: what is read scores to LightGBM's own bits, what is not sound is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.models import shap, trees
from parakh.models.lightgbm_text import MAXIMUM_BYTES, parse_forest
from parakh.models.trees import TreeScorer

Floats = NDArray[np.float64]

AWKWARD = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, np.inf, -np.inf, 1e300, -1.0, -0.5, 0.5, 2.7]
CATEGORIES = [69.0, 70.0, 1e10, 2.0**31 - 1, 2.0**31, 2.0**32 + 3]


@cache
def rows() -> tuple[Floats, Floats]:
    """Training rows with missing values, zeros and 70 categories in the last column, and their labels."""
    random = np.random.default_rng(7)
    x = random.normal(size=(600, 4))
    x[:, 3] = random.integers(0, 70, 600)
    x[random.random(x.shape) < 0.1] = np.nan
    x[random.random(x.shape) < 0.1] = 0
    return x, (np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 3]) % 3 == 0) > 0.5).astype(float)


@cache
def queries() -> Floats:
    random = np.random.default_rng(8)
    return np.concatenate([rows()[0], random.choice(AWKWARD + CATEGORIES, size=(2000, 4))])


def trained(rounds: int = 12, **settings: Any) -> str:
    """A model's text, trained on `rows()`."""
    x, y = rows()
    if settings["objective"] not in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank"):
        y = y + 0.1 + np.abs(np.nan_to_num(x[:, 1])) - (2 if settings.get("reg_sqrt") else 0)
    group = [60] * 10 if settings["objective"] == "lambdarank" else None
    small = {"num_leaves": 9, "min_data_in_leaf": 5, "cat_smooth": 1, "min_data_per_group": 3, "max_cat_to_onehot": 2}
    data = lightgbm.Dataset(x, y, group=group, categorical_feature=[3])
    return lightgbm.train({"verbose": -1, "num_threads": 1, **small, **settings}, data, rounds).model_to_string()


MODELS: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary"},
    "binary, another slope": {"objective": "binary", "sigmoid": 0.7},
    "cross entropy": {"objective": "cross_entropy"},
    "cross entropy lambda": {"objective": "cross_entropy_lambda"},
    "poisson": {"objective": "poisson"},
    "gamma": {"objective": "gamma"},
    "tweedie": {"objective": "tweedie"},
    "regression": {"objective": "regression"},
    "regression of the root": {"objective": "regression", "reg_sqrt": True},
    "quantile": {"objective": "quantile"},
    "huber": {"objective": "huber"},
    "ranking": {"objective": "lambdarank"},
    "own objective": {"objective": lambda score, data: (score - data.get_label(), np.ones_like(score))},
    "random forest": {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "dart": {"objective": "binary", "boosting": "dart"},
    "zero as missing": {"objective": "binary", "zero_as_missing": True},
    "missing as zero": {"objective": "binary", "use_missing": False},
    "stumps": {"objective": "binary", "num_leaves": 2},
    "lone leaves": {"objective": "binary", "min_data_in_leaf": 600},
    "one round": {"objective": "binary", "rounds": 1},
}


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_scores_are_lightgbms_to_the_bit(settings: dict[str, Any]) -> None:
    text = trained(**settings)
    booster = lightgbm.Booster(model_str=text)
    scorer = TreeScorer(parse_forest(text.encode()), "digest")
    expected = booster.predict(queries(), num_threads=1)
    assert np.array_equal(scorer.score(queries()), expected)
    assert len(np.unique(expected)) > 1 or settings.get("min_data_in_leaf") == 600
    # LightGBM leaves the averaging of a random forest out of its raw scores and contributions.
    divisor = 12 if settings.get("boosting") == "rf" else 1
    raw = np.asarray(booster.predict(queries(), raw_score=True, num_threads=1)) / divisor
    assert np.array_equal(scorer.raw(queries()), raw)
    expected_shap = np.asarray(booster.predict(queries(), pred_contrib=True, num_threads=1)) / divisor
    np.testing.assert_allclose(scorer.shap(queries()), expected_shap, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scorer.contributions(queries()).sum(axis=1), raw, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scorer.contributions(queries())[:, -1], expected_shap[:, -1], rtol=0, atol=1e-9)


def test_a_score_does_not_depend_on_the_batch() -> None:
    scorer = TreeScorer(parse_forest(trained(objective="binary").encode()), "digest")
    whole = scorer.score(queries())
    single = np.concatenate([scorer.score(queries()[row : row + 1]) for row in range(200)])
    assert np.array_equal(whole[:200], single)
    assert scorer.score(queries()[:0]).shape == (0,)


def test_contributions_follow_the_path() -> None:
    """By hand: one tree, amount <= 10 -> leaf 1 (30 rows), else hour <= 6 -> leaf 5 (10 rows), else leaf 2 (60)."""
    scorer = TreeScorer(parse_forest(HAND.encode()), "digest")
    base = (30 * 1 + 10 * 5 + 60 * 2) / 100
    right = (10 * 5 + 60 * 2) / 70
    small, night, day = scorer.contributions(np.array([[5.0, 3.0], [50.0, 3.0], [50.0, 12.0]]))
    np.testing.assert_allclose(small, [1 - base, 0, base], atol=1e-12)
    np.testing.assert_allclose(night, [right - base, 5 - right, base], atol=1e-12)
    np.testing.assert_allclose(day, [right - base, 2 - right, base], atol=1e-12)


HAND = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=regression
feature_names=amount hour
feature_infos=[0:1] [0:1]

Tree=0
num_leaves=3
num_cat=0
split_feature=0 1
split_gain=1 1
threshold=10 6
decision_type=2 2
left_child=-1 -2
right_child=1 -3
leaf_value=1 5 2
leaf_weight=1 1 1
leaf_count=30 10 60
internal_value=0 0
internal_weight=0 0
internal_count=100 70
is_linear=0
shrinkage=1


end of trees
"""


def test_rows_of_another_shape_never_reach_the_kernels() -> None:
    scorer = TreeScorer(parse_forest(HAND.encode()), "digest")
    strange: list[Any] = [
        np.zeros((2, 3)),
        np.zeros(2),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2), order="F"),
        np.zeros((2, 4))[:, ::2],
    ]
    for x in strange:
        for method in (scorer.score, scorer.contributions, scorer.shap):
            with pytest.raises(ValueError, match="float64"):
                method(x)


def test_kernels_are_compiled_once() -> None:
    scorer = TreeScorer(parse_forest(HAND.encode()), "digest")
    held = np.array([[5.0, 3.0], [50.0, 3.0]])
    held.flags.writeable = False
    for x in (np.ones((3, 2)), np.ones((1, 2)), np.asfortranarray(np.ones((1, 2))), np.ones((4, 2))[1:3], held):
        assert scorer.score(x).shape == (len(x),)
        assert scorer.contributions(x).shape == scorer.shap(x).shape == (len(x), 3)
    for kernel in (trees.forest_sums, trees.forest_moves, trees._directions, shap._add_shap):
        assert len(kernel.signatures) == 1


def test_windows_line_ends_are_read() -> None:
    """A checkout may have changed them, which LightGBM itself would not forgive."""
    assert parse_forest(HAND.replace("\n", "\r\n").encode()) == parse_forest(HAND.encode())


def test_an_overflowing_score_is_unknown() -> None:
    text = HAND.replace("objective=regression", "objective=poisson").replace("leaf_value=1 5 2", "leaf_value=1 5 2000")
    scores = TreeScorer(parse_forest(text.encode()), "digest").score(np.array([[50.0, 12.0], [50.0, 3.0]]))
    assert np.isnan(scores[0])
    assert scores[1] == np.exp(5.0)


def without(line: str) -> Callable[[str], str]:
    return lambda text: "\n".join(kept for kept in text.split("\n") if not kept.startswith(line))


def with_line(key: str, value: str) -> Callable[[str], str]:
    return lambda text: "\n".join(f"{key}={value}" if line.startswith(key + "=") else line for line in text.split("\n"))


UNSOUND: dict[str, tuple[Callable[[str], str], str]] = {
    "not a model": (lambda text: "hello", "first line is not"),
    "cut in the header": (lambda text: text[:60], "max_feature_idx"),
    "cut in a tree": (lambda text: text[: text.index("leaf_weight")], "cut off"),
    "cut before its end": (lambda text: text[: text.index("end of trees")], "cut off"),
    "no trees": (lambda text: text[: text.index("Tree=0")] + "end of trees\n", "no trees"),
    "trees renumbered": (with_line("Tree", "3"), "expected «Tree=0»"),
    "more trees promised": (with_line("label_index", "0\ntree_sizes=100 100"), "promises 2 trees"),
    "version": (with_line("version", "v5"), "v5"),
    "classes": (with_line("num_class", "3"), "several classes"),
    "trees a round": (with_line("num_tree_per_iteration", "3"), "several classes"),
    "features": (with_line("max_feature_idx", "999999999"), "feature_names has 2"),
    "no features": (without("feature_names"), "feature_names"),
    "objective": (with_line("objective", "multiclass num_class:3"), "multiclass"),
    "objective's form": (with_line("objective", "regression weird"), "weird"),
    "sigmoid": (with_line("objective", "binary sigmoid:-1"), "above 0"),
    "sigmoid that is no number": (with_line("objective", "binary sigmoid:x"), "number"),
    "linear": (with_line("is_linear", "1"), "linear_tree=false"),
    "no leaves": (with_line("num_leaves", "0"), "at least 1"),
    "leaves in words": (with_line("num_leaves", "three"), "whole number"),
    "leaves in other digits": (with_line("num_leaves", "٣"), "whole number"),
    "a billion leaves": (with_line("num_leaves", "999999999"), "must have 999999999"),
    "leaves beyond any": (with_line("num_leaves", "9" * 5000), "whole number"),
    "too few thresholds": (with_line("threshold", "10"), "must have 2"),
    "a threshold that is NaN": (with_line("threshold", "10 nan"), "finite"),
    "underscored number": (with_line("threshold", "1_0 6"), "number"),
    "a leaf that is NaN": (with_line("leaf_value", "1 nan 2"), "finite"),
    "an endless leaf": (with_line("leaf_value", "1 inf 2"), "finite"),
    "a negative count": (with_line("leaf_count", "30 -10 60"), "leaf_count"),
    "no counts": (without("leaf_count"), "leaf_count"),
    "a feature beyond": (with_line("split_feature", "0 2"), "between 0 and 1"),
    "a negative feature": (with_line("split_feature", "0 -1"), "between 0 and 1"),
    "a feature of 100 digits": (with_line("split_feature", "0 " + "9" * 100), "range"),
    "an unknown decision": (with_line("decision_type", "2 64"), "decision_type"),
    "a set that is not there": (with_line("decision_type", "2 1"), "category set"),
    "a child beyond": (with_line("right_child", "2 -3"), "right_child"),
    "a leaf beyond": (with_line("right_child", "1 -4"), "right_child"),
    "a cycle": (with_line("right_child", "0 -3"), "two parents"),
    "a node of two parents": (with_line("left_child", "1 -2"), "two parents"),
    "a leaf of two parents": (with_line("left_child", "-3 -2"), "two parents"),
    "given twice": (with_line("shrinkage", "1\nleaf_value=1 1 1"), "twice"),
    "pandas categories": (lambda text: text + 'pandas_categorical:[["a", "b"]]\n', "integer codes"),
}


@pytest.mark.parametrize(("change", "reason"), UNSOUND.values(), ids=UNSOUND)
def test_what_is_not_sound_is_refused(change: Callable[[str], str], reason: str) -> None:
    assert parse_forest(HAND.encode()).feature_names == ("amount", "hour")
    with pytest.raises(ModelError, match=reason):
        parse_forest(change(HAND).encode())


def test_bytes_that_are_no_text_or_too_many_are_refused() -> None:
    with pytest.raises(ModelError, match="UTF-8"):
        parse_forest(b"tree\n\xff\xfe")
    with pytest.raises(ModelError, match="more than"):
        parse_forest(b"tree\n" + bytes(MAXIMUM_BYTES))


@pytest.mark.parametrize(
    ("bounds", "words", "reason"),
    [("0 5", "1", "divide"), ("1 1", "1", "divide"), ("0", "1", "must have 2"), ("0 1", "4294967296", "between")],
)
def test_category_sets_must_hold_together(bounds: str, words: str, reason: str) -> None:
    sets = HAND.replace("num_cat=0", f"num_cat=1\ncat_boundaries={bounds}\ncat_threshold={words}")
    with pytest.raises(ModelError, match=reason):
        parse_forest(sets.replace("decision_type=2 2", "decision_type=1 2").replace("=10 6", "=0 6").encode())


def test_a_chain_too_deep_for_shapley_values_still_scores() -> None:
    """128 features on one path is the bound; a chain of 200 splits over 200 features is beyond it."""
    nodes = 200
    numbers = " ".join(str(n) for n in range(nodes))
    text = HAND
    for key, value in {
        "max_feature_idx": str(nodes - 1),
        "feature_names": " ".join(f"f{n}" for n in range(nodes)),
        "num_leaves": str(nodes + 1),
        "split_feature": numbers,
        "threshold": numbers,
        "decision_type": " ".join(["2"] * nodes),
        "left_child": " ".join(str(~n) for n in range(nodes)),
        "right_child": " ".join([*(str(n + 1) for n in range(nodes - 1)), str(~nodes)]),
        "leaf_value": numbers + f" {nodes}",
        "leaf_count": " ".join(["1"] * (nodes + 1)),
    }.items():
        text = with_line(key, value)(text)
    scorer = TreeScorer(parse_forest(text.encode()), "digest")
    x = np.full((1, nodes), 1e9)
    assert scorer.score(x)[0] == nodes
    with pytest.raises(ModelError, match="max_depth"):
        scorer.shap(x)
