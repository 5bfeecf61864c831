"""Model files are judged by their content before anything loads them, and their inputs must fit."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import subprocess
import sys
import zlib

import pytest

from parakh.errors import ModelError
from parakh.models.check import check_inputs, check_model, model_kind, read_model
from parakh.models.definition import Model
from parakh.models.lightgbm_text import Forest
from parakh.models.scorer import load_model

LEAF = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=1
feature_names={names}

Tree=0
num_leaves=1
num_cat=0
leaf_value=0.25

end of trees
"""


def model(content: bytes, *inputs: str) -> Model:
    return Model(name="risk", event_type="payment", file="risk.lgb", inputs=inputs, content=content)


def named(*names: str) -> bytes:
    return LEAF.format(names=" ".join(names)).encode()


class Trap:
    """Ends the process where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return sys.exit, (3,)


PICKLES = {f"protocol {protocol}": pickle.dumps(Trap(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_never_opened(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"model risk \(risk.lgb\): .*pickle.*save it as LightGBM text"):
        load_model(model(content, "amount"))


FOREIGN = {
    "nothing": (b"", "empty"),
    "gzip": (gzip.compress(named("a", "b")), "gzip"),
    "zlib, as joblib writes": (zlib.compress(pickle.dumps(Trap())), "joblib"),
    "zlib, quick": (zlib.compress(pickle.dumps(Trap()), 1), "joblib"),
    "zip, as PyTorch writes": (b"PK\x03\x04\x14\x00", "zip"),
    "HDF5": (b"\x89HDF\r\n", "HDF5"),
    "CatBoost": (b"CBM1\x00", "onnx"),
    "JSON": (b'{"learner": {}}', "JSON"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "words": (b"hello", "neither"),
    "a script": (b"import os\n", "neither"),
}


@pytest.mark.parametrize(("content", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_other_files_are_refused_with_what_to_do(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        model_kind(content)


def test_a_sound_model_is_read_without_numerical_libraries() -> None:
    facts = read_model(named("amount", "card.payments_1d"))
    assert isinstance(facts, Forest)
    assert facts.feature_names == ("amount", "card.payments_1d")
    program = "import sys, parakh.models.check; print(sorted({'numpy', 'numba', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_the_digest_is_of_the_content() -> None:
    content = named("amount", "night")
    scorer = load_model(model(content, "amount", "night"))
    assert (scorer.kind, scorer.n_inputs, scorer.digest) == ("lightgbm", 2, hashlib.sha256(content).hexdigest())


def test_inputs_in_another_order_are_refused_with_the_order() -> None:
    with pytest.raises(ModelError, match=r"another order.*\[amount, night\]"):
        check_model(model(named("amount", "night"), "night", "amount"))


def test_another_input_than_was_trained_on_is_refused() -> None:
    with pytest.raises(ModelError, match=r"input 2 is 'card.payments_7d'.*trained on 'card.payments_1d'"):
        check_model(model(named("amount", "card.payments_1d"), "amount", "card.payments_7d"))


def test_too_few_inputs_are_refused_with_the_names() -> None:
    with pytest.raises(ModelError, match=r"has 1 names and the model takes 2: amount, night"):
        check_model(model(named("amount", "night"), "amount"))


def test_a_model_without_names_of_its_own_is_taken_by_position() -> None:
    check_inputs(("amount", "night"), read_model(named("Column_0", "Column_1")))
