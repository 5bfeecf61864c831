"""A policy replayed on the past: the decisions are the engine's own, and labels count as in a training set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from parakh.decisions.replay import Replay, Source
from parakh.errors import InputError
from parakh.learning.dataset import Choice, make_dataset
from parakh.learning.history import History, make_history
from parakh.learning.past import Files
from parakh.project.project import Project
from parakh.rules.definition import Outcome
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("world")
    simulate("fintech", events=12_000, seed=11, out=folder)
    sources = tuple(Source(name, str(folder / f"{name}.ndjson")) for name in TYPES)
    return Files(sources=sources, labels=str(folder / "labels.ndjson"))


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(EXAMPLE)


@pytest.fixture(scope="module")
def history(project: Project, past: Files) -> History:
    return make_history(project, past, event_type="payment", inputs=None)


def test_decisions_are_those_of_a_replay(project: Project, past: Files, history: History) -> None:
    tables: list[pa.Table] = []
    Replay(project, past.sources, labels=past.labels).run(lambda batch, _: tables.append(batch.to_arrow()))
    live = [row for row in pa.concat_tables(tables).to_pylist() if row["event_type"] == "payment"]
    assert history.ids.to_pylist() == [row["event_id"] for row in live]
    assert [Outcome(item).word for item in history.outcome.tolist()] == [row["outcome"] for row in live]
    assert [" ".join(history.deciders[item]) for item in history.won.tolist()] == [row["decided_by"] for row in live]
    assert history.score.tolist() == [row["score"] for row in live]
    assert history.scores["payment_fraud"].tolist() == history.score.tolist()
    names = [rule.name for rule in history.rules]
    for number, name in enumerate(names):
        in_records = [name in [*row["rules"], *row["shadow"]] for row in live]
        assert history.hit(number).tolist() == in_records, name
        assert history.was_unknown(number).tolist() == [name in row["unknown"] for row in live], name
    assert sum(history.hit(number).sum() for number in range(len(names))) > 50


def test_bands_are_conditions_and_persons_are_keys(project: Project, past: Files, history: History) -> None:
    words = [name for kind, name in history.deciders if kind == "band"]
    assert words == ["block", "review", "challenge"]
    for word, limit in zip(words, (0.90, 0.60, 0.30)):
        assert history.bands[words.index(word)].tolist() == (history.score >= limit).tolist(), word
    assert (history.score >= 0.60).sum() > 5
    lines = Path(past.sources[4].path).read_text(encoding="utf-8").splitlines()
    card = {item["payment_id"]: item["card"] for item in map(json.loads, lines)}
    pairs = {(card[name], person) for name, person in zip(history.ids.to_pylist(), history.person.tolist())}
    assert len(pairs) == len({card for card, _ in pairs}) == len({person for _, person in pairs}) > 100


def test_labels_and_inputs_are_those_of_a_training_set(project: Project, past: Files, history: History) -> None:
    set_ = make_dataset(project, past, Choice(event_type="payment"))
    table = set_.table
    assert history.ids.to_pylist() == table.column("event_id").to_pylist()
    assert history.fraud.tolist() == [label is True for label in table.column("label").to_pylist()]
    assert history.matured.tolist() == table.column("matured").to_pylist()
    assert history.known_by_us == set_.known_by_us
    assert history.fraud.sum() > 10
    assert (history.good.sum(), history.fraud.sum()) == (set_.counted.negative, set_.counted.positive)
    for item in set_.inputs:
        expected = table.column(item.name).to_pylist()
        values = history.inputs[item.name]
        if isinstance(values, np.ndarray):
            given = [None if np.isnan(value) else value for value in values.tolist()]
            times = table.column(item.name)
            if pa.types.is_timestamp(times.type):
                expected = times.cast(pa.int64()).to_pylist()
            assert given == [None if value is None else float(value) for value in expected], item.name
        else:
            assert values.to_pylist() == expected, item.name
    assert history.amount.tolist() == table.column("amount").to_pylist()


def test_a_cut_off_and_a_span_hold(project: Project, past: Files, history: History) -> None:
    middle = int(np.quantile(history.time_us, 0.8))
    part = make_history(project, past, event_type="payment", to_us=middle, known_by_us=middle)
    assert part.ids.to_pylist() == [
        name for name, time in zip(history.ids.to_pylist(), history.time_us.tolist()) if time < middle
    ]
    assert 0 < part.fraud.sum() < history.fraud.sum()
    assert (part.known_at_us[part.labelled] <= middle).all()


def test_what_is_not_there_is_said(project: Project, past: Files) -> None:
    with pytest.raises(InputError, match=r"no input 'amout'; did you mean amount\?"):
        make_history(project, past, event_type="payment", inputs=["amout"])
    with pytest.raises(InputError, match="card is personal"):
        make_history(project, past, event_type="payment", inputs=["card"])
    undecided = replace(project, definitions=replace(project.definitions, policies=(), rules=(), models=()))
    with pytest.raises(InputError, match="neither a policy nor rules for payment"):
        make_history(undecided, past, event_type="payment")
