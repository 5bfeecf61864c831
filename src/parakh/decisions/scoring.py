"""A model in a plan: the columns that it reads, gathered from the frame as it wants them, and where its score goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.expressions.columns import Column
from parakh.expressions.kernels import kernel
from parakh.expressions.types import NULL_WORD
from parakh.models.definition import Model
from parakh.models.scorer import Scorer

__all__ = ["ModelPlan", "gather_inputs"]

_NULL = np.int64(NULL_WORD)


class ModelPlan:
    """A loaded model over a layout: `inputs` are its columns in its own order, `output` takes its score."""

    def __init__(self, model: Model, scorer: Scorer, inputs: tuple[Column, ...], output: Column) -> None:
        self.model = model
        self.scorer = scorer
        self.inputs = inputs
        self.output = output
        self.slots = np.array([column.slot for column in inputs], np.int64)
        # 0 marks a number; else the word is divided by it, which turns minor units into major ones.
        units = [0.0 if column.type.is_float else float(10**column.type.digits) for column in inputs]
        self.units = np.array(units, np.float64)

    def gather(self, words: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float64]:
        """The inputs of rows [start, stop): float64[rows, inputs], NaN for NULL, money in major units."""
        x = np.empty((stop - start, self.slots.size))
        gather_inputs(words, words.view(np.float64), start, self.slots, self.units, x)
        return x

    def score(self, words: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float64]:
        """Score rows [start, stop) into the output column; returns the inputs."""
        x = self.gather(words, start, stop)
        words.view(np.float64)[self.output.slot, start:stop] = self.scorer.score(x)
        return x


@kernel
def gather_inputs(words: Any, numbers: Any, start: Any, slots: Any, units: Any, x: Any) -> None:
    for place in range(slots.shape[0]):
        slot = slots[place]
        unit = units[place]
        for row in range(x.shape[0]):
            if unit == 0.0:
                x[row, place] = numbers[slot, start + row]
            else:
                word = words[slot, start + row]
                x[row, place] = np.nan if word == _NULL else word / unit
