"""The oracle of windows: every feature of every event recomputed from the whole log, one event at a time.

Written from the design alone (sections 2 and 3), with no thought for speed and none of the engine's ideas: a feature
read at an event is a loop over all the events before it in the log. Sums are exact (integers and fractions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from oracle.log import Entry, Event, LabelEntry, Value
from oracle.phrases import DERIVED, FILTERS, LABEL_FILTERS, LABEL_VALUES, VALUES, Phrase, conjuncts
from parakh.decisions.definition import Definitions, Settings
from parakh.events.definition import EventType
from parakh.expressions.types import Kind
from parakh.features.definition import AggregateKind, Calendar, Feature, FeatureDefinition
from parakh.features.reads import Read, key_fields, readable

__all__ = ["Answer", "Near", "agrees", "answers"]

FIVE_MINUTES_US = 300_000_000
LARGEST = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PHRASES = {phrase.text: phrase for phrase in (*VALUES, *FILTERS)}
_LABEL_PHRASES = {phrase.text: phrase for phrase in (*LABEL_VALUES, *LABEL_FILTERS)}

Key = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """A float64 that may differ from the exact value by rounding: by at most `tolerance`."""

    value: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What must come out for one entry of the log.

    `status` is accepted, duplicate, conflict or quarantined for an event, and for a label applied, waited (its event
    came) or quarantined (its event did not come within the lateness) or waiting (the log ended). `features` is empty
    unless accepted.
    """

    status: str
    late: bool = False
    overflow: bool = False
    features: dict[str, Value | Near] = field(default_factory=dict)


def agrees(expected: Value | Near, got: Value) -> bool:
    """Whether a computed value is the expected one: exactly, or within the rounding that `Near` allows."""
    if isinstance(expected, Near):
        return got is not None and abs(float(got) - expected.value) <= expected.tolerance
    if expected is None or got is None:
        return expected is got
    return expected == got


def answers(definitions: Definitions, log: Sequence[Entry], *, started_us: int) -> list[Answer]:
    """An answer per entry of the log; `started_us` is when the run started (later event times are quarantined)."""
    return _Run(definitions, started_us).read(log)


@dataclass(slots=True)
class _Held:
    """An accepted event, its derived values, and the labels that hold now (label -> value and rank of its source)."""

    event: Event
    row: dict[str, Value]
    late: bool
    labels: dict[str, tuple[Value, int]] = field(default_factory=dict)

    @property
    def time(self) -> int:
        assert self.event.time is not None
        return self.event.time


@dataclass(slots=True)
class _Waiting:
    """A label whose event has not come yet."""

    position: int
    entry: LabelEntry
    clock: int | None


class _Run:
    def __init__(self, definitions: Definitions, started_us: int) -> None:
        self.definitions = definitions
        self.settings: Settings = definitions.settings
        self.types = {item.name: item for item in definitions.events}
        self.entities = {item.name: item for item in definitions.entities}
        self.reads = {item.name: readable(definitions.entities, item) for item in definitions.events}
        self.started_us = started_us
        self.clock: int | None = None
        self.seen: dict[tuple[str, str], _Held] = {}
        self.held: list[_Held] = []
        self.waiting: list[_Waiting] = []
        self.answers: list[Answer] = []

    def read(self, log: Sequence[Entry]) -> list[Answer]:
        for position, entry in enumerate(log):
            if isinstance(entry, Event):
                self.answers.append(self.event(entry))
            else:
                self.answers.append(self.label(position, entry))
        return self.answers

    # Events

    def event(self, event: Event) -> Answer:
        if event.id is None or event.time is None:
            return Answer("quarantined")
        if event.time < self.settings.earliest_us or event.time > self.started_us + FIVE_MINUTES_US:
            return Answer("quarantined")
        before = self.seen.get((event.type, event.id))
        if before is not None:
            return Answer("duplicate" if before.event.fields == event.fields else "conflict")

        late = self.clock is not None and event.time < self.clock - self.settings.lateness_us
        row, overflow = _derived(event, self.types[event.type])
        held = _Held(event, row, late)
        features: dict[str, Value | Near] = {}
        for read in self.reads[event.type]:
            if late:
                features[read.name] = None
            else:
                features[read.name], overflowed = self.feature(read, held)
                overflow = overflow or overflowed

        self.seen[event.type, event.id] = held
        self.held.append(held)
        self.clock = event.time if self.clock is None else max(self.clock, event.time)
        self.labels_that_waited_for(held)
        return Answer("accepted", late=late, overflow=overflow, features=features)

    # Features

    def feature(self, read: Read, reader: _Held) -> tuple[Value | Near, bool]:
        """The value of a feature at the event being read, and whether it left 64 bits."""
        feature, definition = read.feature, read.feature.definition
        key: Key = tuple(reader.event.fields.get(name) for name in read.key)
        if any(part is None for part in key):
            return None, False
        low, high = self.window(feature, reader.time)
        inside = [
            held
            for held in self.held
            if not held.late
            and low < held.time <= high
            and self.key_written(feature, held.event) == key
            and self.passes(definition, held)
        ]
        leaves_current_out = definition.aggregate.kind in (
            AggregateKind.FIRST,
            AggregateKind.LAST,
            AggregateKind.SINCE_LAST,
        )
        if (
            definition.include_current
            and not leaves_current_out
            and low < reader.time <= high
            and self.key_written(feature, reader.event) == key
            and self.passes(definition, reader)
        ):
            inside.append(reader)
        # Taken by event time; events of one time keep their order in the log (sorted() is stable).
        inside = sorted(inside, key=lambda held: held.time)
        if definition.aggregate.kind is AggregateKind.SINCE_LAST:
            return ((reader.time - inside[-1].time) / 1e6 if inside else None), False
        values: list[Value] = [True] * len(inside)
        kind = Kind.INTEGER
        if definition.aggregate.argument is not None:
            phrase, over_label = _phrase(definition.aggregate.argument)
            kind = phrase.type.kind
            values = [phrase.of(_labels(held, phrase) if over_label else held.row) for held in inside]
            values = [value for value in values if value is not None]
            value, overflow = _aggregate(definition.aggregate.kind, kind, values)
            if phrase.rounded and isinstance(value, float):
                return Near(value, 1e-12 * abs(value)), overflow
            return value, overflow
        return _aggregate(definition.aggregate.kind, kind, values)

    def window(self, feature: Feature, time: int) -> tuple[int, int]:
        """The window (low, high] of event times at a reading time."""
        definition, window = feature.definition, feature.window
        high = time - definition.delay_us
        if window is not None and window.calendar is not None:
            return _calendar_start(window.calendar, high, self.settings.time_zone) - 1, high
        length = self.settings.horizon_us
        if window is not None:
            assert window.length_us is not None
            length = window.length_us
        if definition.resolution_us is None:
            return high - length, high
        # floor(x / r) > floor((t - w) / r): from the first instant of the next bucket on.
        bucket = (high - length) // definition.resolution_us
        return (bucket + 1) * definition.resolution_us - 1, high

    def key_written(self, feature: Feature, event: Event) -> Key | None:
        """The key under which the feature counts an event; None where it does not count it at all."""
        if event.type not in feature.definition.sources:
            return None
        ways = key_fields(self.entities[feature.entity], self.types[event.type], feature.definition.by)
        assert len(ways) == 1, f"{feature.full_name} has {len(ways)} ways to read its key from {event.type}"
        key = tuple(event.fields.get(name) for name in ways[0])
        return None if any(part is None for part in key) else key

    def passes(self, definition: FeatureDefinition, held: _Held) -> bool:
        """Whether an event passes `where`: every condition of the conjunction is true, not merely unknown."""
        if definition.where is None:
            return True
        for text in conjuncts(definition.where):
            phrase, over_label = _phrase(text)
            row = {name: held.labels.get(name, (None, 0))[0] for name in phrase.reads} if over_label else held.row
            if phrase.of(row) is not True:
                return False
        return True

    # Labels

    def label(self, position: int, entry: LabelEntry) -> Answer:
        sources = self.settings.label_sources
        if sources and entry.source is not None and entry.source not in sources:
            return Answer("quarantined")
        if entry.event_id is not None:
            held = self.seen.get((entry.event_type, entry.event_id))
            if held is None:
                self.waiting.append(_Waiting(position, entry, self.clock))
                return Answer("waiting")
            self.apply(entry, held)
            return Answer("applied")
        assert entry.entity is not None
        ways = key_fields(self.entities[entry.entity], self.types[entry.event_type])
        for held in self.held:
            if held.event.type == entry.event_type and any(
                held.event.fields.get(name) == entry.key for way in ways for name in way
            ):
                self.apply(entry, held)
        return Answer("applied")

    def apply(self, entry: LabelEntry, held: _Held) -> None:
        """A label replaces what a source of its own rank or a lower one said; NULL withdraws."""
        rank = self.rank(entry.source)
        if entry.label in held.labels and held.labels[entry.label][1] > rank:
            return
        if entry.value is None:
            held.labels.pop(entry.label, None)
        else:
            held.labels[entry.label] = (entry.value, rank)

    def rank(self, source: str | None) -> int:
        sources = self.settings.label_sources
        return len(sources) - sources.index(source) if source in sources else 0

    def labels_that_waited_for(self, held: _Held) -> None:
        """Right after an event is accepted its waiting labels act; then those that waited too long are given up."""
        still = []
        for waiting in self.waiting:
            entry = waiting.entry
            if (entry.event_type, entry.event_id) == (held.event.type, held.event.id):
                self.apply(entry, held)
                self.answers[waiting.position] = Answer("waited")
                continue
            assert self.clock is not None
            if waiting.clock is None:
                waiting.clock = self.clock
            if self.clock - waiting.clock > self.settings.lateness_us:
                self.answers[waiting.position] = Answer("quarantined")
            else:
                still.append(waiting)
        self.waiting = still


def _derived(event: Event, event_type: EventType) -> tuple[dict[str, Value], bool]:
    """The event's fields with what is derived from them, and whether an integer left 64 bits."""
    row = dict(event.fields)
    row["at_time"] = event.time
    overflow = False
    for name, _ in event_type.derive:
        value = next(phrase for phrase in DERIVED if phrase.text == name).of(row)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
            value, overflow = None, True
        row[name] = value
    return row, overflow


def _phrase(text: str) -> tuple[Phrase, bool]:
    """The meaning of a text, and whether it reads a label."""
    if text in _LABEL_PHRASES:
        return _LABEL_PHRASES[text], True
    return _PHRASES[text], False


def _labels(held: _Held, phrase: Phrase) -> dict[str, Value]:
    """The labels that an aggregate's argument reads: unlabelled is false or 0."""
    unlabelled = False if phrase.type.kind is Kind.BOOLEAN else 0
    return {name: held.labels.get(name, (unlabelled, 0))[0] for name in phrase.reads}


def _calendar_start(calendar: Calendar, time: int, zone: str) -> int:
    """The first instant of the local day, week (from Monday) or month that holds an instant."""
    local = (_EPOCH + timedelta(microseconds=time)).astimezone(ZoneInfo(zone))
    day = local.date()
    if calendar is Calendar.WEEK:
        day -= timedelta(days=day.weekday())
    elif calendar is Calendar.MONTH:
        day = day.replace(day=1)
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return (midnight - _EPOCH) // timedelta(microseconds=1)


# Aggregates


def _aggregate(aggregate: AggregateKind, kind: Kind, values: list[Value]) -> tuple[Value | Near, bool]:
    """An aggregate of values that are not NULL, in the order of their times; and whether it left 64 bits."""
    if aggregate is AggregateKind.COUNT:
        return len(values), False
    if aggregate is AggregateKind.DISTINCT:
        return len(set(values)), False
    if not values:
        return None, False
    if aggregate is AggregateKind.FIRST:
        return values[0], False
    if aggregate is AggregateKind.LAST:
        return values[-1], False
    if aggregate in (AggregateKind.MIN, AggregateKind.MAX):
        order: Callable[[Iterable[Value]], Value] = min if aggregate is AggregateKind.MIN else max  # type: ignore[assignment]
        return order(values), False
    exact = [Fraction(value) for value in values if not isinstance(value, str) and value is not None]
    scale = sum(map(abs, exact), Fraction(0))
    if aggregate is AggregateKind.SUM:
        return _sum(kind, sum(exact, Fraction(0)), scale)
    if aggregate is AggregateKind.AVG:
        return _near(sum(exact, Fraction(0)) / len(exact), scale / len(exact) * Fraction(1, 10**12)), False
    assert aggregate is AggregateKind.STDDEV
    return _stddev(exact), False


def _sum(kind: Kind, total: Fraction, scale: Fraction) -> tuple[Value | Near, bool]:
    if kind is Kind.NUMBER:
        return _near(total, scale * Fraction(1, 10**12)), False
    if kind is Kind.MONEY:
        minor = total * 100
        assert minor.denominator == 1
        if abs(minor) > LARGEST:
            return None, True
        return Decimal(minor.numerator) / 100, False
    if abs(total) > LARGEST:
        return None, True
    return total.numerator, False


def _near(value: Fraction, tolerance: Fraction) -> Near:
    return Near(float(value), float(tolerance))


def _stddev(values: list[Fraction]) -> Near | None:
    """The standard deviation of a sample (divided by n - 1); NULL for fewer than two values."""
    if len(values) < 2:
        return None
    mean = sum(values, Fraction(0)) / len(values)
    variance = sum(((value - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)
    deviation = math.sqrt(variance)
    largest = float(max(map(abs, values)))
    return Near(deviation, 1e-9 * deviation + 1e-13 * largest)
