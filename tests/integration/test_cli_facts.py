"""Facts of simulated events against the files themselves, read by nothing but the standard library."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from parakh.cli.facts import facts_of_simulation, read_facts
from parakh.project.folder import read_folder
from parakh.simulation.scenario import simulate

EXAMPLE = Path(__file__).parents[2] / "examples" / "card-payments"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    simulate("fintech", events=6_000, seed=3, out=folder)
    return folder


@pytest.fixture(scope="module")
def project() -> SimpleNamespace:
    return SimpleNamespace(definitions=read_folder(EXAMPLE).definitions)


def sources(project: SimpleNamespace, events: Path) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(event_type=e.name, path=str(events / f"{e.name}.ndjson")) for e in project.definitions.events
    ]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_amounts_people_and_truth_are_those_of_the_files(project: SimpleNamespace, events: Path) -> None:
    facts = facts_of_simulation(project, sources(project, events), events / "truth.ndjson")
    assert set(facts) == {"payment", "transfer"}
    truth = {(item["event_type"], item["event_id"]): item for item in lines(events / "truth.ndjson")}
    for name in facts:
        item = facts[name]
        read = lines(events / f"{name}.ndjson")
        assert item.amount.tolist() == [round(100 * event["amount"]) for event in read]
        known = [truth[name, event[f"{name}_id"]] for event in read]
        assert item.fraud.tolist() == [int(one["fraud"]) for one in known]
        kinds = Counter(one["kind"] for one in known if one["fraud"])
        assert {item.kinds[n]: int((item.kind == n).sum()) for n in range(len(item.kinds))} == kinds
        people = [event["customer"] for event in read]
        same = item.person[:, None] == item.person[None, :300]
        expected = np.array([[a is not None and a == b for b in people[:300]] for a in people])
        assert (same & (item.person[:, None] >= 0) == expected).all()


def test_labels_hold_as_they_stood_in_the_end(project: SimpleNamespace, events: Path) -> None:
    facts = read_facts(project, sources(project, events), str(events / "labels.ndjson"))
    ranks = {"analyst": 3, "chargeback": 2, "customer": 1}
    held: dict[tuple[str, str], tuple[int, bool | None]] = {}
    for label in sorted(lines(events / "labels.ndjson"), key=lambda item: item["known_at"]):
        key = (label["event_type"], label["event_id"])
        rank, _ = held.get(key, (-1, None))
        if ranks[label["source"]] >= rank:
            held[key] = (ranks[label["source"]] if label["value"] is not None else -1, label["value"])
    assert held
    for name, item in facts.items():
        read = lines(events / f"{name}.ndjson")
        expected = [held.get((name, event[f"{name}_id"]), (0, None))[1] for event in read]
        assert item.fraud.tolist() == [-1 if value is None else int(value) for value in expected]
