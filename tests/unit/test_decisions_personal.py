"""A tokenised field allows equality, in_list, distinct and entity, and nothing that would read its text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parakh.decisions.check import check_definitions
from parakh.decisions.definition import Definitions, Signals
from parakh.decisions.personal import personal_names, reads_personal
from parakh.decisions.samples import sample_project
from parakh.errors import Place, SourceText
from parakh.events.definition import EventType, Field
from parakh.expressions.types import INTEGER, NUMBER, STRING, TIMESTAMP
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition
from parakh.rules.definition import Outcome, Rule


def definitions(personal: str, *, when: str = "amount > 5", aggregate: Aggregate | None = None) -> Definitions:
    whole = sample_project().definitions
    payment = whole.events[0]
    fields = tuple(item for item in payment.fields if item.name != "card")
    card = Field(name="card", type=STRING, entity="card" if personal == "token" else None, personal=personal)
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
    ["card = 'x'", "card in ('x', 'y')", "in_list(card, 'watched')", "card is null and domestic", "card != 'x'"],
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


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("card != country", "'card' is tokenised and this is not: they are never equal"),
        ("card in ('x', country)", "'card' is tokenised and this is not: they are never equal"),
        ("'x' in (card, lower(country))", "'card' is tokenised and this is not: they are never equal"),
    ],
)
def test_a_token_is_compared_with_literals_and_tokens_only(when: str, said: str) -> None:
    (problem,) = check_definitions(definitions("token", when=when))
    assert problem.message == said


def test_a_masked_field_can_be_asked_for_null_only() -> None:
    assert check_definitions(definitions("mask", when="card is null or card is not null")) == []
    (problem,) = check_definitions(definitions("mask", when="card = 'x'"))
    assert problem.message == "'card' is masked before anything but `derive` reads it"


def changed(field: Field, **more: object) -> Definitions:
    """The sample with one of its payment's fields replaced."""
    whole = sample_project().definitions
    payment = whole.events[0]
    fields = tuple(field if item.name == field.name else item for item in payment.fields)
    return replace(whole, events=(replace(payment, fields=fields, **more),))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            Field(name="points", type=INTEGER, personal="token"),
            "'points' is a whole number; only texts are made a token",
        ),
        (Field(name="ratio", type=NUMBER, personal="mask"), "'ratio' is a number; only texts are made a mask"),
        (Field(name="payment_id", type=STRING, personal="mask"), "'payment_id' is the event's id and cannot be masked"),
        (
            Field(name="payment_id", type=STRING, personal="drop"),
            "'payment_id' is the event's id and cannot be dropped",
        ),
        (Field(name="paid_at", type=TIMESTAMP, personal="drop"), "'paid_at' is the event's time and cannot be dropped"),
        (
            Field(name="device", type=STRING, entity="device", personal="drop"),
            "'device' is the key of entity 'card_device' and cannot be dropped",
        ),
        (
            Field(name="card", type=STRING, entity="card", personal="mask"),
            "'card' is the key of entity 'card' and cannot be masked",
        ),
        (Field(name="ratio", type=NUMBER, source="~x"), "field 'ratio' is read from a reserved key"),
    ],
)
def test_what_cannot_be_treated_so_is_refused_where_it_stands(field: Field, said: str) -> None:
    place = Place("events/payment.yaml", 7, 3)
    marked = replace(
        field,
        personal=SourceText(field.personal, place) if field.personal else None,
        source=SourceText(field.source, place) if field.source else None,
    )
    problem = next(item for item in check_definitions(changed(marked)) if item.message == said)
    assert problem.place == place


def test_an_id_may_be_a_token_and_a_number_dropped() -> None:
    token = Field(name="payment_id", type=STRING, personal="token")
    assert check_definitions(changed(token)) == []
    points = replace(sample_project().definitions, rules=(), models=(), policies=(), signals=(), entities=())
    fields = tuple(
        Field(name="points", type=INTEGER, personal="drop") if item.name == "points" else item
        for item in points.events[0].fields
    )
    assert check_definitions(replace(points, events=(replace(points.events[0], fields=fields),))) == []


def test_what_is_derived_with_the_text_is_personal_too() -> None:
    login = EventType(
        name="login",
        id="row",
        time="at",
        fields=(
            Field(name="at", type=TIMESTAMP),
            Field(name="email", type=STRING, personal="token"),
            Field(name="name", type=STRING, personal="drop"),
            Field(name="city", type=STRING),
        ),
        derive=(
            ("small", "lower(email)"),
            ("either", "coalesce(city, small)"),
            ("worst", "case when city = 'x' then name else email end"),
            ("own", "either like '%@example.com'"),
            ("side", "case when own then 'us' else 'them' end"),
            ("upper_city", "upper(city)"),
        ),
    )
    assert personal_names(login) == {
        "email": "token", "name": "drop", "small": "token", "either": "token", "worst": "drop",
    }  # fmt: skip
    assert reads_personal(login) == ("small", "either", "worst", "own", "side")
    rule = Rule(name="r", event_types=("login",), when="small like 'a%' and own and side = 'us'", then=Outcome.BLOCK)
    whole = Definitions(settings=sample_project().definitions.settings, events=(login,), rules=(rule,))
    (problem,) = check_definitions(whole)
    assert problem.message == "'small' is tokenised: its text cannot be read here"


def test_the_first_and_last_of_a_token_are_tokens() -> None:
    def whole(when: str) -> Definitions:
        base = changed(Field(name="card", type=STRING, entity="card", personal="token"))
        last = FeatureDefinition(name="card", sources=("payment",), aggregate=Aggregate(AggregateKind.LAST, "card"))
        rule = Rule(name="again", event_types=("payment",), when=when, then=Outcome.BLOCK)
        return replace(base, entities=(*base.entities, Entity(name="device", features=(last,))), rules=(rule,))

    assert check_definitions(whole("card = device.card or device.card in ('a', 'b')")) == []
    (problem,) = check_definitions(whole("device.card like '4%'"))
    assert problem.message == "'device.card' is tokenised: its text cannot be read here"
    (problem,) = check_definitions(whole("device.card = country"))
    assert problem.message == "'device.card' is tokenised and this is not: they are never equal"


def test_one_key_is_treated_alike_everywhere() -> None:
    whole = changed(Field(name="card", type=STRING, entity="card", personal="token"))
    time = Field(name="at", type=TIMESTAMP)
    decline = EventType(
        name="decline", id="row", time="at", fields=(time, Field(name="card", type=STRING, entity="card"))
    )
    messages = [item.message for item in check_definitions(replace(whole, events=(*whole.events, decline)))]
    assert messages == ["payment.card is a token and decline.card is not: they are never the same card"]


def test_a_feature_reads_one_treatment_in_all_its_sources() -> None:
    time = Field(name="at", type=TIMESTAMP)
    customer = Field(name="customer", type=STRING, entity="customer")
    email = Field(name="email", type=STRING, personal="token")
    login = EventType(name="login", id="row", time="at", fields=(time, customer, email))
    change = EventType(name="change", id="row", time="at", fields=(time, customer, replace(email, personal=None)))
    emails = FeatureDefinition(
        name="emails", sources=("login", "change"), aggregate=Aggregate(AggregateKind.DISTINCT, "email")
    )
    whole = Definitions(
        settings=sample_project().definitions.settings,
        events=(login, change),
        entities=(Entity(name="customer", features=(emails,)),),
    )
    (problem,) = check_definitions(whole)
    assert problem.message == "'email' is not treated alike in the feature's sources"
    assert problem.hint == "login: token; change: plain"


def test_one_source_is_treated_in_one_way() -> None:
    twice = Field(name="ratio", type=NUMBER, source="points", personal="drop")
    said = [item.message for item in check_definitions(changed(twice))]
    assert "'ratio' and 'points' are read from one place, but are not treated alike" in said
