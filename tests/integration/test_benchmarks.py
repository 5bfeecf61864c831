"""The benchmarks, on tiny slices: Parakh agrees with its peers, and what is reported is what was measured."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from benchmarks import windows
from benchmarks.workload import FEATURES, workload

SLICE = 3_000


@pytest.fixture(scope="module")
def punctual():
    return workload(SLICE, late=0.0)


@pytest.fixture(scope="module")
def parakh_features(punctual):
    return windows.run(punctual).features


@pytest.mark.parametrize("module, library", [
    ("plain_python", "numpy"), ("bytewax_maps", "bytewax"), ("duckdb_windows", "duckdb"), ("polars_rolling", "polars"),
])  # fmt: skip
def test_parakh_agrees_with_its_peers_where_nothing_is_late(punctual, parakh_features, module, library) -> None:
    pytest.importorskip(library)
    peer = importlib.import_module(f"benchmarks.peers.{module}").run(punctual)
    for feature in FEATURES:
        np.testing.assert_allclose(
            parakh_features[feature], peer.features[feature], rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=feature
        )
