"""Whatever LightGBM trains, Parakh scores to the same bits; whatever a model file holds, it is refused or it scores."""

from __future__ import annotations

import lightgbm
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.errors import ModelError
from parakh.models.lightgbm_text import parse_forest
from parakh.models.onnx_header import read_onnx
from parakh.models.trees import TreeScorer

AWKWARD = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, np.inf, -np.inf, 1e300, -1.0, -0.5, 2.7, 31.0, 2.0**31]


@st.composite
def trained(draw: st.DrawFn) -> str:
    """The text of a small model over four features, the last perhaps categorical, trained on random rows."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = random.normal(size=(200, 4))
    x[:, 3] = random.integers(0, draw(st.sampled_from([2, 5, 40, 200])), 200)
    x[random.random(x.shape) < draw(st.sampled_from([0.0, 0.2, 0.6]))] = np.nan
    x[random.random(x.shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    parameters = {
        "objective": draw(st.sampled_from(["binary", "regression", "cross_entropy", "poisson"])),
        "boosting": draw(st.sampled_from(["gbdt", "dart", "rf"])),
        "bagging_freq": 1,
        "bagging_fraction": 0.7,
        "num_leaves": draw(st.integers(2, 40)),
        "min_data_in_leaf": draw(st.sampled_from([1, 5, 50, 200])),
        "max_depth": draw(st.sampled_from([-1, 1, 4])),
        "learning_rate": draw(st.sampled_from([0.01, 0.3, 1.0])),
        "use_missing": draw(st.booleans()),
        "zero_as_missing": draw(st.booleans()),
        "max_cat_to_onehot": draw(st.sampled_from([1, 4])),
        "min_data_per_group": 1,
        "extra_trees": draw(st.booleans()),
        "verbose": -1,
        "num_threads": 1,
        "seed": 1,
    }
    categories = [3] if draw(st.booleans()) else []
    y = (np.nan_to_num(x).sum(axis=1) + random.normal(size=200) > 1).astype(float)
    data = lightgbm.Dataset(x, y, categorical_feature=categories)
    return lightgbm.train(parameters, data, draw(st.integers(1, 12))).model_to_string()


@settings(max_examples=60)
@given(trained(), st.integers(0, 2**32 - 1))
def test_scores_are_lightgbms_to_the_bit(text: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.concatenate([random.normal(size=(100, 4)), random.choice(AWKWARD, size=(300, 4))])
    x[:100, 3] = random.integers(-1, 201, 100)
    booster = lightgbm.Booster(model_str=text)
    scorer = TreeScorer(parse_forest(text.encode()), "digest")
    assert np.array_equal(scorer.score(x), booster.predict(x, num_threads=1))
    raw = scorer.raw(x)
    np.testing.assert_allclose(scorer.contributions(x).sum(axis=1), raw, rtol=0, atol=1e-9)
    shap = np.asarray(booster.predict(x, pred_contrib=True, num_threads=1))
    if "average_output" in text:  # LightGBM adds up here what it averages in its scores
        shap /= booster.num_trees()
    np.testing.assert_allclose(scorer.shap(x), shap, rtol=0, atol=1e-9)


@settings(max_examples=150)
@given(trained(), st.data())
def test_a_damaged_model_is_refused_or_scores(text: str, data: st.DataObject) -> None:
    lines = text[: text.index("feature_importances")].split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        key, _, value = lines[place].partition("=")
        words = value.split(" ")
        damage = data.draw(st.sampled_from(["drop", "repeat", "cut", "number"]))
        if damage == "drop":
            del lines[place]
        elif damage == "repeat":
            lines.insert(place, lines[place])
        elif damage == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, len(lines[place])))]
        else:
            odd = st.sampled_from(["-1", "0", "1", "7", "1e9", "nan", "inf", "-inf", "99999999999", "-99", "1_0", "x"])
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(odd)
            lines[place] = f"{key}={' '.join(words)}"
    try:
        forest = parse_forest("\n".join(lines).encode())
    except ModelError:
        return
    scorer = TreeScorer(forest, "digest")
    x = np.random.default_rng(0).choice(AWKWARD, size=(50, scorer.n_inputs))
    raw = scorer.raw(x)
    largest = max(abs(value) for tree in forest.trees for value in tree.leaf_value)
    np.testing.assert_allclose(scorer.contributions(x).sum(axis=1), raw, rtol=0, atol=1e-9 + 1e-12 * largest)
    np.testing.assert_allclose(scorer.shap(x).sum(axis=1), raw, rtol=0, atol=1e-9 + 1e-12 * largest)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_onnx_model_or_an_onnx_model(content: bytes) -> None:
    try:
        facts = read_onnx(b"\x08\x07" + content)
    except ModelError:
        return
    assert facts.inputs
