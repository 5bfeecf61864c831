"""One decision told: from the words of its row and the events behind it to the story that is printed and drawn.

Nothing is judged again. Conditions are explained by the programs that decided, contributions by the model that scored;
only which past event stood in which window is worked out here, from the definitions, for the timelines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from parakh.cli.report.data import Clause, Contribution, Story
from parakh.cli.timeline import Mark, Strip, Timeline
from parakh.cli.words import length, moment, money
from parakh.decisions.decisions import Decision
from parakh.decisions.names import Names
from parakh.decisions.plan import Plan, TypePlan
from parakh.events.definition import EventType
from parakh.expressions import explain as expressions
from parakh.expressions.columns import Layout
from parakh.expressions.parse import parse
from parakh.expressions.program import ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.expressions.values import Value, from_word
from parakh.expressions.zones import Zone
from parakh.features.definition import Calendar, Feature, Window
from parakh.features.reads import Read, key_fields
from parakh.rules.definition import Mode

__all__ = ["Past", "Teller"]

_MOST_CONTRIBUTIONS = 12
_LEAST_ADDED = 0.0005  # what three decimals show


@dataclass(frozen=True, slots=True)
class Past:
    """Accepted events of one type that share a key with the decision, in log order up to the decided event.

    `words` has the columns of the type's layout (fields and derived values), one column an event; `labels` a word an
    event for each label, as it was known when the decision was made. `current` is the place of the decided event
    itself, -1 for another type.
    """

    words: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.int64]]
    current: int = -1


@dataclass(slots=True)
class Teller:
    """Tells the decisions of an engine's plan; `strings` are the engine's."""

    plan: Plan
    strings: Strings
    names: Names = field(init=False)
    references: References = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names(self.plan.definitions)
        self.references = self.plan.intake.references

    def tell(
        self,
        decision: Decision,
        words: NDArray[np.int64],
        fields: Mapping[str, Value],
        past: Mapping[str, Past],
        *,
        every_feature: bool = False,
        truth: str = "",
    ) -> Story:
        """The story of a decision whose row of the frame is `words`; `fields` are all that the event had.

        Timelines show the windows that mattered: those of features that hitting rules or the strongest inputs of the
        score read; with `every_feature` all.
        """
        plan = self.plan.by_name[decision.event_type]
        values = dict(fields) | {
            name: from_word(int(words[column.slot]), column.type, self.strings)
            for name, column in plan.layout.columns.items()
            if column.slot < words.size
        }
        time_us = int(words[plan.layout[plan.event.time].slot])
        base, contributions = self._contributions(plan, words, values)
        rules = self._rules(plan, decision, values, time_us)
        names = None
        if not every_feature:
            names = self._mattered(plan, decision, [item.name for item in contributions[:5]])
        kind, name = decision.decided_by
        return Story(
            event_type=decision.event_type,
            event_id=decision.event_id,
            time=f"{moment(time_us)} UTC",
            outcome=decision.outcome,
            decided_by=_decided(kind, name, plan),
            score=decision.score,
            facts=_facts(plan.event, fields),
            reasons=self._reasons(plan, decision, rules),
            timelines=self._timelines(plan, values, past, time_us, names),
            rules=tuple((name, truth, clauses) for name, truth, clauses, _ in rules),
            base=base,
            contributions=tuple(contributions[:_MOST_CONTRIBUTIONS]),
            truth=truth,
        )

    def _rules(
        self, plan: TypePlan, decision: Decision, values: Mapping[str, Value], time_us: int
    ) -> list[tuple[str, bool | None, tuple[Clause, ...], str]]:
        told = []
        hits = {*decision.rules, *decision.shadow_rules}
        scope = self.names.bands(plan.event)
        for rule in plan.judge.rules:
            typed = self.names.typed(rule.when, scope)
            assert typed is not None, "a plan is compiled from definitions that were checked"
            explained = expressions.explain(typed, values, references=self.references, at_us=time_us)
            truth = True if rule.name in hits else None if rule.name in decision.unknown else False
            name = rule.name if rule.mode is Mode.LIVE else f"{rule.name} ({rule.mode.value})"
            told.append((f"{name} → {rule.then.word}", truth, tuple(_clauses(explained.clause)), explained.words))
        return told

    def _reasons(
        self, plan: TypePlan, decision: Decision, rules: Sequence[tuple[str, bool | None, tuple[Clause, ...], str]]
    ) -> tuple[tuple[str, str], ...]:
        reasons = []
        for rule, (_, _, _, words) in zip(plan.judge.rules, rules):
            if rule.name in decision.rules:
                reasons.append((rule.reason or rule.name, rule.text or words))
        kind, name = decision.decided_by
        by_rule = any(rule.name in decision.rules and rule.then.word == name for rule in plan.judge.rules)
        by_score = kind == "band" or (kind == "holdout" and not by_rule)
        if by_score and decision.score is not None:
            reasons.append(("", f"the score of {decision.score:.3f} asks for {name}"))
        return tuple(reasons)

    def _contributions(
        self, plan: TypePlan, words: NDArray[np.int64], values: Mapping[str, Value]
    ) -> tuple[float | None, list[Contribution]]:
        """The base of the raw score and what each input added, the largest first; exact SHAP where the model has it."""
        model = plan.score
        if model is None:
            return None, []
        row = np.ascontiguousarray(words.reshape(-1, 1))
        added = model.scorer.shap(model.gather(row, 0, 1))
        if added is None:
            return None, []
        inputs = [
            Contribution(column.name, shown(values.get(column.name), column.type), float(added[0, number]))
            for number, column in enumerate(model.inputs)
        ]
        told = [item for item in inputs if abs(item.added) >= _LEAST_ADDED]
        return float(added[0, -1]), sorted(told, key=lambda item: -abs(item.added))

    def _mattered(self, plan: TypePlan, decision: Decision, inputs: Iterable[str]) -> set[str]:
        """Features that hitting rules read, and the given inputs of the score; all that rules read where none hit."""
        defined = {
            name: text
            for item in self.plan.definitions.signals
            if item.event_type == plan.event.name
            for name, text in item.define
        }
        rules = [rule for rule in plan.judge.rules if rule.name in decision.rules] or list(plan.judge.rules)
        pending = [name for rule in rules for name in parse(rule.when).names]
        if decision.score is not None:
            pending += inputs
        found: set[str] = set()
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += parse(defined[name]).names if name in defined else ()
        return found

    def _timelines(
        self,
        plan: TypePlan,
        values: Mapping[str, Value],
        past: Mapping[str, Past],
        time_us: int,
        names: set[str] | None,
    ) -> tuple[Timeline, ...]:
        gathered: dict[tuple[str, tuple[str, ...]], dict[tuple[object, ...], Strip]] = {}
        for read in self.names.reads(plan.event):
            if names is not None and not names.intersection((read.name, *read.aliases)):
                continue
            if any(values.get(field) is None for field in read.key):
                continue
            value = (read.feature.name, shown(values.get(read.name), plan.layout[read.name].type, read.feature))
            strips = gathered.setdefault((read.feature.entity, read.key), {})
            definition = read.feature.definition
            window = read.feature.window
            same = (definition.sources, definition.where, definition.by, window, definition.delay_us,
                    definition.resolution_us, self._current(plan, read))  # fmt: skip
            if same in strips:
                strips[same] = replace(strips[same], values=(*strips[same].values, value))
            else:
                strips[same] = self._strip(plan, read, value, values, past, time_us)
        timelines = []
        for (entity, key), strips in gathered.items():
            ordered = sorted(strips.values(), key=_by_length)
            role = f"{entity} ({key[0]})" if len(key) == 1 and key[0] != entity else entity
            text = " · ".join(shown(values.get(name), plan.event.field(name).type) for name in key)
            timelines.append(Timeline(entity=role, key=text, strips=tuple(ordered)))
        return tuple(timelines)

    def _current(self, plan: TypePlan, read: Read) -> bool:
        """Whether the decided event itself can stand in the feature's window."""
        definition = read.feature.definition
        if not definition.include_current or definition.aggregate.kind.value in ("first", "last", "since_last"):
            return False
        entity = self.plan.definitions.entity(read.feature.entity)
        return plan.event.name in definition.sources and read.key in key_fields(entity, plan.event, definition.by)

    def _strip(
        self,
        plan: TypePlan,
        read: Read,
        value: tuple[str, str],
        values: Mapping[str, Value],
        past: Mapping[str, Past],
        time_us: int,
    ) -> Strip:
        definition = read.feature.definition
        oldest_us = self._oldest(read.feature.window, definition.delay_us, definition.resolution_us, time_us)
        delay = f" -{length(definition.delay_us)}" if definition.delay_us else ""
        horizon_us = definition.delay_us + self.plan.definitions.settings.horizon_us
        key = [values[name] for name in read.key]
        marks = []
        for source in definition.sources:
            if source in past:
                marks += self._marks(source, past[source], read, key, time_us, self._current(plan, read))
        return Strip(
            window=(read.feature.window.text.replace("calendar_", "") if read.feature.window else "ever") + delay,
            sources=definition.sources,
            marks=tuple(mark for mark in marks if mark.age_us < horizon_us),
            oldest_us=oldest_us,
            newest_us=definition.delay_us,
            filter=" ".join((definition.where or "").split()),
            values=(value,),
        )

    def _oldest(self, window: Window | None, delay_us: int, resolution_us: int | None, time_us: int) -> int | None:
        """The age at which the window begins; None for one that reaches back the horizon."""
        if window is None:
            return None
        upper = time_us - delay_us
        if window.calendar is not None:
            return time_us - _calendar_start(self.references.zone, window.calendar, upper) + 1
        assert window.length_us is not None
        low = upper - window.length_us
        if resolution_us:
            low = low // resolution_us * resolution_us + resolution_us - 1
        return time_us - low

    def _marks(
        self, source: str, past: Past, read: Read, key: Sequence[Value], time_us: int, include_current: bool
    ) -> list[Mark]:
        plan = self.plan.by_name[source]
        definition = read.feature.definition
        entity = self.plan.definitions.entity(read.feature.entity)
        roles = key_fields(entity, plan.event, definition.by)
        rows = np.zeros(past.words.shape[1], np.bool_)
        for role in roles:
            same = np.ones(past.words.shape[1], np.bool_)
            for name, wanted in zip(role, key):
                column = plan.layout[name]
                word = self.strings.find(str(wanted)) if column.type.kind is Kind.STRING else wanted
                same &= past.words[column.slot] == word
            rows |= same
        if definition.where is not None:
            rows &= self._passes(plan, past, definition.where)
        if past.current >= 0 and not include_current:
            rows[past.current] = False
        times = past.words[plan.layout[plan.event.time].slot]
        fraud = _frauds(plan.event, past)
        return [
            Mark(
                age_us=time_us - int(times[row]),
                event_type=source,
                text=self._brief(plan, past.words[:, row]),
                fraud=fraud[row],
                current=int(row) == past.current,
            )
            for row in np.flatnonzero(rows & (times <= time_us))
        ]

    def _passes(self, plan: TypePlan, past: Past, where: str) -> NDArray[np.bool_]:
        """Which events pass a `where`; a label in it is as it was known when the decision was made."""
        layout = Layout(dict(plan.layout.columns), plan.layout.width)
        scope = self.names.ingest(plan.event)
        columns = dict(scope.columns)
        labels = {}
        for label in plan.event.labels:
            columns[label.name] = label.type
            labels[label.name] = layout.add(label.name, label.type).slot
        typed = self.names.typed(where, replace(scope, columns=columns, unavailable={}))
        assert typed is not None, "a plan is compiled from definitions that were checked"
        result = layout.scratch()
        builder = ProgramBuilder(layout, self.references, plan.layout[plan.event.time].slot)
        builder.output(typed, result)
        words = np.zeros((layout.width, past.words.shape[1]), np.int64)
        words[: past.words.shape[0]] = past.words
        for name, slot in labels.items():
            words[slot] = past.labels[name]
        builder.build().run(words, 0, words.shape[1], np.zeros(words.shape[1], np.uint8))
        return words[result] == 1

    def _brief(self, plan: TypePlan, words: NDArray[np.int64]) -> str:
        """An event in a few words: its amount, and the texts that are no keys."""
        parts: list[str] = []
        for item in plan.event.fields:
            if item.entity or item.name in (plan.event.id, plan.event.time) or len(parts) == 3:
                continue
            if item.type.kind in (Kind.MONEY, Kind.STRING) and item.name in plan.layout:
                column = plan.layout[item.name]
                text = shown(from_word(int(words[column.slot]), column.type, self.strings), column.type)
                parts.insert(0, text) if item.type.kind is Kind.MONEY else parts.append(text)
        return ", ".join(parts)


def _facts(event: EventType, fields: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    names = [item.name for item in event.fields if item.name not in (event.id, event.time) and item.name[0] != "~"]
    return tuple((name, shown(fields.get(name), event.field(name).type)) for name in names)


def _frauds(event: EventType, past: Past) -> list[bool | None]:
    """Of each event whether a yes-or-no label of it said yes by then; None where none said anything."""
    found: list[bool | None] = [None] * past.words.shape[1]
    for label in event.labels:
        if label.type.kind is Kind.BOOLEAN:
            for row in np.flatnonzero(past.labels[label.name] != NULL_WORD):
                found[row] = bool(found[row]) or past.labels[label.name][row] == 1
    return found


def _by_length(strip: Strip) -> tuple[bool, int, int]:
    return (strip.oldest_us is None, strip.newest_us, strip.oldest_us or 0)


def _calendar_start(zone: Zone, unit: Calendar, time_us: int) -> int:
    times = np.array([time_us], np.int64)
    starts = {Calendar.DAY: zone.day_start, Calendar.WEEK: zone.week_start, Calendar.MONTH: zone.month_start}
    return int(starts[unit](times)[0])


def _decided(kind: str, name: str, plan: TypePlan) -> str:
    if kind == "band":
        return f"the score of {plan.schema.score or 'the model'}"
    if kind == "holdout":
        return f"the holdout, so that its label becomes known; it would have been {name.upper()}"
    return {"fallback": "the fallback: the score is unknown", "otherwise": "the policy: nothing spoke against it"}.get(
        kind, f"rule {name}"
    )


def _clauses(clause: expressions.Clause, depth: int = 0) -> Iterable[Clause]:
    """A condition's clauses one under another; parts of an `or` and of a `not` stand deeper under what joins them."""
    if not clause.parts:
        yield Clause(clause.words, clause.truth, depth)
        return
    if clause.joined_by == "and" and depth == 0:
        for part in clause.parts:
            yield from _clauses(part, depth)
        return
    if clause.joined_by == "not" and not clause.parts[0].parts:
        # A single clause says its value; whether that is as it should be is the truth of the whole.
        yield Clause(clause.parts[0].words, clause.truth, depth)
        return
    title = {"and": "all of these", "or": "one of these", "not": "none of this"}[clause.joined_by]
    yield Clause(title, clause.truth, depth)
    for part in clause.parts:
        yield from _clauses(part, depth + 1)


def shown(value: Value, type: Type, feature: Feature | None = None) -> str:
    """A value as people read it: money with its currency, seconds since something as a length of time."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type.kind is Kind.MONEY and type.currency:
        return money(round(Decimal(str(value)) * 10**type.digits), type.currency)
    if type.kind is Kind.TIMESTAMP:
        return str(value)[:19].replace("T", " ")
    if feature is not None and feature.definition.aggregate.kind.value == "since_last":
        return length(round(float(str(value)) * 1_000_000))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
