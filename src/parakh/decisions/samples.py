"""A very small project with one of everything, and a few events for it: enough to run every kernel once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parakh.decisions.definition import Band, Definitions, Policy, Settings, Signals
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import INTEGER, NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Calendar, Entity, FeatureDefinition, Window
from parakh.models.definition import Model
from parakh.rules.definition import ListEntry, Outcome, Rule, ValueList

__all__ = ["sample_crowd", "sample_events", "sample_labels", "sample_project"]

_HOUR = Window("1h", length_us=3_600_000_000)
_TODAY = Window("calendar_day", calendar=Calendar.DAY)

_TREES = b"""tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=amount card.payments_1h
feature_infos=[0:100] [0:100]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=50
decision_type=10
left_child=-1
right_child=-2
leaf_value=-1 1
leaf_weight=1 1
leaf_count=1 1
internal_value=0
internal_weight=2
internal_count=2
is_linear=0
shrinkage=1


end of trees
"""


@dataclass(frozen=True, slots=True)
class _Sample:
    definitions: Definitions
    hash: str


def sample_project() -> _Sample:
    """Payments with every aggregate, a joined key, a label, a list, a model and rules."""
    payment = EventType(
        name="payment",
        id="payment_id",
        time="paid_at",
        fields=(
            Field(name="payment_id", type=STRING),
            Field(name="paid_at", type=TIMESTAMP),
            Field(name="card", type=STRING, entity="card"),
            Field(name="device", type=STRING, entity="device"),
            Field(name="amount", type=money("USD")),
            Field(name="country", type=STRING),
            Field(name="points", type=INTEGER),
            Field(name="ratio", type=NUMBER),
        ),
        derive=(("night", "hour(paid_at) <= 6"),),
        labels=(Label(name="fraud", source="fraud"),),
    )
    arguments = {
        AggregateKind.COUNT: (None, "country"),
        AggregateKind.DISTINCT: ("country",),
        AggregateKind.SINCE_LAST: (None,),
    }
    numeric = ("amount", "ratio", "fraud")
    card = [
        FeatureDefinition(
            name=f"{kind.name.lower()}_{argument or 'events'}",
            sources=("payment",),
            aggregate=Aggregate(kind, argument),
            over=(_HOUR, _TODAY),
        )
        for kind in AggregateKind
        for argument in arguments.get(kind, numeric)
    ]
    card.append(
        FeatureDefinition(
            name="nightly",
            sources=("payment",),
            aggregate=Aggregate(AggregateKind.SUM, "amount"),
            where="night and fraud is null",
            over=(_HOUR,),
            delay_us=60_000_000,
            include_current=False,
        )
    )
    pair = FeatureDefinition(name="seen", sources=("payment",), aggregate=Aggregate(AggregateKind.COUNT))
    definitions = Definitions(
        settings=Settings(name="sample"),
        events=(payment,),
        entities=(
            Entity(name="card", features=tuple(card)),
            Entity(name="card_device", key=("card", "device"), features=(pair,)),
        ),
        signals=(Signals(event_type="payment", define=(("high", "amount > 90 and starts_with(country, 'I')"),)),),
        rules=(
            Rule(name="high", event_types=("payment",), when="high", then=Outcome.BLOCK, reason="S1"),
            Rule(
                name="listed",
                event_types=("payment",),
                when="in_list(country, 'watched') or card.count_events_1h in (7, 8)",
                then=Outcome.REVIEW,
            ),
        ),
        models=(
            Model(
                name="risk",
                event_type="payment",
                file="risk.lgb",
                inputs=("amount", "card.count_events_1h"),
                content=_TREES.replace(b"card.payments_1h", b"card.count_events_1h"),
            ),
        ),
        policies=(Policy(event_type="payment", score="risk", bands=(Band(Outcome.CHALLENGE, "score > 0.5"),)),),
        lists=(ValueList(name="watched", entries=(ListEntry(value="XX"),)),),
    )
    return _Sample(definitions, "sample")


def sample_events() -> list[dict[str, Any]]:
    """Eight payments, one of them late, with label columns."""
    return [
        {
            "payment_id": f"p{number}",
            "paid_at": f"2026-01-01T10:{minute:02}:00Z",
            "card": f"c{number % 2}",
            "device": "d",
            "amount": 12.5 * number,
            "country": "IN",
            "points": number,
            "ratio": 0.5 * number,
            "fraud": number % 3 == 0,
        }
        for number, minute in enumerate((1, 5, 9, 20, 12, 30, 40, 55))
    ]


def sample_crowd() -> bytes:
    """Payments of many cards, countries and devices as lines of JSON: enough for every table to grow."""
    lines = []
    for number in range(3000):
        minute, second = divmod(number, 60)
        card = "hot" if number % 2 else f"c{number}"
        lines.append(
            f'{{"payment_id":"n{number}","paid_at":"2026-01-02T10:{minute:02}:{second:02}Z","card":"{card}",'
            f'"device":"d{number}","amount":{number % 97}.50,"country":"x{number}","ratio":{number}.25}}\n'
        )
    return "".join(lines).encode()


def sample_labels() -> list[dict[str, Any]]:
    """One label of an event."""
    known = "2026-01-01T10:35:00Z"
    return [{"event_type": "payment", "event_id": "p2", "label": "fraud", "value": True, "known_at": known}]
