"""The logistic baseline: what a plain sum of the inputs can tell, which every other model has to beat.

Inputs are filled with their median where NULL, those with a heavy tail go through a signed logarithm, and all are
brought to mean 0 and deviation 1; a ridge keeps coefficients small. All of it stands in the model's file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from parakh.learning.extra import needed
from parakh.models.logistic import Logistic, Term

__all__ = ["RIDGE", "calibrated", "fit_logistic"]

RIDGE = 1.0
_HEAVY = 2.0
"""Skewness above which a signed logarithm is tried; it is kept where it makes the skewness smaller."""
_STEPS = 500

Floats = NDArray[np.float64]


def fit_logistic(
    x: Floats,
    label: NDArray[np.bool_],
    weight: Floats,
    names: Sequence[str],
    *,
    monotone: Mapping[str, int] | None = None,
) -> Logistic:
    """Fit a logistic regression; x is float64[rows, names], NaN for NULL.

    An input whose coefficient contradicts `monotone` (1: more is more fraud, -1: less) gets none, and the rest is
    fitted again. Needs scikit-learn.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> fitted = fit_logistic(x, np.array([False, False, True, True]), np.ones(4), ["amount"])
    >>> fitted.terms[0].mean, fitted.terms[0].coefficient > 0
    (1.5, True)
    """
    terms = [_prepared(x[:, place], name) for place, name in enumerate(names)]
    z = np.column_stack([_standard(x[:, place], term) for place, term in enumerate(terms)])
    signs = np.array([(monotone or {}).get(name, 0) for name in names])
    used = np.arange(len(names))
    while True:
        intercept, coefficients = _fit(z[:, used], label, weight)
        wrong = coefficients * signs[used] < 0
        if not wrong.any():
            break
        used = used[~wrong]
    for place, value in zip(used.tolist(), coefficients.tolist(), strict=True):
        terms[place] = replace(terms[place], coefficient=value)
    return Logistic(intercept, tuple(terms))


def calibrated(model: Logistic, a: float, b: float) -> Logistic:
    """The model whose raw score is a * raw + b."""
    terms = tuple(replace(term, coefficient=a * term.coefficient) for term in model.terms)
    return Logistic(a * model.intercept + b, terms)


def _prepared(values: Floats, name: str) -> Term:
    """How an input is filled, bent and scaled; its coefficient is still to come."""
    known = values[~np.isnan(values)]
    fill = float(np.median(known)) if known.size else 0.0
    bent = _signed_log(known)
    signed_log = known.size > 2 and abs(_skewness(known)) > _HEAVY and abs(_skewness(bent)) < abs(_skewness(known))
    filled = np.where(np.isnan(values), fill, values)
    if signed_log:
        filled = _signed_log(filled)
    deviation = float(filled.std())
    scale = deviation if np.isfinite(deviation) and deviation > 1e-12 else 1.0
    return Term(name=name, signed_log=signed_log, fill=fill, mean=float(filled.mean()), scale=scale, coefficient=0.0)


def _standard(values: Floats, term: Term) -> Floats:
    filled = np.where(np.isnan(values), term.fill, values)
    if term.signed_log:
        filled = _signed_log(filled)
    return (filled - term.mean) / term.scale


def _signed_log(values: Floats) -> Floats:
    return np.copysign(np.log1p(np.abs(values)), values)


def _skewness(values: Floats) -> float:
    off = values - values.mean()
    deviation = float(np.sqrt(np.mean(off**2)))
    return float(np.mean(off**3)) / deviation**3 if deviation > 1e-12 else 0.0


def _fit(z: Floats, label: NDArray[np.bool_], weight: Floats) -> tuple[float, Floats]:
    """Intercept and coefficients; the classes weigh alike, which calibration takes out again."""
    positive, negative = float(weight[label].sum()), float(weight[~label].sum())
    balanced = np.where(label, weight * negative / positive, weight)
    if not z.shape[1]:
        return 0.0, np.empty(0)
    fitted = needed("sklearn.linear_model").LogisticRegression(C=1.0 / RIDGE, max_iter=_STEPS)
    with warnings.catch_warnings(), needed("threadpoolctl").threadpool_limits(1):
        warnings.simplefilter("ignore")  # not quite at the optimum is near enough for a baseline
        fitted.fit(z, label, sample_weight=balanced)
    return float(fitted.intercept_[0]), np.asarray(fitted.coef_[0], np.float64)
