"""`parakh test`: the examples inside rules, run through the same programs that decide on events.

Fields and features stand as they are given; what is not given is unknown. Derived values and signals are computed from
what is given, unless they are given themselves. Lists and tables are read as of the event's time; where no time is
given, as they stand when every entry that has an end has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from parakh.decisions.definition import Definitions
from parakh.decisions.names import Names
from parakh.errors import Place, SourceText
from parakh.events.definition import EventType
from parakh.expressions.check import Typed, check
from parakh.expressions.parse import parse
from parakh.project.project import Project
from parakh.rules.definition import Rule, RuleTest, Value

if TYPE_CHECKING:
    from parakh.expressions.columns import Layout
    from parakh.expressions.program import References

__all__ = ["RuleTestResult", "run_rule_tests"]

LAST_US = 2**63 - 2
"""The time as of which lists are read where a test gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTestResult:
    """What a rule said to one of its examples, on one event type; `explanation` says the condition with its values."""

    rule: str
    number: int  # of the test in its rule, from 1
    event_type: str
    given: tuple[tuple[str, Value], ...]
    expected: str
    got: str
    explanation: str
    place: Place | None

    @property
    def passed(self) -> bool:
        return self.got == self.expected

    def __str__(self) -> str:
        where = f"{self.place.file}:{self.place.line}: " if self.place else ""
        verdict = "passed" if self.passed else f"expected {self.expected}, got {self.got}"
        return f"{where}rule {self.rule}, test {self.number}: {verdict}\n    {self.explanation}"


@dataclass(frozen=True, slots=True)
class _Case:
    rule: Rule
    number: int
    test: RuleTest
    place: Place | None


def run_rule_tests(project: Project) -> tuple[RuleTestResult, ...]:
    """The results of every test of every rule, also of shadow and disabled ones, in the order of definition."""
    runner = _Runner(project.definitions)
    cases = [
        _Case(rule, number, test, _place(source.tests[number - 1]))
        for rule, source in zip(project.definitions.rules, project.sources.rules, strict=True)
        for number, test in enumerate(rule.tests, 1)
    ]
    results = {}
    for event in project.definitions.events:
        mine = [case for case in cases if event.name in case.rule.event_types]
        for case, result in runner.run(event, mine):
            results[case.rule.name, case.number, event.name] = result
    return tuple(
        results[case.rule.name, case.number, event_type] for case in cases for event_type in case.rule.event_types
    )


def _place(test: RuleTest) -> Place | None:
    name = test.given[0][0] if test.given else test.expect
    return name.place if isinstance(name, SourceText) else None


class _Runner:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.names = Names(definitions)

    @cached_property
    def references(self) -> References:
        """Lists, tables and the dictionary of texts. What compiles kernels is imported here, when tests are run."""
        from parakh.decisions.references import references_of
        from parakh.expressions.strings import Strings

        return references_of(self.definitions, Strings())

    def run(self, event: EventType, cases: list[_Case]) -> Iterator[tuple[_Case, RuleTestResult]]:
        """Runs tests on one event type; those that give the same computed values share their programs."""
        computed = self._computed(event)
        names = {name for name, _ in computed}
        groups = dict[frozenset[str], list[_Case]]()
        for case in cases:
            given = frozenset(name for name, _ in case.test.given if name in names)
            groups.setdefault(given, []).append(case)
        for given, group in groups.items():
            yield from self._group(event, [pair for pair in computed if pair[0] not in given], group)

    def _computed(self, event: EventType) -> list[tuple[str, Typed]]:
        """Derived values and signals, in the order in which they may read each other."""
        computed = [(name, check(parse(text), self.names.ingest(event))) for name, text in event.derive]
        for signals in self.definitions.signals:
            if signals.event_type == event.name:
                scope = self.names.decide(event)
                computed.extend((name, check(parse(text), scope)) for name, text in signals.define)
        return computed

    def _group(
        self, event: EventType, computed: list[tuple[str, Typed]], cases: list[_Case]
    ) -> Iterator[tuple[_Case, RuleTestResult]]:
        import numpy as np

        from parakh.expressions.program import ProgramBuilder
        from parakh.expressions.types import NULL_WORD
        from parakh.expressions.values import to_word

        references = self.references
        scope = self.names.rules(event, resting=True)
        layout = self._layout(event)
        as_of = layout.scratch()
        builder = ProgramBuilder(layout, references, as_of)
        for name, typed in computed:
            builder.output(typed, layout[name].slot)
        first = builder.build()
        conditions = {case.rule.name: check(parse(case.rule.when), scope) for case in cases}
        slots = {name: layout.scratch() for name in conditions}
        builder = ProgramBuilder(layout, references, as_of)
        for name, typed in conditions.items():
            builder.output(typed, slots[name])
        second = builder.build()

        words = np.full((layout.width, len(cases)), NULL_WORD, np.int64)
        for column in layout.columns.values():
            words[column.slot] = column.type.null_word
        words[as_of] = LAST_US
        for row, case in enumerate(cases):
            for name, value in case.test.given:
                column = layout[name]
                words[column.slot, row] = to_word(value, column.type, references.strings)
                if name == event.time and value is not None:
                    words[as_of, row] = words[column.slot, row]
        flags = np.zeros(len(cases), np.uint8)
        first.run(words, 0, len(cases), flags)
        second.run(words, 0, len(cases), flags)
        for row, case in enumerate(cases):
            word = int(words[slots[case.rule.name], row])
            got = "unknown" if word == NULL_WORD else "hit" if word else "no_hit"
            typed = conditions[case.rule.name]
            yield case, self._result(event, case, got, typed, layout, words[:, row], as_of)

    def _layout(self, event: EventType) -> Layout:
        from parakh.expressions.columns import Layout

        layout = Layout()
        aliases = {alias: read.name for read in self.names.reads(event) for alias in read.aliases}
        columns = self.names.rules(event, resting=True).columns
        for name, type in columns.items():
            if name not in aliases:
                layout.add(name, type)
        for alias, name in aliases.items():
            layout.columns[alias] = layout[name]
        return layout

    def _result(
        self, event: EventType, case: _Case, got: str, typed: Typed, layout: Layout, words: Any, as_of_slot: int
    ) -> RuleTestResult:
        from parakh.expressions.explain import explain
        from parakh.expressions.values import from_word

        references = self.references
        as_of = int(words[as_of_slot])
        values = {
            name: from_word(int(words[layout[name].slot]), layout[name].type, references.strings)
            for name in typed.names
        }
        return RuleTestResult(
            rule=case.rule.name,
            number=case.number,
            event_type=event.name,
            given=case.test.given,
            expected=case.test.expect,
            got=got,
            explanation=explain(typed, values, references=references, at_us=as_of).words,
            place=case.place,
        )
