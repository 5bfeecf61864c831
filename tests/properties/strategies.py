"""Random projects and random streams for them: small key spaces, window edges hit on purpose, adversarial values.

Everything is drawn from one `random.Random`, so that a seed gives the same project and the same log. The texts of
conditions and arguments are those of `oracle.phrases`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

from oracle.log import Entry, Event, LabelEntry, Value
from oracle.phrases import DERIVATIONS, FILTERS, LABEL_FILTERS, LABEL_VALUES, VALUES, Phrase, conjunction
from parakh.decisions.definition import Definitions, Policy, Settings
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Kind, money
from parakh.features.definition import Aggregate, AggregateKind, Calendar, Entity, FeatureDefinition, Window
from parakh.features.reads import key_fields

__all__ = ["STARTED_US", "Scenario", "scenario"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STARTED_US = 1_767_225_600 * SECOND  # 2026-01-01: the run starts long after the streams' times

LENGTHS = {
    "30s": 30 * SECOND,
    "10m": 10 * MINUTE,
    "1h": HOUR,
    "6h": 6 * HOUR,
    "1d": DAY,
    "7d": 7 * DAY,
    "30d": 30 * DAY,
}
Ways = tuple[tuple[str, ...], ...]
"""Tuples of field names that give a key."""

RESOLUTIONS = (SECOND, 7 * SECOND, MINUTE, 7 * MINUTE, HOUR, DAY)
STARTS = (
    1_741_478_400 * SECOND,  # 2025-03-09 00:00 UTC: New York's clocks jump that day
    1_740_787_000 * SECOND,  # 2025-03-01 00:00 in Kolkata is near
    1_735_682_400 * SECOND,  # the night into 2025
)
ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "America/Sao_Paulo")
SOURCES = ("chargeback", "analyst")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A project and a log for it."""

    definitions: Definitions
    log: tuple[Entry, ...]


def scenario(random: Random, *, events: int, in_order: bool = False, resolution: float = 0.2) -> Scenario:
    """A random project with a random log of about `events` events; `resolution` is the share of features that have one.

    Where all have one, it is a coarse one, and nearly all are such that their records can be merged.
    `in_order` leaves out what a SQL engine's windows cannot say or says otherwise: late events, tied times, duplicates,
    labels, sums beyond 64 bits or beyond a float64's digits, and time zones.
    """
    definitions = _Projects(random, in_order=in_order, resolution=resolution).definitions()
    return Scenario(definitions, tuple(_Streams(random, definitions, in_order=in_order).log(events)))


# Projects

VALUE_FIELDS = (
    Field(name="amount", type=money("INR")),
    Field(name="points", type=INTEGER),
    Field(name="ratio", type=NUMBER),
    Field(name="wild", type=NUMBER),
    Field(name="country", type=STRING),
    Field(name="online", type=BOOLEAN),
)
KEYS = {
    "payment": (
        Field(name="card", type=STRING, entity="card"),
        Field(name="device", type=STRING, entity="device"),
        Field(name="shop", type=INTEGER, entity="shop"),
    ),
    "transfer": (
        Field(name="payer", type=STRING, entity="account"),
        Field(name="payee", type=STRING, entity="account"),
        Field(name="device", type=STRING, entity="device"),
    ),
    "login": (
        Field(name="account", type=STRING, entity="account"),
        Field(name="device", type=STRING, entity="device"),
    ),
}
LABELS = {
    "payment": (Label(name="fraud"), Label(name="severity", type=INTEGER)),
    "transfer": (Label(name="fraud"),),
    "login": (),
}
ENTITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("card", ()),
    ("device", ()),
    ("shop", ()),
    ("account", ()),
    ("card_device", ("card", "device")),
    ("shop_device", ("shop", "device")),
    ("pair", ("payer", "payee")),
    ("account_device", ("account", "device")),
    ("place", ("card", "device", "shop")),
)
ARGUMENT_KINDS = {
    AggregateKind.COUNT: set(Kind),
    AggregateKind.DISTINCT: set(Kind),
    AggregateKind.SUM: {Kind.INTEGER, Kind.MONEY, Kind.NUMBER, Kind.BOOLEAN},
    AggregateKind.AVG: {Kind.INTEGER, Kind.MONEY, Kind.NUMBER, Kind.BOOLEAN},
    AggregateKind.STDDEV: {Kind.INTEGER, Kind.MONEY, Kind.NUMBER, Kind.BOOLEAN},
    AggregateKind.MIN: {Kind.INTEGER, Kind.MONEY, Kind.NUMBER, Kind.BOOLEAN, Kind.TIMESTAMP},
    AggregateKind.MAX: {Kind.INTEGER, Kind.MONEY, Kind.NUMBER, Kind.BOOLEAN, Kind.TIMESTAMP},
    AggregateKind.FIRST: set(Kind),
    AggregateKind.LAST: set(Kind),
}


KEPT_KINDS = (AggregateKind.FIRST, AggregateKind.LAST, AggregateKind.DISTINCT)
"""What needs each record by itself."""


class _Projects:
    def __init__(self, random: Random, *, in_order: bool, resolution: float) -> None:
        self.random = random
        self.in_order = in_order
        self.resolution = resolution
        self.merging = resolution == 1.0

    def definitions(self) -> Definitions:
        random = self.random
        names = random.choice((("payment",), ("transfer",), ("payment", "login"), ("payment", "transfer", "login")))
        types = tuple(map(self.event_type, names))
        entities = tuple(entity for name, key in ENTITIES if (entity := self.entity(name, key, types)).features)
        reach = max(_spans(entities), default=0)
        settings = Settings(
            name="random",
            currency="INR",
            time_zone="UTC" if self.in_order else random.choice(ZONES),
            lateness_us=random.choice((0, 10 * SECOND, 10 * MINUTE, HOUR, DAY)[: 3 if self.merging else 5]),
            horizon_us=max(reach, random.choice((HOUR, 2 * DAY, 400 * DAY))),
            label_sources=random.choice((SOURCES, SOURCES[:1], ())),
        )
        policies = tuple(Policy(event_type=item.name, name=item.name) for item in types)
        return Definitions(settings=settings, events=types, entities=entities, policies=policies)

    def event_type(self, name: str) -> EventType:
        own = (Field(name=f"{name}_id", type=STRING), Field(name="at_time", type=TIMESTAMP))
        return EventType(
            name=name,
            id=f"{name}_id",
            time="at_time",
            fields=(*own, *KEYS[name], *VALUE_FIELDS),
            derive=tuple(DERIVATIONS.items()),
            labels=() if self.in_order else LABELS[name],
        )

    def entity(self, name: str, key: tuple[str, ...], types: Sequence[EventType]) -> Entity:
        entity = Entity(name=name, key=key)
        writers = [(item, ways) for item in types if (ways := _ways_to_write(entity, item))]
        if not writers or not any(key_fields(entity, item) for item in types):
            return entity
        features = tuple(self.feature(f"f{i}", entity, writers) for i in range(self.random.randint(0, 3)))
        return replace(entity, features=features)

    def feature(self, name: str, entity: Entity, writers: list[tuple[EventType, Ways]]) -> FeatureDefinition:
        random = self.random
        first, ways = random.choice(writers)
        sources, by = [first], None
        if len(key_fields(entity, first)) == 1 and random.random() < 0.8:
            others = [item for item, _ in writers if item is not first and len(key_fields(entity, item)) == 1]
            sources += random.sample(others, random.randint(0, len(others)))
        else:
            by = random.choice(ways)
        aggregate, where = self.aggregate(sources), self.where(sources)
        over = self.windows()
        resolution = None
        if random.random() < self.resolution and not any(window.calendar for window in over):
            shortest = min((window.length_us or HOUR for window in over), default=HOUR)
            fitting = [length for length in RESOLUTIONS if length <= shortest]
            resolution = random.choice(fitting[-2:] if self.merging else fitting)
        delay = 0
        if random.random() < 0.25:
            delay = random.choice((10 * SECOND, 10 * MINUTE, HOUR, 7 * DAY)[: 3 if self.merging else 4])
        if aggregate.kind is AggregateKind.SINCE_LAST:
            delay, resolution = 0, None
        return FeatureDefinition(
            name=name,
            sources=tuple(item.name for item in sources),
            aggregate=aggregate,
            where=where,
            over=over,
            delay_us=delay,
            include_current=random.random() < 0.7,
            by=by,
            resolution_us=resolution,
        )

    def windows(self) -> tuple[Window, ...]:
        if self.random.random() < 0.2:
            return ()
        every = [Window(text, length_us=length) for text, length in LENGTHS.items()]
        every += [Window(calendar.value, calendar=calendar) for calendar in Calendar]
        if self.merging:
            every = [window for window in every if window.length_us and window.length_us >= 10 * MINUTE]
        return tuple(self.random.sample(every, self.random.randint(1, 3)))

    def aggregate(self, sources: Sequence[EventType]) -> Aggregate:
        random = self.random
        if random.random() < 0.2:
            return Aggregate(random.choice((AggregateKind.COUNT, AggregateKind.SINCE_LAST)[: 1 if self.merging else 2]))
        kinds = [kind for kind in ARGUMENT_KINDS if not (self.merging and kind in KEPT_KINDS)]
        kind = random.choice([*kinds, AggregateKind.SUM, AggregateKind.SUM])  # sums go wrong in more ways
        over_labels = [phrase for phrase in LABEL_VALUES if _labelled(phrase, sources)]
        phrases: Sequence[Phrase] = over_labels if over_labels and random.random() < 0.3 else VALUES
        fitting = [phrase for phrase in phrases if phrase.type.kind in ARGUMENT_KINDS[kind]]
        if kind is AggregateKind.DISTINCT:
            fitting = [phrase for phrase in fitting if not phrase.rounded]
        if kind is AggregateKind.STDDEV:  # squares of 1e300 are no numbers
            fitting = [phrase for phrase in fitting if "wild" not in phrase.reads]
        return Aggregate(kind, random.choice(fitting).text)

    def where(self, sources: Sequence[EventType]) -> str | None:
        random = self.random
        conditions = []
        if random.random() < 0.35:
            conditions += random.sample(FILTERS, random.randint(1, 2))
        over_labels = [phrase for phrase in LABEL_FILTERS if _labelled(phrase, sources)]
        if over_labels and random.random() < 0.25:
            conditions.append(random.choice(over_labels))
        random.shuffle(conditions)
        return conjunction([phrase.text for phrase in conditions]) if conditions else None


def _ways_to_write(entity: Entity, event_type: EventType) -> Ways:
    """The keys under which an event type can be counted, with `by` where it carries the entity more than once."""
    ways = key_fields(entity, event_type)
    if ways or len(entity.parts) == 1:
        return ways
    roles = [[item.name for item in event_type.carrying(part)] or [part] for part in entity.parts]
    names = {item.name for item in event_type.fields}
    combined: list[tuple[str, ...]] = [()]
    for role in roles:
        combined = [(*head, name) for head in combined for name in role if name in names]
    return tuple(combined)


def _spans(entities: Sequence[Entity]) -> list[int]:
    """How far back each window reaches, delay included; a calendar unit counts as a day."""
    return [
        (window.length_us or DAY) + definition.delay_us
        for entity in entities
        for definition in entity.features
        for window in definition.over
    ]


def _labelled(phrase: Phrase, sources: Sequence[EventType]) -> bool:
    return all({item.name for item in source.labels} >= set(phrase.reads) for source in sources)


# Streams


class _Streams:
    def __init__(self, random: Random, definitions: Definitions, *, in_order: bool) -> None:
        self.random = random
        self.definitions = definitions
        self.in_order = in_order
        self.lateness = definitions.settings.lateness_us
        self.amounts = random.choice(("plain", "falling", "negative", "equal", "huge")[: 4 if in_order else 5])
        self.points = random.choice(("plain", "huge", "edge")[: 1 if in_order else 3])
        self.keys = random.randint(1, 3)
        self.spans = [0, *_spans(definitions.entities)]
        # steps that fill somebody's window with a few events, or with many
        self.step = max(SECOND, min(DAY, random.choice(self.spans)) // random.choice((5, 20, 50)))
        self.clock = random.choice(STARTS) + random.randrange(DAY)
        self.times: list[int] = [self.clock]
        self.falling = 10_000_00

    def log(self, count: int) -> list[Entry]:
        random = self.random
        events: list[Event] = []
        for number in range(count):
            chance = random.random()
            if events and not self.in_order and chance < 0.08:
                events.append(self.again(random.choice(events), changed=chance < 0.03))
            else:
                events.append(self.event(number))
        log: list[Entry] = []
        for position, event in enumerate(events):
            log.append(event)
            while not self.in_order and random.random() < 0.25:
                label = self.label(events, position)
                if label is not None:
                    log.append(label)
        return log

    def event(self, number: int) -> Event:
        random = self.random
        event_type = random.choice(self.definitions.events)
        fields: dict[str, Value] = {}
        for item in event_type.fields:
            if item.entity is not None:
                fields[item.name] = self.key(item)
            elif item.type.kind in VALUES_OF:
                fields[item.name] = None if random.random() < 0.1 else self.value(item)
        time: int | None = self.time()
        id: str | None = f"{event_type.name[0]}{number}"
        if not self.in_order and random.random() < 0.03:
            time, id = random.choice(
                (
                    (None, id),
                    (time, None),
                    (946_684_799 * SECOND, id),
                    (STARTED_US + 301 * SECOND, id),
                    (STARTED_US * 2, id),
                )
            )
        fields[event_type.id], fields[event_type.time] = id, time
        return Event(type=event_type.name, id=id, time=time, fields=fields)

    def time(self) -> int:
        random = self.random
        chance = random.random()
        if self.in_order:
            self.clock += random.randint(1, self.step)
            return self.clock
        if chance < 0.12:
            time = self.times[-1]  # a tie
        elif chance < 0.24:
            time = self.clock - random.randint(0, self.lateness)
        elif chance < 0.28:
            time = self.clock - self.lateness - random.choice((0, 0, 1, SECOND, DAY))  # the edge of lateness
        elif chance < 0.45:
            # exactly at, just before or just after the edge of somebody's window
            time = random.choice(self.times) + random.choice(self.spans) + random.choice((-1, 0, 0, 1))
            if time < self.clock - self.lateness or time > self.clock + 40 * DAY:
                time = self.clock + random.randint(0, self.step)
        elif chance < 0.47:
            time = self.clock + random.choice((HOUR, DAY, 8 * DAY, 32 * DAY))
        else:
            time = self.clock + random.randint(0, self.step)
        self.clock = max(self.clock, time)
        self.times.append(time)
        return time

    def key(self, item: Field) -> Value:
        if self.random.random() < 0.05:
            return None
        number = self.random.randint(1, self.keys)
        if item.type.kind is Kind.INTEGER:
            return (number - 2) * 10**9  # negative, zero and beyond 32 bits
        return f"{item.entity}-{number}"

    def value(self, item: Field) -> Value:
        value: Value = VALUES_OF[item.type.kind](self, item.name)
        return value

    def amount(self) -> Decimal:
        random = self.random
        minor = random.randint(0, 99_99)
        if self.amounts == "falling":
            self.falling -= random.randint(0, 3)
            minor = self.falling
        elif self.amounts == "huge":
            minor = random.choice((1, -1)) * (2**62 + random.randint(-5, 5)) if random.random() < 0.5 else minor
        elif self.amounts == "negative":
            minor = random.randint(-99_99, 99_99)
        elif self.amounts == "equal":
            minor = 49_99
        return Decimal(minor) / 100

    def point(self) -> int:
        random = self.random
        if self.points == "huge" and random.random() < 0.5:
            return random.choice((1, -1)) * (2**62 + random.randint(-2, 2))
        if self.points == "edge" and random.random() < 0.5:
            return random.choice((2**63 - 1, -(2**63) + 1))
        return random.randint(-3, 9)

    def number(self, name: str) -> float:
        random = self.random
        if name == "wild" and not self.in_order:
            return random.choice((1e300, -1e300, 1e-300, 1.0, 0.1, -2.5, 1e16, random.gauss(0, 1)))
        return random.choice((0.0, -0.0, random.gauss(0, 1), 1e6 + random.random(), random.uniform(-1, 1)))

    def again(self, event: Event, *, changed: bool) -> Event:
        """The same event once more, or another body under its id."""
        if not changed or event.id is None:
            return event
        return replace(event, fields={**event.fields, "points": 77, "country": "ZZ"})

    def label(self, events: Sequence[Event], position: int) -> Entry | None:
        random = self.random
        # mostly about the past, some about what is still to come
        about = events[min(len(events) - 1, max(0, position - random.randint(-3, 30)))]
        event_type = self.definitions.event_type(about.type)
        if about.id is None or not event_type.labels:
            return None
        label = random.choice(event_type.labels)
        value: Value = None
        if random.random() < 0.85:
            value = random.random() < 0.7 if label.type.kind is Kind.BOOLEAN else random.randint(-1, 3)
        source = random.choice((*SOURCES, "somebody", None))
        entry = LabelEntry(event_type=about.type, label=label.name, value=value, source=source, event_id=about.id)
        card = about.fields.get("card")
        known = card in {event.fields.get("card") for event in events[: position + 1]}
        keyed = any(item.name == "card" for item in self.definitions.entities)
        if isinstance(card, str) and known and keyed and random.random() < 0.15:
            return replace(entry, event_id=None, entity="card", key=card)
        return entry


VALUES_OF: dict[Kind, Any] = {
    Kind.MONEY: lambda stream, name: stream.amount(),
    Kind.INTEGER: lambda stream, name: stream.point(),
    Kind.NUMBER: lambda stream, name: stream.number(name),
    Kind.BOOLEAN: lambda stream, name: stream.random.random() < 0.5,
    Kind.STRING: lambda stream, name: stream.random.choice(("IN", "US", "Größe", "")),
}
