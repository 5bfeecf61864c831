"""A project compiled: for each event type its columns, programs, models, policy and the schema of its records.

Everything that can be decided once is decided here, so that the engine runs straight through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Definitions, Policy, Settings
from parakh.decisions.enrichments import answered
from parakh.decisions.holdout import HeldOut
from parakh.decisions.names import Names
from parakh.decisions.policy import Judge
from parakh.decisions.record import DecisionSchema, Writer
from parakh.decisions.references import list_indexes, references_of, table_indexes
from parakh.decisions.scoring import ModelPlan
from parakh.events.decode import Decoder, lay_out
from parakh.events.definition import EventType, amount_field
from parakh.expressions.check import Typed
from parakh.expressions.columns import Column, Layout
from parakh.expressions.lists import TableIndex
from parakh.expressions.parse import parse
from parakh.expressions.program import Program, ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import NUMBER
from parakh.features.definition import Entity
from parakh.features.plan import FeaturePlan, plan_features
from parakh.models.scorer import load_model
from parakh.rules.definition import Mode

__all__ = ["UNANSWERED", "Intake", "Plan", "TypePlan", "compile_intake", "compile_plan"]

UNANSWERED = "~degraded"
"""The field of a stored event that says that an enrichment which its decision needs did not answer."""

Index = TypeVar("Index", bound=TableIndex)


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
    conditions: tuple[Typed, ...]  # of the judge's rules, in their order
    features: tuple[Column, ...]  # in the frame
    kept: NDArray[np.int64]  # slots that outlive the batch: features, then shadow scores
    bands: tuple[int, ...] = ()  # slots of the conditions of the policy's bands
    holdout: HeldOut | None = None
    unanswered: int | None = None  # slot of the field that says a needed enrichment did not answer


@dataclass(slots=True)
class Intake:
    """The part of a plan that state depends on: how events are decoded and which features they feed.

    It stays as it is while rules, signals, models, policies, lists and tables change.
    """

    events: tuple[EventType, ...]
    entities: tuple[Entity, ...]
    settings: Settings
    layouts: dict[str, Layout]
    decoders: dict[str, Decoder]
    programs: dict[str, Program]
    features: FeaturePlan
    references: References
    strings: Strings

    def serves(self, definitions: Definitions) -> bool:
        """Whether a project takes in events and keeps features just as this one does."""
        definitions = answered(definitions)
        mine = (self.events, self.entities, self.settings)
        if mine != (definitions.events, definitions.entities, definitions.settings):
            return False
        if any(_wanted(definitions, event) - self.layouts[event.name].columns.keys() for event in self.events):
            return False
        # What a `where` looks up may change its rows, but not its types.
        types: dict[str, Any] = {item.name: (item.type, {}) for item in definitions.lists}
        types |= {item.name: (item.key, dict(item.columns)) for item in definitions.tables}
        held = (*self.references.lists.items(), *self.references.tables.items())
        return all(types.get(name, (index.key, index.columns)) == (index.key, index.columns) for name, index in held)

    def refer(self, definitions: Definitions) -> None:
        """Take over the lists and tables of a project; programs that read them see the change with their next event."""
        references = self.references
        references.lists = _replaced(references.lists, list_indexes(definitions, self.strings))
        references.tables = _replaced(references.tables, table_indexes(definitions, self.strings))


@dataclass(slots=True)
class Plan:
    """A compiled project. `width` is how many slots the frame of a batch has."""

    definitions: Definitions
    project: str
    intake: Intake
    types: tuple[TypePlan, ...]
    width: int
    names: tuple[str, ...] = field(init=False)
    by_name: dict[str, TypePlan] = field(init=False)

    def __post_init__(self) -> None:
        self.names = tuple(item.event.name for item in self.types)
        self.by_name = dict(zip(self.names, self.types))


def compile_intake(definitions: Definitions, strings: Strings, *, started_us: int | None) -> Intake:
    """How a checked project takes in events.

    `started_us` is when the run began (microseconds UTC), for quarantining events of the future; None does not look.
    """
    definitions = answered(definitions)
    names = Names(definitions)
    references = references_of(definitions, strings)
    layouts: dict[str, Layout] = {}
    decoders: dict[str, Decoder] = {}
    builders: dict[str, ProgramBuilder] = {}
    for event in definitions.events:
        layout = layouts[event.name] = Layout()
        lay_out(event, layout, _wanted(definitions, event))
        decoders[event.name] = Decoder(
            event, layout, strings, started_us=started_us, earliest_us=definitions.settings.earliest_us
        )
        builder = builders[event.name] = ProgramBuilder(layout, references, layout[event.time].slot)
        scope = names.ingest(event)
        for name, text in event.derive:
            typed = _typed(names, text, scope)
            builder.output(typed, layout.add(name, typed.type).slot)
    features = plan_features(definitions, names, layouts, builders, references)
    return Intake(
        events=definitions.events,
        entities=definitions.entities,
        settings=definitions.settings,
        layouts=layouts,
        decoders=decoders,
        programs={name: builder.build() for name, builder in builders.items()},
        features=features,
        references=references,
        strings=strings,
    )


def compile_plan(definitions: Definitions, project: str, intake: Intake) -> Plan:
    """The plan of a checked project over an intake that serves it.

    Raises ModelError where a model file cannot be loaded.
    """
    assert intake.serves(definitions), "the intake is of another project"
    definitions = answered(definitions)
    names = Names(definitions)
    types = tuple(_plan_type(names, project, intake, index) for index in range(len(definitions.events)))
    return Plan(definitions, project, intake, types, max((item.layout.width for item in types), default=1))


def _plan_type(names: Names, project: str, intake: Intake, index: int) -> TypePlan:
    definitions, references = names.definitions, intake.references
    event = definitions.events[index]
    base = intake.layouts[event.name]
    layout = Layout(dict(base.columns), base.width)
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

    models = _models(definitions, event, layout)
    policy = definitions.policy(event.name)
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
    schema = DecisionSchema(
        event_type=event.name,
        project=project,
        features=_apart(features, 0),
        judge=judge,
        score=score.model.name if score else None,
        inputs=score.model.inputs if score else (),
        shadow_models=_apart(shadow, len(features)),
        models=tuple((item.model.name, item.scorer.digest) for item in models),
    )
    return TypePlan(
        index=index,
        event=event,
        layout=layout,
        decoder=intake.decoders[event.name],
        ingest=intake.programs[event.name],
        decided=decided,
        signals=signals.build(),
        models=models,
        rules=rules.build(),
        judge=judge,
        schema=schema,
        writer=Writer(schema),
        score=score,
        conditions=expressions,
        features=features,
        kept=np.array([column.slot for column in (*features, *shadow)], np.int64),
        bands=band_slots,
        holdout=HeldOut(policy, judge, _amount(event, layout)) if policy.holdout is not None else None,
        unanswered=layout[UNANSWERED].slot if UNANSWERED in layout else None,
    )


def _models(definitions: Definitions, event: EventType, layout: Layout) -> tuple[ModelPlan, ...]:
    """The models that score an event type, each with a column for its score."""
    plans = []
    for model in definitions.models:
        if model.event_type == event.name and model.mode is not Mode.DISABLED:
            inputs = tuple(layout[name] for name in model.inputs)
            plans.append(ModelPlan(model, load_model(model), inputs, layout.add(model.name, NUMBER)))
    return tuple(plans)


def _amount(event: EventType, layout: Layout) -> Column | None:
    name = amount_field(event)
    return None if name is None else layout[name]


def _apart(columns: tuple[Column, ...], first: int) -> tuple[Column, ...]:
    """Columns as a record holds them, apart from the frame: numbered one after another."""
    return tuple(Column(column.name, place, column.type) for place, column in enumerate(columns, first))


def _wanted(definitions: Definitions, event: EventType) -> set[str]:
    """The fields that are laid out: all but an id that nothing reads, as ids would fill the dictionary of strings."""
    fields = {item.name for item in event.fields}
    if event.id not in fields or event.field(event.id).entity is not None:
        return fields
    texts = [text for _, text in event.derive]
    keys: list[str] = []
    for entity in definitions.entities:
        keys += entity.parts
        for feature in entity.features:
            keys += feature.by or ()
            texts += [text for text in (feature.aggregate.argument, feature.where) if text]
    texts += [text for item in definitions.signals for _, text in item.define]
    texts += [rule.when for rule in definitions.rules]
    texts += [band.when for policy in definitions.policies for band in policy.bands]
    inputs = [name for model in definitions.models for name in model.inputs]
    if event.id in keys or event.id in inputs:
        return fields
    read = any(event.id in text and event.id in parse(text).names for text in texts)
    return fields if read else fields - {event.id}


def _typed(names: Names, text: str, scope: Any) -> Typed:
    typed = names.typed(text, scope)
    assert typed is not None, "a plan is compiled from definitions that were checked"
    return typed


def _replaced(held: Mapping[str, Index], new: Mapping[str, Index]) -> dict[str, Index]:
    """The new indexes, under objects that programs already read where there are such."""
    for name, index in new.items():
        if name in held:
            held[name].replace_with(index)
    return {name: held.get(name, index) for name, index in new.items()}
