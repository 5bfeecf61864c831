"""Property tests: a fresh seed a run, printed where a test fails; PARAKH_SEED repeats it, PARAKH_ROUNDS goes deeper."""

from __future__ import annotations

import os
import secrets
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("parakh", deadline=None, print_blob=True)
hypothesis.settings.load_profile("parakh")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """PARAKH_SEED fixes what Hypothesis draws, too."""
    if "PARAKH_SEED" not in os.environ:
        return
    for item in items:
        function: Any = getattr(item, "function", None)
        if getattr(function, "is_hypothesis_test", False):
            hypothesis.seed(int(os.environ["PARAKH_SEED"]))(function)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: PARAKH_SEED, or a new one; shown among the captured output of a test that fails."""
    value = int(os.environ.get("PARAKH_SEED", 0)) or secrets.randbelow(2**32)
    print(f"repeat with PARAKH_SEED={value} pytest {request.node.nodeid}")  # noqa: T201
    return value


@pytest.fixture
def rounds() -> int:
    """How many random cases a test tries."""
    return int(os.environ.get("PARAKH_ROUNDS", "10"))
