"""Scores ONNX models through onnxruntime, an optional extra that is imported here alone, when a model needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.models.onnx_header import DOUBLE, OnnxFacts, Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["OnnxScorer"]

Floats = NDArray[np.float64]


class OnnxScorer:
    """Scores rows by an ONNX model, one row a run.

    One row, because a library may add in another order for another number of rows, and a replay must give the same
    bits whatever its batches: this costs throughput, and LightGBM text is the faster format. `x` is
    float64[rows, n_inputs], NaN for NULL (the model must know what to do with it); it is narrowed to the model's own
    floats. Graphs have no paths, so there are no contributions.
    """

    kind = "onnx"

    def __init__(self, content: bytes, facts: OnnxFacts, n_inputs: int, digest: str) -> None:
        self.n_inputs = n_inputs
        self.digest = digest
        self._facts = facts
        self._session = _session(content)
        probe = self._run(np.zeros((1, n_inputs)), 0)
        if probe.size not in (1, 2):
            raise ModelError(f"the ONNX model gives {probe.size} numbers a row, not a score or two probabilities")

    def score(self, x: Floats) -> Floats:
        """float64[rows]: the score, or the probability of class 1; NaN where it is not finite. Raises ModelError."""
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ValueError(f"x must be float64[rows, {self.n_inputs}]")
        out = np.empty(len(x))
        for row in range(len(x)):
            out[row] = self._run(x, row)[-1]
        out[~np.isfinite(out)] = np.nan
        return out

    def contributions(self, x: Floats) -> None:
        """None: a graph has no paths to tell contributions from."""

    def shap(self, x: Floats) -> None:
        """None, as `contributions`."""

    def _run(self, x: Floats, row: int) -> Floats:
        inputs = self._facts.inputs
        if len(inputs) == 1 and len(inputs[0].shape) == 2:
            fed = {inputs[0].name: _narrowed(x[row : row + 1], inputs[0])}
        else:
            fed = {
                tensor.name: _narrowed(x[row, place], tensor).reshape((1,) * len(tensor.shape))
                for place, tensor in enumerate(inputs)
            }
        try:
            (result,) = self._session.run([self._facts.output.name], fed)
        except Exception as error:  # onnxruntime raises many kinds, none of them public
            raise ModelError(f"onnxruntime cannot run the model: {error}") from None
        return np.asarray(result, np.float64).reshape(-1)


def _narrowed(values: NDArray[np.float64] | np.float64, tensor: Tensor) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64 if tensor.element == DOUBLE else np.float32)


def _session(content: bytes) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("ONNX models need onnxruntime: pip install 'parakh[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, not printed
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds, none of them public
        raise ModelError(f"onnxruntime cannot load the model: {error}") from None
