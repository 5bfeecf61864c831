"""A project that does with personal fields all that may be done with them, and random events for it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from parakh.decisions.definition import (
    Band,
    Definitions,
    Enrichment,
    EnrichmentColumn,
    Policy,
    Settings,
    Signals,
)
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import BOOLEAN, NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition, Window
from parakh.rules.definition import ListEntry, LookupTable, Mode, Outcome, Rule, TableRow, ValueList

HOUR = Window("1h", length_us=3_600_000_000)
CARDS = [
    "4111111111111111", "4012888888881881", "5555555555554444", "378282246310005", "6011111111111117",
    "kbc4611c7f6", "4",
]  # fmt: skip
EMAILS = ["Asha.Rao@example.com", "asha.rao@example.com", "x@shop.test", "ÄÖ@example.com", ""]
AADHAARS = ["499118665246", "9999 4105 7058", "2341 2341 2346"]
CVVS = ["737", "9041"]


@dataclass(frozen=True)
class Project:
    definitions: Definitions
    hash: str = "test"


def project() -> Project:
    """Payments and logins with tokens, a mask and dropped fields; rules that compare, list, look up and count them."""
    payment = EventType(
        name="payment",
        id="id",
        time="at",
        fields=(
            Field(name="id", type=STRING),
            Field(name="at", type=TIMESTAMP),
            Field(name="card", type=STRING, entity="card", personal="token", source="method.pan"),
            Field(name="other_card", type=STRING, personal="token"),
            Field(name="email", type=STRING, personal="token"),
            Field(name="aadhaar", type=STRING, personal="drop"),
            Field(name="born", type=TIMESTAMP, personal="drop"),
            Field(name="income", type=money("INR"), personal="drop"),
            Field(name="cvv", type=STRING, personal="drop", source="method.cvv"),
            Field(name="name", type=STRING, personal="mask"),
            Field(name="device", type=STRING, entity="device"),
            Field(name="amount", type=money("INR")),
            Field(name="ratio", type=NUMBER),
            Field(name="reference", type=STRING),
            Field(name="ip", type=STRING),
        ),
        derive=(
            ("visa", "starts_with(card, '4')"),
            ("digits", "length(aadhaar)"),
            ("age", "date_diff('year', born, at)"),
            ("small", "lower(email)"),
            ("house", "case when small like '%@example.com' then 'own' when email is null then null else 'out' end"),
            ("hidden", "upper(aadhaar)"),
            ("known_id", "in_list(hidden, 'identities') or hidden is null"),
            ("scheme", "lookup('schemes', card, 'scheme')"),
            ("share", "amount / income"),
            ("spare", "income - amount"),
            ("latest", "case when born is not null then at end"),
            ("twice", "amount + amount"),
            ("one_of", "coalesce(other_card, card)"),
            ("has_name", "name is not null"),
        ),
        labels=(Label(name="fraud", source="fraud"),),
    )
    login = EventType(
        name="login",
        id="id",
        time="at",
        fields=(
            Field(name="id", type=STRING, personal="token"),
            Field(name="at", type=TIMESTAMP),
            Field(name="email", type=STRING, personal="token"),
            Field(name="device", type=STRING, entity="device"),
            Field(name="ip", type=STRING, personal="token"),
        ),
        derive=(("small", "lower(email)"),),
    )

    def feature(name: str, kind: AggregateKind, argument: str | None, **more: Any) -> FeatureDefinition:
        sources = more.pop("sources", ("payment",))
        return FeatureDefinition(name=name, sources=sources, aggregate=Aggregate(kind, argument), over=(HOUR,), **more)

    count, distinct = AggregateKind.COUNT, AggregateKind.DISTINCT
    features = (
        feature("payments", count, None),
        feature("cards", distinct, "card"),
        feature("emails", distinct, "small", sources=("payment", "login")),
        feature("tested", count, None, where="card = '4111111111111111' or card in ('4', '5555555555554444')"),
        feature("listed", count, None, where="in_list(other_card, 'stolen') and visa"),
        feature("last_card", AggregateKind.LAST, "card", include_current=False),
        feature("first_mail", AggregateKind.FIRST, "small", sources=("payment", "login")),
        feature("spent", AggregateKind.SUM, "twice", where="scheme = 'visa'"),
        feature("spare", AggregateKind.MAX, "spare"),
        feature("frauds", count, None, where="fraud and card is distinct from '4'"),
    )
    many = ", ".join(f"'{4_000_000_000_000_000 + number}'" for number in range(300)) + ", '4111111111111111'"
    rules = {
        "equal": "card = '4111111111111111' or '4012888888881881' = other_card",
        "unequal": "card != '4' and card is distinct from other_card",
        "in_few": "card not in ('4', 'kbc4611c7f6') and not card in ('x')",
        "in_many": f"(card) in ({many})",
        "not_in_many": f"not (card not in ({many})) or amount > 1000000",
        "either": "'378282246310005' in (card, other_card)",
        "on_list": "in_list(card, 'stolen') or in_list(reference, 'stolen')",
        "only_tokens": "in_list(email, 'mails')",
        "derived_list": "in_list(small, 'mails') or in_list(one_of, 'stolen')",
        "looked_up": "lookup('owners', card, 'owner') = reference or lookup('owners', card, 'risk') > 0.5",
        "both_ways": "lookup('owners', reference, 'risk') > 0.1",
        "same": "card = other_card or small = device.first_mail_1h",
        "again": "device.last_card_1h = card and device.last_card_1h in ('4111111111111111', '4')",
        "sealed": "visa and digits = 12 and age >= 30 and known_id",
        "sealed_more": "house = 'own' and share > 0.1 and spare < 100 and scheme = 'visa' and latest = at",
        "null": "card is null or name is null or email is not null",
        "counts": "device.cards_1h >= 2 or card.tested_1h >= 2 or device.emails_1h > 1 or card.spent_1h > 10",
        "signal": "blocked and not fresh",
        "text": "it_s = 'it''s' or reference = '4111111111111111'",
    }
    return Project(
        Definitions(
            settings=Settings(name="personal", currency="INR", lateness_us=0),
            events=(payment, login),
            entities=(
                Entity(name="card", features=tuple(item for item in features if len(item.sources) == 1)),
                Entity(name="device", features=features),
                Entity(name="pair", key=("card", "device"), features=(feature("seen", count, None),)),
            ),
            signals=(
                Signals(
                    event_type="payment",
                    define=(
                        ("blocked", "in_list(card, 'stolen') or card = '4'"),
                        ("fresh", "card.payments_1h <= 1"),
                        ("it_s", "case when reference = 'x' then 'it''s' else 'no' end"),
                    ),
                ),
            ),
            rules=(
                *(
                    Rule(name=name, event_types=("payment",), when=when, then=outcome, mode=mode)
                    for number, (name, when) in enumerate(rules.items())
                    for outcome in [Outcome((number % 3) + 1)]
                    for mode in [Mode.SHADOW if number % 5 == 0 else Mode.LIVE]
                ),
                Rule(name="mixed", event_types=("payment", "login"), when="ip = '10.0.0.1'", then=Outcome.REVIEW),
                Rule(name="disabled", event_types=("login",), when="ip in ('10.0.0.1', '4')", then=Outcome.BLOCK,
                     mode=Mode.DISABLED),
            ),
            policies=(
                Policy(event_type="payment", bands=(Band(Outcome.BLOCK, "card in ('6011111111111117')"),)),
                Policy(event_type="login"),
            ),
            lists=(
                ValueList(
                    name="stolen",
                    entries=(
                        ListEntry(value="4111111111111111"),
                        ListEntry(value="378282246310005", since_us=1_767_229_200_000_000),
                        ListEntry(value=4012888888881881, until_us=1_767_229_200_000_000),
                        ListEntry(value="x"),
                    ),
                ),
                ValueList(
                    name="mails", entries=(ListEntry(value="asha.rao@example.com"), ListEntry(value="x@shop.test"))
                ),
                ValueList(name="identities", entries=(ListEntry(value=AADHAARS[0]),)),
                ValueList(name="idle", entries=(ListEntry(value="4111111111111111"),)),
            ),
            tables=(
                LookupTable(
                    name="owners",
                    columns=(("owner", STRING), ("risk", NUMBER)),
                    rows=(
                        TableRow(key="4111111111111111", values=("x", 0.75)),
                        TableRow(key="4", values=(None, 0.2)),
                        TableRow(key="x", values=("y", 0.3)),
                    ),
                ),
                LookupTable(
                    name="schemes",
                    columns=(("scheme", STRING),),
                    rows=tuple(TableRow(key=card, values=("visa" if card[0] == "4" else "other",)) for card in CARDS),
                ),
            ),
        )
    )  # fmt: skip


def asked() -> Project:
    """The project with an enrichment of payments."""
    from dataclasses import replace

    risk = Enrichment(
        name="ip_risk",
        event_type="payment",
        url="https://risk.example.com/{ip}",
        columns=(EnrichmentColumn("risk", NUMBER), EnrichmentColumn("country", STRING, "geo.country")),
    )
    extra = Enrichment(
        name="pan",
        event_type="payment",
        url="https://risk.example.com/pan",
        columns=(EnrichmentColumn("held", BOOLEAN),),
    )
    rule = Rule(
        name="risky",
        event_types=("payment",),
        when="ip_risk.risk > 0.5 and ip_risk.country = 'IN' or pan.held",
        then=Outcome.BLOCK,
    )
    whole = project().definitions
    settings = replace(whole.settings, enrichment_hosts=("risk.example.com",))
    return Project(replace(whole, settings=settings, enrichments=(risk, extra), rules=(*whole.rules, rule)))


def random_events(chance: random.Random, count: int) -> list[tuple[str, bytes]]:
    """(event type, body) of random events, some of which are refused."""
    events = []
    for number in range(count):
        minute = number // 3
        at = f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:{number % 60:02d}Z"

        def some(values: list[Any], absent: float = 0.15) -> Any:
            return None if chance.random() < absent else chance.choice(values)

        common: dict[str, Any] = {
            "id": f"e{number}",
            "at": at,
            "email": some(EMAILS),
            "device": some(["d1", "d2", "d3"], 0.05),
            "ip": some(["10.0.0.1", "10.0.0.2"]),
        }
        if chance.random() < 0.3:
            event = common
        else:
            event = {
                **common,
                "method": some([{"pan": card, "cvv": chance.choice(CVVS)} for card in CARDS], 0.05),
                "other_card": some([*CARDS, 4111111111111111, 4]),
                "aadhaar": some(AADHAARS),
                "born": some(["1990-05-05", "2001-02-03T04:05:06Z", 0, -2_000_000_000]),
                "income": some([100, 5.5, "123.40", 0]),
                "name": some(["Asha Rao", "Li", "नेहा शर्मा जी"]),
                "amount": some([5.10, 700, 99.99, 1e2]),
                "ratio": some([0.1, 1e-7, 3]),
                "reference": some(["x", "y", "4", "naïve ₹"]),
                "fraud": some([True, False], 0.7),
                "undeclared": {"deep": [CARDS[0], {"x": AADHAARS[0]}]},
            }
            if chance.random() < 0.08:
                event[chance.choice(list(event))] = chance.choice([True, [], {"a": 1}, 1.5, "\ud800", float("nan")])
        text = json.dumps(event, ensure_ascii=chance.random() < 0.5)
        body = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.02:
            body = body[:-1]
        events.append(("login" if event is common else "payment", body))
    return events
