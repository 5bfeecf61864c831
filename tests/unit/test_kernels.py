"""Compiled code is kept on disk, and made again when something it was compiled with changes in another file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit, types

from parakh.expressions.calling import array_at, array_type, caller, kernel_address
from parakh.expressions.memory import address_of

CALLED = """
from parakh.expressions.kernels import kernel
FACTOR = {factor}
@kernel
def inner(x):
    return {inner}
@kernel
def middle(x):
    return inner(x) * FACTOR
"""
CALLING = """
import called_here
from called_here import middle
from parakh.expressions.kernels import kernel
@kernel
def outer(x):
    return middle(x) + called_here.FACTOR
print(outer(3), sum(outer.stats.cache_hits.values()))
"""


def run(folder: Path, factor: int, inner: str) -> tuple[int, int]:
    """(result, hits in the cache) of the calling module in a fresh process; only the called module is written anew."""
    (folder / "called_here.py").write_text(CALLED.format(factor=factor, inner=inner))
    program = [sys.executable, "-c", "import calling_here"]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    result, hits = done.stdout.split()
    return int(result), int(hits)


def test_code_is_kept_until_what_it_calls_or_reads_changes(tmp_path: Path) -> None:
    (tmp_path / "calling_here.py").write_text(CALLING)
    assert run(tmp_path, 10, "x + 1") == (50, 0)
    assert run(tmp_path, 10, "x + 1") == (50, 1)
    assert run(tmp_path, 10, "x + 2") == (60, 0), "a kernel two calls away changed"
    assert run(tmp_path, 20, "x + 2") == (120, 0), "a constant changed"
    assert run(tmp_path, 20, "x + 2") == (120, 1)


def test_a_kernel_calls_another_by_its_address() -> None:
    """Over arrays that are addresses; the code that Python calls and this code are one, compiled once."""
    array, words = array_type(types.int64), array_at(types.int64)
    call = caller((array, array, types.int64), types.int64)
    frame_at, sum_of = array_at(types.float64, 2), caller((array_type(types.float64, 2),), types.float64)

    @njit
    def add(values: Any, out: Any, more: Any) -> Any:
        total = np.int64(0)
        for place in range(values.shape[0]):
            out[place] = values[place] + more
            total += out[place]
        return total

    @njit
    def weighted(values: Any) -> Any:
        total = 0.0
        for row in range(values.shape[0]):
            for column in range(values.shape[1]):
                total += values[row, column] * (10 * row + column)
        return total

    @njit
    def both(add_at: Any, values: Any, out: Any, count: Any, weighted_at: Any, frame: Any) -> Any:
        total = call(add_at, (words(values, count), words(out, count), np.int64(7)))
        return total, sum_of(weighted_at, (frame_at(frame, 2, 3),))

    values, out, frame = np.arange(5), np.zeros(5, np.int64), np.arange(6.0).reshape(2, 3)
    assert add(values, out, 0) == 10
    add_at = kernel_address(add, (array, array, types.int64), types.int64)
    weighted_at = kernel_address(weighted, (array_type(types.float64, 2),), types.float64)
    addresses = [address_of(item) for item in (values, out, frame)]
    assert both(add_at, *addresses[:2], 5, weighted_at, addresses[2]) == (45, weighted(frame))
    assert out.tolist() == [7, 8, 9, 10, 11]
    assert len(add.overloads) == len(weighted.overloads) == 1
    with pytest.raises(AssertionError, match="not"):
        kernel_address(add, (array, array, types.int64), types.float64)


def test_an_error_of_a_kernel_that_is_called_by_its_address_is_its_callers() -> None:
    call = caller((types.int64,), types.int64)

    @njit
    def divide(by: Any) -> Any:
        return np.int64(7) // by

    @njit
    def outer(address: Any, by: Any) -> Any:
        return call(address, (by,)) + 1

    address = kernel_address(divide, (types.int64,), types.int64)
    assert outer(address, 2) == 4
    with pytest.raises(ZeroDivisionError):
        outer(address, 0)
