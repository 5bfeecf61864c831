"""Engine and oracle agree on random projects and random streams; a failing case is made small and shown whole.

PARAKH_SEED repeats a run, PARAKH_ROUNDS=500 makes it a long one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from oracle.comparing import different
from oracle.log import Entry
from oracle.shrinking import smallest
from oracle.windows import Near, answers
from parakh.decisions.definition import Definitions
from properties.strategies import STARTED_US, scenario


def differences(definitions: Definitions, log: Sequence[Entry], batch_size: int) -> list[str]:
    """Every place where the engine's answer is not the oracle's, in words."""
    from oracle.adapter import run_engine

    found = []
    expected = answers(definitions, log, started_us=STARTED_US)
    got = run_engine(definitions, log, batch_size)
    for position, (entry, right, made) in enumerate(zip(log, expected, got, strict=True)):
        found += [f"entry {position} {entry}: {text}" for text in different(right, made)]
    return found


def _check(seed: int, *, events: int, resolution: float = 0.2) -> None:
    random = Random(seed)
    case = scenario(random, events=events, resolution=resolution)
    batch_size = random.choice((1, 2, 7, 64, 1024))
    if not differences(case.definitions, case.log, batch_size):
        return
    log = smallest(case.log, lambda part: bool(differences(case.definitions, part, batch_size)))
    lines = differences(case.definitions, log, batch_size)
    features = [
        f"{entity.name} key {entity.key}: {feature}"
        for entity in case.definitions.entities
        for feature in entity.features
        if any(f".{feature.name}" in line for line in lines)
    ]
    pytest.fail(
        "\n".join(
            [
                f"engine and oracle differ (case seed {seed}, batch size {batch_size})",
                *lines,
                str(case.definitions.settings),
                *features,
                "log:",
                *map(str, log),
            ]
        ),
        pytrace=False,
    )


@pytest.mark.parametrize("events", [12, 60, 150])
def test_engine_equals_oracle(events: int, seed: int, rounds: int) -> None:
    pytest.importorskip("parakh.decisions.engine")
    random = Random(seed)
    for _ in range(rounds):
        _check(random.getrandbits(32), events=events)


@pytest.mark.parametrize("events", [30, 200])
def test_engine_that_merges_records_equals_oracle(events: int, seed: int, rounds: int) -> None:
    pytest.importorskip("parakh.decisions.engine")
    random = Random(seed)
    for _ in range(rounds):
        _check(random.getrandbits(32), events=events, resolution=1.0)


def test_streams_merge_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random streams with a resolution do merge records (fixed seeds)."""
    pytest.importorskip("parakh.decisions.engine")
    from oracle.adapter import run_engine
    from parakh.features.assembly import assemble
    from parakh.features.state import FeatureState

    held: list[int] = []
    sweep_all = FeatureState.sweep_all

    def swept(state: FeatureState) -> None:
        sweep_all(state)
        held.append(state.records)

    def assemble_without(types: Any, histories: Any, **more: Any) -> Any:
        for history in histories:
            history.step = 0
        return assemble(types, histories, **more)

    monkeypatch.setattr(FeatureState, "sweep_all", swept)
    sizes = []
    for _ in range(2):
        held.clear()
        for number in range(40):
            case = scenario(Random(number), events=80, resolution=1.0)
            run_engine(case.definitions, case.log, 16)
        sizes.append(sum(held))
        monkeypatch.setattr("parakh.features.plan.assemble", assemble_without)
    merged, kept = sizes
    assert merged < 0.9 * kept, sizes


@pytest.mark.parametrize("resolution", [0.2, 1.0])
def test_batches_do_not_change_a_bit(resolution: float, seed: int, rounds: int) -> None:
    """Design 3.10: the same log gives the same values, bit for bit, whatever the batch size."""
    pytest.importorskip("parakh.decisions.engine")
    from oracle.adapter import run_engine

    random = Random(seed)
    for _ in range(rounds):
        case_seed = random.getrandbits(32)
        case = scenario(Random(case_seed), events=120, resolution=resolution)
        whole = run_engine(case.definitions, case.log, 1024)
        for batch_size in (1, random.randint(2, 40)):
            parts = run_engine(case.definitions, case.log, batch_size)
            for position, (left, right) in enumerate(zip(whole, parts, strict=True)):
                assert _bits(left) == _bits(right), (case_seed, batch_size, position, case.log[position])


def _bits(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with its floats as bits, so that 0.0 and -0.0 differ."""
    features = {
        name: struct.pack("<d", value) if isinstance(value, float) else value
        for name, value in answer.get("features", {}).items()
    }
    return {**answer, "features": features}


def test_streams_reach_what_they_are_meant_to_reach() -> None:
    """The random streams are worth something: each trap is met often (fixed seeds, so that this test is steady)."""
    met: Counter[str] = Counter()
    for number in range(40):
        case = scenario(Random(number), events=80)
        for answer in answers(case.definitions, case.log, started_us=STARTED_US):
            met[answer.status] += 1
            met["late"] += answer.late
            met["overflow"] += answer.overflow
            for value in answer.features.values():
                met["near"] += isinstance(value, Near)
                met["unknown"] += value is None
                met["three or more"] += isinstance(value, int) and value >= 3
    for trap, least in {
        "accepted": 2000, "duplicate": 50, "conflict": 50, "quarantined": 50, "waited": 20, "late": 40,
        "overflow": 200, "near": 1000, "unknown": 1000, "three or more": 2000,
    }.items():  # fmt: skip
        assert met[trap] >= least, (trap, met)


def test_random_projects_hold(seed: int, rounds: int) -> None:
    """What is drawn are projects that a user could load."""
    from parakh.decisions.check import check_definitions

    random = Random(seed)
    for _ in range(rounds):
        case_seed = random.getrandbits(32)
        definitions = scenario(Random(case_seed), events=1).definitions
        assert not check_definitions(definitions), (case_seed, definitions)


def test_a_seed_gives_the_same_case(seed: int) -> None:
    assert scenario(Random(seed), events=50) == scenario(Random(seed), events=50)
