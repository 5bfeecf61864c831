"""Why a condition was true, false or unknown: each of its clauses in words, with the values it met.

The clauses are run by the same programs that decide, over a frame of one row, so an explanation cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from parakh.expressions.check import check
from parakh.expressions.columns import Layout
from parakh.expressions.program import ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.syntax import (
    Arithmetic,
    Between,
    Call,
    Compare,
    Expression,
    In,
    IsBoolean,
    IsNull,
    Like,
    Literal,
    Logic,
    Name,
    Negate,
    Not,
    Syntax,
)
from parakh.expressions.typed import Typed
from parakh.expressions.types import NULL_WORD, TIMESTAMP, Kind, Type
from parakh.expressions.values import Value, from_word, to_word

__all__ = ["Clause", "Explained", "describe_name", "explain"]

_COMPARISONS = {">=": "at least", ">": "more than", "<": "less than", "<=": "at most"}
_FLIPPED = {">=": "<=", ">": "<", "<": ">", "<=": ">="}
_UNITS = {"s": "s", "m": "min", "h": "hour", "d": "day"}
_WINDOW = re.compile(r"(.*)_(\d+)([smhd])$")
_CALENDAR = re.compile(r"(.*)_calendar_(day|week|month)$")
_MOST_ITEMS = 5


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a condition: its source, its truth (None: unknown), it in words, and the parts that it joins."""

    source: str
    truth: bool | None
    words: str
    joined_by: str = ""  # "and", "or", "not"; empty for a clause that joins nothing
    parts: tuple[Clause, ...] = ()

    def leaves(self) -> Iterator[Clause]:
        """The clauses that join nothing, left to right."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


@dataclass(frozen=True, slots=True)
class Explained:
    """A condition's truth, or a value; and its clauses."""

    value: Value
    clause: Clause

    @property
    def truth(self) -> bool | None:
        return self.clause.truth

    @property
    def words(self) -> str:
        return self.clause.words

    def __getitem__(self, truth: bool | None) -> tuple[Clause, ...]:
        """The single clauses that are true, false or (None) unknown."""
        return tuple(leaf for leaf in self.clause.leaves() if leaf.truth is truth)


def describe_name(name: str) -> str:
    """A column's name in words.

    >>> describe_name("card.payments_10m"), describe_name("amount"), describe_name("terminal.frauds_7d")
    ('card payments in 10 min', 'amount', 'terminal frauds in 7 days')
    """
    tail = ""
    if match := _WINDOW.match(name):
        name, count, unit = match[1], match[2], _UNITS[match[3]]
        plural = "s" if unit in ("hour", "day") and count != "1" else ""
        tail = f" in {count} {unit}{plural}"
    elif match := _CALENDAR.match(name):
        name, tail = match[1], " today" if match[2] == "day" else f" this {match[2]}"
    return name.replace(".", " ").replace("_", " ") + tail


def explain(
    typed: Typed,
    values: Mapping[str, Value],
    describe: Callable[[str], str] | None = None,
    *,
    references: References | None = None,
    at_us: int | None = None,
) -> Explained:
    """Say in words how an expression came out for one event.

    `values` are as people write them (money in major units); what is missing is NULL. `references` and `at_us` (the
    event's time) are needed where the expression reads lists, tables or the clock of a zone.

    >>> from parakh.expressions.check import Scope
    >>> from parakh.expressions.types import INTEGER, money
    >>> scope = Scope({"card.payments_10m": INTEGER, "amount": money("INR")})
    >>> typed = check("card.payments_10m >= 6 and amount < 5", scope)
    >>> explain(typed, {"card.payments_10m": 7, "amount": 1}).words
    'card payments in 10 min is 7, at least 6; and amount is 1.00, less than 5'
    """
    row = _Row(typed, values, references or References(Strings()), at_us)
    teller = _Teller(typed, row, describe or describe_name)
    return Explained(row.value(typed.expression.root), teller.clause(typed.expression.root))


class _Row:
    """One event: every part of an expression computed over it."""

    def __init__(self, typed: Typed, values: Mapping[str, Value], references: References, at_us: int | None) -> None:
        self._typed = typed
        self._strings = references.strings
        scope = typed.scope
        layout = Layout()
        given: list[tuple[int, int]] = []
        for name in typed.names:
            type = scope.columns[name]
            given.append((layout.add(name, type).slot, to_word(values.get(name), type, self._strings)))
        time = layout.add("", TIMESTAMP).slot
        given.append((time, NULL_WORD if at_us is None else at_us))
        builder = ProgramBuilder(layout, references, time)
        self._places: dict[int, tuple[int, Type]] = {}
        for part in _valued(typed.expression.root):
            checked = check(Expression(typed.expression.text, part), scope)
            slot = layout.scratch()
            builder.output(checked, slot)
            self._places[id(part)] = (slot, checked.type)
        self._words = np.zeros((layout.width, 1), dtype=np.int64)
        for slot, word in given:
            self._words[slot, 0] = word
        builder.build().run(self._words, 0, 1, np.zeros(1, dtype=np.uint8))

    def value(self, part: Syntax) -> Value:
        slot, type = self._places[id(part)]
        return from_word(int(self._words[slot, 0]), type, self._strings)

    def type(self, part: Syntax) -> Type | None:
        place = self._places.get(id(part))
        return place[1] if place else None

    def truth(self, part: Syntax) -> bool | None:
        value = self.value(part)
        return None if value is None else bool(value)


def _valued(part: Syntax) -> Iterator[Syntax]:
    """The parts whose values are told: clauses, and what they compare."""
    if isinstance(part, Literal):
        if isinstance(part.value, bool):
            yield part
        return
    yield part
    if isinstance(part, Logic | Not):
        for child in part.children:
            yield from _valued(child)
    elif isinstance(part, Compare | Between | In | Like | IsNull | IsBoolean):
        yield from (child for child in part.children if not isinstance(child, Literal))
    elif isinstance(part, Call):
        yield from (child for child in part.children if isinstance(child, Name))


class _Teller:
    def __init__(self, typed: Typed, row: _Row, describe: Callable[[str], str]) -> None:
        self._text = typed.expression.text
        self._row = row
        self._describe = describe

    def clause(self, part: Syntax) -> Clause:
        truth = self._row.truth(part) if self._is_condition(part) else None
        source = self._text[part.start : part.end] or self.name(part)
        if isinstance(part, Logic):
            parts = tuple(self.clause(item) for item in part.operands)
            told = [f"({item.words})" if item.joined_by in ("and", "or") else item.words for item in parts]
            return Clause(source, truth, f"; {part.operator} ".join(told), part.operator, parts)
        if isinstance(part, Not):
            inner = self.clause(part.operand)
            return Clause(source, truth, f"not ({inner.words})", "not", (inner,))
        return Clause(source, truth, self.words(part, truth))

    def _is_condition(self, part: Syntax) -> bool:
        type = self._row.type(part)
        return type is not None and type.kind is Kind.BOOLEAN

    def words(self, part: Syntax, truth: bool | None) -> str:
        """One clause in words."""
        if isinstance(part, Compare):
            return self.compared(part, truth)
        if isinstance(part, IsNull):
            value = self._row.value(part.operand)
            known = "unknown" if value is None else f"known: {self.shown(part.operand)}"
            return f"{self.name(part.operand)} is {known}"
        if isinstance(part, In | Between | Like):
            if truth is None:
                return self.unknown(part)
            holds = truth != part.negated
            return f"{self.told(part.operand)}, {'' if holds else 'not '}{self.range(part)}"
        if isinstance(part, Call) and part.function == "in_list" and truth is not None:
            field, name = part.arguments
            where = f"on list {self.name(name)}"
            return f"{self.name(field)} ({self.shown(field)}) is {'' if truth else 'not '}{where}"
        if isinstance(part, Call) and part.function == "starts_with" and truth is not None:
            text, prefix = part.arguments
            verb = "starts with" if truth else "does not start with"
            return f"{self.told(text)}, {verb} {self.name(prefix)}"
        if isinstance(part, IsBoolean):
            return self.told(part.operand)
        if isinstance(part, Literal):
            return self.name(part)
        return self.told(part)

    def compared(self, part: Compare, truth: bool | None) -> str:
        left, right, operator = part.left, part.right, part.operator
        if isinstance(left, Literal) and not isinstance(right, Literal):
            left, right, operator = right, left, _FLIPPED.get(operator, operator)
        if isinstance(left, Literal):
            return f"{self.name(left)} {operator} {self.name(right)}"
        if truth is None:
            return self.unknown(part)
        other = self.name(right) if isinstance(right, Literal) else f"{self.name(right)} ({self.shown(right)})"
        if operator in _COMPARISONS:
            return f"{self.told(left)}, {'' if truth else 'not '}{_COMPARISONS[operator]} {other}"
        equal = truth == (operator in ("=", "is not distinct from"))
        if not equal:
            return f"{self.told(left)}, not {other}"
        return self.told(left) if isinstance(right, Literal) else f"{self.told(left)}, the same as {self.name(right)}"

    def range(self, part: In | Between | Like) -> str:
        if isinstance(part, Between):
            return f"between {self.bound(part.low)} and {self.bound(part.high)}"
        if isinstance(part, Like):
            return f"like {self.name(part.pattern)}"
        items = [self.bound(item) for item in part.items]
        more = f" and {len(items) - _MOST_ITEMS} more" if len(items) > _MOST_ITEMS else ""
        return "one of " + ", ".join(items[:_MOST_ITEMS]) + more

    def bound(self, part: Syntax) -> str:
        return self.name(part) if isinstance(part, Literal) else f"{self.name(part)} ({self.shown(part)})"

    def unknown(self, part: Syntax) -> str:
        """Which of the operands has no value."""
        missing = [
            child for child in part.children if not isinstance(child, Literal) and self._row.value(child) is None
        ]
        return " and ".join(dict.fromkeys(f"{self.name(child)} is unknown" for child in missing)) or "unknown"

    def told(self, part: Syntax) -> str:
        return f"{self.name(part)} is {self.shown(part)}"

    def shown(self, part: Syntax) -> str:
        """A part's value as people write it."""
        value = self._row.value(part)
        type = self._row.type(part)
        if value is None:
            return "unknown"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Decimal) and type is not None:
            return f"{value:.{type.digits}f}"
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    def name(self, part: Syntax) -> str:
        """A part of an expression in words, without its value."""
        if isinstance(part, Name):
            return self._describe(part.name)
        if isinstance(part, Literal):
            if part.value is None or isinstance(part.value, bool):
                return {None: "unknown", True: "true", False: "false"}[part.value]
            return f"{part.value:f}" if isinstance(part.value, Decimal) else str(part.value)
        if isinstance(part, Negate):
            return f"-{self.name(part.operand)}"
        if isinstance(part, Arithmetic):
            sides = [
                f"({self.name(side)})" if isinstance(side, Arithmetic) else self.name(side) for side in part.children
            ]
            return f" {part.operator} ".join(sides)
        if isinstance(part, Call):
            return self.call(part)
        return self._text[part.start : part.end]

    def call(self, part: Call) -> str:
        arguments = [self.name(argument) for argument in part.arguments]
        match part.function:
            case "date_diff":
                return f"{arguments[0].removesuffix('s')}s from {arguments[1]} to {arguments[2]}"
            case "distance_km":
                return "distance in km"
            case "lookup":
                return f"{arguments[2]} of {arguments[1]} in {arguments[0]}"
            case "in_list":
                return f"{arguments[0]} on list {arguments[1]}"
            case "day_of_week":
                return f"weekday of {arguments[0]}"
            case "coalesce":
                return f"{arguments[0]} (else {', '.join(arguments[1:])})"
            case "round":
                return f"rounded {arguments[0]}"
            case _:
                return f"{part.function.replace('_', ' ')} of {', '.join(arguments)}"
