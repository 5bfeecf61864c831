"""What happens before the tests: kernels are compiled by one process, once; long tests are left to `make torture`."""

from __future__ import annotations

import os
import sys

import pytest

from kernels import load_kernels


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    from parakh.decisions.warmup import needs_compile

    if needs_compile():
        sys.stderr.write("compiling kernels, once\n")
        load_kernels()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that is marked `long` waits for PARAKH_LONG; a shorter slice of what it tests is always run."""
    if os.environ.get("PARAKH_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: make torture runs it"))
