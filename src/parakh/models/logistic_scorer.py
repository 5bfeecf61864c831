"""Scores logistic regressions in Numba: one pass a row in the order of the inputs, the same bits in any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.expressions.kernels import kernel
from parakh.models.logistic import Logistic

__all__ = ["LogisticScorer"]

Floats = NDArray[np.float64]


class LogisticScorer:
    """Scores rows by a logistic regression.

    `x` is float64[rows, n_inputs], C-contiguous, NaN for NULL; every method returns a new array. Safe to call from
    several threads.

    >>> from parakh.models.logistic import Term
    >>> term = Term(name="amount", fill=10.0, mean=10.0, scale=2.0, coefficient=0.5)
    >>> LogisticScorer(Logistic(0.0, (term,)), "").contributions(np.array([[14.0], [np.nan]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """

    kind = "logistic"

    def __init__(self, model: Logistic, digest: str) -> None:
        self.n_inputs = len(model.terms)
        self.digest = digest
        self._intercept = model.intercept
        terms = [(t.fill, float(t.signed_log), t.mean, t.scale, t.coefficient) for t in model.terms]
        self._terms = np.array(terms, np.float64)
        self.score(np.zeros((1, self.n_inputs)))  # compiled when a model is loaded, not at its first event

    def score(self, x: Floats) -> Floats:
        """float64[rows]: the probability; NaN where the raw score is not finite."""
        out = self._sum(x)
        _link(out)
        return out

    def raw(self, x: Floats) -> Floats:
        """float64[rows]: intercept and terms, before the sigmoid."""
        return self._sum(x)

    def _sum(self, x: Floats) -> Floats:
        x = self._checked(x)
        out = np.empty(len(x))
        _sums(x, self._terms, self._intercept, out)
        return out

    def contributions(self, x: Floats) -> Floats:
        """float64[rows, n_inputs + 1]: what each input adds to the raw score; the last column is the intercept.

        Exact: a row sums to the raw score, and where inputs are independent these are the Shapley values, with the mean
        row of training as what they are measured from (Strumbelj and Kononenko, 2014).
        """
        x = self._checked(x)
        out = np.empty((len(x), self.n_inputs + 1))
        _contributions(x, self._terms, self._intercept, out)
        return out

    def shap(self, x: Floats) -> Floats:
        """As `contributions`."""
        return self.contributions(x)

    def _checked(self, x: Floats) -> Floats:
        """The kernels trust what they are given; a read-only array would be one more type to compile them for."""
        flags = x.flags
        if x.ndim != 2 or x.shape[1] != self.n_inputs or x.dtype != np.float64 or not flags.c_contiguous:
            raise ValueError(f"x must be a C-contiguous float64[rows, {self.n_inputs}]")
        return x if flags.writeable else x.copy()


@kernel
def _added(value: Any, terms: Any, place: Any) -> Any:
    """What one input adds: its terms are fill, signed_log, mean, scale, coefficient."""
    if math.isnan(value):
        value = terms[place, 0]
    if terms[place, 1] != 0.0:
        value = math.copysign(math.log1p(abs(value)), value)
    return terms[place, 4] * ((value - terms[place, 2]) / terms[place, 3])


@kernel
def _sums(x: Any, terms: Any, intercept: Any, out: Any) -> None:
    for row in range(x.shape[0]):
        total = intercept
        for place in range(x.shape[1]):
            total += _added(x[row, place], terms, place)
        out[row] = total


@kernel
def _contributions(x: Any, terms: Any, intercept: Any, out: Any) -> None:
    for row in range(x.shape[0]):
        for place in range(x.shape[1]):
            out[row, place] = _added(x[row, place], terms, place)
        out[row, x.shape[1]] = intercept


@kernel
def _link(out: Any) -> None:
    for row in range(out.shape[0]):
        raw = out[row]
        out[row] = 1.0 / (1.0 + math.exp(-raw)) if abs(raw) < math.inf else math.nan
