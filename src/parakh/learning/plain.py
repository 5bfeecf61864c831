"""Figures as JSON takes them: what is not a number is null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """The value in dicts, lists and numbers of Python's own; NaN and infinities are None.

    >>> plain({"recall": float("nan"), "of": (1, 2.5), "low": np.float64(0.25)})
    {'recall': None, 'of': [1, 2.5], 'low': 0.25}
    """
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
