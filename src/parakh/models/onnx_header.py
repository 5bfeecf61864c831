"""Reads what an ONNX file says of itself, its inputs and outputs, without the ONNX libraries and without running it.

An ONNX model is a protobuf message. The few fields that are needed are read from its wire format, in time linear in the
file's size, so that `parakh check` can judge a model where onnxruntime is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parakh.errors import ModelError

__all__ = ["OnnxFacts", "Tensor", "read_onnx"]

FLOAT, DOUBLE = 1, 11  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation
_DEEPEST = 16  # graphs within graphs

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SKLEARN_HINT = "convert it with options={id(model): {'zipmap': False}} (skl2onnx)"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: its shape (None: any size; the first counts rows) and its element type."""

    name: str
    shape: tuple[int | None, ...]
    element: int


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """The inputs, either one matrix or one tensor a feature, and the output that is the score."""

    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def features(self) -> int | None:
        """How many numbers the model takes; None where it does not say."""
        if len(self.inputs) > 1:
            return len(self.inputs)
        shape = self.inputs[0].shape
        return shape[1] if len(shape) == 2 else 1


def read_onnx(content: bytes) -> OnnxFacts:
    """What an ONNX model takes and gives; raises ModelError where it is damaged or of a form that is not run."""
    try:
        view = memoryview(content)
        graphs = [value for number, value in _messages(view) if number == 7]
        if len(graphs) != 1:
            raise ModelError("not an ONNX model: it holds no graph")
        for number, value in _messages(view):
            if number == 25:  # a function of the model
                for inner, node in _messages(value):
                    if inner == 7:
                        _refuse_external_node(node, 1)
        _refuse_external(graphs[0], 0)
        return _facts(graphs[0])
    except (IndexError, UnicodeDecodeError):
        raise ModelError("the ONNX model is damaged or cut off: export it again") from None


def _facts(graph: memoryview) -> OnnxFacts:
    constants = {_text(tensor, 8) for number, tensor in _messages(graph) if number == 5}
    values: dict[int, list[Tensor | str]] = {11: [], 12: []}
    for number, value in _messages(graph):
        if number in values:
            tensor = _value(value)
            if (tensor if isinstance(tensor, str) else tensor.name) not in constants:
                values[number].append(tensor)
    inputs = []
    for tensor in values[11]:
        if isinstance(tensor, str) or tensor.element not in (FLOAT, DOUBLE):
            name = tensor if isinstance(tensor, str) else tensor.name
            raise ModelError(f"ONNX input {name!r} is not a tensor of floats: export the model with float inputs")
        inputs.append(tensor)
    if not inputs:
        raise ModelError("the ONNX model has no inputs")
    ranks = (1, 2) if len(inputs) == 1 else (0, 1, 2)
    for tensor in inputs:
        wide = len(inputs) > 1 and len(tensor.shape) == 2 and tensor.shape[1] not in (1, None)
        if len(tensor.shape) not in ranks or wide:
            raise ModelError(
                f"ONNX input {tensor.name!r} has shape {_shown(tensor.shape)}: "
                "a model takes one matrix [rows, features] or one [rows, 1] a feature"
            )
    return OnnxFacts(tuple(inputs), _score(values[12]))


def _score(outputs: list[Tensor | str]) -> Tensor:
    tensors = [item for item in outputs if not isinstance(item, str) and item.element in (FLOAT, DOUBLE)]
    likely = [item for item in tensors if "prob" in item.name.lower()]
    if len(tensors) > 1 and len(likely) == 1:
        tensors = likely
    if not tensors:
        hint = (
            _SKLEARN_HINT if any(isinstance(item, str) for item in outputs) else "export the probability, not a label"
        )
        raise ModelError(f"no output of the ONNX model is a tensor of floats: {hint}")
    if len(tensors) > 1:
        names = ", ".join(repr(item.name) for item in tensors)
        raise ModelError(f"which output is the score? The ONNX model gives {names}: keep one, or name it «probability»")
    last = tensors[0].shape[1] if len(tensors[0].shape) == 2 else 1
    if len(tensors[0].shape) > 2 or last not in (None, 1, 2):
        raise ModelError(
            f"ONNX output {tensors[0].name!r} has shape {_shown(tensors[0].shape)}: "
            "a score is [rows], [rows, 1] or, as probabilities of two classes, [rows, 2]"
        )
    return tensors[0]


def _value(view: memoryview) -> Tensor | str:
    """A ValueInfoProto: a tensor, or the name alone of what is none (a sequence or a map)."""
    name = _text(view, 1)
    for number, kind in _messages(view):
        if number == 2:
            for form, tensor in _messages(kind):
                if form == 1:
                    element = next((value for field, value in _varints(tensor) if field == 1), 0)
                    shapes = [value for field, value in _messages(tensor) if field == 2]
                    return Tensor(name, _shape(shapes[0]) if shapes else (None, None), element)
    return name


def _shape(view: memoryview) -> tuple[int | None, ...]:
    sizes = []
    for number, dimension in _messages(view):
        if number == 1:
            sizes.append(next((value for field, value in _varints(dimension) if field == 1), None))
    return tuple(sizes)


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _refuse_external(graph: memoryview, depth: int) -> None:
    """A model is one file: weights that name other files would read whatever path they say."""
    if depth > _DEEPEST:
        raise ModelError(f"the ONNX model nests graphs more than {_DEEPEST} deep")
    for number, value in _messages(graph):
        if number == 5:
            _refuse_external_tensor(value)
        elif number == 1:
            _refuse_external_node(value, depth)


def _refuse_external_node(node: memoryview, depth: int) -> None:
    for number, attribute in _messages(node):
        if number == 5:
            for field, value in _messages(attribute):
                if field in (5, 10):
                    _refuse_external_tensor(value)
                elif field in (6, 11):
                    _refuse_external(value, depth + 1)


def _refuse_external_tensor(tensor: memoryview) -> None:
    named = any(number == 13 for number, _ in _messages(tensor))
    if named or any(number == 14 and value == _EXTERNAL for number, value in _varints(tensor)):
        raise ModelError("the ONNX model keeps weights in other files: save it as one file")


def _text(view: memoryview, field: int) -> str:
    return next((bytes(value).decode() for number, value in _messages(view) if number == field), "")


def _messages(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((number, value) for number, value in _fields(view) if isinstance(value, memoryview))


def _varints(view: memoryview) -> Iterator[tuple[int, int]]:
    return ((number, value) for number, value in _fields(view) if isinstance(value, int))


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview | int | None]]:
    """The fields of a message: bytes as a view, varints as a number, fixed-width values as None."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield tag >> 3, value
        elif wire == _BYTES:
            length, at = _varint(view, at)
            if length > len(view) - at:
                raise IndexError("field beyond the end")
            yield tag >> 3, view[at : at + length]
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            yield tag >> 3, None
        else:
            raise IndexError("no such wire type")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("number of more than 64 bits")
