"""The examples inside rules, run: hits, misses and unknowns, through derived values, signals, lists and tables."""

from __future__ import annotations

from dataclasses import replace

from parakh.decisions.definition import Definitions, Settings, Signals
from parakh.events.definition import EventType, Field
from parakh.expressions.types import NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition, Window
from parakh.project.project import Project
from parakh.project.rule_tests import RuleTestResult, run_rule_tests
from parakh.rules.definition import (
    ListEntry,
    LookupTable,
    Mode,
    Outcome,
    Rule,
    RuleTest,
    TableRow,
    Value,
    ValueList,
)

YEAR_2025 = 1_735_689_600_000_000
HOUR = 3_600_000_000

FIELDS = (
    Field(name="paid_at", type=TIMESTAMP),
    Field(name="card", type=STRING, entity="card"),
    Field(name="amount", type=money("INR")),
    Field(name="country", type=STRING),
)
BASE = Definitions(
    settings=Settings(name="shop", currency="INR", time_zone="Asia/Kolkata"),
    events=(
        EventType(name="payment", id="row", time="paid_at", fields=FIELDS, derive=(("night", "hour(paid_at) <= 6"),)),
        EventType(name="transfer", id="row", time="paid_at", fields=FIELDS),
    ),
    entities=(
        Entity(
            name="card",
            features=(
                FeatureDefinition(
                    name="payments",
                    sources=("payment",),
                    aggregate=Aggregate(AggregateKind.COUNT),
                    over=(Window("10m", length_us=HOUR // 6),),
                ),
                FeatureDefinition(name="usual", sources=("payment",), aggregate=Aggregate(AggregateKind.AVG, "amount")),
            ),
        ),
    ),
    signals=(
        Signals(
            event_type="payment",
            define=(("times_usual", "amount / card.usual"), ("dear", "times_usual > 3 and not night")),
        ),
    ),
    lists=(
        ValueList(
            name="watched",
            entries=(ListEntry(value="NO"), ListEntry(value="SE", since_us=YEAR_2025, until_us=YEAR_2025 + HOUR)),
        ),
    ),
    tables=(LookupTable(name="risk", columns=(("share", NUMBER),), rows=(TableRow(key="NO", values=(0.25,)),)),),
)


def run(
    when: str, *tests: tuple[dict[str, Value], str], events: tuple[str, ...] = ("payment",)
) -> list[RuleTestResult]:
    rule = Rule(
        name="judged",
        event_types=events,
        when=when,
        then=Outcome.BLOCK,
        mode=Mode.DISABLED,
        tests=tuple(RuleTest(given=tuple(given.items()), expect=expect) for given, expect in tests),
    )
    return list(run_rule_tests(Project.of(replace(BASE, rules=(rule,)))))


def verdicts(results: list[RuleTestResult]) -> list[str]:
    return [result.got for result in results]


def test_fields_and_features_are_what_is_given_and_otherwise_unknown() -> None:
    results = run(
        "card.payments_10m >= 6 and amount < 5",
        ({"card.payments_10m": 7, "amount": 1.5}, "hit"),
        ({"card.payments_10m": 5, "amount": 1.5}, "no_hit"),
        ({"card.payments_10m": 7}, "unknown"),
        ({"amount": 5}, "no_hit"),
        ({"card.payments_10m": None, "amount": "4.99"}, "hit"),
    )
    assert verdicts(results) == ["hit", "no_hit", "unknown", "no_hit", "unknown"]
    assert [result.passed for result in results] == [True, True, True, True, False]
    assert "7" in results[0].explanation
    assert "expected hit, got unknown" in str(results[4])


def test_signals_and_derived_values_are_computed_unless_given() -> None:
    results = run(
        "dear",
        ({"amount": 500, "card.usual": 100, "paid_at": "2025-01-01T06:30:00Z"}, "hit"),  # noon in Kolkata
        ({"amount": 500, "card.usual": 100, "paid_at": "2025-01-01T00:30:00Z"}, "no_hit"),
        ({"amount": 500, "card.usual": 100}, "unknown"),
        ({"times_usual": 4, "night": False}, "hit"),
        ({"dear": True}, "hit"),
        ({"times_usual": 2}, "no_hit"),
        ({"amount": 500, "card.usual": 0, "night": False}, "unknown"),
    )
    assert [result.passed for result in results] == [True] * 7, [str(result) for result in results]


def test_lists_are_read_as_of_the_time_given_and_else_as_they_end() -> None:
    results = run(
        "in_list(country, 'watched')",
        ({"country": "NO"}, "hit"),
        ({"country": "SE"}, "no_hit"),
        ({"country": "SE", "paid_at": "2025-01-01T00:30:00Z"}, "hit"),
        ({"country": "SE", "paid_at": "2025-01-01T01:00:00Z"}, "no_hit"),
        ({"country": "IN"}, "no_hit"),
        ({"country": None}, "unknown"),
    )
    assert [result.passed for result in results] == [True] * 6, [str(result) for result in results]


def test_tables_are_looked_up() -> None:
    results = run("lookup('risk', country, 'share') > 0.2", ({"country": "NO"}, "hit"), ({"country": "IN"}, "unknown"))
    assert [result.passed for result in results] == [True, True]


def test_a_rule_for_two_event_types_is_tested_on_both() -> None:
    results = run("amount > 5", ({"amount": 6}, "hit"), ({"amount": 4}, "hit"), events=("payment", "transfer"))
    assert [(result.number, result.event_type, result.got) for result in results] == [
        (1, "payment", "hit"),
        (1, "transfer", "hit"),
        (2, "payment", "no_hit"),
        (2, "transfer", "no_hit"),
    ]


def test_a_project_without_tests_has_no_results() -> None:
    assert run_rule_tests(Project.of(BASE)) == ()
