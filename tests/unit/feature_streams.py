"""Streams of one or two event types through the window kernels alone, without the engine: columns in, features out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.decisions.definition import Definitions, Settings
from parakh.decisions.names import Names
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.columns import Layout
from parakh.expressions.program import Program, ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP, money
from parakh.expressions.zones import Zone
from parakh.features.definition import Aggregate, AggregateKind, Calendar, Entity, FeatureDefinition, Window
from parakh.features.labels import LabelUpdates
from parakh.features.plan import FeaturePlan, plan_features
from parakh.features.state import Entries, FeatureState

SECOND = 1_000_000
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}
START = 1_700_000_000 * SECOND
Columns = dict[str, npt.NDArray[Any]]


def over(*texts: str) -> tuple[Window, ...]:
    """Windows as they are written: 10m, calendar_day."""
    return tuple(
        Window(text, calendar=Calendar(text)) if text.startswith("calendar") else Window(text, length_us=_length(text))
        for text in texts
    )


def _length(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


def feature(
    name: str, kind: AggregateKind, argument: str | None = None, windows: Sequence[str] = (), **more: Any
) -> FeatureDefinition:
    """A feature of payments, unless `sources` says otherwise."""
    more.setdefault("sources", ("payment",))
    return FeatureDefinition(name=name, aggregate=Aggregate(kind, argument), over=over(*windows), **more)


@dataclass(slots=True)
class Stream:
    """A compiled project and its state; `take` runs one batch of one event type and gives its features back."""

    definitions: Definitions
    strings: Strings = field(default_factory=Strings)
    plan: FeaturePlan = field(init=False)
    layouts: dict[str, Layout] = field(init=False)
    programs: dict[str, Program] = field(init=False)
    names: Names = field(init=False)
    state: FeatureState = field(init=False)
    flags: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names(self.definitions)
        references = References(strings=self.strings, zone=Zone(self.definitions.settings.time_zone))
        self.layouts = {}
        builders = {}
        for event in self.definitions.events:
            layout = self.layouts[event.name] = Layout()
            for item in event.fields:
                layout.add(item.name, item.type)
            builders[event.name] = ProgramBuilder(layout, references, layout[event.time].slot)
        self.plan = plan_features(self.definitions, self.names, self.layouts, builders, references)
        self.programs = {name: builder.build() for name, builder in builders.items()}
        self.state = FeatureState(self.plan)

    def take(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        event_type: str = "payment",
        *,
        late: npt.NDArray[Any] | None = None,
        held: npt.NDArray[Any] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Features by name, in words of their type, for a batch given as columns of words or numbers."""
        index = [item.name for item in self.definitions.events].index(event_type)
        event, layout = self.definitions.events[index], self.layouts[event_type]
        count = len(columns[event.time])
        words = np.zeros((layout.width, count), np.int64)
        for name, values in columns.items():
            target = words.view(np.float64) if layout[name].type.is_float else words
            target[layout[name].slot] = values
        self.flags = np.zeros(count, np.uint8)
        self.programs[event_type].run(words, 0, count, self.flags)
        entries = Entries.of(
            np.full(count, index), np.arange(count), words[layout[event.time].slot], late=late, held=held
        )
        self.state.process(words, self.flags, entries)
        return {
            read.name: (words.view(np.float64) if layout[read.name].type.is_float else words)[
                layout[read.name].slot
            ].copy()
            for read in self.names.reads(event)
        }

    def take_in_batches(
        self, columns: Mapping[str, npt.NDArray[Any]], size: int, sweep: int = 0
    ) -> dict[str, npt.NDArray[Any]]:
        """The same in batches of a size, with `sweep` keys swept after each."""
        count = len(next(iter(columns.values())))
        parts = []
        for first in range(0, count, size):
            parts.append(self.take({name: values[first : first + size] for name, values in columns.items()}))
            if sweep:
                self.state.sweep(sweep)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def label(self, label: str, held: Sequence[int], values: Sequence[int], ranks: Sequence[int] | None = None) -> None:
        """Labels of payments, taken in order."""
        updates = self.label_updates(label, held, values, ranks)
        count = len(held)
        entries = Entries.of(np.full(count, Entries.LABEL), np.arange(count), np.zeros(count))
        self.state.process(np.zeros((1, 1), np.int64), np.zeros(1, np.uint8), entries, updates)

    def label_updates(
        self, label: str, held: Sequence[int], values: Sequence[int], ranks: Sequence[int] | None = None
    ) -> LabelUpdates:
        event = self.definitions.events[0]
        index = [item.name for item in event.labels].index(label)
        return self.state.label_updates(
            types=np.zeros(len(held), np.int64),
            labels=np.full(len(held), index, np.int64),
            held=np.array(held, np.int64),
            ranks=np.array(ranks if ranks is not None else [0] * len(held), np.int64),
            values=np.array(values, np.int64),
        )


def project(*features: FeatureDefinition, labels: tuple[Label, ...] = (), **settings: Any) -> Definitions:
    payment = EventType(
        name="payment",
        id="row",
        time="paid_at",
        fields=(
            Field(name="paid_at", type=TIMESTAMP),
            Field(name="card", type=STRING, entity="card"),
            Field(name="amount", type=money("INR")),
            Field(name="points", type=INTEGER),
            Field(name="ratio", type=NUMBER),
            Field(name="country", type=STRING),
        ),
        labels=labels,
    )
    return Definitions(
        settings=Settings(name="one", **settings), events=(payment,), entities=(Entity(name="card", features=features),)
    )


def transfers(*entities: Entity, payer: Any = STRING, **settings: Any) -> Definitions:
    transfer = EventType(
        name="payment",
        id="row",
        time="paid_at",
        fields=(
            Field(name="paid_at", type=TIMESTAMP),
            Field(name="payer", type=payer, entity="account"),
            Field(name="payee", type=payer, entity="account"),
            Field(name="device", type=INTEGER, entity="device"),
            Field(name="amount", type=INTEGER),
        ),
        labels=(Label(name="fraud"),),
    )
    return Definitions(settings=Settings(name="state", **settings), events=(transfer,), entities=entities)


def payments(count: int, seed: int, *, keys: int = 1, disorder_s: int = 600, gap_s: int = 20) -> Columns:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 2 * gap_s * SECOND, count)) + START
    late = np.where(random.random(count) < 0.25, random.integers(0, disorder_s * SECOND, count), 0)
    times = (times - late) // SECOND * SECOND  # many ties
    amount = random.integers(-500, 10_000, count)
    points = random.integers(-(2**40), 2**40, count)
    ratio = random.normal(size=count) * 10.0 ** random.integers(-3, 4, count)
    country = random.zipf(1.3, count) % 300
    for column, missing in ((amount, 0.1), (points, 0.3), (country, 0.1)):
        column[random.random(count) < missing] = NULL_WORD
    ratio[random.random(count) < 0.1] = np.nan
    card = random.integers(0, keys, count)
    return {
        "paid_at": times, "card": card, "amount": amount, "points": points, "ratio": ratio, "country": country,
    }  # fmt: skip


def scan(
    columns: Columns, low: Callable[[int], int], high: Callable[[int], int], name: str, *, current: bool
) -> list[list[Any]]:
    """For each event the values that its window holds, by time and then by place in the log, NULLs left out."""
    times, cards = columns["paid_at"], columns["card"]
    values = columns[name]
    known = ~np.isnan(values) if values.dtype.kind == "f" else values != NULL_WORD
    held = []
    for i in range(len(times)):
        t = int(times[i])
        end = i + 1 if current else i
        inside = np.flatnonzero(
            (cards[:end] == cards[i]) & (times[:end] > low(t)) & (times[:end] <= high(t)) & known[:end]
        )
        held.append(values[inside[np.argsort(times[inside], kind="stable")]].tolist())
    return held


def bits(features: dict[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in features.items()}
