"""From a model's definition to what scores: the one door through which model files are loaded."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.models.check import check_model
from parakh.models.definition import Model
from parakh.models.lightgbm_text import Forest
from parakh.models.logistic import Logistic
from parakh.models.logistic_scorer import LogisticScorer
from parakh.models.onnx_model import OnnxScorer
from parakh.models.trees import TreeScorer
from parakh.rules.definition import Mode

__all__ = ["Scorer", "load_model"]


class Scorer(Protocol):
    """A loaded model.

    `x` is float64[rows, n_inputs], C-contiguous: NaN for NULL, booleans 0 and 1, money in major units.
    """

    @property
    def kind(self) -> str:
        """lightgbm, logistic or onnx."""

    @property
    def n_inputs(self) -> int: ...

    @property
    def digest(self) -> str:
        """SHA-256 of the model file, in hex: its version in the records of decisions."""

    def score(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[rows]; NaN where the model has no finite answer."""

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """float64[rows, n_inputs + 1], in units of the raw score, the base last; None where the model has none."""

    def shap(self, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """As `contributions`, exact Shapley values; slower."""


def load_model(model: Model) -> Scorer:
    """Loads a model's content, once it is checked; raises ModelError that names the model and says what to do.

    >>> from parakh.models.definition import Model
    >>> pickled = b"\\x80\\x04."
    >>> load_model(Model(name="risk", event_type="payment", file="risk.pkl", inputs=("amount",), content=pickled))
    Traceback (most recent call last):
    ...
    parakh.errors.ModelError: model risk (risk.pkl): it is a pickle, which runs code when it is opened: \
save it as LightGBM text (booster.save_model) or as ONNX
    """
    if model.content.startswith(b"tree"):
        return _kept(replace(model, mode=Mode.LIVE, card=(), description=""))
    return _load(model)


def _load(model: Model) -> Scorer:
    facts = check_model(model)
    digest = hashlib.sha256(model.content).hexdigest()
    try:
        if isinstance(facts, Forest):
            return TreeScorer(facts, digest)
        if isinstance(facts, Logistic):
            return LogisticScorer(facts, digest)
        return OnnxScorer(model.content, facts, len(model.inputs), digest)
    except ModelError as error:
        raise ModelError(f"model {model.name} ({model.file}): {error}") from None


# A project is compiled again at every edit of a rule, and its trees are seldom what was edited.
_kept = lru_cache(maxsize=16)(_load)
