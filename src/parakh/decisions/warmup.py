"""Kernels are compiled once a machine: whether that is still to come, and doing it ahead of time, in another thread.

Numba keeps what it compiled beside the modules (or in NUMBA_CACHE_DIR). A mark beside it says for which sources.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

__all__ = ["needs_compile", "warm_up"]

_DAY_US = 86_400_000_000


def needs_compile() -> bool:
    """Whether the kernels are not compiled yet for these sources, this numba and this processor."""
    return not _mark().exists()


def warm_up() -> None:
    """Compile every kernel that a replay needs, by running a very small project; where all is cached, load them."""
    from parakh.decisions.decisions import Decisions
    from parakh.decisions.engine import Engine
    from parakh.decisions.samples import sample_crowd, sample_events, sample_labels, sample_project

    engine = Engine(sample_project(), batch_size=64)
    made = [engine.decide(sample_events(), labels=sample_labels(), label_delay_us=_DAY_US)]
    made.append(engine.decide(sample_crowd(), label_delay_us=_DAY_US))
    engine.state.sweep_all()
    joined = Decisions.concat(made)
    joined.to_arrow(features=True)
    for _ in joined.records():
        pass
    try:
        _mark().parent.mkdir(parents=True, exist_ok=True)
        _mark().touch()
    except OSError:
        pass  # a read-only installation: numba caches elsewhere, and the next start asks again


def _mark() -> Path:
    package = Path(__file__).parents[1]
    facts: list[object] = [version("numba"), version("llvmlite"), os.environ.get("NUMBA_CPU_NAME") or _processor()]
    facts += sorted((str(path), path.stat().st_mtime_ns) for path in package.rglob("*.py"))
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else package / "decisions" / "__pycache__"
    if not chosen and not folder.exists():
        folder = Path(tempfile.gettempdir())
    return folder / f"compiled-{digest}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith("model name")), "")
