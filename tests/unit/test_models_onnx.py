"""ONNX models: the score is found among the outputs; what is not run is refused, with or without onnxruntime."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from parakh.errors import ModelError
from parakh.models.check import check_model
from parakh.models.definition import Model
from parakh.models.onnx_header import OnnxFacts, read_onnx
from parakh.models.scorer import load_model

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
X = np.array([[1.0, 2.0], [-3.0, 0.5], [np.nan, 1.0], [0.0, 0.0]])


def built(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] | None = None) -> bytes:
    graph = helper.make_graph(nodes, "risk", inputs, outputs, constants or [])
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


def tensor(name: str, kind: int = FLOAT, shape: tuple[Any, ...] = ("N", 2)) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


WEIGHTS = helper.make_tensor("W", FLOAT, [2, 1], [0.5, -1.5])
LOGISTIC = [helper.make_node("MatMul", ["x", "W"], ["raw"]), helper.make_node("Sigmoid", ["raw"], ["p"])]
PAIR = [
    *LOGISTIC,
    helper.make_node("Sub", ["one", "p"], ["q"]),
    helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    helper.make_node("Cast", ["p"], ["label"], to=INT64),
]
ONE = helper.make_tensor("one", FLOAT, [1], [1.0])

COLUMN = built(LOGISTIC, [tensor("x")], [tensor("p", shape=("N", 1))], [WEIGHTS])
FORMS = {
    "one column": COLUMN,
    "a vector": built(
        [*LOGISTIC, helper.make_node("Squeeze", ["p", "axis"], ["v"])],
        [tensor("x")],
        [tensor("v", shape=("N",))],
        [WEIGHTS, helper.make_tensor("axis", INT64, [1], [1])],
    ),
    "two classes and a label": built(
        PAIR,
        [tensor("x")],
        [tensor("label", INT64, ("N", 1)), tensor("probabilities")],
        [WEIGHTS, ONE],
    ),
    "constants listed among the inputs": built(
        LOGISTIC, [tensor("x"), tensor("W", shape=(2, 1))], [tensor("p", shape=("N", 1))], [WEIGHTS]
    ),
    "doubles": built(
        [helper.make_node("Cast", ["d"], ["x"], to=FLOAT), *LOGISTIC],
        [tensor("d", TensorProto.DOUBLE)],
        [tensor("p", shape=("N", 1))],
        [WEIGHTS],
    ),
    "a named input a feature": built(
        [helper.make_node("Concat", ["amount", "night"], ["x"], axis=1), *LOGISTIC],
        [tensor("amount", shape=("N", 1)), tensor("night", shape=("N", 1))],
        [tensor("p", shape=("N", 1))],
        [WEIGHTS],
    ),
}


def model(content: bytes, *inputs: str) -> Model:
    return Model(
        name="risk", event_type="payment", file="risk.onnx", inputs=inputs or ("amount", "night"), content=content
    )


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_the_probability_is_found(content: bytes) -> None:
    scorer = load_model(model(content))
    scores = scorer.score(X)
    assert scores.dtype == np.float64
    raw = X @ np.array([0.5, -1.5])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-raw)), atol=1e-6)  # NaN where the input is
    assert np.isnan(scores[2])
    assert scorer.contributions(X) is None
    assert scorer.shap(X) is None
    assert (scorer.kind, scorer.n_inputs) == ("onnx", 2)


def test_a_score_does_not_depend_on_the_batch() -> None:
    random = np.random.default_rng(3)
    weights = helper.make_tensor("W", FLOAT, [37, 1], random.normal(size=37))
    scorer = load_model(
        model(
            built(LOGISTIC, [tensor("x", shape=("N", 37))], [tensor("p", shape=("N", 1))], [weights]),
            *(f"f{n}" for n in range(37)),
        )
    )
    x = random.normal(size=(50, 37))
    single = [scorer.score(x[row : row + 1])[0] for row in range(50)]
    assert np.array_equal(scorer.score(x), single)


def zip_map() -> bytes:
    outputs = [
        tensor("label", INT64, ("N",)),
        helper.make_value_info(
            "probability",
            helper.make_sequence_type_proto(
                helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
            ),
        ),
    ]
    return built(PAIR, [tensor("x")], outputs, [WEIGHTS, ONE])


def external() -> bytes:
    loaded = onnx.load_from_string(COLUMN)
    weights = loaded.graph.initializer[0]
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    content: bytes = loaded.SerializeToString()
    return content


REFUSED = {
    "maps": (zip_map(), "zipmap"),
    "weights in other files": (external(), "one file"),
    "a label alone": (built(PAIR, [tensor("x")], [tensor("label", INT64)], [WEIGHTS, ONE]), "not a label"),
    "which of two": (
        built(LOGISTIC, [tensor("x")], [tensor("raw", shape=("N", 1)), tensor("p", shape=("N", 1))], [WEIGHTS]),
        "which output is the score",
    ),
    "three classes": (
        built(
            [helper.make_node("MatMul", ["x", "W"], ["p"])],
            [tensor("x")],
            [tensor("p", shape=("N", 3))],
            [helper.make_tensor("W", FLOAT, [2, 3], range(6))],
        ),
        "shape",
    ),
    "text": (built(LOGISTIC, [tensor("x", STRING)], [tensor("p", shape=("N", 1))], [WEIGHTS]), "float inputs"),
    "a cube": (built(LOGISTIC, [tensor("x", shape=("N", 2, 2))], [tensor("p", shape=("N", 1))], [WEIGHTS]), "shape"),
    "three features": (
        built(LOGISTIC, [tensor("x", shape=("N", 3))], [tensor("p", shape=("N", 1))], [WEIGHTS]),
        "model takes 3",
    ),
    "no graph": (b"\x08\x07", "no graph"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_run_is_refused_without_onnxruntime(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        check_model(model(content))


def test_named_inputs_must_be_in_the_models_order() -> None:
    with pytest.raises(ModelError, match=r"another order.*\[amount, night\]"):
        check_model(model(FORMS["a named input a feature"], "night", "amount"))


def test_every_cut_of_a_file_is_refused_or_read_but_never_breaks() -> None:
    for length in range(1, len(COLUMN)):
        try:
            load_model(model(COLUMN[:length]))
        except ModelError:
            continue
        assert length > len(COLUMN) - 8  # only what follows the graph may be missing


def test_a_graph_that_does_not_run_is_refused_when_loaded() -> None:
    nodes = [helper.make_node("MatMul", ["x", "missing"], ["p"])]
    with pytest.raises(ModelError, match=r"model risk .*onnxruntime cannot load"):
        load_model(model(built(nodes, [tensor("x")], [tensor("p", shape=("N", 1))])))


def test_an_unsaid_width_is_found_wrong_when_loaded() -> None:
    content = built(LOGISTIC, [tensor("x", shape=("N", "F"))], [tensor("p", shape=("N", 1))], [WEIGHTS])
    facts = read_onnx(content)
    assert isinstance(facts, OnnxFacts)
    assert facts.features is None
    with pytest.raises(ModelError, match="cannot run"):
        load_model(model(content, "amount", "night", "hour"))


def test_without_onnxruntime_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'parakh\[onnx\]'"):
        load_model(model(COLUMN))


def test_graphs_nested_without_end_are_refused() -> None:
    """Each graph holds a node whose attribute is the next graph."""
    graph = b""
    for _ in range(40):
        attribute = _field(6, graph)
        graph = _field(1, _field(5, attribute))
    with pytest.raises(ModelError, match="deep"):
        read_onnx(b"\x08\x07" + _field(7, graph))


def _field(number: int, payload: bytes) -> bytes:
    length, sizes = len(payload), []
    while True:
        sizes.append(length & 127 | (128 if length > 127 else 0))
        length >>= 7
        if not length:
            return bytes([number << 3 | 2, *sizes]) + payload
