"""Calibration: raw scores become probabilities that mean what they say, by two numbers that go into the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.errors import InputError

__all__ = ["Calibration", "platt"]

Floats = NDArray[np.float64]

_STEPS = 100
_SMALLEST_SLOPE = 1e-3
_FEWEST = 20
"""Frauds below which only the level of scores is fitted: a slope would be that of chance."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """`probability = 1 / (1 + exp(-(a * raw + b)))`, a above 0: the order of scores stays as it is."""

    a: float
    b: float
    note: str = ""

    def of(self, raw: Floats) -> Floats:
        """float64[rows]: the probability of each raw score."""
        bounded = np.clip(self.a * raw + self.b, -700.0, 700.0)
        return 1.0 / (1.0 + np.exp(-bounded))

    def as_data(self) -> dict[str, Any]:
        return {"method": "platt", "a": self.a, "b": self.b} | ({"note": self.note} if self.note else {})


def platt(raw: Floats, label: NDArray[np.bool_], weight: Floats | None = None) -> Calibration:
    """The line a * raw + b under which labels are likeliest, by Newton's method; one score, label and weight a row.

    Targets are drawn in a little, as by so many rows one cannot be sure (Platt, 1999; Lin, Lin and Weng, 2007): the sum
    does not run away where a score tells the classes apart without a mistake. With few frauds a is 1, and where a
    higher score means less fraud it is kept just above 0; `note` says so. Raises InputError where there is one class
    only.

    >>> rng = np.random.default_rng(0)
    >>> raw = rng.normal(size=5000)
    >>> fitted = platt(raw, rng.random(5000) < 1 / (1 + np.exp(-(2 * raw - 1))))
    >>> abs(fitted.a - 2) < 0.2 and abs(fitted.b + 1) < 0.2
    True
    """
    weight = np.ones(raw.size) if weight is None else weight
    positive, negative = float(weight[label].sum()), float(weight[~label].sum())
    if not positive or not negative:
        raise InputError("a score cannot be calibrated on one class (hint: a span with frauds and good events)")
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
    if min(label.sum(), (~label).sum()) < _FEWEST:
        level = _newton(np.zeros(raw.size), target, weight, 0.0, shift=raw)[1]
        return Calibration(
            1.0, level, f"fewer than {_FEWEST} frauds out of fold: only the level of scores is calibrated"
        )
    centre, spread = float(np.average(raw, weights=weight)), float(raw.std()) or 1.0
    z = (raw - centre) / spread
    a, b = _newton(z, target, weight, math.log(positive / negative))
    slope, note = a / spread, ""
    if slope <= 0:
        slope, note = _SMALLEST_SLOPE, "out of fold a higher raw score did not mean more fraud: the model tells nothing"
        b = math.log(positive / negative)
    return Calibration(slope, b - slope * centre, note)


def _newton(
    z: Floats, target: Floats, weight: Floats, start: float, *, shift: Floats | float = 0.0
) -> tuple[float, float]:
    """Slope and intercept of what is added to `shift`; a step is halved until the loss falls, so that it ends."""
    a, b = 0.0, start
    loss = _loss(a * z + b + shift, target, weight)
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(a * z + b + shift, -700.0, 700.0)))
        off, curved = weight * (p - target), weight * p * (1 - p)
        down_a, down_b = float(off @ z), float(off.sum())
        aa, ab, bb = float(curved @ (z * z)) + 1e-12, float(curved @ z), float(curved.sum()) + 1e-12
        size = aa * bb - ab * ab
        if abs(down_a) + abs(down_b) < 1e-9 * weight.sum() or size <= 0:
            break
        step_a, step_b = (bb * down_a - ab * down_b) / size, (aa * down_b - ab * down_a) / size
        share = 1.0
        while share > 1e-9:
            fallen = _loss((a - share * step_a) * z + b - share * step_b + shift, target, weight)
            if fallen < loss:
                break
            share /= 2
        else:
            break
        a, b, loss = a - share * step_a, b - share * step_b, fallen
    return a, b


def _loss(raw: Floats, target: Floats, weight: Floats) -> float:
    return float(np.sum(weight * (np.logaddexp(0.0, raw) - target * raw)))
