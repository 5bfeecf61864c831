"""The scenario "fintech": a small bank with cards and accounts, and five frauds against it."""

from parakh.simulation.fintech.run import run

__all__ = ["run"]
