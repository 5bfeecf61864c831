"""Judges a model file before anything loads it: what kind it is, and whether the model's inputs fit it.

Kinds are told by content, never by the file's name. What could run code when it is opened (a pickle, joblib) is refused
here. No numerical library is imported, so that `parakh check` stays quick and works where onnxruntime is missing.
"""

from __future__ import annotations

from typing import Literal

from parakh.errors import ModelError
from parakh.models.definition import Model
from parakh.models.lightgbm_text import Forest, parse_forest
from parakh.models.logistic import BEGINNING, Logistic, parse_logistic
from parakh.models.onnx_header import OnnxFacts, read_onnx

__all__ = ["ModelKind", "check_inputs", "check_model", "model_kind", "read_model"]

ModelKind = Literal["lightgbm", "logistic", "onnx"]

Facts = Forest | Logistic | OnnxFacts

_SAVE = "save it as LightGBM text (booster.save_model) or as ONNX"
_ZLIB_LEVELS = (b"\x01", b"\x5e", b"\x9c", b"\xda")
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", f"it is compressed with gzip: unpack it first; if a pickle is inside, {_SAVE}"),
    (b"PK\x03\x04", f"it is a zip archive (as of PyTorch or numpy), which may hold code: {_SAVE}"),
    *((b"x" + level, f"it looks like a joblib pickle, which runs code: {_SAVE}") for level in _ZLIB_LEVELS),
    (b"\x89HDF", f"it is HDF5 (as of Keras): {_SAVE}"),
    (b"CBM1", "it is a CatBoost model: save it with format='onnx'"),
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the model: run git lfs pull"),
)


def model_kind(content: bytes) -> ModelKind:
    """The kind of a model file, told by its first bytes; raises ModelError for what is never loaded.

    >>> model_kind(b"tree\\nversion=v4\\n")
    'lightgbm'
    """
    if not content:
        raise ModelError("the model file is empty")
    if content[:5] in (b"tree\n", b"tree\r"):
        return "lightgbm"
    for start, reason in _REFUSED:
        if content.startswith(start):
            raise ModelError(reason)
    if content[0] == 0x80 or (content.rstrip()[-1:] == b"." and content[:1] in b"(cI]}"):
        raise ModelError(f"it is a pickle, which runs code when it is opened: {_SAVE}")
    if BEGINNING.match(content):
        return "logistic"
    if content[:1] in b"{[":
        raise ModelError(f"it is JSON (as of dump_model or XGBoost): {_SAVE}")
    if content[0] == 0x08:  # field 1, ir_version, a number: how every ONNX file begins
        return "onnx"
    raise ModelError(f"it is neither LightGBM text nor ONNX: {_SAVE}")


def read_model(content: bytes) -> Facts:
    """What a model file says, checked throughout; raises ModelError."""
    kind = model_kind(content)
    if kind == "lightgbm":
        return parse_forest(content)
    return parse_logistic(content) if kind == "logistic" else read_onnx(content)


def check_model(model: Model) -> Facts:
    """Checks a model's file and that its inputs fit; raises ModelError that names the model."""
    try:
        facts = read_model(model.content)
        check_inputs(model.inputs, facts)
    except ModelError as error:
        raise ModelError(f"model {model.name} ({model.file}): {error}") from None
    return facts


def check_inputs(inputs: tuple[str, ...], facts: Facts) -> None:
    """That `inputs` are as many as the model takes and, where it names them, the same in the same order.

    A model that shares no name with the inputs (Column_0, f1...) is taken by position.
    """
    named = _names(facts)
    count = facts.features if isinstance(facts, OnnxFacts) else len(named)
    if count is not None and count != len(inputs):
        takes = f": {', '.join(named)}" if 0 < len(named) <= 40 else ""
        raise ModelError(f"`inputs` has {len(inputs)} names and the model takes {count}{takes}")
    if not set(named) & set(inputs):
        return
    if set(named) == set(inputs) and named != inputs:
        raise ModelError(f"`inputs` stand in another order than the model takes them: [{', '.join(named)}]")
    for place, (given, wanted) in enumerate(zip(inputs, named, strict=True), 1):
        if given != wanted:
            raise ModelError(f"input {place} is {given!r}, but the model was trained on {wanted!r} there")


def _names(facts: Facts) -> tuple[str, ...]:
    if isinstance(facts, Forest):
        return facts.feature_names
    if isinstance(facts, Logistic):
        return tuple(term.name for term in facts.terms)
    return tuple(tensor.name for tensor in facts.inputs) if len(facts.inputs) > 1 else ()
