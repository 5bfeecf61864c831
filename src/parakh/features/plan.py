"""Definitions of features made into a plan: which features share a history, what its records keep, where answers go.

Features of one entity with the same sources and keys share one history; those whose resolution lets records be merged
have one for each resolution, so that a feature that needs every record does not keep the others from it. The plan adds
to each event type's layout the features' columns, and to its ingest program the arguments and conditions that windows
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from parakh.errors import ExpressionError
from parakh.events.definition import EventType
from parakh.expressions.check import Scope, Typed
from parakh.expressions.columns import Column, Layout
from parakh.expressions.parse import parse
from parakh.expressions.program import ProgramBuilder, References
from parakh.expressions.syntax import Expression
from parakh.expressions.types import Kind, Type
from parakh.expressions.zones import Zone
from parakh.features.assembly import assemble
from parakh.features.conditions import label_of, split_conditions
from parakh.features.definition import AggregateKind, Calendar, Entity, Feature, FeatureDefinition, Window
from parakh.features.drafts import (
    Condition,
    Draft,
    FeatureDraft,
    Input,
    KeyDraft,
    MeasureDraft,
    ReadDraft,
    TypeDraft,
    WindowSpec,
)
from parakh.features.labels import FIRST_OUTPUT, LABEL_SLOT, UNLABELLED_SLOT, LabelProgram, null_word
from parakh.features.reads import Read, key_fields
from parakh.features.tables import META_BITS

__all__ = ["DefinitionsLike", "FeaturePlan", "NamesLike", "plan_features"]

DAY_US = 86_400_000_000
_CALENDAR_US = {Calendar.DAY: 2 * DAY_US, Calendar.WEEK: 8 * DAY_US, Calendar.MONTH: 32 * DAY_US}
_LEAVES_OUT = (AggregateKind.FIRST, AggregateKind.LAST, AggregateKind.SINCE_LAST)
_MERGED = (
    AggregateKind.COUNT, AggregateKind.SUM, AggregateKind.AVG, AggregateKind.MIN, AggregateKind.MAX,
    AggregateKind.STDDEV,
)  # fmt: skip


class SettingsLike(Protocol):
    @property
    def horizon_us(self) -> int: ...
    @property
    def lateness_us(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...


class DefinitionsLike(Protocol):
    """What the plan needs of a project's definitions."""

    @property
    def settings(self) -> SettingsLike: ...
    @property
    def events(self) -> tuple[EventType, ...]: ...
    @property
    def entities(self) -> tuple[Entity, ...]: ...


class NamesLike(Protocol):
    """What the plan needs to know of names: scopes, types and reads."""

    def ingest(self, event: EventType) -> Scope: ...
    def labels(self, event: EventType) -> Scope: ...
    def typed(self, text: str, scope: Scope, expression: Expression | None = None) -> Typed | None: ...
    def argument_type(self, definition: FeatureDefinition) -> Type | None: ...
    def feature_type(self, definition: FeatureDefinition) -> Type | None: ...
    def reads(self, event: EventType) -> tuple[Read, ...]: ...


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """What `FeatureState` runs: the kernel's program, and what is computed beside it."""

    program: npt.NDArray[np.int64]
    histories: tuple[str, ...]  # what each holds, in words
    pairs: int
    windows: int  # the most that a history has
    header_words: int  # the most that a slot has
    keys: tuple[tuple[tuple[str, ...], ...], ...]  # a type: the fields of each of its keys
    most_keys: int
    most_labels: int
    holds: bool
    calendars: tuple[tuple[Calendar, int], ...]
    zone: Zone
    label_programs: Mapping[tuple[int, int], LabelProgram]
    lateness_us: int
    state_bytes: int


def plan_features(
    definitions: DefinitionsLike,
    names: NamesLike,
    layouts: Mapping[str, Layout],
    builders: Mapping[str, ProgramBuilder],
    references: References,
) -> FeaturePlan:
    """The plan of all features of checked definitions.

    `layouts` and `builders` are the event types' own; they gain the features' columns, named as `names.reads` names
    them, and the arguments and conditions of aggregates. Raises ExpressionError where a key has different types at
    different event types.
    """
    return _Planner(definitions, names, layouts, builders, references).plan()


@dataclass(slots=True)
class _LabelDraft:
    """The program of one label being collected."""

    type: Type
    conditions: ProgramBuilder
    arguments: ProgramBuilder
    outputs: int = 0
    known: dict[tuple[object, bool], int] = field(default_factory=dict)


class _Planner:
    def __init__(
        self,
        definitions: DefinitionsLike,
        names: NamesLike,
        layouts: Mapping[str, Layout],
        builders: Mapping[str, ProgramBuilder],
        references: References,
    ) -> None:
        self._definitions = definitions
        self._names = names
        self._builders = builders
        self._references = references
        self._layouts = layouts
        self._types = {
            event.name: TypeDraft(index, event.name, layouts[event.name])
            for index, event in enumerate(definitions.events)
        }
        self._events = {event.name: event for event in definitions.events}
        self._histories: dict[tuple[str, tuple[tuple[str, tuple[str, ...]], ...], int, int], Draft] = {}
        self._slots: dict[tuple[str, object], int] = {}
        self._labels: dict[tuple[int, int], _LabelDraft] = {}
        self._pairs: dict[str, int] = {}
        self._key_types: dict[str, tuple[tuple[Type, ...], str]] = {}
        self._pair_count = 0
        self._calendars: dict[tuple[Calendar, int], int] = {}

    def plan(self) -> FeaturePlan:
        drafted: dict[tuple[str, str], tuple[Draft, FeatureDraft]] = {}
        for entity in self._definitions.entities:
            for feature in entity.columns():
                drafted[entity.name, feature.name] = self._feature(entity, feature)
        entities = {entity.name: entity for entity in self._definitions.entities}
        for event in self._definitions.events:
            of_type = self._types[event.name]
            for read in self._names.reads(event):
                history, draft = drafted[read.feature.entity, read.feature.name]
                key = self._key(of_type, entities[read.feature.entity], read.key)
                column = of_type.layout.add(read.name, draft.type)
                group = history.group(of_type.index)
                group.reads.setdefault(key, ReadDraft(key)).features.append((draft, column.slot))
        holds = bool(self._labels)
        if holds:
            self._keys_of_entities()
        programs = {
            pair: LabelProgram(label.type, label.conditions.build(), label.arguments.build(), label.outputs)
            for pair, label in self._labels.items()
        }
        histories = tuple(self._histories.values())
        self._start_unlabelled(histories, programs)
        types = tuple(self._types.values())
        assembled = assemble(types, histories, pairs=self._pair_count, most_labels=self._most_labels(), holds=holds)
        return FeaturePlan(
            program=assembled.program,
            histories=tuple(history.words for history in histories),
            pairs=self._pair_count,
            windows=max((len(history.windows) for history in histories), default=0),
            header_words=assembled.header_words,
            keys=tuple(tuple(key.fields for key in of_type.keys.values()) for of_type in types),
            most_keys=assembled.most_keys,
            most_labels=self._most_labels(),
            holds=holds,
            calendars=tuple(self._calendars),
            zone=self._references.zone,
            label_programs=programs,
            lateness_us=self._definitions.settings.lateness_us,
            state_bytes=self._definitions.settings.state_bytes,
        )

    # -- features -----------------------------------------------------------------------------------------------------

    def _feature(self, entity: Entity, feature: Feature) -> tuple[Draft, FeatureDraft]:
        definition = feature.definition
        sources = tuple(
            (source, key_fields(entity, self._events[source], definition.by)[0])
            for source in sorted(set(definition.sources), key=lambda name: self._types[name].index)
        )
        where_labels = self._reads_label(definition)
        bits = len(split_conditions(definition.where, ())) if where_labels and definition.where else 0
        spec = self._window(feature.window, definition)
        step = self._step(spec, definition)
        history = self._history(entity, sources, definition.where if where_labels else None, bits, step)
        window = history.window(spec)
        history.longest = max(history.longest, self._reach(window))
        kind = definition.aggregate.kind
        result = self._names.feature_type(definition)
        assert result is not None, "a plan is made of definitions that were checked"
        argument = None
        if definition.aggregate.argument is not None:
            argument = self._names.argument_type(definition)
        measure = None
        # Where records are merged, how many there were is a sum like others.
        if definition.where is not None or definition.aggregate.argument is not None or step:
            measure = self._measure(history, definition, argument, sources)
        draft = FeatureDraft(
            kind=kind,
            window=window,
            type=result,
            argument=argument,
            measure=measure,
            before=kind in _LEAVES_OUT or not definition.include_current or definition.delay_us > 0,
        )
        return history, draft

    def _history(
        self, entity: Entity, sources: tuple[tuple[str, tuple[str, ...]], ...], where: str | None, bits: int, step: int
    ) -> Draft:
        """The history that a feature shares with those that merge by the same step, if they merge at all.

        Another one of the same kind where its condition bits are used up.
        """
        number = 0
        while True:
            place = (entity.name, sources, step, number)
            history = self._histories.get(place)
            if history is None:
                by = ", ".join(f"{source}.{'+'.join(key)}" for source, key in sources)
                words = f"{entity.name} by {by}" + (f" in steps of {step / 1e6:g} s" if step else "")
                history = Draft(len(self._histories), words, step=step)
                for source, key in sources:
                    draft = self._types[source]
                    index = self._key(draft, entity, key)
                    draft.key_at(index).writes = True
                    history.group(draft.index).write = index
                self._histories[place] = history
            if where in history.conditions or history.bits + bits <= META_BITS:
                return history
            number += 1

    def _window(self, window: Window | None, definition: FeatureDefinition) -> WindowSpec:
        delay = definition.delay_us
        if window is not None and window.calendar is not None:
            row = self._calendars.setdefault((window.calendar, delay), len(self._calendars))
            return WindowSpec(delay=delay, calendar=row, length=_CALENDAR_US[window.calendar])
        length = self._definitions.settings.horizon_us if window is None else window.length_us
        assert length is not None, "a window has a length or a calendar unit"
        return WindowSpec(delay=delay, length=length, resolution=definition.resolution_us or 0)

    def _step(self, window: WindowSpec, definition: FeatureDefinition) -> int:
        """The resolution by which records may be merged for a feature, 0 where it needs each by itself."""
        merged = definition.aggregate.kind in _MERGED and 0 < window.resolution <= window.length
        return window.resolution if merged and not self._reads_label(definition) else 0

    def _reach(self, window: WindowSpec) -> int:
        return window.delay + window.length

    # -- measures -----------------------------------------------------------------------------------------------------

    def _measure(
        self,
        history: Draft,
        definition: FeatureDefinition,
        argument: Type | None,
        sources: tuple[tuple[str, tuple[str, ...]], ...],
    ) -> MeasureDraft:
        where, text = definition.where, definition.aggregate.argument
        distinct = definition.aggregate.kind is AggregateKind.DISTINCT
        labelled = self._reads_label(definition)
        place = (text, where, distinct)
        measure = history.measures.get(place)
        if measure is None:
            measure = MeasureDraft(argument, distinct=distinct, labelled=labelled)
            history.measures[place] = measure
            if labelled and where is not None:
                measure.conditions = self._conditions(history, where, sources)
            for source, _ in sources:
                measure.inputs[self._types[source].index] = self._input(source, definition, argument, labelled)
        measure.needs.add(definition.aggregate.kind)
        return measure

    def _input(self, source: str, definition: FeatureDefinition, argument: Type | None, labelled: bool) -> Input:
        """Where a source's value of the argument, and of the conditions over fields, comes from."""
        event, where = self._events[source], definition.where
        result = Input()
        if definition.aggregate.argument is not None:
            expression = parse(definition.aggregate.argument)
            label = label_of(expression, self._label_names(event))
            if label is None:
                result.argument = self._slot(event, definition.aggregate.argument, expression)
            else:
                result.label = (self._types[source].index, self._label_names(event).index(label))
                result.output = self._label_output(event, label, definition.aggregate.argument, expression, False)
            assert argument is not None
            result.floats = argument.is_float
        if where is not None and not labelled:
            result.filter = self._slot(event, where, parse(where))
        return result

    def _conditions(
        self, history: Draft, where: str, sources: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> tuple[Condition, ...]:
        """The conditions of a `where` that reads labels, each a bit of the record."""
        if where in history.conditions:
            return history.conditions[where]
        parts: list[Condition] = []
        for source, _ in sources:
            event = self._events[source]
            names = self._label_names(event)
            for number, part in enumerate(split_conditions(where, names)):
                if number == len(parts):
                    parts.append(Condition(history.bits))
                    history.bits += 1
                of_type = self._types[source].index
                if part.label is None:
                    parts[number].slots[of_type] = self._slot(event, where, part.expression)
                else:
                    output = self._label_output(event, part.label, where, part.expression, True)
                    parts[number].labels[of_type] = (names.index(part.label), output)
        history.conditions[where] = tuple(parts)
        return history.conditions[where]

    def _reads_label(self, definition: FeatureDefinition) -> bool:
        texts = [text for text in (definition.where, definition.aggregate.argument) if text is not None]
        read = {name for text in texts for name in parse(text).names}
        return any(read & set(self._label_names(self._events[source])) for source in definition.sources)

    def _label_names(self, event: EventType) -> tuple[str, ...]:
        return tuple(item.name for item in event.labels)

    def _slot(self, event: EventType, text: str, expression: Expression) -> int:
        """The frame slot of an expression over fields: a column's own, or one that the ingest program fills."""
        layout = self._layouts[event.name]
        names = expression.names
        typed = self._typed(text, self._names.ingest(event), expression)
        if len(names) == 1 and names[0] == _source_of(expression) and names[0] in layout:
            return layout[names[0]].slot
        place = (event.name, typed.node)
        if place not in self._slots:
            self._slots[place] = layout.scratch()
            self._builders[event.name].output(typed, self._slots[place])
        return self._slots[place]

    def _label_output(self, event: EventType, label: str, text: str, expression: Expression, condition: bool) -> int:
        """The output of a label's program that computes an expression over the label."""
        index = self._label_names(event).index(label)
        place = (self._types[event.name].index, index)
        kind = event.labels[index].type
        draft = self._labels.get(place)
        if draft is None:
            conditions, arguments = (
                ProgramBuilder(Layout({label: Column(label, slot, kind)}, FIRST_OUTPUT), self._references)
                for slot in (LABEL_SLOT, UNLABELLED_SLOT)
            )
            draft = self._labels[place] = _LabelDraft(kind, conditions, arguments)
        typed = self._typed(text, self._names.labels(event), expression)
        if (typed.node, condition) not in draft.known:
            builder = draft.conditions if condition else draft.arguments
            builder.output(typed, FIRST_OUTPUT + draft.outputs)
            draft.known[typed.node, condition] = draft.outputs
            draft.outputs += 1
        return draft.known[typed.node, condition]

    def _start_unlabelled(self, histories: tuple[Draft, ...], programs: Mapping[tuple[int, int], LabelProgram]) -> None:
        """What conditions and arguments over labels are while the labels are unknown."""
        unknown = {
            place: program.run(np.array([null_word(program.type)], np.int64))[:, 0]
            for place, program in programs.items()
        }
        for history in histories:
            for conditions in history.conditions.values():
                for condition in conditions:
                    for of_type, (label, output) in condition.labels.items():
                        condition.initial[of_type] = bool(unknown[of_type, label][output] == 1)
            for measure in history.measures.values():
                for item in measure.inputs.values():
                    if item.label is not None:
                        item.initial = int(unknown[item.label][item.output])

    def _typed(self, text: str, scope: Scope, expression: Expression) -> Typed:
        typed = self._names.typed(text, scope, expression)
        assert typed is not None, "a plan is made of definitions that were checked"
        return typed

    # -- keys ---------------------------------------------------------------------------------------------------------

    def _key(self, draft: TypeDraft, entity: Entity, fields: tuple[str, ...]) -> int:
        """The number of a key among those of its event type."""
        place = (entity.name, fields)
        if place in draft.keys:
            return draft.keys[place].index
        event = self._events[draft.name]
        types = tuple(event.field(name).type for name in fields)
        where = f"{draft.name}.{'+'.join(fields)}"
        known, known_where = self._key_types.setdefault(entity.name, (types, where))
        if known != types:
            raise ExpressionError(
                f"the key of {entity.name} is {_listed(types)} in {where} but {_listed(known)} in {known_where}",
                hint="give the fields one type",
            )
        if any(kind.is_float for kind in types):
            raise ExpressionError(f"{where} is a number, which is no key of {entity.name}", hint="make it a string")
        if entity.name not in self._pairs:
            alone = len(types) == 1 and types[0].kind is Kind.STRING
            self._pairs[entity.name] = -1 if alone else self._pair_count
            self._pair_count += 0 if alone else max(1, len(types) - 1)
        slots = tuple(self._layouts[draft.name][name].slot for name in fields)
        key = KeyDraft(len(draft.keys), fields, slots, self._pairs[entity.name])
        draft.keys[place] = key
        return key.index

    def _keys_of_entities(self) -> None:
        """Every field that carries an entity becomes a key, so that a label can be given to all its events."""
        for event in self._definitions.events:
            if event.labels:
                for entity in self._definitions.entities:
                    for fields in key_fields(entity, event):
                        self._key(self._types[event.name], entity, fields)

    def _most_labels(self) -> int:
        return max((len(event.labels) for event in self._definitions.events), default=0)


def _source_of(expression: Expression) -> str:
    """The name that an expression is, where it is nothing but a name."""
    name = getattr(expression.root, "name", "")
    return name if isinstance(name, str) else ""


def _listed(types: tuple[Type, ...]) -> str:
    return " and ".join(str(kind) for kind in types)
