"""Slow, hung and failing models behind the guard: the decision goes on, in time, without them (R16)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parakh.decisions.scoring import ModelPlan
from parakh.errors import ModelError
from parakh.expressions.columns import Layout
from parakh.expressions.types import NUMBER, money
from parakh.models.definition import Model
from parakh.service.breaker import BreakerState
from parakh.service.modelguard import ModelGuard

Floats = NDArray[np.float64]


@dataclass
class Fake:
    """A scorer that does what a test likes."""

    scoring: Callable[[Floats], Floats]
    kind: str = "onnx"
    digest: str = "d"
    n_inputs: int = 2
    threads: set[int] = field(default_factory=set)
    calls: int = 0

    def score(self, x: Floats) -> Floats:
        self.calls += 1
        self.threads.add(threading.get_ident())
        return self.scoring(x)

    def contributions(self, x: Floats) -> None: ...

    def shap(self, x: Floats) -> None: ...


def plan_of(scorer: Fake, name: str = "risk") -> ModelPlan:
    layout = Layout()
    inputs = (layout.add("amount", money("INR")), layout.add("share", NUMBER))
    model = Model(name=name, event_type="payment", file="m.onnx", inputs=("amount", "share"), content=b"")
    return ModelPlan(model, scorer, inputs, layout.add(name, NUMBER))


def frame(rows: int = 8) -> NDArray[np.int64]:
    words = np.zeros((3, rows), np.int64)
    words[0] = np.arange(rows) * 100
    words.view(np.float64)[1] = np.arange(rows) / 10
    words.view(np.float64)[2] = -1.0
    return words


def total(x: Floats) -> Floats:
    return np.asarray(x.sum(axis=1))


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Hung models wait for it, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def guard() -> Iterator[ModelGuard]:
    guard = ModelGuard(time.monotonic)
    yield guard
    guard.close()


def test_a_model_that_answers_scores_as_without_the_guard(guard: ModelGuard) -> None:
    for kind in ("onnx", "lightgbm"):
        plan = plan_of(Fake(total, kind=kind))
        alone, guarded = frame(), frame()
        inputs = plan.score(alone, 2, 7)
        guard.begin(5.0)
        x = guard.score(plan, guarded, 2, 7)
        assert x is not None
        assert np.array_equal(x, inputs)
        assert np.array_equal(alone, guarded)
        assert guard.unanswered == set()


def test_trees_never_leave_the_callers_thread_and_onnx_keeps_one_of_its_own(guard: ModelGuard) -> None:
    trees, graph = Fake(total, kind="lightgbm"), Fake(total)
    for _ in range(20):
        guard.begin(5.0)
        guard.score(plan_of(trees), frame(), 0, 8)
        guard.score(plan_of(graph), frame(), 0, 8)
    assert trees.threads == {threading.get_ident()}
    assert len(graph.threads) == 1
    assert graph.threads != trees.threads
    assert dict(guard.counts["risk"])["scored"] == 20


@pytest.mark.parametrize("error", [ModelError("no"), ValueError("no"), MemoryError()])
def test_a_model_that_fails_leaves_nan_and_opens_its_breaker(guard: ModelGuard, error: Exception) -> None:
    def fail(x: Floats) -> Floats:
        raise error

    scorer = Fake(fail)
    plan = plan_of(scorer)
    for _ in range(30):
        words = frame()
        guard.begin(5.0)
        assert guard.score(plan, words, 2, 7) is None
        assert guard.unanswered == {"risk"}
        out = words.view(np.float64)[2]
        assert np.isnan(out[2:7]).all()
        assert (out[[0, 1, 7]] == -1.0).all()
    assert scorer.calls == 5
    assert guard.breakers["risk"].state is BreakerState.OPEN
    guard.begin(5.0)
    assert guard.unanswered == set()


def test_a_hung_model_costs_its_deadline_and_then_nothing(guard: ModelGuard, released: threading.Event) -> None:
    def hang(x: Floats) -> Floats:
        released.wait(60)
        return total(x)

    scorer, well = Fake(hang), Fake(total)
    plan, other = plan_of(scorer), plan_of(well, "other")
    took = []
    for _ in range(300):
        guard.begin(0.03)
        begun = time.perf_counter()
        assert guard.score(plan, frame(), 0, 8) is None
        took.append(time.perf_counter() - begun)
        guard.begin(5.0)
        assert guard.score(other, frame(), 0, 8) is not None, "another model is not held up"
    took.sort()
    assert took[297] <= 0.03 + 0.010 + 0.2  # the figure, and what a busy machine may add
    assert took[150] < 0.01
    assert scorer.calls == 2, "so many threads are left behind, and no more"
    counts = guard.counts["risk"]
    assert (counts.timed_out, counts.broken) == (2, 298)
    assert guard.breakers["risk"].state is BreakerState.OPEN


def test_a_late_answer_is_dropped_and_the_frame_of_other_events_untouched(released: threading.Event) -> None:
    now, seen = [0.0], list[Floats]()

    def late(x: Floats) -> Floats:
        released.wait(60)
        seen.append(x.copy())
        return np.full(len(x), 99.0)

    guard = ModelGuard(lambda: now[0])
    words = frame()
    before = threading.active_count()
    guard.begin(0.02)
    assert guard.score(plan_of(Fake(late)), words, 0, 8) is None
    words[:] = 7  # the frame is used for the next events
    released.set()
    deadline = time.monotonic() + 20
    while (not seen or threading.active_count() > before) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert (words == 7).all()
    assert seen[0][:, 0].tolist() == [float(n) for n in range(8)], "it had a copy of its inputs"
    assert threading.active_count() <= before, "the thread that was left behind has ended"
    guard.close()


def test_a_model_that_has_come_back_is_tried_and_taken_again(released: threading.Event) -> None:
    now = [0.0]
    hung = [True]

    def score(x: Floats) -> Floats:
        if hung[0]:
            released.wait(60)
        return total(x)

    guard, scorer = ModelGuard(lambda: now[0]), Fake(score)
    plan = plan_of(scorer)

    def answers() -> bool:
        guard.begin(0.5)
        return guard.score(plan, frame(), 0, 8) is not None

    assert [answers() for _ in range(6)] == [False] * 6
    hung[0] = False
    released.set()
    now[0] = 4.9
    assert not answers()
    now[0] = 5.0
    deadline = time.monotonic() + 20
    while not answers() and time.monotonic() < deadline:  # its threads come back, or a probe waits for them
        now[0] += 60.0
        time.sleep(0.005)
    assert answers()
    assert guard.breakers["risk"].state is BreakerState.CLOSED
    guard.close()


def test_where_the_time_is_up_the_model_is_not_asked_and_not_blamed(guard: ModelGuard) -> None:
    scorer = Fake(total)
    for _ in range(20):
        guard.begin(0.0)
        assert guard.score(plan_of(scorer), frame(), 0, 8) is None
        assert guard.unanswered == {"risk"}
    assert scorer.calls == 0
    assert guard.counts["risk"].hurried == 20
    guard.begin(5.0)
    assert guard.score(plan_of(scorer), frame(), 0, 8) is not None


def test_another_version_of_a_model_begins_with_a_clean_slate(guard: ModelGuard) -> None:
    def fail(x: Floats) -> Floats:
        raise ModelError("no")

    for _ in range(5):
        guard.begin(5.0)
        guard.score(plan_of(Fake(fail, digest="old")), frame(), 0, 8)
    assert guard.breakers["risk"].state is BreakerState.OPEN
    guard.begin(5.0)
    assert guard.score(plan_of(Fake(total, digest="new")), frame(), 0, 8) is not None
    assert guard.breakers["risk"].state is BreakerState.CLOSED


def test_an_onnx_model_is_scored_through_the_guard_as_without_it(guard: ModelGuard) -> None:
    pytest.importorskip("onnxruntime")
    onnx: Any = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from parakh.models.scorer import load_model

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["raw"]), helper.make_node("Sigmoid", ["raw"], ["p"])],
        "risk",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 2))],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ("N", 1))],
        [helper.make_tensor("W", TensorProto.FLOAT, [2, 1], [0.5, -1.5])],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    assert onnx.load_from_string(content).graph.name == "risk"
    model = Model(name="risk", event_type="payment", file="m.onnx", inputs=("amount", "share"), content=content)
    plan = plan_of(Fake(total))
    plan = ModelPlan(model, load_model(model), plan.inputs, plan.output)
    alone, guarded = frame(), frame()
    plan.score(alone, 0, 8)
    guard.begin(30.0)
    assert guard.score(plan, guarded, 0, 8) is not None
    assert np.array_equal(alone, guarded)
