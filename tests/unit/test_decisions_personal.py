"""A tokenised field allows equality, in_list, distinct and entity, and nothing that would read its text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parakh.decisions.check import check_definitions
from parakh.decisions.definition import Definitions, Signals
from parakh.decisions.samples import sample_project
from parakh.events.definition import Field
from parakh.expressions.types import STRING
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition
from parakh.rules.definition import Outcome, Rule


def definitions(personal: str, *, when: str = "amount > 5", aggregate: Aggregate | None = None) -> Definitions:
    whole = sample_project().definitions
    payment = whole.events[0]
    fields = tuple(item for item in payment.fields if item.name != "card")
    card = Field(name="card", type=STRING, entity="card", personal=personal)
    payment = replace(payment, fields=(*fields, card), derive=(("domestic", "starts_with(card, 'IN')"),))
    features = ()
    if aggregate is not None:
        features = (FeatureDefinition(name="cards", sources=("payment",), aggregate=aggregate),)
    rule = Rule(name="tried", event_types=("payment",), when=when, then=Outcome.BLOCK)
    return Definitions(
        settings=whole.settings,
        events=(payment,),
        entities=(Entity(name="device", features=features),),
        signals=(Signals(event_type="payment"),),
        rules=(rule,),
        lists=whole.lists,
    )


@pytest.mark.parametrize(
    "when",
    ["card = 'x'", "card in ('x', 'y')", "in_list(card, 'watched')", "card is null and domestic", "card != country"],
)
def test_a_token_can_be_told_apart(when: str) -> None:
    assert check_definitions(definitions("token", when=when)) == []


@pytest.mark.parametrize(
    "when",
    ["starts_with(card, 'IN')", "card like 'x%'", "length(card) > 3", "lower(card) = 'x'", "upper(card) in ('X')"],
)
def test_the_text_of_a_token_cannot_be_read(when: str) -> None:
    (problem,) = check_definitions(definitions("token", when=when))
    assert problem.message == "'card' is tokenised: its text cannot be read here"


def test_a_dropped_field_cannot_be_read_at_all() -> None:
    (problem,) = check_definitions(definitions("drop", when="card = 'x'"))
    assert problem.message == "'card' is dropped before anything but `derive` reads it"


def test_tokens_are_counted_but_not_taken_apart() -> None:
    distinct = Aggregate(AggregateKind.DISTINCT, "card")
    assert check_definitions(definitions("token", aggregate=distinct)) == []
    lengths = Aggregate(AggregateKind.MAX, "length(card)")
    assert [p.message for p in check_definitions(definitions("token", aggregate=lengths))] == [
        "'card' is tokenised: its text cannot be read here"
    ]
