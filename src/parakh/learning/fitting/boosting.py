"""Boosted trees by LightGBM: fitted to the same bits in every run, and written with their calibration in the leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.errors import InputError
from parakh.learning.extra import needed

__all__ = ["MOST_ROUNDS", "Boosting", "Rows", "TreeParameters", "calibrated_text", "gains"]

MOST_ROUNDS = 400
_USUAL_ROUNDS = 80
_PATIENCE = 30
_STOP_SHARE = 0.15
"""The last part of what is learned from, by time, says when to stop; never the test."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeParameters:
    """What the search may choose; the rest is fixed."""

    num_leaves: int = 31
    min_data_in_leaf: int = 40
    learning_rate: float = 0.08
    feature_fraction: float = 0.8
    lambda_l2: float = 5.0
    positive_weight: float = 1.0  # a fraud counts so often in training; calibration takes it out again


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as LightGBM holds them, with their labels and weights."""

    data: Any
    label: NDArray[np.bool_]
    weight: Floats

    def weigh(self, parameters: TreeParameters) -> None:
        """Let positives count more often, in the fit that follows.

        By set_field: LightGBM's set_weight takes weights of 1 as none and leaves those of the fit before.
        """
        times = np.where(self.label, self.weight * parameters.positive_weight, self.weight)
        self.data.set_field("weight", times.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """How trees are fitted: the names of the inputs, a seed, and the inputs whose effect may go one way only.

    One thread and histograms by column: with more threads, or by row, sums are added in another order and the last bits
    of a model differ. Folds are fitted beside each other instead.
    """

    names: tuple[str, ...]
    seed: int = 0
    monotone: Mapping[str, int]

    def rows(self, x: Floats, label: NDArray[np.bool_], weight: Floats, *, like: Rows | None = None) -> Rows:
        """Rows to fit, in the bins of others where these are given: binned once, fitted as often as one likes."""
        lightgbm = needed("lightgbm")
        reference = None if like is None else like.data
        made = lightgbm.Dataset(
            x, label.astype(np.float64), feature_name=list(self.names), params=self._fixed(), reference=reference
        )
        try:
            return Rows(made.construct(), label, weight)
        except lightgbm.basic.LightGBMError as error:
            raise InputError(f"LightGBM does not take the inputs: {error}") from None

    def halves(self, x: Floats, label: NDArray[np.bool_], weight: Floats) -> tuple[Rows, Rows | None]:
        """Rows in the order of time as some to fit, and their last part, which says when to stop.

        All rows and None where either part would have no positive.
        """
        stop = len(x) - max(1, round(_STOP_SHARE * len(x)))
        if not label[:stop].any() or not label[stop:].any():
            return self.rows(x, label, weight), None
        early = self.rows(x[:stop], label[:stop], weight[:stop])
        return early, self.rows(x[stop:], label[stop:], weight[stop:], like=early)

    def fit(self, rows: Rows, parameters: TreeParameters, rounds: int) -> Any:
        """A booster of so many rounds, or fewer where nothing is left to split."""
        rows.weigh(parameters)
        return needed("lightgbm").train(self._all(parameters), rows.data, num_boost_round=rounds)

    def fit_until(self, early: Rows, later: Rows | None, parameters: TreeParameters) -> tuple[Any, int]:
        """A booster that stops where rows that came later are told no better any more, and its rounds.

        Where there is nothing to tell by, a usual number of rounds.
        """
        if later is None:
            return self.fit(early, parameters, _USUAL_ROUNDS), _USUAL_ROUNDS
        lightgbm = needed("lightgbm")
        early.weigh(parameters)
        later.weigh(parameters)
        booster = lightgbm.train(
            self._all(parameters),
            early.data,
            num_boost_round=MOST_ROUNDS,
            valid_sets=[later.data],
            callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        )
        return booster, max(1, int(booster.best_iteration))

    def _fixed(self) -> dict[str, Any]:
        fixed: dict[str, Any] = {
            "objective": "binary",
            "metric": "binary_logloss",
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "max_bin": 255,
            "seed": self.seed % 2**31,
            "deterministic": True,
            "force_col_wise": True,
            "feature_pre_filter": False,
            "num_threads": 1,
            "verbosity": -1,
        }
        if self.monotone:
            fixed["monotone_constraints"] = [self.monotone.get(name, 0) for name in self.names]
        return fixed

    def _all(self, parameters: TreeParameters) -> dict[str, Any]:
        chosen = asdict(parameters)
        del chosen["positive_weight"]
        return self._fixed() | chosen


def calibrated_text(text: str, a: float, b: float) -> bytes:
    """A LightGBM text model whose raw score is a * raw + b: the leaves times a, and b added to those of the first tree.

    The engine needs nothing new, and LightGBM itself still reads the file. Inner values, which say the mean below a
    node, are changed alike.
    """
    head, *trees = text.split("\nTree=")
    last, found, tail = trees[-1].partition("\nend of trees")
    assert found, "a model's text has an end of trees"
    blocks = []
    for number, tree in enumerate([*trees[:-1], last]):
        added = b if number == 0 else 0.0
        lines = [_scaled(line, a, added) for line in f"Tree={tree}".split("\n")]
        blocks.append("\n".join(lines) + "\n")
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    head = "\n".join(f"tree_sizes={sizes}" if line.startswith("tree_sizes=") else line for line in head.split("\n"))
    return f"{head}\n{''.join(blocks)}end of trees{tail}".encode()


def _scaled(line: str, a: float, added: float) -> str:
    key, _, values = line.partition("=")
    if key not in ("leaf_value", "internal_value") or not values:
        return line
    return f"{key}={' '.join(repr(a * float(value) + added) for value in values.split())}"


def gains(booster: Any, names: Sequence[str]) -> dict[str, float]:
    """How much the splits on each input took off the loss, as shares of all."""
    gain = np.asarray(booster.feature_importance("gain"), np.float64)
    total = float(gain.sum()) or 1.0
    return {name: float(value) / total for name, value in zip(names, gain, strict=True)}
