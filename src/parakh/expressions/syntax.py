"""The syntax tree of an expression: what a person wrote, as frozen values that know where they stand in the text.

`parakh.expressions.parse` builds it, `check` gives it types, `explain` says it in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

__all__ = [
    "Arithmetic",
    "Between",
    "Call",
    "Case",
    "Compare",
    "Expression",
    "In",
    "IsBoolean",
    "IsNull",
    "Like",
    "Literal",
    "Logic",
    "Name",
    "Negate",
    "Not",
    "Syntax",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """One node; `start` and `end` are offsets into the text."""

    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)

    @property
    def children(self) -> tuple[Syntax, ...]:
        """The parts of the node in the order of the text: whatever of its fields is syntax, or holds some."""
        names: tuple[str, ...] = self.__match_args__  # the fields of the node's own class, without start and end
        return tuple(_syntax_in(getattr(self, name) for name in names))


def _syntax_in(values: Iterable[object]) -> Iterator[Syntax]:
    for item in values:
        if isinstance(item, Syntax):
            yield item
        elif isinstance(item, tuple):
            yield from _syntax_in(item)


@dataclass(frozen=True, slots=True)
class Literal(Syntax):
    """A literal: text, whole number, decimal number, true, false or null."""

    value: bool | int | Decimal | str | None


@dataclass(frozen=True, slots=True)
class Name(Syntax):
    """A column: `amount` or `card.payments_10m`."""

    name: str


@dataclass(frozen=True, slots=True)
class Negate(Syntax):
    operand: Syntax


@dataclass(frozen=True, slots=True)
class Not(Syntax):
    operand: Syntax


@dataclass(frozen=True, slots=True)
class Arithmetic(Syntax):
    """`operator` is one of + - * / // %."""

    operator: str
    left: Syntax
    right: Syntax


@dataclass(frozen=True, slots=True)
class Compare(Syntax):
    """`operator` is one of = != < <= > >=, `is distinct from`, `is not distinct from`."""

    operator: str
    left: Syntax
    right: Syntax


@dataclass(frozen=True, slots=True)
class Logic(Syntax):
    """A chain of `and` or of `or`, flattened; two operands or more."""

    operator: str
    operands: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class IsNull(Syntax):
    operand: Syntax
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsBoolean(Syntax):
    """`x is true`, `x is not false`: never unknown."""

    operand: Syntax
    value: bool
    negated: bool = False


@dataclass(frozen=True, slots=True)
class In(Syntax):
    operand: Syntax
    items: tuple[Syntax, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Between(Syntax):
    operand: Syntax
    low: Syntax
    high: Syntax
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Like(Syntax):
    """`operand like 'pattern'`; `escape` is one character or empty; `any_case` for ilike."""

    operand: Syntax
    pattern: Syntax
    escape: str = ""
    any_case: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Case(Syntax):
    """`case [operand] when .. then .. [else ..] end`; branches are (when, then)."""

    operand: Syntax | None
    branches: tuple[tuple[Syntax, Syntax], ...]
    otherwise: Syntax | None


@dataclass(frozen=True, slots=True)
class Call(Syntax):
    """A function of `parakh.expressions.functions`, by its own name."""

    function: str
    arguments: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed text.

    >>> from parakh.expressions.parse import parse
    >>> parse("card.payments_10m >= 6 and amount < 5").names
    ('card.payments_10m', 'amount')
    """

    text: str
    root: Syntax

    def walk(self) -> Iterator[Syntax]:
        """Every node, a parent before its children, left before right."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it reads, each once, in the order of the text."""
        return tuple(dict.fromkeys(node.name for node in self.walk() if isinstance(node, Name)))
