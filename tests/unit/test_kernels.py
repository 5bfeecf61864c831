"""Compiled code is kept on disk, and made again when something it was compiled with changes in another file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
