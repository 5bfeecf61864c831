"""Logistic regressions: read strictly, scored as scikit-learn scores them, exact in what each input adds."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.models.check import check_model, model_kind, read_model
from parakh.models.definition import Model
from parakh.models.logistic import MAXIMUM_BYTES, Logistic, Term, parse_logistic, write_logistic
from parakh.models.logistic_scorer import LogisticScorer
from parakh.models.scorer import load_model

TERM = Term(name="amount", signed_log=True, fill=120.5, mean=4.1, scale=1.3, coefficient=0.75)
SOUND = json.loads(write_logistic(Logistic(-4.25, (TERM,))))

finite = st.floats(-1e6, 1e6)
terms = st.builds(
    Term,
    name=st.uuids().map(str),
    signed_log=st.booleans(),
    fill=finite,
    mean=finite,
    scale=st.floats(1e-3, 1e6),
    coefficient=st.floats(-100, 100),
)
models = st.builds(Logistic, finite, st.lists(terms, min_size=1, max_size=6, unique_by=lambda t: t.name).map(tuple))


def slow(model: Logistic, row: list[float]) -> list[float]:
    """What each input adds to the raw score of a row, as the format says it."""
    added = []
    for term, value in zip(model.terms, row, strict=True):
        value = term.fill if math.isnan(value) else value
        if term.signed_log:
            value = math.copysign(math.log(1 + abs(value)), value)
        added.append(term.coefficient * (value - term.mean) / term.scale)
    return added


def rows_of(model: Logistic, seed: int, count: int = 9) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1000, (count, len(model.terms)))
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


@given(models, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_scores_and_contributions_are_those_of_a_slow_loop(model: Logistic, seed: int) -> None:
    x = rows_of(model, seed)
    scorer = LogisticScorer(model, "")
    moved = scorer.contributions(x)
    for row, values in enumerate(x.tolist()):
        added = slow(model, values)
        size = (
            1
            + abs(model.intercept)
            + sum(map(abs, added))
            + sum(abs(t.coefficient * t.mean / t.scale) for t in model.terms)
        )
        np.testing.assert_allclose(moved[row], [*added, model.intercept], rtol=0, atol=1e-12 * size)
        assert math.isclose(scorer.raw(x)[row], model.intercept + sum(added), rel_tol=0, abs_tol=1e-12 * size)
        assert math.isclose(scorer.raw(x)[row], float(moved[row].sum()), rel_tol=0, abs_tol=1e-12 * size)
    raw = scorer.raw(x)
    wanted = [1 / (1 + math.exp(-value)) if value > -700 else 0.0 for value in raw.tolist()]
    np.testing.assert_allclose(scorer.score(x), wanted, rtol=1e-12, atol=1e-300)


@given(models, st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_row_scores_the_same_bits_in_any_batch(model: Logistic, seed: int) -> None:
    x = rows_of(model, seed, 33)
    scorer = LogisticScorer(model, "")
    alone = np.concatenate([scorer.score(x[row : row + 1]) for row in range(len(x))])
    assert scorer.score(x).tobytes() == alone.tobytes()


@given(models)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_back(model: Logistic) -> None:
    content = write_logistic(model)
    assert model_kind(content) == "logistic"
    assert read_model(content) == model
    assert write_logistic(parse_logistic(content)) == content


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    x = rng.lognormal(1, 1, (500, 4))
    y = x[:, 0] - x[:, 1] + rng.normal(0, 1, 500) > 0
    x[rng.random(x.shape) < 0.1] = np.nan
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), sklearn.LogisticRegression()).fit(x, y)
    imputer, scaler, fitted = (step for _, step in pipeline.steps)
    facts = zip(imputer.statistics_, scaler.mean_, scaler.scale_, fitted.coef_[0], strict=True)
    model = Logistic(
        float(fitted.intercept_[0]),
        tuple(
            Term(name=f"x{number}", fill=float(fill), mean=float(mean), scale=float(scale), coefficient=float(weight))
            for number, (fill, mean, scale, weight) in enumerate(facts)
        ),
    )
    names = tuple(term.name for term in model.terms)
    content = write_logistic(model)
    scorer = load_model(Model(name="risk", event_type="payment", file="risk.json", inputs=names, content=content))
    assert (scorer.kind, scorer.n_inputs) == ("logistic", 4)
    np.testing.assert_allclose(scorer.score(x), pipeline.predict_proba(x)[:, 1], rtol=0, atol=1e-12)


def test_a_raw_score_that_is_not_finite_is_unknown() -> None:
    term = Term(name="a", fill=0.0, mean=0.0, scale=1e-300, coefficient=1e300)
    scorer = LogisticScorer(Logistic(0.0, (term,)), "")
    assert np.isnan(scorer.score(np.array([[1.0]]))).all()
    assert scorer.score(np.array([[0.0], [np.nan]])).tolist() == [0.5, 0.5]


def changed(**values: object) -> bytes:
    return json.dumps(SOUND | values).encode()


def input_with(**values: object) -> bytes:
    return changed(inputs=[SOUND["inputs"][0] | values])


BAD = {
    "not JSON": (b'{"format": "parakh-logistic", "version": ', "not JSON: .*line 1"),
    "not text": (b'{"format": "parakh-logistic", "\xff": 1}', "not UTF-8"),
    "another version": (changed(version=2), "version '2' .* is not read"),
    "version true": (changed(version=True), "version 'True'"),
    "no intercept": (json.dumps({k: v for k, v in SOUND.items() if k != "intercept"}).encode(), "no «intercept»"),
    "a key more": (changed(extra=1), "«extra», which the format does not know"),
    "no inputs": (changed(inputs=[]), "at least one input"),
    "inputs no list": (changed(inputs={"a": 1}), "at least one input"),
    "an input that is a number": (changed(inputs=[3]), "input 1 is not an object"),
    "too many": (changed(inputs=[3] * 10_001), "10,001 inputs, more than 10,000"),
    "twice": (changed(inputs=SOUND["inputs"] * 2), "'amount' is there twice"),
    "a key twice": (b'{"format": "parakh-logistic", "version": 1, "version": 1}', "«version» is given twice"),
    "no name": (input_with(name=""), "input 1 has no name"),
    "scale 0": (input_with(scale=0), r"input 1 \(amount\): «scale» must be above 0"),
    "a text for a number": (input_with(mean="4"), "«mean» must be a number"),
    "a truth for a number": (input_with(fill=True), "«fill» must be a number"),
    "NaN": (input_with(fill=math.nan), "NaN, which is not a finite number"),
    "infinite": (write_logistic(Logistic(0.0, (TERM,))).replace(b"120.5", b"1e999"), "«fill» is out of range"),
    "a long whole number": (write_logistic(Logistic(0.0, (TERM,))).replace(b"120.5", b"1" * 5000), "out of range"),
    "log as a number": (input_with(signed_log=1), "«signed_log» must be true or false"),
    "unknown of an input": (input_with(offset=1), "«offset», which the format does not know"),
    "nested": (b'{"format": "parakh-logistic", "inputs": ' + b"[" * 100_000, "nested too deep"),
    "large": (changed() + b" " * MAXIMUM_BYTES, "more than the"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_what_is_not_sound_is_refused(content: bytes, reason: str) -> None:
    assert model_kind(content) == "logistic"
    with pytest.raises(ModelError, match=f"model risk \\(risk.json\\): .*{reason}"):
        check_model(Model(name="risk", event_type="payment", file="risk.json", inputs=("amount",), content=content))


def test_foreign_json_stays_foreign() -> None:
    for content in (b'{"learner": {}}', b'{"format": "other"}', b'{"version": 1, "format": "parakh-logistic"}'):
        with pytest.raises(ModelError, match="JSON"):
            model_kind(content)


def test_inputs_must_be_those_of_the_model() -> None:
    content = write_logistic(Logistic(0.0, (TERM,)))
    with pytest.raises(ModelError, match="`inputs` has 2 names and the model takes 1: amount"):
        check_model(Model(name="r", event_type="p", file="f", inputs=("total", "amount"), content=content))


def test_a_model_is_read_without_numerical_libraries() -> None:
    program = "import sys, parakh.models.check; print(sorted({'numpy', 'numba'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
