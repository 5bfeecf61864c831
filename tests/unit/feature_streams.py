"""Streams of one or two event types through the window kernels alone, without the engine: columns in, features out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.decisions.definition import Definitions
from parakh.decisions.names import Names
from parakh.expressions.columns import Layout
from parakh.expressions.program import Program, ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.zones import Zone
from parakh.features.definition import Aggregate, AggregateKind, Calendar, FeatureDefinition, Window
from parakh.features.labels import LabelUpdates
from parakh.features.plan import FeaturePlan, plan_features
from parakh.features.state import Entries, FeatureState

SECOND = 1_000_000
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}
START = 1_700_000_000 * SECOND


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
