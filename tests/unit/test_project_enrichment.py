"""The definition of an enrichment: read, formatted, hashed, told apart from another version, and read in rules."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parakh.decisions.definition import Definitions, Enrichment, EnrichmentColumn
from parakh.decisions.enrichments import template_of
from parakh.decisions.names import Names
from parakh.errors import ExpressionError, ProjectError
from parakh.expressions.types import NUMBER, STRING, money
from parakh.project.diff import diff
from parakh.project.format import format_text
from parakh.project.project import Project
from parakh.project.rule_tests import run_rule_tests

EVENTS = """\
event: payment
id: payment_id
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  card: {type: string, entity: card}
  ip: string
  phone: {type: string, personal: token}
  amount: money
"""
ENRICHMENT = """\
enrichment: ip_risk
for: payment
url: https://risk.example.com/v1/ip/{ip}?amount={amount}
headers: {Authorization: "env:RISK_TOKEN"}
timeout: 15ms
cache: 10m
columns: {risk: {type: number, from: score}, country: string, limit_: {type: money, currency: USD, from: a.limit}}
"""
RULES = """\
signals: payment
define: {anywhere: "ip_risk.country is null"}
---
rule: risky
for: payment
when: ip_risk.risk > 0.9 and not anywhere
then: block
tests:
  - given: {ip_risk.risk: 0.95, ip_risk.country: IN}
    expect: hit
  - given: {ip_risk.risk: 0.95}
    expect: no_hit
  - given: {ip_risk.country: IN}
    expect: unknown
---
policy: payment
for: payment
bands: {review: ip_risk.risk > 0.5}
"""


def write(root: Path, enrichment: str = ENRICHMENT, events: str = EVENTS, rules: str = RULES) -> Path:
    settings = 'name = "shop"\ncurrency = "INR"\n[enrichments]\nhosts = ["risk.example.com", "127.0.0.1:9000"]\n'
    root.mkdir(exist_ok=True)
    (root / "parakh.toml").write_text(settings, encoding="utf-8")
    for folder, text in (("events", events), ("enrichments", enrichment), ("rules", rules)):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "a.yaml").write_text(text, encoding="utf-8")
    return root


def test_what_is_written_is_read(tmp_path: Path) -> None:
    project = Project.load(write(tmp_path))
    assert project.definitions.settings.enrichment_hosts == ("risk.example.com", "127.0.0.1:9000")
    assert project.definitions.enrichments == (
        Enrichment(
            name="ip_risk",
            event_type="payment",
            url="https://risk.example.com/v1/ip/{ip}?amount={amount}",
            columns=(
                EnrichmentColumn("risk", NUMBER, "score"),
                EnrichmentColumn("country", STRING),
                EnrichmentColumn("limit_", money("USD"), "a.limit"),
            ),
            headers=(("Authorization", "env:RISK_TOKEN"),),
            timeout_us=15_000,
            cache_us=600_000_000,
            needed=True,
        ),
    )
    assert "1 enrichment" in repr(project)


def test_rules_signals_and_bands_read_its_columns_and_tests_give_them(tmp_path: Path) -> None:
    results = run_rule_tests(Project.load(write(tmp_path)))
    assert [result.passed for result in results] == [True] * 3, [str(result) for result in results]


def test_models_read_its_numbers_and_derived_values_do_not(tmp_path: Path) -> None:
    definitions = Project.load(write(tmp_path)).definitions
    names, event = Names(definitions), definitions.event_type("payment")
    assert names.decide(event).columns["ip_risk.risk"] == NUMBER
    assert "ip_risk.risk" not in names.ingest(event).columns
    assert "enrichment" in names.ingest(event).unavailable["ip_risk.risk"]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("15ms", "16ms"),
        ("cache: 10m", "cache: 0s"),
        ("ip/{ip}", "ip/{card}"),
        ("score", "scores"),
        ("country: string", "country: boolean"),
        ("RISK_TOKEN", "RISK_KEY"),
        ("timeout: 15ms\n", "timeout: 15ms\nneeded: false\n"),
    ],
)
def test_every_part_of_it_is_in_the_hash_and_is_told(tmp_path: Path, was: str, becomes: str) -> None:
    rules = "rule: a\nfor: payment\nwhen: ip_risk.risk > 0.9\nthen: block\n"
    old = Project.load(write(tmp_path / "old", rules=rules))
    new = Project.load(write(tmp_path / "new", ENRICHMENT.replace(was, becomes), rules=rules))
    assert old.hash != new.hash
    (change,) = diff(old, new).changes
    assert (change.kind, change.name, change.status, len(change.parts)) == ("enrichment", "ip_risk", "changed", 1)


def test_it_is_laid_out_like_every_definition() -> None:
    mixed = "enrichment: a\ncolumns: { x:  number }\nurl:   https://b.com/{ip}\nfor: p   # why\n"
    laid_out = "enrichment: a\nfor: p   # why\nurl: https://b.com/{ip}\ncolumns: {x: number}\n"
    assert format_text(mixed) == laid_out
    assert format_text(ENRICHMENT) == ENRICHMENT


@pytest.mark.parametrize("personal", ["token", "mask", "drop"])
def test_nothing_personal_leaves_in_the_clear(tmp_path: Path, personal: str) -> None:
    events = EVENTS.replace("personal: token", f"personal: {personal}")
    enrichment = ENRICHMENT.replace("{amount}", "{phone}")
    with pytest.raises(ProjectError) as caught:
        Project.load(write(tmp_path, enrichment, events))
    (problem,) = caught.value.problems
    assert problem.message == "'phone' is personal and would leave in the clear"
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (3, 49)
    assert "not `personal`" in problem.hint


def test_definitions_built_in_python_are_held_to_the_same(tmp_path: Path) -> None:
    definitions: Definitions = Project.load(write(tmp_path)).definitions
    assert Project.of(definitions).definitions.enrichments == definitions.enrichments
    (enrichment,) = definitions.enrichments
    for wrong, message in (
        (replace(enrichment, name="ip risk"), "is not the name of an enrichment"),
        (replace(enrichment, columns=()), "has no columns"),
        (replace(enrichment, url="https://10.0.0.1/"), "private address"),
        (replace(enrichment, timeout_us=50_000), "may take 50 ms"),
    ):
        with pytest.raises(ProjectError, match=message):
            Project.of(replace(definitions, enrichments=(wrong,), rules=(), signals=(), policies=definitions.policies))


def test_a_sidecar_is_asked_in_plain_http_at_its_port_alone(tmp_path: Path) -> None:
    Project.load(write(tmp_path, ENRICHMENT.replace("https://risk.example.com", "http://127.0.0.1:9000")))
    for elsewhere in ("http://127.0.0.1:9001", "http://127.0.0.2:9000", "http://localhost:9000"):
        with pytest.raises(ProjectError):
            Project.load(write(tmp_path, ENRICHMENT.replace("https://risk.example.com", elsewhere)))


@pytest.mark.parametrize("url", ["https://{a}/", "https://b{a}.com/", "https://b.com:{a}/", "{a}", "https://b.com/}"])
def test_a_field_stands_behind_the_host(url: str) -> None:
    with pytest.raises(ExpressionError):
        template_of(url)


def test_checking_it_loads_no_client(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom parakh.project.project import Project\nProject.load(sys.argv[1])\n"
        "print(sorted({'httpx', 'httpcore', 'anyio', 'numpy', 'asyncio', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(write(tmp_path))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# -- the engine: events that come with answers, as the service stores them, and events that come without ---------------

EVENT = {"payment_id": "1", "paid_at": "2026-01-01T10:00:00Z", "card": "c", "ip": "1.1.1.1", "amount": 5}
CAME = [
    EVENT,
    {**EVENT, "payment_id": "2", "~ip_risk": {"risk": 0.95, "country": "IN", "limit_": "7.50"}},
    {**EVENT, "payment_id": "3", "~ip_risk": {"risk": 0.6, "country": None}},
    {**EVENT, "payment_id": "4", "~ip_risk": None, "~degraded": True},
]


def test_answers_that_came_with_an_event_are_read_and_a_missing_one_is_degraded(tmp_path: Path) -> None:
    from parakh.decisions.engine import Engine

    engine = Engine(Project.load(write(tmp_path)))
    decisions = list(engine.decide(CAME))
    assert [decision.outcome for decision in decisions] == ["allow", "block", "review", "review"]
    assert [decision.flags for decision in decisions] == [(), (), (), ("degraded",)]
    again = engine.decide([{**CAME[1], "~ip_risk": {"risk": 0.0}}])
    assert len(again) == 0, "what was attached is not part of the event's identity: it is a duplicate"


def test_events_of_a_table_need_no_columns_for_answers(tmp_path: Path) -> None:
    import pyarrow as pa

    from parakh.decisions.engine import Engine

    engine = Engine(Project.load(write(tmp_path)))
    table = pa.table({**{name: [value] for name, value in EVENT.items()}, "phone": ["p"]})
    assert [decision.outcome for decision in engine.decide(table)] == ["allow"]


def test_the_engine_takes_over_a_project_with_another_enrichment(tmp_path: Path) -> None:
    from parakh.decisions.engine import Engine

    project = Project.load(write(tmp_path))
    engine = Engine(project)
    for changed in (ENRICHMENT.replace("15ms", "10ms"), ENRICHMENT.replace("score", "other")):
        assert engine.plan.intake.serves(Project.load(write(tmp_path, changed)).definitions)
    more = ENRICHMENT.replace("country: string", "country: string, more: number")
    assert not engine.plan.intake.serves(Project.load(write(tmp_path, more)).definitions)
