"""An expression after checking: a tree of plain operations on typed values, every conversion written out.

`parakh.expressions.check` makes it from syntax; `program` turns it into instructions. Equal trees are equal values,
which is how a program finds sub-expressions that several rules share.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from parakh.expressions.scope import Scope
from parakh.expressions.syntax import Expression, Syntax
from parakh.expressions.types import Type

__all__ = ["Checking", "Node", "Op", "Typed"]


class Op(enum.Enum):
    """What a node does with its arguments; `value` in the comment is the node's own constant."""

    __hash__ = object.__hash__  # Enum's own is Python, and nodes are hashed whole at every edit of a rule

    COLUMN = "column"  # value: name
    CONSTANT = "constant"  # value: as the type holds it: minor units, microseconds; None for NULL
    TO_NUMBER = "to number"  # value: the divisor (10^digits for money in major units)
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    WHOLE_DIVIDE = "//"
    MODULO = "%"
    NEGATE = "negate"
    ABS = "abs"
    ROUND = "round"  # value: digits for a number, the step in minor units for money
    FLOOR = "floor"  # value: the step in minor units for money
    CEIL = "ceil"
    LN = "ln"
    SQRT = "sqrt"
    POWER = "power"
    LESS = "<"
    AT_MOST = "<="
    EQUAL = "="
    NOT_EQUAL = "!="
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_NULL = "is null"
    SELECT = "select"  # condition, value where it is true, value elsewhere
    COALESCE = "coalesce"
    LEAST = "least"
    GREATEST = "greatest"
    IN = "in"  # value: the constants, as CONSTANT holds them
    LIKE = "like"  # value: (pattern, escape, any case)
    STARTS_WITH = "starts_with"  # value: the prefix
    LOWER = "lower"
    UPPER = "upper"
    LENGTH = "length"
    HOUR = "hour"
    DAY_OF_WEEK = "day_of_week"
    DATE_DIFF = "date_diff"  # value: the unit
    DISTANCE_KM = "distance_km"
    IN_LIST = "in_list"  # value: the list's name
    LOOKUP = "lookup"  # value: (table, column)


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: its type, its arguments and its own constant."""

    op: Op
    type: Type
    args: tuple[Node, ...] = ()
    value: Hashable = None

    @property
    def is_null(self) -> bool:
        return self.op is Op.CONSTANT and self.value is None

    @property
    def described(self) -> str:
        """What it is, in a sentence."""
        return "null" if self.is_null else self.type.described

    def walk(self) -> Iterator[Node]:
        """Every node, arguments before the operation that takes them."""
        pending: list[tuple[Node, bool]] = [(self, False)]
        while pending:
            node, ready = pending.pop()
            if ready or not node.args:
                yield node
            else:
                pending.append((node, True))
                pending.extend((part, False) for part in reversed(node.args))


@dataclass(frozen=True, slots=True)
class Typed:
    """A checked expression: its syntax, its operations, and the scope it was checked in."""

    expression: Expression
    node: Node
    scope: Scope = field(repr=False, compare=False)

    @property
    def type(self) -> Type:
        return self.node.type

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it reads, each once, in the order of the text."""
        return self.expression.names

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists that in_list reads."""
        return tuple(dict.fromkeys(str(node.value) for node in self.node.walk() if node.op is Op.IN_LIST))

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that lookup reads."""
        values = [node.value for node in self.node.walk() if node.op is Op.LOOKUP]
        return tuple(dict.fromkeys(str(value[0]) for value in values if isinstance(value, tuple)))


class Checking(Protocol):
    """A check under way, as calls and arithmetic see it."""

    scope: Scope

    def check(self, syntax: Syntax) -> Node:
        """The operations of a part."""
        ...

    def refuse(self, syntax: Syntax | Sequence[Syntax], message: str, hint: str = "") -> NoReturn:
        """Say what is wrong with a part."""
        ...

    def source(self, syntax: Syntax) -> str:
        """The text of a part."""
        ...

    def common(self, syntax: Syntax, parts: Sequence[Syntax]) -> tuple[Type, list[Node]]:
        """The one type that several parts share, and the parts as that type."""
        ...

    def compared(self, syntax: Syntax, operator: str, left: Node, right: Node) -> Node:
        """A comparison of two known operands."""
        ...

    def as_time(self, syntax: Syntax, node: Node) -> Node:
        """A text literal beside a timestamp, as a time."""
        ...
