"""Parakh: every event put to the test as it arrives, and judged - allow, challenge, review or block - with reasons."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parakh.decisions.engine import Decisions, Engine
    from parakh.project.project import Project

__all__ = ["Decisions", "Engine", "Project", "__version__"]
__version__ = "0.1.0"

# The engine compiles kernels; a program that only checks a project should not wait for them.
_LAZY = {
    "Decisions": "parakh.decisions.engine",
    "Engine": "parakh.decisions.engine",
    "Project": "parakh.project.project",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'parakh' has no attribute {name!r}")
