"""The example projects load, their rules' tests hold, and on a simulated fintech they stop frauds and few others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from integration.inside import inside
from parakh import Project
from parakh.decisions.definition import Definitions
from parakh.rules.definition import Mode
from parakh.simulation import simulate

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("card-payments", "fraud-handbook", "sparkov")
DATA = Path(os.environ.get("PARAKH_DATA", EXAMPLES.parents[1] / "shared" / "data"))
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")


def parakh(*arguments: str) -> str:
    """What a verb prints on stdout; the test fails with its stderr where it does not end well."""
    code, out, err = inside(arguments)
    assert code == 0, err
    return out


@pytest.fixture(params=NAMES)
def definitions(request: pytest.FixtureRequest) -> Definitions:
    return Project.load(EXAMPLES / request.param).definitions


def test_every_rule_says_why_and_is_tested_both_ways(definitions: Definitions) -> None:
    reasons = [rule.reason for rule in definitions.rules]
    assert len(set(reasons)) == len(reasons)
    for rule in definitions.rules:
        assert rule.reason, rule.name
        assert rule.text, rule.name
        expected = {test.expect for test in rule.tests}
        assert "hit" in expected, rule.name
        assert expected & {"no_hit", "unknown"}, rule.name


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_inside_the_rules_hold(name: str) -> None:
    assert parakh("test", str(EXAMPLES / name))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_as_fmt_writes_them(name: str) -> None:
    parakh("fmt", "--check", str(EXAMPLES / name))


def test_card_payments_shows_what_a_project_can_do() -> None:
    definitions = Project.load(EXAMPLES / "card-payments").definitions
    assert sum(rule.mode is Mode.LIVE for rule in definitions.rules) >= 12
    assert any(rule.mode is Mode.SHADOW for rule in definitions.rules)
    assert any(rule.override for rule in definitions.rules)
    assert {policy.event_type for policy in definitions.policies} == {"payment", "transfer"}
    assert sum(len(entity.key) > 1 for entity in definitions.entities) >= 3
    sources = {source for entity in definitions.entities for item in entity.features for source in item.sources}
    assert sources == set(TYPES)
    assert any(item.delay_us for entity in definitions.entities for item in entity.features)
    assert any(item.by for entity in definitions.entities for item in entity.features)
    (model,) = definitions.models
    assert len(model.content) <= 150 * 1024


def test_most_of_the_stolen_money_is_stopped_and_most_of_what_is_stopped_was_stolen(tmp_path: Path) -> None:
    data = tmp_path / "events"
    simulate("fintech", events=60_000, seed=2, out=data)
    events = [argument for name in TYPES for argument in ("--events", f"{name}={data / name}.ndjson")]
    out = tmp_path / "decisions.parquet"
    labels = ["--labels", str(data / "labels.ndjson")]
    told = json.loads(parakh("replay", str(EXAMPLES / "card-payments"), *events, *labels, "--out", str(out), "--json"))
    assert told["received"] == told["accepted"] == 60_000
    stopped = {
        (row["event_type"], row["event_id"])
        for row in pq.read_table(out, columns=["event_type", "event_id", "outcome"]).to_pylist()
        if row["outcome"] != "allow"
    }
    for name, key in (("payment", "payment_id"), ("transfer", "transfer_id")):
        amounts = {
            row[key]: row["amount"] for row in map(json.loads, (data / f"{name}.ndjson").read_text().splitlines())
        }
        truth = map(json.loads, (data / "truth.ndjson").read_text().splitlines())
        frauds = {row["event_id"] for row in truth if row["event_type"] == name and row["fraud"]}
        held = {event_id for event_type, event_id in stopped if event_type == name}
        caught = sum(amounts[event_id] for event_id in frauds & held)
        assert caught > 0.6 * sum(amounts[event_id] for event_id in frauds)
        assert len(frauds & held) > 0.35 * len(held)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "rows", "precision", "caught"),
    [
        ("fraud-handbook", "transactions_2018-06-11_2018-08-14.parquet", 622_892, 0.70, 0.75),
        ("sparkov", "transactions_2019-01-01_2019-06-30.parquet", 201_574, 0.45, 0.90),
    ],
)
def test_the_rules_over_other_peoples_data_hold_what_their_readme_shows(
    tmp_path: Path, name: str, file: str, rows: int, precision: float, caught: float
) -> None:
    source = DATA / name / file
    if not source.exists():
        pytest.skip(f"the data of {name} is not at {DATA} (set PARAKH_DATA)")
    project, out = str(EXAMPLES / name), str(tmp_path / "decisions.parquet")
    replay = ("replay", project, "--events", str(source), "--label-delay", "7d", "--out", out, "--json")
    told = json.loads(parakh(*replay))
    assert told["received"] == told["accepted"] == rows
    (judged,) = told["judged"].values()
    assert judged["precision"] > precision
    assert judged["caught_amount"] > caught * judged["fraud_amount"]
