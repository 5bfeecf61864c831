"""What happens once before the tests: kernels are compiled by one process, not by every worker and server at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "card-payments"
_NOW_US = 1_800_000_000_000_000


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    from parakh.decisions.warmup import needs_compile, warm_up

    if not needs_compile():
        return
    from parakh.project.project import Project
    from parakh.service.ledger.keys import rule_term
    from parakh.service.versions import LiveProject
    from parakh.service.warming import warm

    sys.stderr.write("compiling kernels, once\n")
    warm_up()
    project = Project.load(EXAMPLE)
    warm(LiveProject(project, project.definitions), _NOW_US)
    rule_term("")
