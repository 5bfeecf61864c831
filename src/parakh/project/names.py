"""Names of definitions that were built in Python, held to the same rules as those read from files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from parakh.decisions.definition import Definitions
from parakh.errors import Problem
from parakh.expressions.parse import is_name
from parakh.project.keys import NAME_PATTERN

__all__ = ["check_names"]


def check_names(definitions: Definitions) -> list[Problem]:
    """Names that are no names, and names that expressions could not read as columns."""
    problems = list[Problem]()
    for what, name, column in _names(definitions):
        if not re.fullmatch(NAME_PATTERN, name):
            problems.append(Problem(f"{name!r} is not the name of {what}", text=name, hint="letters, digits and _"))
        elif column and not is_name(name):
            problems.append(Problem(f"{name!r} is a word of SQL and cannot name {what}", text=name, hint="rename it"))
    return problems


def _names(definitions: Definitions) -> Iterator[tuple[str, str, bool]]:
    for event in definitions.events:
        yield "an event type", event.name, True
        yield from (("a field", item.name, True) for item in event.fields)
        yield from (("a derived value", name, True) for name, _ in event.derive)
        yield from (("a label", item.name, True) for item in event.labels)
    for entity in definitions.entities:
        yield "an entity", entity.name, True
        yield from (("a feature", item.name, False) for item in entity.features)
    for signals in definitions.signals:
        yield from (("a signal", name, True) for name, _ in signals.define)
    for rule in definitions.rules:
        yield "a rule", rule.name, False
    for model in definitions.models:
        yield "a model", model.name, True
    for values in definitions.lists:
        yield "a list", values.name, False
    for table in definitions.tables:
        yield "a lookup table", table.name, False
        yield from (("a column", name, False) for name, _ in table.columns)
    for enrichment in definitions.enrichments:
        yield "an enrichment", enrichment.name, True
        yield from (("a column", column.name, False) for column in enrichment.columns)
