"""Values under `given` in a rule's tests, typed by the field, feature or signal that they are given for."""

from __future__ import annotations

from dataclasses import replace

from parakh.decisions.definition import Definitions
from parakh.decisions.names import Names
from parakh.errors import Place, Problem, SourceText
from parakh.expressions.types import Kind, Type
from parakh.project.values import Misread, RawValue, read_value
from parakh.rules.definition import Rule, RuleTest, Value

__all__ = ["TypedRules", "type_given"]

_NOWHERE = Place("", 0, 0)

TypedRules = dict[int, tuple[Rule, tuple[Type | None, ...], Rule]]
"""Rules typed before: identity of a rule -> itself, the types of what its tests give, the typed rule."""


def type_given(
    definitions: Definitions, before: TypedRules | None = None, after: TypedRules | None = None
) -> tuple[Definitions, list[Problem]]:
    """The definitions with every given value read as its type, and the values that are none.

    Names that nothing defines are left as they are; `decisions.check` reports them. A rule in `before` whose names
    still have the same types is taken from there; what was typed goes to `after`.
    """
    problems = list[Problem]()
    if not any(rule.tests for rule in definitions.rules):
        return definitions, problems
    names = Names(definitions, lambda error, text: None)
    types = dict[tuple[str, ...], dict[str, Type]]()
    rules = []
    for rule in definitions.rules:
        if rule.tests:
            if rule.event_types not in types:
                types[rule.event_types] = _given_types(definitions, names, rule)
            known = types[rule.event_types]
            wanted = tuple(known.get(name) for test in rule.tests for name, _ in test.given)
            held = (before or {}).get(id(rule))
            if held is None or held[0] is not rule or held[1] != wanted:
                wrong = len(problems)
                typed = replace(rule, tests=tuple(_typed(test, known, problems) for test in rule.tests))
                held = (rule, wanted, typed)
                keep = wrong == len(problems)
            else:
                keep = True
            if after is not None and keep:
                after[id(rule)] = held
            rule = held[2]
        rules.append(rule)
    return replace(definitions, rules=tuple(rules)), problems


def _given_types(definitions: Definitions, names: Names, rule: Rule) -> dict[str, Type]:
    """The types of the names that a rule's tests may give."""
    known = {event.name: event for event in definitions.events}
    types = dict[str, Type]()
    for event_type in rule.event_types:
        event = known.get(event_type)
        if event is None or event.time not in {item.name for item in event.fields}:
            continue
        for name, type in names.rules(event, resting=True).columns.items():
            types.setdefault(name, type)
    return types


def _typed(test: RuleTest, types: dict[str, Type], problems: list[Problem]) -> RuleTest:
    given = list[tuple[str, Value]]()
    for name, value in test.given:
        type = types.get(name)
        if type is None:
            given.append((name, value))
            continue
        try:
            given.append((name, read_value(_text(value), type)))
        except Misread as wrong:
            at = value if isinstance(value, SourceText) else name
            place = at.place if isinstance(at, SourceText) else None
            message = f"{wrong.message}; {str(name)!r} is {type}"
            problems.append(Problem(message, place, str(value), wrong.hint))
            given.append((name, None if type.kind is not Kind.STRING else str(value)))
    return RuleTest(given=tuple(given), expect=test.expect)


def _text(value: Value) -> str:
    """A value that Python gave, as text; a text that YAML gave stays as it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, RawValue):
        return value
    if isinstance(value, str):
        return RawValue(value, _NOWHERE, quoted=True)
    return repr(value)
