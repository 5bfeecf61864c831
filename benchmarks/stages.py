"""Where the time of a decision goes: a clock around each stage of the engine's path, for as long as one looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from parakh.decisions.admission import Admission
from parakh.decisions.parts import Part
from parakh.decisions.policy import Judge
from parakh.decisions.scoring import ModelPlan
from parakh.events.decode import Decoder
from parakh.expressions.program import Program
from parakh.features.state import FeatureState
from parakh.models.trees import TreeScorer

__all__ = ["STAGES", "Stages", "clock_cost_s", "timed"]

_TIMED: tuple[tuple[str, type, str], ...] = (
    ("decode", Decoder, "decode_lines"),
    ("ids", Admission, "admit"),
    ("windows", FeatureState, "process"),
    ("windows", FeatureState, "sweep"),
    ("programs", Program, "run"),
    ("trees", ModelPlan, "gather"),
    ("trees", TreeScorer, "score"),
    ("policy", Judge, "judge"),
    ("contributions", TreeScorer, "contributions"),
    ("records", Part, "records"),
)
STAGES: tuple[str, ...] = tuple(dict.fromkeys(name for name, _, _ in _TIMED))
"""In the order of the path; programs are derive and filters, signals, rules and bands."""


@dataclass(slots=True)
class Stages:
    """Seconds of CPU by stage. `total_s` is for whoever looks to fill; what no stage took is the rest."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    calls: int = 0
    total_s: float = 0.0

    def shares(self) -> dict[str, float]:
        """The share of each stage and of the rest, without what the clocks themselves cost."""
        total = self.total_s - 2 * self.calls * clock_cost_s()
        shares = {name: max(0.0, seconds / total) for name, seconds in self.seconds.items()}
        return {**shares, "the rest": max(0.0, 1 - sum(shares.values()))}


@contextmanager
def timed() -> Iterator[Stages]:
    """Clocks around every stage, of all engines of this thread; taken away again at the end."""
    stages = Stages()
    before = [(owner, name, getattr(owner, name)) for _, owner, name in _TIMED]
    cost = clock_cost_s()
    for (stage, _, _), (owner, name, function) in zip(_TIMED, before, strict=True):
        setattr(owner, name, _clocked(stages, stage, function, cost))
    try:
        yield stages
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _clocked(stages: Stages, stage: str, function: Callable[..., Any], cost: float) -> Callable[..., Any]:
    seconds = stages.seconds

    def clocked(*arguments: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            seconds[stage] += time.thread_time() - started - cost
            stages.calls += 1

    return clocked


def clock_cost_s() -> float:
    """What reading the thread's clock costs here, by the cheapest of a few tries."""
    tries = []
    for _ in range(20):
        started = time.thread_time()
        for _ in range(50):
            time.thread_time()
        tries.append((time.thread_time() - started) / 50)
    return min(tries)
