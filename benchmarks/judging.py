"""Rules and the model alone: microseconds an event, at several sizes of batch, over features of the workload."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.end_to_end import Calls, Path
from benchmarks.results import Results, Row, Table, say
from benchmarks.windows import PROJECT
from benchmarks.workload import EVENTS, ndjson, workload
from parakh import Project
from parakh.decisions.engine import Engine

__all__ = ["measure", "more_rules"]

SIZES = (1, 64, 1_024)
HISTORY = EVENTS // 10
_FRAMES = 4_096  # events that rules and model are run over
_SECONDS = 0.6  # of CPU a figure
_NUMBER = re.compile(r"(?<=[<>]= )\d+(?:\.\d+)?")


def more_rules(project: Project, times: int) -> Project:
    """The project with its rules so many times, each time with other thresholds: no comparison stands twice."""
    rules = tuple(
        replace(rule, name=f"{rule.name}_{copy}" if copy else rule.name, when=_shifted(rule.when, copy))
        for copy in range(times)
        for rule in project.definitions.rules
    )
    return Project.of(replace(project.definitions, rules=rules))


def _shifted(when: str, copy: int) -> str:
    return _NUMBER.sub(lambda found: f"{float(found[0]) * (1 + 0.07 * copy):.2f}", when) if copy else when


def measure(results: Results, *, history: int = HISTORY, seconds: float = _SECONDS) -> None:
    """Rules at 50 and 300, and the trees against LightGBM, over frames of decided events."""
    say("rules and model alone")
    project = Project.load(PROJECT)
    engines = {count: _decided(more_rules(project, times), history) for count, times in ((50, 1), (300, 6))}
    table = Table("Rules and policy alone, microseconds an event", ("rules", *(f"batch {size:,}" for size in SIZES)))
    for count, engine in engines.items():
        found = {size: _rules_us(engine, size, seconds) for size in SIZES}
        table.rows.append((str(count), *(f"{us:.2f}" for us in found.values())))
        if count == 300:
            results.add(Row.at_most("300 rules, batches of 64", found[64], 5, "us an event"))
        else:
            results.add(Row("50 rules, batches of 64", f"{found[64]:.2f} us an event"))
    table.note = "Compiled rules over columns, then the policy; every threshold differs, so that little is shared."
    results.tables.append(table)
    results.tables.append(_trees(results, engines[50], seconds))


def _decided(project: Project, history: int) -> Engine:
    """An engine whose frame holds decided events, with some history behind them."""
    path = Path(project, ndjson(workload(history)))
    path.decide(path.batches_of(_FRAMES, history // _FRAMES * _FRAMES or history), Calls())
    return path.engine


def _rules_us(engine: Engine, size: int, seconds: float) -> float:
    plan = engine.plan.types[0]
    held = engine.words[:, : min(_FRAMES, engine.counts.accepted)]
    words, flags = np.ascontiguousarray(held[:, :size]), np.zeros(size, np.uint8)

    def once() -> None:
        plan.rules.run(words, 0, size, flags)
        plan.judge.judge(words, 0, size, flags)

    def other(number: int) -> None:
        at = number * size % (held.shape[1] - size + 1)
        words[:] = held[:, at : at + size]

    return _us(once, other, size, seconds)


def _trees(results: Results, engine: Engine, seconds: float) -> Table:
    """Parakh's trees beside LightGBM's own prediction on one thread, on the same rows; their scores are equal."""
    plan = engine.plan.types[0]
    model = plan.score
    assert model is not None, "the workload's policy has a score"
    held = model.gather(engine.words, 0, min(_FRAMES, engine.counts.accepted)).copy()
    booster = lightgbm.Booster(model_str=model.model.content.decode())
    assert np.array_equal(model.scorer.score(held), _predicted(booster, held)), "scores differ from LightGBM's"
    table = Table("100 trees of 31 leaves, microseconds a row", ("batch", "Parakh", "lightgbm predict", "Parakh is"))
    for size in SIZES:
        places = range(0, len(held) - size + 1, size)
        slices = [held[at : at + size] for at in places]
        ours = _over(model.scorer.score, slices, size, seconds)
        theirs = _over(lambda x: _predicted(booster, x), slices, size, seconds)
        table.rows.append((f"{size:,}", f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}x faster"))
        if size == 64:
            results.add(Row("model of 100 trees, batches of 64",
                            f"{ours:.2f} us a row, {theirs / ours:.1f}x lightgbm predict"))  # fmt: skip
    table.note = "The scores are the same to the last bit."
    return table


def _predicted(booster: lightgbm.Booster, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(booster.predict(x, num_threads=1))


def _over(
    score: Callable[[NDArray[np.float64]], object], slices: list[NDArray[np.float64]], rows: int, seconds: float
) -> float:
    """Microseconds a row over slices of rows in turn, so that no walk through the trees is remembered."""
    at = cycle(slices)
    return _us(lambda: score(next(at)), lambda _: None, rows, seconds)


def _us(once: Callable[[], object], other: Callable[[int], None], events: int, seconds: float) -> float:
    """Microseconds an event of a call, the median over many data; each is run some times, as clocks cost."""
    repeats = max(1, 256 // events)
    other(0)
    once()
    found: list[float] = []
    ends = time.thread_time() + seconds
    while time.thread_time() < ends or len(found) < 3:
        other(len(found) * 37)
        started = time.thread_time()
        for _ in range(repeats):
            once()
        found.append((time.thread_time() - started) / (repeats * events))
    return 1e6 * float(np.median(found))
