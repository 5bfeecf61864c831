"""A project compiled: for each event type its columns, programs, models, policy and the schema of its records.

Everything that can be decided once is decided here, so that the engine runs straight through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Definitions, Policy
from parakh.decisions.names import Names
from parakh.decisions.policy import Judge
from parakh.decisions.record import DecisionSchema, Writer
from parakh.events.decode import Decoder, lay_out
from parakh.events.definition import EventType
from parakh.expressions.check import Typed
from parakh.expressions.columns import Column, Layout
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.program import Program, ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, NUMBER
from parakh.expressions.zones import Zone
from parakh.features.plan import FeaturePlan, plan_features
from parakh.models.definition import Model
from parakh.models.scorer import Scorer, load_model
from parakh.rules.definition import Mode

__all__ = ["ModelPlan", "Plan", "TypePlan", "compile_plan"]


@dataclass(slots=True)
class ModelPlan:
    """A model with the columns it reads, in the order of its inputs, and the column that its score goes to."""

    model: Model
    scorer: Scorer
    inputs: tuple[Column, ...]
    output: Column

    def gather(self, words: NDArray[np.int64], rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """The inputs of some rows as the model wants them: number columns, NaN for NULL, money in major units."""
        count = rows.stop - rows.start if isinstance(rows, slice) else rows.size
        x = np.empty((count, len(self.inputs)))
        numbers = words.view(np.float64)
        for position, column in enumerate(self.inputs):
            if column.type.is_float:
                x[:, position] = numbers[column.slot, rows]
                continue
            values = words[column.slot, rows]
            x[:, position] = values
            if column.type.digits:
                x[:, position] /= 10**column.type.digits
            x[values == NULL_WORD, position] = np.nan
        return x


@dataclass(slots=True)
class TypePlan:
    """How one event type is taken in and, where it has a policy or rules, decided."""

    index: int
    event: EventType
    layout: Layout
    decoder: Decoder
    ingest: Program
    decided: bool
    signals: Program
    models: tuple[ModelPlan, ...]
    rules: Program
    judge: Judge
    schema: DecisionSchema
    writer: Writer
    score: ModelPlan | None
    rule_expressions: tuple[Typed, ...]
    kept: NDArray[np.int64]  # slots that outlive the batch: features, then shadow scores


@dataclass(slots=True)
class Plan:
    """A compiled project. `width` is how many slots the frame of a batch has."""

    definitions: Definitions
    project: str
    types: tuple[TypePlan, ...]
    features: FeaturePlan
    names: Names
    zone: Zone
    width: int
    by_name: dict[str, TypePlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_name = {item.event.name: item for item in self.types}


def compile_plan(definitions: Definitions, project: str, strings: Strings, *, started_us: int | None) -> Plan:
    """The plan of a checked project.

    `started_us` is when the run began (microseconds UTC), for quarantining events of the future; None does not look.
    Raises ModelError where a model file cannot be loaded.
    """
    names = Names(definitions)
    zone = Zone(definitions.settings.time_zone)
    references = References(
        strings=strings,
        lists={item.name: ListIndex.of(item.type, _entries(item), strings) for item in definitions.lists},
        tables={item.name: TableIndex.of(item.key, item.columns, _rows(item), strings) for item in definitions.tables},
        zone=zone,
    )
    layouts = {event.name: Layout() for event in definitions.events}
    decoders = {}
    builders = {}
    for event in definitions.events:
        layout = layouts[event.name]
        lay_out(event, layout)
        decoders[event.name] = Decoder(
            event, layout, strings, started_us=started_us, earliest_us=definitions.settings.earliest_us
        )
        builder = ProgramBuilder(layout, references, layout[event.time].slot)
        scope = names.ingest(event)
        for name, text in event.derive:
            typed = _typed(names, text, scope)
            builder.output(typed, layout.add(name, typed.type).slot)
        builders[event.name] = builder
    features = plan_features(definitions, names, layouts, builders, references)
    ingest = {event.name: builders[event.name].build() for event in definitions.events}
    types = tuple(
        _plan_type(definitions, project, names, references, index, event, layouts[event.name], ingest, decoders)
        for index, event in enumerate(definitions.events)
    )
    width = max((layout.width for layout in layouts.values()), default=1)
    return Plan(definitions, project, types, features, names, zone, width)


def _plan_type(
    definitions: Definitions,
    project: str,
    names: Names,
    references: References,
    index: int,
    event: EventType,
    layout: Layout,
    ingest: Mapping[str, Program],
    decoders: Mapping[str, Decoder],
) -> TypePlan:
    time_slot = layout[event.time].slot
    reads = names.reads(event)
    features = tuple(layout[read.name] for read in reads)
    for read in reads:
        for alias in read.aliases:
            if alias not in layout:
                layout.columns[alias] = layout[read.name]

    signals = ProgramBuilder(layout, references, time_slot)
    scope = names.decide(event)
    for item in definitions.signals:
        if item.event_type == event.name:
            for name, text in item.define:
                typed = _typed(names, text, scope)
                signals.output(typed, layout.add(name, typed.type).slot)

    models = []
    for model in definitions.models:
        if model.event_type == event.name and model.mode is not Mode.DISABLED:
            inputs = tuple(layout[name] for name in model.inputs)
            models.append(ModelPlan(model, load_model(model), inputs, layout.add(model.name, NUMBER)))

    policy = next((item for item in definitions.policies if item.event_type == event.name), None)
    live_rules = tuple(
        rule for rule in definitions.rules if event.name in rule.event_types and rule.mode is not Mode.DISABLED
    )
    decided = policy is not None or bool(live_rules)
    policy = policy or Policy(event_type=event.name)
    score = next((item for item in models if item.model.name == policy.score), None)
    if score is not None:
        layout.columns["score"] = Column("score", score.output.slot, NUMBER)

    rules = ProgramBuilder(layout, references, time_slot)
    scope = names.bands(event)
    expressions = tuple(_typed(names, rule.when, scope) for rule in live_rules)
    rule_slots = tuple(layout.scratch() for _ in expressions)
    band_slots = tuple(layout.scratch() for _ in policy.bands)
    for typed, slot in zip(expressions, rule_slots):
        rules.output(typed, slot)
    for band, slot in zip(policy.bands, band_slots):
        rules.output(_typed(names, band.when, scope), slot)

    judge = Judge(
        policy,
        live_rules,
        rule_slots=rule_slots,
        band_slots=band_slots,
        score_slot=score.output.slot if score else None,
    )
    shadow = tuple(item.output for item in models if item is not score)
    kept = tuple(column.slot for column in (*features, *shadow))
    # A record holds its columns apart from the frame, so there they are numbered from 0.
    places = [Column(column.name, place, column.type) for place, column in enumerate((*features, *shadow))]
    schema = DecisionSchema(
        event_type=event.name,
        project=project,
        features=tuple(places[: len(features)]),
        judge=judge,
        score=score.model.name if score else None,
        inputs=score.model.inputs if score else (),
        shadow_models=tuple(places[len(features) :]),
        models=tuple((item.model.name, item.scorer.digest) for item in models),
    )
    return TypePlan(
        index=index,
        event=event,
        layout=layout,
        decoder=decoders[event.name],
        ingest=ingest[event.name],
        decided=decided,
        signals=signals.build(),
        models=tuple(models),
        rules=rules.build(),
        judge=judge,
        schema=schema,
        writer=Writer(schema),
        score=score,
        rule_expressions=expressions,
        kept=np.array(kept, np.int64),
    )


def _typed(names: Names, text: str, scope: Any) -> Typed:
    typed = names.typed(text, scope)
    assert typed is not None, "a plan is compiled from definitions that were checked"
    return typed


def _entries(item: Any) -> list[tuple[Any, int | None, int | None]]:
    return [(entry.value, entry.since_us, entry.until_us) for entry in item.entries]


def _rows(item: Any) -> list[tuple[Any, tuple[Any, ...], int | None, int | None]]:
    return [(row.key, row.values, row.since_us, row.until_us) for row in item.rows]



