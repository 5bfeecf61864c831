"""The parts of a plan while it is being made: what each history keeps, before it has places in records and headers."""

from __future__ import annotations

from dataclasses import dataclass, field

from parakh.expressions.columns import Layout
from parakh.expressions.types import Type
from parakh.features.definition import AggregateKind

__all__ = [
    "Condition",
    "Draft",
    "FeatureDraft",
    "GroupDraft",
    "Input",
    "KeyDraft",
    "MeasureDraft",
    "ReadDraft",
    "TypeDraft",
    "WindowSpec",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """(t - delay - length, t - delay], the lower end at a calendar unit's start, or at the end of a step of it."""

    delay: int
    length: int
    resolution: int = 0
    calendar: int = -1  # row of the bounds


@dataclass(slots=True)
class Input:
    """Where one event type's value of an argument comes from: a slot, or an output of a label's program."""

    argument: int = -1
    filter: int = -1
    floats: bool = False
    label: tuple[int, int] | None = None
    output: int = -1
    initial: int = 1


@dataclass(slots=True)
class Condition:
    """One condition of a `where` that reads labels: a bit; by event type its slot, or its label and output."""

    bit: int
    slots: dict[int, int] = field(default_factory=dict)
    labels: dict[int, tuple[int, int]] = field(default_factory=dict)
    initial: dict[int, bool] = field(default_factory=dict)


@dataclass(slots=True)
class MeasureDraft:
    """What is kept of one argument under one condition."""

    type: Type | None
    distinct: bool
    labelled: bool
    needs: set[AggregateKind] = field(default_factory=set)
    inputs: dict[int, Input] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDraft:
    """One feature: `before` where it leaves the current event out."""

    kind: AggregateKind
    window: WindowSpec
    type: Type
    argument: Type | None
    measure: MeasureDraft | None
    before: bool


@dataclass(slots=True)
class KeyDraft:
    """One key of an event type; `pairs` is its first table of pairs, -1 where the text's code serves."""

    index: int
    fields: tuple[str, ...]
    slots: tuple[int, ...]
    pairs: int
    writes: bool = False


@dataclass(slots=True)
class TypeDraft:
    """An event type: its layout and its keys by (entity, fields)."""

    index: int
    name: str
    layout: Layout
    keys: dict[tuple[str, tuple[str, ...]], KeyDraft] = field(default_factory=dict)

    def key_at(self, index: int) -> KeyDraft:
        return next(key for key in self.keys.values() if key.index == index)


@dataclass(slots=True)
class ReadDraft:
    """A key through which features are read, each into a slot."""

    key: int
    features: list[tuple[FeatureDraft, int]] = field(default_factory=list)


@dataclass(slots=True)
class GroupDraft:
    """An event type's part in a history: the key it writes (-1: none) and its reads by key."""

    write: int = -1
    reads: dict[int, ReadDraft] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """A history: windows, measures and who takes part."""

    index: int
    words: str
    windows: dict[WindowSpec, int] = field(default_factory=dict)
    measures: dict[tuple[str | None, str | None, bool], MeasureDraft] = field(default_factory=dict)
    conditions: dict[str, tuple[Condition, ...]] = field(default_factory=dict)
    groups: dict[int, GroupDraft] = field(default_factory=dict)
    bits: int = 0
    longest: int = 0
    step: int = 0  # the resolution by which its records are merged, 0 where each is kept

    def window(self, spec: WindowSpec) -> WindowSpec:
        self.windows.setdefault(spec, len(self.windows))
        return spec

    def group(self, of_type: int) -> GroupDraft:
        return self.groups.setdefault(of_type, GroupDraft())
