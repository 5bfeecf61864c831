"""Windows worked out by hand: each case is one sentence of the design, and holds the oracle and the engine alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from oracle.adapter import run_engine
from oracle.log import Entry, Event, LabelEntry, Value
from oracle.windows import agrees, answers
from parakh.decisions.definition import Definitions, Policy, Settings
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import INTEGER, NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Calendar, Entity, FeatureDefinition, Window

SECOND = 1_000_000
START = 1_741_478_400 * SECOND
STARTED_US = 1_767_225_600 * SECOND
K = AggregateKind


@dataclass(frozen=True)
class Case:
    """A feature of entity card, a log, and the feature's value at each event ('late' and statuses as words)."""

    feature: FeatureDefinition
    log: Sequence[Entry]
    expected: Sequence[Any]
    settings: Settings = field(default_factory=lambda: _settings())


PAYMENT = EventType(
    name="payment",
    id="payment_id",
    time="at_time",
    fields=(
        Field(name="payment_id", type=STRING),
        Field(name="at_time", type=TIMESTAMP),
        Field(name="card", type=STRING, entity="card"),
        Field(name="amount", type=money("INR")),
        Field(name="points", type=INTEGER),
        Field(name="ratio", type=NUMBER),
    ),
    labels=(Label(name="fraud"),),
)
TRANSFER = EventType(
    name="transfer",
    id="transfer_id",
    time="at_time",
    fields=(
        Field(name="transfer_id", type=STRING),
        Field(name="at_time", type=TIMESTAMP),
        Field(name="payer", type=STRING, entity="account"),
        Field(name="payee", type=STRING, entity="account"),
    ),
)
TEN = Window("10s", length_us=10 * SECOND)
HUNDRED = Window("100s", length_us=100 * SECOND)
DAY = Window("1d", length_us=86_400 * SECOND)


def feature(kind: AggregateKind, argument: str | None = None, **more: Any) -> FeatureDefinition:
    return FeatureDefinition(
        name="f",
        **{"sources": ("payment",), "aggregate": Aggregate(kind, argument), "over": (TEN,), **more},
    )


def pay(id: str, at: float, card: str | None = "a", **fields: Any) -> Event:
    time = START + round(at * SECOND)
    given: dict[str, Value] = {
        "payment_id": id,
        "at_time": time,
        "card": card,
        "amount": None,
        "points": None,
        "ratio": None,
    }
    return Event(type="payment", id=id, time=time, fields={**given, **fields})


def send(id: str, at: float, payer: str, payee: str) -> Event:
    time = START + round(at * SECOND)
    return Event(
        type="transfer",
        id=id,
        time=time,
        fields={"transfer_id": id, "at_time": time, "payer": payer, "payee": payee},
    )


def verdict(id: str, value: bool | None, source: str | None = None) -> LabelEntry:
    return LabelEntry(event_type="payment", label="fraud", value=value, source=source, event_id=id)


def utc(text: str) -> float:
    """Seconds from START to an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - START / SECOND


def _settings(**more: Any) -> Settings:
    return Settings(**{"name": "by-hand", "currency": "INR", "lateness_us": 100 * SECOND, **more})


LARGE = 2**62
CASES = {
    "the left edge is open, the right edge closed": Case(
        feature(K.COUNT), [pay("1", 0), pay("2", 9.999999), pay("3", 10), pay("4", 10)], [1, 2, 2, 3]
    ),
    "an event is seen by later entries of the log alone": Case(
        feature(K.COUNT), [pay("1", 5), pay("2", 3), pay("3", 5)], [1, 1, 3]
    ),
    "a tie is seen from behind it in the log": Case(
        feature(K.COUNT, include_current=False),
        [pay("1", 0), pay("2", 0), pay("3", 0)],
        [0, 1, 2],
    ),
    "a late event has no features and enters no window": Case(
        feature(K.COUNT, over=(DAY,)),
        [pay("1", 0), pay("2", 200), pay("3", 99.999999), pay("4", 100), pay("5", 201)],
        [1, 2, "late", 2, 4],
    ),
    "last and first go by event time, not by arrival, and leave the current one out": Case(
        feature(K.LAST, "points", over=(HUNDRED,)),
        [pay("1", 5, points=1), pay("2", 3, points=2), pay("3", 6, points=3), pay("4", 6, points=None)],
        [None, None, 1, 3],
    ),
    "first of tied times is the first in the log": Case(
        feature(K.FIRST, "points", over=(HUNDRED,)),
        [pay("1", 5, points=1), pay("2", 5, points=2), pay("3", 3, points=3), pay("4", 6)],
        [None, 1, None, 3],
    ),
    "since_last is in seconds": Case(
        feature(K.SINCE_LAST, over=()), [pay("1", 5), pay("2", 5), pay("3", 7.25)], [None, 0.0, 2.25]
    ),
    "a delayed window ends before the event": Case(
        feature(K.COUNT, delay_us=10 * SECOND),
        [pay("1", 0), pay("2", 9.999999), pay("3", 10), pay("4", 19.999999), pay("5", 20)],
        [0, 0, 1, 2, 2],
    ),
    "money is summed exactly": Case(
        feature(K.SUM, "amount"),
        [pay("1", 0, amount=Decimal("0.10")), pay("2", 1, amount=Decimal("0.20")), pay("3", 2)],
        [Decimal("0.10"), Decimal("0.30"), Decimal("0.30")],
    ),
    "a sum beyond 64 bits is NULL and flagged, and comes back": Case(
        feature(K.SUM, "points"),
        [pay("1", 0, points=LARGE), pay("2", 5, points=LARGE), pay("3", 11, points=-1), pay("4", 16, points=2)],
        [LARGE, "overflow", LARGE - 1, 1],
    ),
    "a sum stays exact while its parts would leave 64 bits": Case(
        feature(K.SUM, "points"),
        [
            pay("1", 0, points=LARGE),
            pay("2", 1, points=-LARGE),
            pay("3", 2, points=LARGE),
            pay("4", 3, points=-LARGE),
            pay("5", 4, points=2 * LARGE - 1),
        ],
        [LARGE, 0, LARGE, 0, 2 * LARGE - 1],
    ),
    "avg does not overflow": Case(
        feature(K.AVG, "points"),
        [pay("1", 0, points=LARGE), pay("2", 1, points=LARGE), pay("3", 2, points=None)],
        [float(LARGE), float(LARGE), float(LARGE)],
    ),
    "a large number leaves nothing behind when it goes": Case(
        feature(K.SUM, "ratio"),
        [pay("1", 0, ratio=1e300), pay("2", 1, ratio=0.1), pay("3", 10.5, ratio=0.2)],
        [1e300, 1e300, 0.1 + 0.2],
    ),
    "avg of money is in major units": Case(
        feature(K.AVG, "amount"),
        [pay("1", 0, amount=Decimal("1.00")), pay("2", 1, amount=Decimal("2.01"))],
        [1.0, 1.505],
    ),
    "aggregates over nothing are NULL, counts are 0": Case(
        feature(K.MAX, "points", where="points > 3"), [pay("1", 0, points=1), pay("2", 1, points=4)], [None, 4]
    ),
    "count(x) leaves NULLs out": Case(
        feature(K.COUNT, "points"), [pay("1", 0, points=1), pay("2", 1), pay("3", 2, points=1)], [1, 1, 2]
    ),
    "count(distinct x) leaves NULLs out": Case(
        feature(K.DISTINCT, "points"),
        [pay("1", 0, points=1), pay("2", 1), pay("3", 9, points=1), pay("4", 10.5, points=2), pay("5", 19.5)],
        [1, 1, 1, 2, 1],
    ),
    "stddev of a sample, NULL for one value": Case(
        feature(K.STDDEV, "points"), [pay("1", 0, points=1), pay("2", 1, points=3)], [None, 2**0.5]
    ),
    "a NULL key gives NULL and stores nothing": Case(
        feature(K.COUNT), [pay("1", 0, None), pay("2", 1, None), pay("3", 2)], [None, None, 1]
    ),
    "resolution makes the old edge coarser": Case(
        feature(K.COUNT, resolution_us=5 * SECOND),
        [pay("1", 4), pay("2", 5), pay("3", 14.999999), pay("4", 15), pay("5", 19.999999)],
        [1, 2, 2, 2, 3],
    ),
    "without a window the horizon holds": Case(
        feature(K.COUNT, over=()),
        [pay("1", 0), pay("2", 49), pay("3", 50)],
        [1, 2, 2],
        settings=_settings(horizon_us=50 * SECOND),
    ),
    "a calendar day begins at the project's midnight": Case(
        feature(K.COUNT, over=(Window("calendar_day", calendar=Calendar.DAY),)),
        # New York's clocks went forward on 2025-03-09: its day began at 05:00 UTC and lasted 23 hours
        [
            pay("1", utc("2025-03-09T04:59:59")),
            pay("2", utc("2025-03-09T05:00:00")),
            pay("3", utc("2025-03-10T03:59:59")),
            pay("4", utc("2025-03-10T04:00:00")),
        ],
        [1, 1, 2, 1],
        settings=_settings(time_zone="America/New_York"),
    ),
    "a calendar week begins on Monday": Case(
        feature(K.COUNT, over=(Window("calendar_week", calendar=Calendar.WEEK),)),
        [
            pay("1", utc("2025-03-09T23:00:00")),
            pay("2", utc("2025-03-10T00:00:00")),
            pay("3", utc("2025-03-16T23:59:59")),
        ],
        [1, 1, 2],
    ),
    "a label acts from its place in the log": Case(
        feature(K.AVG, "fraud", include_current=False),
        [pay("1", 0), pay("2", 1), verdict("1", True), pay("3", 2), pay("4", 10.5)],
        [None, 0.0, 0.5, 0.0],
    ),
    "unlabelled is NULL in where": Case(
        feature(K.COUNT, where="not fraud"),
        [pay("1", 0), pay("2", 1), verdict("1", False), pay("3", 2)],
        [0, 0, 1],
    ),
    "a withdrawal restores unlabelled": Case(
        feature(K.COUNT, where="fraud"),
        [pay("1", 0), verdict("1", True), pay("2", 1), verdict("1", None), pay("3", 2)],
        [0, 1, 0],
    ),
    "the highest-ranked source holds, then the latest": Case(
        feature(K.COUNT, where="fraud"),
        [
            pay("1", 0),
            verdict("1", True, "chargeback"),
            verdict("1", False, "analyst"),
            pay("2", 1),
            verdict("1", False, "chargeback"),
            pay("3", 2),
            verdict("1", True, "nobody"),
            pay("4", 3),
        ],
        [0, 1, 0, 0],
        settings=_settings(label_sources=("chargeback", "analyst")),
    ),
    "a label waits for its event": Case(
        feature(K.COUNT, where="fraud"), [pay("1", 0), verdict("2", True), pay("2", 1), pay("3", 2)], [0, 0, 1]
    ),
    "a label does not wait for longer than the lateness": Case(
        feature(K.COUNT, where="fraud", over=(DAY,)),
        [pay("1", 0), verdict("2", True), pay("3", 101), pay("2", 102), pay("4", 103)],
        [0, 0, 0, 0],
    ),
    "a label may arrive before the first event": Case(
        feature(K.COUNT, where="fraud"), [verdict("1", True), pay("1", 0), pay("2", 1)], [0, 1]
    ),
    "a duplicate counts once, another body is a conflict": Case(
        feature(K.COUNT),
        [pay("1", 0), pay("1", 0), pay("1", 0, points=9), pay("2", 1)],
        [1, "duplicate", "conflict", 2],
    ),
    "the far future and the far past are quarantined": Case(
        feature(K.COUNT),
        [pay("1", 0), pay("2", (STARTED_US - START) / SECOND + 301), pay("3", -1_700_000_000), pay("4", 1)],
        [1, "quarantined", "quarantined", 2],
    ),
}


def _definitions(case: Case) -> Definitions:
    entity = Entity(name="card", features=(case.feature,))
    policy = Policy(event_type="payment", name="payment")
    return Definitions(settings=case.settings, events=(PAYMENT,), entities=(entity,), policies=(policy,))


def by_oracle(definitions: Definitions, log: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {"status": answer.status, "late": answer.late, "overflow": answer.overflow, "features": answer.features}
        for answer in answers(definitions, log, started_us=STARTED_US)
    ]


def by_engine(definitions: Definitions, log: Sequence[Entry]) -> list[dict[str, Any]]:
    pytest.importorskip("parakh.decisions.engine")
    return run_engine(definitions, log, batch_size=3)


Solver = Callable[[Definitions, Sequence[Entry]], list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("solve", [by_oracle, by_engine])


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, solve: Solver) -> None:
    case = CASES[name]
    got = []
    for entry, answer in zip(case.log, solve(_definitions(case), case.log), strict=True):
        if isinstance(entry, LabelEntry):
            continue
        if answer["status"] != "accepted":
            got.append(answer["status"])
        elif answer["late"]:
            assert set(answer["features"].values()) == {None}
            got.append("late")
        elif answer["overflow"]:
            assert set(answer["features"].values()) == {None}
            got.append("overflow")
        else:
            (value,) = answer["features"].values()
            got.append(value)
    assert len(got) == len(case.expected)
    for expected, value in zip(case.expected, got, strict=True):
        if isinstance(expected, float):
            assert _number(value) == pytest.approx(expected, rel=1e-12, abs=0)
        else:
            assert agrees(expected, value), (case.expected, got)


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float)) else value.value


@BOTH
def test_roles_are_told_apart_by_the_key_that_is_read(solve: Solver) -> None:
    """payer.sent and payee.sent read the same history through two fields; the current one counts under its own key."""
    sent = feature(K.COUNT, sources=("transfer",), by=("payer",))
    definitions = Definitions(
        settings=_settings(),
        events=(TRANSFER,),
        entities=(Entity(name="account", features=(sent,)),),
        policies=(Policy(event_type="transfer", name="transfer"),),
    )
    log = [send("1", 0, "a", "b"), send("2", 1, "b", "a"), send("3", 2, "a", "a"), send("4", 3, "c", "b")]
    read = [answer["features"] for answer in solve(definitions, log)]
    assert read == [
        {"payer.f_10s": 1, "payee.f_10s": 0},
        {"payer.f_10s": 1, "payee.f_10s": 1},
        {"payer.f_10s": 2, "payee.f_10s": 2},
        {"payer.f_10s": 1, "payee.f_10s": 1},
    ]


@BOTH
def test_a_label_of_a_key_reaches_all_its_events_so_far(solve: Solver) -> None:
    stolen = LabelEntry(event_type="payment", label="fraud", value=True, entity="card", key="a")
    case = Case(feature(K.COUNT, where="fraud"), [], [])
    log: list[Entry] = [pay("1", 0), pay("2", 1), pay("3", 1, "b"), stolen, pay("4", 2), pay("5", 3), pay("6", 4, "b")]
    read = [answer["features"].get("card.f_10s") for answer in solve(_definitions(case), log)]
    assert read == [0, 0, 0, None, 2, 2, 0]
