"""Keeps a decision from waiting for a model: one that may be slow is scored in a thread of its own, with a deadline.

Trees and sums take microseconds; a graph of an ONNX file may take any time, or hang. A thread cannot be stopped:
one that is late is left behind and its answer dropped. It has a copy of its inputs, so that it never touches the frame,
which by then holds other events.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.scoring import ModelPlan
from parakh.models.scorer import Scorer
from parakh.service.breaker import Breaker, Clock

__all__ = ["ModelCounts", "ModelGuard"]

_FAST = ("lightgbm", "logistic")
"""Kinds of model that are scored at once, in the caller's thread."""

_LEFT_BEHIND = 2
"""Threads of one model that may hang; while there are so many it counts as failed at once."""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class ModelCounts:
    """What became of the micro-batches that one model was to score, since it was loaded."""

    scored: int = 0
    failed: int = 0  # it raised an error
    timed_out: int = 0  # no answer in time
    broken: int = 0  # not asked: the breaker was open, or its threads hang
    hurried: int = 0  # not asked: the time was up before

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(what, how many), in this order."""
        return ((item.name, getattr(self, item.name)) for item in fields(self))


class ModelGuard:
    """Stands between an engine and its models. For one thread.

    Before each micro-batch comes `begin`; after it `unanswered` names the models that have not answered. `clock` is
    monotonic, in seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0
        self._lanes: dict[str, _Lane] = {}
        self.unanswered: set[str] = set()

    @property
    def counts(self) -> dict[str, ModelCounts]:
        """By model; those alone that have been asked in a thread."""
        return {name: lane.counts for name, lane in self._lanes.items()}

    @property
    def breakers(self) -> dict[str, Breaker]:
        """By model; those alone that have been asked in a thread."""
        return {name: lane.breaker for name, lane in self._lanes.items()}

    def begin(self, budget_s: float) -> None:
        """A micro-batch begins, whose models may take so long together."""
        self._until = self._clock() + budget_s
        self.unanswered = set()

    def score(self, model: ModelPlan, words: NDArray[np.int64], start: int, stop: int) -> Floats | None:
        """Score rows [start, stop) into the model's output column; returns its inputs.

        Where it fails or does not answer in time there is NaN in the column, and None is returned.
        """
        if model.scorer.kind in _FAST:
            return model.score(words, start, stop)
        x = model.gather(words, start, stop)
        scores = self._lane(model).score(x, self._until - self._clock())
        out = words.view(np.float64)[model.output.slot, start:stop]
        if scores is None:
            self.unanswered.add(model.model.name)
            out[:] = np.nan
            return None
        out[:] = scores
        return x

    def close(self) -> None:
        """Let the threads end that wait for work."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()

    def _lane(self, model: ModelPlan) -> _Lane:
        name = model.model.name
        lane = self._lanes.get(name)
        if lane is None or lane.scorer.digest != model.scorer.digest:
            if lane is not None:
                lane.close()
            lane = self._lanes[name] = _Lane(model.scorer, Breaker(self._clock))
        return lane


@dataclass(slots=True)
class _Lane:
    """One model's thread, the threads that it has left behind, its breaker and its counts."""

    scorer: Scorer
    breaker: Breaker
    counts: ModelCounts = field(default_factory=ModelCounts)
    worker: _Worker | None = None
    left_behind: list[_Worker] = field(default_factory=list)

    def score(self, x: Floats, timeout_s: float) -> Floats | None:
        if timeout_s <= 0:
            self.counts.hurried += 1
            return None
        self.left_behind = [worker for worker in self.left_behind if worker.is_alive()]
        ticket = self.breaker.ask()
        if ticket is None or len(self.left_behind) >= _LEFT_BEHIND:
            self.counts.broken += 1
            self.breaker.failed(ticket)
            return None
        if self.worker is None:
            self.worker = _Worker()
            self.worker.start()
        task = _Task(self.scorer, x)
        self.worker.tasks.put(task)
        if not task.done.wait(timeout_s):
            self.worker.tasks.put(None)  # it ends if it ever comes back
            self.left_behind.append(self.worker)
            self.worker = None
            self.counts.timed_out += 1
            self.breaker.failed(ticket)
            return None
        if task.scores is None:
            self.counts.failed += 1
            self.breaker.failed(ticket)
            return None
        self.counts.scored += 1
        self.breaker.succeeded(ticket)
        return task.scores

    def close(self) -> None:
        if self.worker is not None:
            self.worker.tasks.put(None)
            self.worker = None


@dataclass(slots=True)
class _Task:
    scorer: Scorer
    x: Floats
    scores: Floats | None = None
    done: threading.Event = field(default_factory=threading.Event)


class _Worker(threading.Thread):
    """Does one task after another. A daemon: a hung model does not keep the process from ending."""

    def __init__(self) -> None:
        super().__init__(name="model", daemon=True)
        self.tasks: SimpleQueue[_Task | None] = SimpleQueue()

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            try:
                task.scores = task.scorer.score(task.x)
            except Exception:  # whatever a library raises: the decision goes on without the model
                task.scores = None
            task.done.set()
            del task
