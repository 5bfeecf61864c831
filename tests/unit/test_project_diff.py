"""What differs between two versions of a project, in texts."""

from __future__ import annotations

from dataclasses import replace

from parakh.decisions.definition import Definitions, Policy, Settings, Signals
from parakh.events.definition import EventType, Field
from parakh.expressions.types import STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition, Window
from parakh.project.diff import Change, Part, diff
from parakh.project.project import Project
from parakh.rules.definition import ListEntry, LookupTable, Mode, Outcome, Rule, TableRow, ValueList

RULE = Rule(name="large", event_types=("payment",), when="amount > 500", then=Outcome.REVIEW)
FEATURE = FeatureDefinition(
    name="payments",
    sources=("payment",),
    aggregate=Aggregate(AggregateKind.COUNT),
    over=(Window("1h", length_us=3_600_000_000),),
)
OLD = Definitions(
    settings=Settings(name="shop", currency="INR"),
    events=(
        EventType(
            name="payment",
            id="row",
            time="paid_at",
            fields=(
                Field(name="paid_at", type=TIMESTAMP),
                Field(name="card", type=STRING, entity="card"),
                Field(name="amount", type=money("INR")),
            ),
        ),
    ),
    entities=(Entity(name="card", features=(FEATURE, replace(FEATURE, name="again"))),),
    signals=(Signals(event_type="payment", define=(("dear", "amount > 5"),)),),
    rules=(RULE, replace(RULE, name="larger", when="amount > 5000")),
    policies=(Policy(event_type="payment", name="payment"),),
    lists=(ValueList(name="home", entries=(ListEntry(value="IN"),)),),
    tables=(LookupTable(name="trade", columns=(("risk", STRING),), rows=(TableRow(key="a", values=("b",)),)),),
)


def changes(new: Definitions) -> tuple[Change, ...]:
    return diff(Project.of(OLD), Project.of(new)).changes


def test_the_same_definitions_do_not_differ() -> None:
    same = diff(Project.of(OLD), Project.of(OLD))
    assert not same
    assert str(same) == "no change"


def test_a_changed_rule_shows_before_and_after() -> None:
    rules = (replace(RULE, when="amount > 600", mode=Mode.SHADOW), OLD.rules[1])
    (change,) = changes(replace(OLD, rules=rules))
    assert change == Change(
        "rule",
        "large",
        "changed",
        (Part("when", "amount > 500", "amount > 600"), Part("mode", "live", "shadow")),
    )
    assert "when: amount > 500 -> amount > 600" in str(change)


def test_what_came_and_what_went() -> None:
    new = replace(RULE, name="new")
    found = changes(replace(OLD, rules=(OLD.rules[1], new)))
    assert [(change.kind, change.name, change.status) for change in found] == [
        ("rule", "large", "removed"),
        ("rule", "new", "added"),
    ]
    assert Part("when", None, "amount > 500") in found[1].parts


def test_every_kind_of_definition_is_compared() -> None:
    longer = replace(FEATURE, over=(Window("2h", length_us=7_200_000_000),), include_current=False)
    new = Definitions(
        settings=replace(OLD.settings, lateness_us=60_000_000),
        events=(replace(OLD.events[0], derive=(("night", "hour(paid_at) < 6"),)),),
        entities=(replace(OLD.entities[0], features=(longer, OLD.entities[0].features[1])),),
        signals=(Signals(event_type="payment", define=(("dear", "amount > 6"),)),),
        rules=OLD.rules,
        policies=(replace(OLD.policies[0], otherwise=Outcome.REVIEW),),
        lists=(replace(OLD.lists[0], entries=(ListEntry(value="IN", note="ours"),)),),
        tables=(replace(OLD.tables[0], rows=()),),
    )
    told = {(change.kind, change.name): change.parts for change in changes(new)}
    assert told == {
        ("settings", "parakh.toml"): (Part("lateness", "1h", "1m"),),
        ("event", "payment"): (Part("derive.night", None, "hour(paid_at) < 6"),),
        ("feature", "card.payments"): (Part("over", "1h", "2h"), Part("current", None, "exclude")),
        ("signal", "dear of payment"): (Part("expression", "amount > 5", "amount > 6"),),
        ("policy", "payment"): (Part("otherwise", "allow", "review"),),
        ("list", "home"): (Part("items.IN", "listed", "ours"),),
        ("table", "trade"): (Part("rows.a", "b", None),),
    }


def test_a_changed_order_is_a_change() -> None:
    (change,) = changes(replace(OLD, rules=OLD.rules[::-1]))
    assert change == Change("order", "rules", "changed", (Part("order", "large, larger", "larger, large"),))
