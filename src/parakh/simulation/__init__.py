"""Worlds with ground truth: invented customers, their habits and the frauds against them, as streams of events."""

from parakh.simulation.scenario import SCENARIOS, Summary, simulate

__all__ = ["SCENARIOS", "Summary", "simulate"]
