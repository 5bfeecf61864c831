"""Kernels that the tests need, compiled where they are not yet, else loaded."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "card-payments"
_NOW_US = 1_800_000_000_000_000


def load_kernels() -> None:
    """Decide on a few events of the example as a service does, so that every kernel is there."""
    from parakh.project.project import Project
    from parakh.service.ledger.keys import rule_term
    from parakh.service.versions import LiveProject
    from parakh.service.warming import warm

    project = Project.load(EXAMPLE)
    warm(LiveProject(project, project.definitions), _NOW_US)
    rule_term("")
