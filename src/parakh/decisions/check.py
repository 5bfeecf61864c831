"""Whether a project's definitions hold together: every name known, every type right, every reference to one thing.

Works on definitions, wherever they came from; texts that were read from a file (`SourceText`) give the place of each
problem. Everything is checked, so that all mistakes are seen at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from parakh.decisions.definition import MOST_HELD_OUT, Definitions, Policy
from parakh.decisions.enrichments import enrichment_refusals, host_refusals
from parakh.decisions.names import Names
from parakh.decisions.personal import feature_tokens, personal_names, refused_reads, unlike_keys
from parakh.errors import ExpressionError, Place, Problem, SourceText
from parakh.events.definition import ROW_ID, EventType, Field, amount_field
from parakh.expressions.check import Scope
from parakh.expressions.hints import closest
from parakh.expressions.parse import parse
from parakh.expressions.types import TIMESTAMP, Kind
from parakh.features.conditions import split_conditions
from parakh.features.definition import AggregateKind, Entity, FeatureDefinition
from parakh.features.reads import key_fields
from parakh.rules.definition import Mode, Rule

__all__ = ["check_definitions"]

_TELL_APART = (AggregateKind.COUNT, AggregateKind.DISTINCT, AggregateKind.FIRST, AggregateKind.LAST)
_EXPECTATIONS = ("hit", "no_hit", "unknown")
_NAMES = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?")
"""Roughly the names in a condition; where it does not hold, those in its tests are not told a second time."""


def check_definitions(definitions: Definitions) -> list[Problem]:
    """All that is wrong with the definitions, in the order of definition; empty where they hold."""
    return _Check(definitions).run()


class _Check:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.problems: list[Problem] = []
        self._reported: set[tuple[str, Place | None]] = set()
        self.names = Names(definitions, self._expression_problem)
        self.events = {event.name: event for event in definitions.events}
        self._treated = {event.name: personal_names(event) for event in definitions.events}
        self._tokens: dict[str, dict[str, str]] = {}

    def run(self) -> list[Problem]:
        self._unique()
        for event in self.definitions.events:
            self._event(event)
        for entity in self.definitions.entities:
            self._entity(entity)
        self._keys_alike()
        for signals in self.definitions.signals:
            event_type = self._event_type(signals.event_type)
            if event_type:
                self._fresh_names(event_type, [name for name, _ in signals.define], "signal")
                for _, text in signals.define:
                    self._personal(text, event_type, decided=True)
        for event in self.definitions.events:
            if not self._has_no_time(event):
                self.names.decide(event)
        self._enrichments()
        for rule in self.definitions.rules:
            self._rule(rule)
        self._models()
        for policy in self.definitions.policies:
            self._policy(policy)
        return self.problems

    # -- what each definition owes ------------------------------------------------------------------------------------

    def _unique(self) -> None:
        kinds: tuple[tuple[str, Iterable[str]], ...] = (
            ("event", (item.name for item in self.definitions.events)),
            ("entity", (item.name for item in self.definitions.entities)),
            ("rule", (item.name for item in self.definitions.rules)),
            ("model", (item.name for item in self.definitions.models)),
            ("list", (item.name for item in self.definitions.lists)),
            ("table", (item.name for item in self.definitions.tables)),
            ("enrichment", (item.name for item in self.definitions.enrichments)),
        )
        for kind, names in kinds:
            self._once(names, partial("{} {!r} is defined twice".format, kind))
        hosts = self.definitions.settings.enrichment_hosts
        self._once(hosts, "host {!r} is pinned twice in parakh.toml".format)
        self._once(self.definitions.settings.label_sources, "label source {!r} is ranked twice in parakh.toml".format)
        self._once(
            (item.event_type for item in self.definitions.policies),
            lambda name: f"{name!r} has two policies; an event type has one",
        )
        self._once(
            (item.event_type for item in self.definitions.signals),
            lambda name: f"the signals of {name!r} are defined in two places; keep them in one",
        )

    def _once(self, names: Iterable[str], message: Callable[[str], str]) -> None:
        seen: dict[str, str] = {}
        for name in names:
            if name in seen:
                first = seen[name]
                place = first.place if isinstance(first, SourceText) else None
                hint = f"the first stands in {place.file}:{place.line}" if place else ""
                self._problem(message(name), name, hint=hint)
            seen.setdefault(name, name)

    def _event(self, event: EventType) -> None:
        fields = [item.name for item in event.fields]
        self._once(fields, lambda name: f"field {name!r} is defined twice in event {event.name!r}")
        if event.id != ROW_ID and event.id not in fields:
            self._unknown("field", event.id, fields, hint="`id: row` where the source has no id")
        if event.time not in fields:
            self._unknown("field", event.time, fields)
        elif event.field(event.time).type != TIMESTAMP:
            self._problem(f"event time {event.time!r} is {event.field(event.time).type}, not timestamp", event.time)
        taken = {*fields}
        for name in (*(name for name, _ in event.derive), *(item.name for item in event.labels)):
            if name in taken:
                self._problem(f"{name!r} is already a field or derived value of event {event.name!r}", name)
            taken.add(name)
        for item in event.fields:
            self._treatment(event, item)
        self.names.ingest(event)

    def _entity(self, entity: Entity) -> None:
        self._once(
            (item.name for item in entity.columns()), lambda name: f"feature {entity.name}.{name} is defined twice"
        )
        if entity.key and len(entity.key) > 1 and not any(key_fields(entity, event) for event in self.events.values()):
            self._problem(f"no event type carries the key of entity {entity.name!r}", entity.name)
        if entity.features:
            self._key_types(entity)
        for definition in entity.features:
            self._feature(entity, definition)

    def _key_types(self, entity: Entity) -> None:
        """One key has one type, through whatever field it is read or written."""
        first: dict[int, tuple[EventType, str]] = {}
        for event in self.events.values():
            for way in key_fields(entity, event):
                for place, name in enumerate(way):
                    other, field = first.setdefault(place, (event, name))
                    mine, its = event.field(name).type, other.field(field).type
                    if mine != its:
                        self._problem(
                            f"{name!r} of event {event.name!r} carries {entity.name} as {mine}, and {field!r} of "
                            f"{other.name!r} as {its}: one key has one type",
                            event.field(name).name,
                        )

    def _feature(self, entity: Entity, definition: FeatureDefinition) -> None:
        settings = self.definitions.settings
        known = True
        for source in definition.sources:
            event = self._event_type(source)
            known = known and event is not None
            if event is None:
                continue
            roles = key_fields(entity, event, definition.by)
            if not roles and definition.by is not None:
                have = {item.name for item in event.fields}
                missing = [name for name in definition.by if name not in have] or list(definition.by)
                self._unknown("field", missing[0], have, hint=f"`by` names the fields of {source} that are the key")
            elif not roles:
                self._problem(
                    f"event {source!r} has no field that carries entity {entity.name!r}",
                    source,
                    hint=f"give one of its fields `entity: {entity.name}`, or name the key's field with `by`",
                )
            elif len(roles) > 1:
                which = " or ".join(
                    f"`by: {role[0]}`" if len(role) == 1 else f"`by: [{', '.join(role)}]`" for role in roles
                )
                self._problem(
                    f"event {source!r} carries {entity.name!r} in several fields", source, hint=f"say {which}"
                )
        for window in definition.over:
            if window.length_us is not None and window.length_us + definition.delay_us > settings.horizon_us:
                self._problem(
                    f"the window {window.text} reaches back further than the project's horizon",
                    window.text,
                    hint="set a longer `horizon` in parakh.toml",
                )
        lengths = [window.length_us for window in definition.over if window.length_us]
        if definition.resolution_us and min(lengths, default=settings.horizon_us) < definition.resolution_us:
            self._problem("the resolution is coarser than the window", definition.name)
        if not known:
            return
        self.names.feature_type(definition)
        for text in (definition.aggregate.argument, definition.where):
            if text is not None:
                self._sources_alike(definition, text)
        self._where(definition)
        if definition.aggregate.argument is not None:
            for source in definition.sources:
                whole = definition.aggregate.kind in _TELL_APART
                self._personal(definition.aggregate.argument, self.events[source], whole=whole)
        if definition.aggregate.kind is AggregateKind.SINCE_LAST and definition.resolution_us:
            self._problem("since_last() has no resolution", definition.name)

    def _where(self, definition: FeatureDefinition) -> None:
        if definition.where is None:
            return
        for source in definition.sources:
            event = self.events[source]
            self._personal(definition.where, event)
            labels = tuple(item.name for item in event.labels)
            try:
                conditions = split_conditions(definition.where, labels)
            except ExpressionError as error:
                self._expression_problem(error, definition.where)
                continue
            for condition in conditions:
                scope = self.names.labels(event) if condition.label else self.names.ingest(event)
                self.names.condition(definition.where, scope, condition.expression)

    def _enrichments(self) -> None:
        for refusal in host_refusals(self.definitions.settings):
            self._problem(refusal.message, refusal.text, hint=refusal.hint)
        for enrichment in self.definitions.enrichments:
            event = self._event_type(enrichment.event_type)
            if event is not None:
                for refusal in enrichment_refusals(enrichment, event, self.definitions):
                    self._problem(refusal.message, refusal.text, hint=refusal.hint)

    def _rule(self, rule: Rule) -> None:
        for name in rule.event_types:
            event = self._event_type(name)
            if event is None or self._has_no_time(event):
                continue
            scope = self.names.rules(event, resting=rule.mode is Mode.DISABLED)
            holds = self.names.condition(rule.when, scope) is not None
            self._personal(rule.when, event, decided=True)
            told = self.names.broken if holds else self.names.broken | set(_NAMES.findall(rule.when))
            for test in rule.tests:
                for given, _ in test.given:
                    if given not in scope.columns and given not in told:
                        self._unknown("name", given, scope.columns)
                if test.expect not in _EXPECTATIONS:
                    self._unknown("expectation", test.expect, _EXPECTATIONS, hint="hit, no_hit or unknown")

    def _models(self) -> None:
        for model in self.definitions.models:
            event = self._event_type(model.event_type)
            if event is None or self._has_no_time(event):
                continue
            scope = self.names.decide(event)
            if model.name in scope.columns:
                self._problem(f"{model.name!r} is already a field, feature or signal of {event.name!r}", model.name)
            for name in model.inputs:
                if name in self.names.broken:
                    continue
                kind = scope.columns.get(name)
                if kind is None:
                    reason = scope.unavailable.get(name)
                    if reason:
                        self._problem(reason, name)
                    else:
                        self._unknown("input", name, scope.columns)
                elif kind.kind in (Kind.STRING, Kind.TIMESTAMP):
                    self._problem(f"input {name!r} is {kind}; models read numbers, money and booleans", name)

    def _policy(self, policy: Policy) -> None:
        event = self._event_type(policy.event_type)
        if event is None or self._has_no_time(event):
            return
        models = {item.name: item for item in self.definitions.models if item.event_type == event.name}
        if policy.score is None:
            scope = self.names.rules(event)
            note = "the policy names no model: add `score: <model>`"
            scope = Scope(scope.columns, scope.lists, scope.tables, {**scope.unavailable, "score": note})
        else:
            scope = self.names.bands(event)
            if policy.score not in models:
                self._unknown("model", policy.score, models)
            elif models[policy.score].mode is not Mode.LIVE:
                mode = models[policy.score].mode.value
                self._problem(
                    f"model {policy.score!r} is {mode}; a policy's score comes from a live model", policy.score
                )
        for band in policy.bands:
            self.names.condition(band.when, scope)
            self._personal(band.when, event, decided=True)
        if policy.holdout is not None:
            if not 0 < policy.holdout.share <= MOST_HELD_OUT:
                what = f"{policy.holdout.share:.4g} is no share that policy {policy.name!r} can hold out"
                self._problem(what, policy.name, hint=f"above 0, at most {MOST_HELD_OUT}")
            if policy.holdout.below is not None:
                self._held_out_below(policy, policy.holdout.below, event)

    def _held_out_below(self, policy: Policy, below: float, event: EventType) -> None:
        """Whether an event says what it is worth, so that only small ones can be held out."""
        what = f"the holdout of policy {policy.name!r} is of events below {below:.12g}, but"
        name = amount_field(event)
        if name is None:
            hint = "leave `below` out, or give the amount the type money"
            self._problem(f"{what} {event.name!r} has no field of type money", policy.name, hint=hint)
        elif event.field(name).personal is not None:
            hint = "leave `below` out, or let the amount not be personal"
            self._problem(f"{what} {name!r} is dropped before it could be read", policy.name, hint=hint)
        elif below <= 0:
            self._problem(f"{what} an amount is more than 0", policy.name)
        elif round(below, event.field(name).type.digits) != below:
            self._problem(f"{what} {event.field(name).type.currency} has no such fractions", policy.name)

    # -- personal data ------------------------------------------------------------------------------------------------

    def _personal(self, text: str, event: EventType, *, whole: bool = False, decided: bool = False) -> None:
        """What a text behind `derive` may not read; one that is `decided` upon reads features too."""
        try:
            expression = parse(text)
        except ExpressionError:
            return  # reported where the text is checked
        personal = self._treated[event.name]
        if decided:
            if event.name not in self._tokens:
                features = feature_tokens(self.definitions.entities, event, self.events)
                self._tokens[event.name] = {**features, **personal}
            personal = self._tokens[event.name]
        for error in refused_reads(expression, personal, whole=whole):
            self._expression_problem(error, text)

    def _treatment(self, event: EventType, item: Field) -> None:
        """Whether a field can be treated as it asks."""
        if item.source is not None and item.source.startswith("~"):
            hint = "keys with ~ hold what the service adds to an event"
            self._problem(f"field {item.name!r} is read from a reserved key", item.source, hint=hint)
        for other in event.fields:
            if other is item:
                break
            if (other.source or other.name) == (item.source or item.name) and other.personal != item.personal:
                self._problem(
                    f"{item.name!r} and {other.name!r} are read from one place, but are not treated alike",
                    item.name,
                    hint="give both the same `personal`, and `derive` the rest",
                )
        kind, where = item.personal, item.personal or item.name
        if kind in ("token", "mask") and item.type.kind is not Kind.STRING:
            hint = "make it a string, or use `personal: drop`"
            self._problem(f"{item.name!r} is {item.type.described}; only texts are made a {kind}", where, hint=hint)
        elif kind in ("mask", "drop"):
            done = "masked" if kind == "mask" else "dropped"
            if item.name == event.id:
                what = "is the event's id"
            elif item.name == event.time:
                what = "is the event's time"
            elif entity := self._keyed(event, item.name):
                what = f"is the key of entity {entity!r}"
            else:
                return
            hint = "use `personal: token`: it can still be told apart" if item.type.kind is Kind.STRING else ""
            self._problem(f"{item.name!r} {what} and cannot be {done}", where, hint=hint)

    def _keyed(self, event: EventType, name: str) -> str:
        """The entity whose key a field is, or a part of; empty where it is none."""
        for entity in self.definitions.entities:
            by = {item.by for item in entity.features if event.name in item.sources}
            if any(name in role for fields in {None, *by} for role in key_fields(entity, event, fields)):
                return entity.name
        return event.field(name).entity or ""

    def _keys_alike(self) -> None:
        for entity, event, name, other_event, other in unlike_keys(self.definitions.entities, self.events.values()):
            field = self.events[event].field(name)
            token, plain = (f"{event}.{name}", f"{other_event}.{other}")
            if field.personal != "token":
                token, plain = plain, token
            self._problem(
                f"{token} is a token and {plain} is not: they are never the same {entity.name}",
                field.personal or field.name,
                hint="give both `personal: token`",
            )

    def _sources_alike(self, definition: FeatureDefinition, text: str) -> None:
        """A feature's text is one for all its sources, so they have to treat what it reads alike."""
        try:
            names = parse(text).names
        except ExpressionError:
            return
        for name in names:
            if len({self._treated[source].get(name) for source in definition.sources}) > 1:
                what = "; ".join(
                    f"{source}: {self._treated[source].get(name, 'plain')}" for source in definition.sources
                )
                self._problem(f"{name!r} is not treated alike in the feature's sources", text, hint=what)

    # -- saying it ----------------------------------------------------------------------------------------------------

    def _has_no_time(self, event: EventType) -> bool:
        """Whether the event type is so broken that what reads it cannot be checked."""
        return event.time not in {item.name for item in event.fields}

    def _fresh_names(self, event: EventType, names: list[str], kind: str) -> None:
        taken = {item.name for item in event.fields} | {name for name, _ in event.derive}
        for name in names:
            if name in taken:
                self._problem(f"{kind} {name!r} is already a field, derived value or {kind} of {event.name!r}", name)
            taken.add(name)

    def _event_type(self, name: str) -> EventType | None:
        if name not in self.events:
            self._unknown("event type", name, self.events)
        return self.events.get(name)

    def _unknown(self, what: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        names = list(known)
        hint = closest(name, names) or hint
        if not hint and names:
            hint = f"there are: {', '.join(sorted(names)[:12])}{', ...' if len(names) > 12 else ''}"
        self._problem(f"unknown {what} {str(name)!r}", name, hint=hint)

    def _expression_problem(self, error: ExpressionError, text: str) -> None:
        place = text.at(error.start) if isinstance(text, SourceText) else None
        shown = text[error.start : error.end] or text
        if shown in self.names.broken:
            return  # what it reads is reported where it is defined
        self._add(Problem(error.message, place, str(shown), error.hint))

    def _problem(self, message: str, text: str, *, hint: str = "") -> None:
        place = text.place if isinstance(text, SourceText) else None
        self._add(Problem(message, place, str(text), hint))

    def _add(self, problem: Problem) -> None:
        key = (problem.message, problem.place)
        if key not in self._reported:  # one text may be read at several event types
            self._reported.add(key)
            self.problems.append(problem)
