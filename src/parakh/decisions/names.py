"""Which names an expression may read at each stage of an event type, and of what type each is.

The stages follow an event's way: fields, then `derive`, then features and signals, then model scores, then the policy's
`score`. Both the check of a project and the compilation of its plan read the names from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache

from parakh.decisions.definition import Definitions
from parakh.errors import ExpressionError
from parakh.events.definition import EventType
from parakh.expressions.check import Scope, TableType, Typed, check, check_condition
from parakh.expressions.parse import parse
from parakh.expressions.syntax import Expression
from parakh.expressions.types import NUMBER, Type
from parakh.features.conditions import label_of
from parakh.features.definition import FeatureDefinition
from parakh.features.reads import Read, key_fields, readable
from parakh.features.result import feature_type
from parakh.rules.definition import Mode

__all__ = ["Names", "Report"]

_Check = Callable[[Expression, Scope], Typed]
Report = Callable[[ExpressionError, str], None]
"""Called with what is wrong and the text in which it is wrong; may raise."""


def _raise(error: ExpressionError, text: str) -> None:
    raise error


class Names:
    """The scopes of every event type of a project.

    A definition that does not hold is reported once and its name left out, so that one mistake does not hide the next.
    `report` receives it; the default raises.
    """

    def __init__(self, definitions: Definitions, report: Report = _raise) -> None:
        self.definitions = definitions
        self._report = report
        self._lists = {item.name: item.type for item in definitions.lists}
        self._tables = {item.name: TableType(item.key, dict(item.columns)) for item in definitions.tables}
        self._ingest: dict[str, Scope] = {}
        self._aggregates: dict[int, Type | None] = {}
        self._decide: dict[str, Scope] = {}
        self.broken: set[str] = set()
        """Names whose definition was reported; what reads them is not reported again."""

    def typed(self, text: str, scope: Scope, expression: Expression | None = None) -> Typed | None:
        """The checked expression (or the part of the text that is given), or None after reporting what is wrong."""
        return self._checked(check, text, scope, expression)

    def condition(self, text: str, scope: Scope, expression: Expression | None = None) -> Typed | None:
        """The same for what must be true or false."""
        return self._checked(check_condition, text, scope, expression)

    def _checked(self, how: _Check, text: str, scope: Scope, expression: Expression | None) -> Typed | None:
        try:
            known = _known(how, str(text), scope) if expression is None else None
            return known or how(expression or parse(text), scope)
        except ExpressionError as error:
            self._report(error, text)
            return None

    def fields(self, event: EventType) -> Scope:
        """What `derive` reads first: the fields of the event itself."""
        features = {feature.full_name for entity in self.definitions.entities for feature in entity.columns()}
        features |= {name for read in self.reads(event) for name in (read.name, *read.aliases)}
        late = {name: f"{name!r} is a feature: signals and rules read it, after the windows" for name in features}
        late |= {
            item.name: f"{item.name!r} is a label: it becomes known later, and is readable in features only"
            for item in event.labels
        }
        late |= {
            f"{item.name}.{column.name}": f"{item.name!r} is an enrichment: signals and rules read its answer"
            for item in self.definitions.enrichments
            for column in item.columns
        }
        columns = {item.name: item.type for item in event.fields}
        return Scope(columns=columns, lists=self._lists, tables=self._tables, unavailable=late)

    def ingest(self, event: EventType) -> Scope:
        """What aggregates and `where` read of a source event: its fields and what is derived from them."""
        if event.name not in self._ingest:
            self._ingest[event.name] = self._extended(self.fields(event), event.derive)
        return self._ingest[event.name]

    def labels(self, event: EventType) -> Scope:
        """What a label-only part of a feature reads."""
        columns = {item.name: item.type for item in event.labels}
        return Scope(columns=columns, lists={}, tables={}, unavailable={})

    def argument_type(self, definition: FeatureDefinition) -> Type | None:
        """The type of an aggregate's argument, the same at every source; None where there is none or it is broken."""
        argument = definition.aggregate.argument
        if argument is None:
            return None
        types = []
        events = {event.name: event for event in self.definitions.events}
        if not set(definition.sources) <= set(events):
            return None  # an unknown event type; the check of the project reports it
        for source in definition.sources:
            event = events[source]
            labels = self.labels(event)
            try:
                reads_label = label_of(parse(argument), labels.columns) is not None
            except ExpressionError as error:
                self._report(error, argument)
                return None
            typed = self.typed(argument, labels if reads_label else self.ingest(event))
            if typed is None:
                return None
            types.append(typed.type)
        if len(set(types)) > 1:
            listed = ", ".join(f"{kind} in {source}" for kind, source in zip(types, definition.sources))
            self._report(ExpressionError(f"the argument has different types in its sources: {listed}"), argument)
            return None
        return types[0]

    def feature_type(self, definition: FeatureDefinition) -> Type | None:
        """A feature's type, or None after reporting why it has none."""
        if id(definition) not in self._aggregates:
            argument = self.argument_type(definition)
            result = None
            if argument is not None or definition.aggregate.argument is None:
                try:
                    result = feature_type(definition.aggregate, argument)
                except ExpressionError as error:
                    self._report(error, definition.aggregate.argument or definition.name)
            self._aggregates[id(definition)] = result
        return self._aggregates[id(definition)]

    def reads(self, event: EventType) -> tuple[Read, ...]:
        """The features that the event type can read, in the project's order."""
        return readable(self.definitions.entities, event)

    def features(self, event: EventType) -> Scope:
        """Fields, derived values, features and answers of enrichments: what signals read first."""
        base = self.ingest(event)
        columns = dict(base.columns)
        unavailable = dict(base.unavailable)
        for read in self.reads(event):
            kind = self.feature_type(read.feature.definition)
            for name in (read.name, *read.aliases):
                if kind is None:
                    self.broken.add(name)
                else:
                    columns[name] = kind
        for entity in self.definitions.entities:
            roles = key_fields(entity, event)
            if len(roles) > 1:
                through = " or ".join(".".join(role) for role in roles)
                for feature in entity.columns():
                    if feature.full_name not in columns:
                        unavailable[feature.full_name] = (
                            f"{event.name} carries {entity.name} in several fields; read it through {through}"
                        )
            elif not roles:
                for feature in entity.columns():
                    unavailable[feature.full_name] = f"{event.name} has no field that carries {entity.name}"
        for enrichment in self.definitions.enrichments:
            for column in enrichment.columns:
                name = f"{enrichment.name}.{column.name}"
                if enrichment.event_type == event.name:
                    columns[name] = column.type
                else:
                    unavailable[name] = f"enrichment {enrichment.name} is asked for {enrichment.event_type} alone"
        return replace(base, columns=columns, unavailable=unavailable)

    def decide(self, event: EventType) -> Scope:
        """What models read: fields, derived values, features, answers of enrichments and signals."""
        if event.name not in self._decide:
            signals = [
                pair for item in self.definitions.signals if item.event_type == event.name for pair in item.define
            ]
            self._decide[event.name] = self._extended(self.features(event), signals)
        return self._decide[event.name]

    def rules(self, event: EventType, *, resting: bool = False) -> Scope:
        """What rules read: all that models read, and the models' scores under their names.

        A disabled model gives no score, so only what is not run may read it: a rule that is `resting`, or its tests.
        """
        scope = self.decide(event)
        models = [item for item in self.definitions.models if item.event_type == event.name]
        scores = {item.name: NUMBER for item in models if resting or item.mode is not Mode.DISABLED}
        disabled = {item.name: f"model {item.name} is disabled" for item in models if item.name not in scores}
        unavailable = {**scope.unavailable, **disabled}
        return replace(scope, columns={**scope.columns, **scores}, unavailable=unavailable)

    def bands(self, event: EventType) -> Scope:
        """What a policy's bands read: all that rules read, and `score`."""
        scope = self.rules(event)
        return replace(scope, columns={**scope.columns, "score": NUMBER})

    def _extended(self, scope: Scope, definitions: Iterable[tuple[str, str]]) -> Scope:
        columns = dict(scope.columns)
        for name, text in definitions:
            typed = self.typed(text, replace(scope, columns=columns))
            if typed is None:
                self.broken.add(name)
            else:
                columns[name] = typed.type
        return replace(scope, columns=columns)


def _known(how: _Check, text: str, scope: Scope) -> Typed | None:
    """The checked expression where it holds and reads columns alone.

    A project is checked again at every edit, and nearly all of its texts read what they read before.
    """
    if "in_list" in text or "lookup" in text:
        return None
    names = _names_in(text)
    if not all(name in scope.columns for name in names):
        return None
    try:
        return _check_columns(how, text, tuple((name, scope.columns[name]) for name in names))
    except ExpressionError:
        return None  # said again with all names in reach, so that the hint is good


@lru_cache(maxsize=8192)
def _names_in(text: str) -> tuple[str, ...]:
    return parse(text).names


@lru_cache(maxsize=8192)
def _check_columns(how: _Check, text: str, columns: tuple[tuple[str, Type], ...]) -> Typed:
    return how(parse(text), Scope(columns=dict(columns)))
