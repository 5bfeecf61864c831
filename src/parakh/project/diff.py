"""What differs between two versions of a project: what came, what went, and what changed from which text to which.

This is the part that definitions alone tell; what a change does to outcomes is seen by replaying events through both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from parakh.decisions.definition import Definitions, Enrichment, Holdout, Policy, Settings
from parakh.events.definition import EventType, Field, Label
from parakh.features.definition import FeatureDefinition
from parakh.models.definition import Model
from parakh.project.lengths import length_text, size_text
from parakh.project.project import Project
from parakh.rules.definition import ListEntry, LookupTable, Rule, RuleTest, TableRow, ValueList

__all__ = ["Change", "Part", "ProjectDiff", "diff"]

Status = Literal["added", "removed", "changed"]

KINDS = (
    "settings",
    "event",
    "entity",
    "feature",
    "signal",
    "rule",
    "model",
    "policy",
    "list",
    "table",
    "enrichment",
    "order",
)
"""Kinds of change, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Part:
    """One text of a definition before and after; None where it was not or is no longer there."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A definition that came, went or changed; `parts` has the texts that differ."""

    kind: str
    name: str
    status: Status
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.name}: {self.status}"]
        if self.status == "changed":
            lines.extend(f"    {part.key}: {_shown(part.before)} -> {_shown(part.after)}" for part in self.parts)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ProjectDiff:
    """All changes from one version to another, by kind and then by name; empty where both say the same."""

    old_hash: str
    new_hash: str
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of(self, kind: str) -> tuple[Change, ...]:
        """The changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes) or "no change"


def diff(old: Project, new: Project) -> ProjectDiff:
    """What differs between two projects."""
    before, after = _told(old.definitions), _told(new.definitions)
    changes = []
    for kind in KINDS:
        left, right = before[kind], after[kind]
        for name in sorted({*left, *right}):
            change = _change(kind, name, left.get(name), right.get(name))
            if change is not None:
                changes.append(change)
    changes.extend(_orders(old.definitions, new.definitions))
    return ProjectDiff(old.hash, new.hash, tuple(changes))


def _change(kind: str, name: str, old: dict[str, str] | None, new: dict[str, str] | None) -> Change | None:
    if old == new:
        return None
    status: Status = "added" if old is None else "removed" if new is None else "changed"
    old, new = old or {}, new or {}
    keys = dict.fromkeys((*old, *new))
    parts = tuple(Part(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))
    return Change(kind, name, status, parts)


def _shown(text: str | None) -> str:
    return "nothing" if text is None else text


# -- definitions as texts ---------------------------------------------------------------------------------------------


def _told(definitions: Definitions) -> dict[str, dict[str, dict[str, str]]]:
    """Every definition as texts: kind -> name -> key -> text."""
    told: dict[str, dict[str, dict[str, str]]] = {kind: {} for kind in KINDS}
    told["settings"] = {"parakh.toml": _settings(definitions.settings)}
    for event in definitions.events:
        told["event"][event.name] = dict(_event(event))
    for entity in definitions.entities:
        told["entity"][entity.name] = _kept(key=", ".join(entity.parts), description=entity.description)
        for feature in entity.features:
            told["feature"][f"{entity.name}.{feature.name}"] = _feature(feature)
    for signals in definitions.signals:
        for name, expression in signals.define:
            told["signal"][f"{name} of {signals.event_type}"] = {"expression": expression}
    for rule in definitions.rules:
        told["rule"][rule.name] = _rule(rule)
    for model in definitions.models:
        told["model"][model.name] = _model(model)
    for policy in definitions.policies:
        told["policy"][policy.name or policy.event_type] = _policy(policy)
    for values in definitions.lists:
        told["list"][values.name] = dict(_list(values))
    for table in definitions.tables:
        told["table"][table.name] = dict(_table(table))
    for enrichment in definitions.enrichments:
        told["enrichment"][enrichment.name] = _enrichment(enrichment)
    return told


def _orders(old: Definitions, new: Definitions) -> Iterator[Change]:
    """Changed orders of features and rules that both have: a record's vector and reasons follow them."""
    for what in ("features", "rules"):
        before, after = _ordered(old, what), _ordered(new, what)
        left = [name for name in before if name in set(after)]
        right = [name for name in after if name in set(before)]
        if left != right:
            yield Change("order", what, "changed", (Part("order", ", ".join(left), ", ".join(right)),))


def _ordered(definitions: Definitions, what: str) -> list[str]:
    if what == "rules":
        return [rule.name for rule in definitions.rules]
    return [f"{entity.name}.{item.name}" for entity in definitions.entities for item in entity.features]


def _kept(**texts: object) -> dict[str, str]:
    """Texts that say something; underscores after keywords go."""
    return {key.rstrip("_"): str(text) for key, text in texts.items() if text not in (None, "", (), False)}


def _settings(settings: Settings) -> dict[str, str]:
    return _kept(
        name=settings.name,
        currency=settings.currency,
        time_zone=settings.time_zone,
        lateness=length_text(settings.lateness_us),
        horizon=length_text(settings.horizon_us),
        earliest=f"{settings.earliest_us} us",
        state=size_text(settings.state_bytes),
        label_sources=", ".join(settings.label_sources),
        enrichment_hosts=", ".join(settings.enrichment_hosts),
    )


def _event(event: EventType) -> Iterator[tuple[str, str]]:
    yield from _kept(id=event.id, time=event.time, description=event.description).items()
    for item in event.fields:
        yield f"fields.{item.name}", _field(item)
    for name, expression in event.derive:
        yield f"derive.{name}", expression
    for label in event.labels:
        yield f"labels.{label.name}", _field(label)


def _field(item: Field | Label) -> str:
    facts = [str(item.type)]
    if isinstance(item, Field):
        facts.extend(
            f"{what} {value}" for what, value in (("entity", item.entity), ("personal", item.personal)) if value
        )
    if item.source:
        facts.append(f"from {item.source}")
    if item.description:
        facts.append(item.description)
    return ", ".join(facts)


def _feature(feature: FeatureDefinition) -> dict[str, str]:
    aggregate = feature.aggregate
    inside = aggregate.argument or ("" if aggregate.kind.value == "since_last" else "*")
    function, _, distinct = aggregate.kind.value.partition(" ")
    return _kept(
        from_=", ".join(feature.sources),
        aggregate=f"{function}({f'{distinct} ' if distinct else ''}{inside})",
        where=feature.where,
        by=", ".join(feature.by or ()),
        over=", ".join(window.text for window in feature.over),
        delay=length_text(feature.delay_us) if feature.delay_us else "",
        current="" if feature.include_current else "exclude",
        resolution=length_text(feature.resolution_us) if feature.resolution_us else "",
        description=feature.description,
    )


def _rule(rule: Rule) -> dict[str, str]:
    return _kept(
        for_=", ".join(rule.event_types),
        when=rule.when,
        then=rule.then.word,
        override="true" if rule.override else "",
        holdout="" if rule.holdout else "false",
        reason=rule.reason,
        text=rule.text,
        mode=rule.mode.value,
        owner=rule.owner,
        tags=", ".join(rule.tags),
        description=rule.description,
        tests="; ".join(_test(test) for test in rule.tests),
    )


def _test(test: RuleTest) -> str:
    return f"{', '.join(f'{name} = {_value(value)}' for name, value in test.given)} gives {test.expect}"


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _model(model: Model) -> dict[str, str]:
    return _kept(
        for_=model.event_type,
        file=f"sha256 {hashlib.sha256(model.content).hexdigest()[:12]}",
        inputs=", ".join(model.inputs),
        mode=model.mode.value,
        card=", ".join(f"{name}: {text}" for name, text in model.card),
        description=model.description,
    )


def _policy(policy: Policy) -> dict[str, str]:
    bands = {f"bands.{band.outcome.word}": band.when for band in policy.bands}
    facts = _kept(
        for_=policy.event_type,
        score=policy.score,
        otherwise=policy.otherwise.word,
        deadline=length_text(policy.deadline_us),
        fallback=policy.fallback.word,
        holdout=_holdout(policy.holdout),
        description=policy.description,
    )
    return {**facts, **bands}


def _holdout(holdout: Holdout | None) -> str:
    """What a holdout lets through; of its salt only that it is another one."""
    if holdout is None:
        return ""
    facts = [f"{100 * holdout.share:.4g}% of what would be stopped"]
    if holdout.below is not None:
        facts.append(f"below {holdout.below:.12g}")
    if holdout.salt:
        facts.append(f"salt sha256 {hashlib.sha256(holdout.salt.encode()).hexdigest()[:8]}")
    return ", ".join(facts)


def _list(values: ValueList) -> Iterator[tuple[str, str]]:
    yield from _kept(type=values.type, description=values.description).items()
    for entry in values.entries:
        yield f"items.{_value(entry.value)}{_span(entry)}", entry.note or "listed"


def _table(table: LookupTable) -> Iterator[tuple[str, str]]:
    columns = ", ".join(f"{name} {type}" for name, type in table.columns)
    yield from _kept(key=table.key, columns=columns, description=table.description).items()
    for row in table.rows:
        yield f"rows.{_value(row.key)}{_span(row)}", ", ".join(_value(value) for value in row.values)


def _enrichment(enrichment: Enrichment) -> dict[str, str]:
    facts = _kept(
        for_=enrichment.event_type,
        url=enrichment.url,
        timeout=length_text(enrichment.timeout_us),
        cache=length_text(enrichment.cache_us) if enrichment.cache_us else "",
        needed="" if enrichment.needed else "false",
        description=enrichment.description,
    )
    columns = {
        f"columns.{column.name}": f"{column.type}{f', from {column.source}' if column.source else ''}"
        for column in enrichment.columns
    }
    return {**facts, **{f"headers.{name}": value for name, value in enrichment.headers}, **columns}


def _span(item: ListEntry | TableRow) -> str:
    since = f" since {item.since_us} us" if item.since_us is not None else ""
    until = f" until {item.until_us} us" if item.until_us is not None else ""
    return since + until
