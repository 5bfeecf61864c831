"""Types: an expression is checked against the columns, lists and tables in reach, and turned into plain operations.

All that SQL would convert in silence is decided here, once: money is compared with literals in major units, exactly;
whole numbers and numbers mix as numbers; texts never turn into numbers. What makes no sense is refused with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from parakh.errors import ExpressionError
from parakh.expressions import numeric
from parakh.expressions.calls import CALLS
from parakh.expressions.hints import did_you_mean
from parakh.expressions.parse import parse
from parakh.expressions.scope import Scope, TableType
from parakh.expressions.syntax import (
    Arithmetic,
    Between,
    Call,
    Case,
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
from parakh.expressions.typed import Node, Op, Typed
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Kind, Type
from parakh.expressions.values import timestamp_us

__all__ = ["Scope", "TableType", "Typed", "check", "check_condition"]


def check(expression: Expression | str, scope: Scope) -> Typed:
    """The types and operations of an expression; raises ExpressionError with offsets and a hint.

    >>> from parakh.expressions.types import money
    >>> scope = Scope(columns={"amount": money("INR"), "card.usual_30d": NUMBER})
    >>> str(check("amount / card.usual_30d", scope).type)
    'number'
    """
    if isinstance(expression, str):
        expression = parse(expression)
    checker = Checker(scope, expression)
    node = checker.check(expression.root)
    if node.is_null:
        checker.refuse(expression.root, "this is always NULL")
    return Typed(expression, node, scope)


def check_condition(expression: Expression | str, scope: Scope) -> Typed:
    """`check`, where the expression must be true or false."""
    typed = check(expression, scope)
    if typed.type != BOOLEAN:
        Checker(scope, typed.expression).not_a_condition(typed.expression.root, typed.node)
    return typed


class Checker:
    """One walk over a syntax tree; `calls` holds the functions, `numeric` the rules of numbers and money."""

    def __init__(self, scope: Scope, expression: Expression) -> None:
        self.scope = scope
        self.text = expression.text

    def check(self, syntax: Syntax) -> Node:
        return _RULES[type(syntax)](self, syntax)

    def refuse(self, syntax: Syntax | Sequence[Syntax], message: str, hint: str = "") -> NoReturn:
        placed = [part for part in ([syntax] if isinstance(syntax, Syntax) else syntax) if part.end]
        start = min((part.start for part in placed), default=0)
        end = max((part.end for part in placed), default=len(self.text))
        raise ExpressionError(message, start=start, end=end, hint=hint)

    def source(self, syntax: Syntax) -> str:
        """The text of a part, for messages."""
        return self.text[syntax.start : syntax.end]

    def condition(self, syntax: Syntax) -> Node:
        node = self.check(syntax)
        if node.is_null:
            return Node(Op.CONSTANT, BOOLEAN)
        if node.type.kind is not Kind.BOOLEAN:
            self.not_a_condition(syntax, node)
        return node

    def not_a_condition(self, syntax: Syntax, node: Node) -> NoReturn:
        hints = {Kind.STRING: "compare it: x = 'text'", Kind.TIMESTAMP: "compare it: x >= '2024-01-01'"}
        self.refuse(
            syntax,
            f"a condition is true or false; `{self.source(syntax)}` is {node.described}",
            hints.get(node.type.kind, "compare it: x > 0"),
        )

    # ---- leaves

    def literal(self, syntax: Literal) -> Node:
        value = syntax.value
        if value is None:
            return Node(Op.CONSTANT, BOOLEAN)
        if isinstance(value, bool):
            return Node(Op.CONSTANT, BOOLEAN, value=value)
        if isinstance(value, str):
            return Node(Op.CONSTANT, STRING, value=value)
        return Node(Op.CONSTANT, INTEGER if isinstance(value, int) else NUMBER, value=value)

    def name(self, syntax: Name) -> Node:
        type = self.scope.columns.get(syntax.name)
        if type is not None:
            return Node(Op.COLUMN, type, value=syntax.name)
        if syntax.name in self.scope.unavailable:
            self.refuse(syntax, f"{syntax.name} cannot be read here", self.scope.unavailable[syntax.name])
        self.refuse(syntax, f"there is no {syntax.name}", did_you_mean(syntax.name, self.scope.columns))

    # ---- numbers

    def negate(self, syntax: Negate) -> Node:
        operand = self.check(syntax.operand)
        numeric.require(self, syntax.operand, operand)
        return Node(Op.NEGATE, operand.type, (operand,))

    def arithmetic(self, syntax: Arithmetic) -> Node:
        return numeric.arithmetic(self, syntax, self.check(syntax.left), self.check(syntax.right))

    # ---- comparisons

    def compare(self, syntax: Compare) -> Node:
        left, right = self.check(syntax.left), self.check(syntax.right)
        distinct = syntax.operator.startswith("is")
        if (left.is_null or right.is_null) and not distinct:
            known = syntax.right if left.is_null else syntax.left
            negation = "not " if syntax.operator == "!=" else ""
            self.refuse(
                syntax,
                "a comparison with null is never true",
                f"{self.source(known)} is {negation}null",
            )
        if not distinct:
            return self.compared(syntax, syntax.operator, left, right)
        return self.distinct(syntax, left, right)

    def distinct(self, syntax: Compare, left: Node, right: Node) -> Node:
        nulls = tuple(Node(Op.IS_NULL, BOOLEAN, (part,)) for part in (left, right))
        if left.is_null or right.is_null:
            same = nulls[0] if right.is_null else nulls[1]
        else:
            equal = self.compared(syntax, "=", left, right)
            same = Node(Op.COALESCE, BOOLEAN, (equal, Node(Op.AND, BOOLEAN, nulls)))
        return same if syntax.operator == "is not distinct from" else Node(Op.NOT, BOOLEAN, (same,))

    def compared(self, syntax: Syntax, operator: str, left: Node, right: Node) -> Node:
        """A comparison of two known operands, whatever their types."""
        if numeric.is_numeric(left) and numeric.is_numeric(right):
            return numeric.compare(self, syntax, operator, left, right)
        kinds = {left.type.kind, right.type.kind}
        if kinds == {Kind.TIMESTAMP, Kind.STRING}:
            left, right = self.as_time(syntax, left), self.as_time(syntax, right)
        elif len(kinds) > 1:
            self.refuse(syntax, f"{left.described} is not compared with {right.described}", _mixed_hint(left, right))
        elif kinds & {Kind.STRING, Kind.BOOLEAN} and operator not in ("=", "!="):
            hint = "texts have no order here: use =, in or like" if Kind.STRING in kinds else "use = or not"
            self.refuse(syntax, f"{left.described} is not compared with {operator}", hint)
        return numeric.ordered(operator, left, right)

    def as_time(self, syntax: Syntax, node: Node) -> Node:
        """A text literal beside a timestamp is a time in ISO 8601, in UTC where it names no zone."""
        if node.type.kind is Kind.TIMESTAMP:
            return node
        if node.op is not Op.CONSTANT:
            self.refuse(syntax, "a text is not compared with a timestamp", "declare the field's type: timestamp")
        time = timestamp_us(str(node.value))
        if time is None:
            self.refuse(syntax, f"{node.value!r} is not a time", "'2024-01-31' or '2024-01-31 23:59:59'")
        return Node(Op.CONSTANT, TIMESTAMP, value=time)

    def between(self, syntax: Between) -> Node:
        operand = self.check(syntax.operand)
        bounds = self.check(syntax.low), self.check(syntax.high)
        if any(node.is_null for node in (operand, *bounds)):
            self.refuse(syntax, "a comparison with null is never true", "x is null")
        if all(numeric.is_literal(bound) for bound in bounds) and numeric.value(bounds[0]) > numeric.value(bounds[1]):
            self.refuse(syntax, "nothing lies between a higher and a lower bound", "between low and high")
        low = self.compared(syntax, ">=", operand, bounds[0])
        high = self.compared(syntax, "<=", operand, bounds[1])
        return _negate(syntax.negated, Node(Op.AND, BOOLEAN, (low, high)))

    def in_(self, syntax: In) -> Node:
        operand = self.check(syntax.operand)
        items = [self.check(item) for item in syntax.items]
        for item, node in zip(syntax.items, items):
            if node.is_null:
                self.refuse(syntax, "null in a list makes it never false", "x in (..) or x is null")
            self.compared(item if item.end else syntax, "=", operand, node)
        variable = [node for node in items if node.op is not Op.CONSTANT]
        constants = [node for node in items if node.op is Op.CONSTANT]
        parts = [self.compared(syntax, "=", operand, node) for node in variable]
        if constants:
            parts.append(self.member(syntax, operand, constants))
        return _negate(syntax.negated, parts[0] if len(parts) == 1 else Node(Op.OR, BOOLEAN, tuple(parts)))

    def member(self, syntax: In, operand: Node, constants: list[Node]) -> Node:
        """Whether a value is one of some constants, held as the operand's type holds them."""
        if operand.op is Op.CONSTANT:
            equal = [self.compared(syntax, "=", operand, node) for node in constants]
            return equal[0] if len(equal) == 1 else Node(Op.OR, BOOLEAN, tuple(equal))
        kind = operand.type.kind
        if kind is Kind.TIMESTAMP:
            held: set[Any] = {self.as_time(syntax, node).value for node in constants}
        elif kind in (Kind.STRING, Kind.BOOLEAN):
            held = {node.value for node in constants}
        elif kind is Kind.NUMBER:
            held = {float(numeric.value(node)) + 0.0 for node in constants}
        else:
            held = {numeric.held(operand.type, numeric.value(node)) for node in constants} - {None}
        if len(held) == 0:
            return numeric.never(operand)
        return Node(Op.IN, BOOLEAN, (operand,), tuple(sorted(held)))

    # ---- logic

    def logic(self, syntax: Logic) -> Node:
        parts = tuple(self.condition(part) for part in syntax.operands)
        return Node(Op.AND if syntax.operator == "and" else Op.OR, BOOLEAN, parts)

    def not_(self, syntax: Not) -> Node:
        return Node(Op.NOT, BOOLEAN, (self.condition(syntax.operand),))

    def is_null(self, syntax: IsNull) -> Node:
        operand = self.check(syntax.operand)
        if operand.op is Op.CONSTANT:
            self.refuse(syntax, "a literal is compared with null")
        return _negate(syntax.negated, Node(Op.IS_NULL, BOOLEAN, (operand,)))

    def is_boolean(self, syntax: IsBoolean) -> Node:
        operand = self.condition(syntax.operand)
        wanted = operand if syntax.value else Node(Op.NOT, BOOLEAN, (operand,))
        never = Node(Op.CONSTANT, BOOLEAN, value=False)
        return _negate(syntax.negated, Node(Op.COALESCE, BOOLEAN, (wanted, never)))

    def like(self, syntax: Like) -> Node:
        operand, pattern = self.check(syntax.operand), self.check(syntax.pattern)
        if operand.type.kind is not Kind.STRING:
            self.refuse(syntax.operand, f"like reads texts; this is {operand.described}")
        if pattern.op is not Op.CONSTANT or not isinstance(pattern.value, str):
            self.refuse(syntax, "a pattern is a text literal", "text like 'AB%'")
        text = pattern.value
        if syntax.escape and _dangling(text, syntax.escape):
            self.refuse(syntax.pattern, "the pattern ends with its escape character")
        node = Node(Op.LIKE, BOOLEAN, (operand,), (text, syntax.escape, syntax.any_case))
        return _negate(syntax.negated, node)

    def case(self, syntax: Case) -> Node:
        conditions = []
        subject = self.check(syntax.operand) if syntax.operand is not None else None
        for when, _ in syntax.branches:
            if subject is None:
                conditions.append(self.condition(when))
                continue
            value = self.check(when)
            if value.is_null or subject.is_null:
                self.refuse(
                    when if when.end else syntax, "null equals nothing, not even null", "case when x is null .."
                )
            conditions.append(self.compared(when, "=", subject, value))
        results = [then for _, then in syntax.branches]
        if syntax.otherwise is not None:
            results.append(syntax.otherwise)
        type, values = self.common(syntax, results)
        rest = values.pop() if syntax.otherwise is not None else Node(Op.CONSTANT, type)
        for condition, value in zip(reversed(conditions), reversed(values)):
            rest = Node(Op.SELECT, type, (condition, value, rest))
        return rest

    def call(self, syntax: Call) -> Node:
        return CALLS[syntax.function](self, syntax)

    # ---- one type for several values

    def common(self, syntax: Syntax, parts: Sequence[Syntax]) -> tuple[Type, list[Node]]:
        """The one type that several values share, and the values as that type."""
        nodes = [self.check(part) for part in parts]
        real = [node for node in nodes if not node.is_null]
        if not real:
            self.refuse(syntax, "all values are null")
        kinds = {node.type.kind for node in real}
        if all(numeric.is_numeric(node) for node in real):
            type = numeric.common_type(self, syntax, real)
            return type, [numeric.convert(self, syntax, node, type) for node in nodes]
        if kinds == {Kind.TIMESTAMP, Kind.STRING}:
            nodes = [node if node.is_null else self.as_time(syntax, node) for node in nodes]
            real = [node for node in nodes if not node.is_null]
        elif len(kinds) > 1:
            names = " and ".join(dict.fromkeys(node.described for node in real))
            self.refuse(syntax, f"the values have different types: {names}")
        type = real[0].type
        return type, [Node(Op.CONSTANT, type) if node.is_null else node for node in nodes]


def _mixed_hint(left: Node, right: Node) -> str:
    kinds = {left.type.kind, right.type.kind}
    if Kind.STRING in kinds and kinds & {Kind.INTEGER, Kind.NUMBER, Kind.MONEY}:
        text = left if left.type.kind is Kind.STRING else right
        if text.op is Op.CONSTANT and isinstance(text.value, str):
            return f"numbers have no quotes: {text.value}" if _looks_numeric(text.value) else ""
        return "a number beside a text field stands in quotes: '5'"
    if Kind.BOOLEAN in kinds:
        return "a boolean is compared with true or false"
    return ""


def _looks_numeric(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except ArithmeticError:
        return False


def _dangling(pattern: str, escape: str) -> bool:
    at = 0
    while at < len(pattern):
        if pattern[at] == escape:
            if at + 1 == len(pattern):
                return True
            at += 1
        at += 1
    return False


def _negate(negated: bool, node: Node) -> Node:
    return Node(Op.NOT, BOOLEAN, (node,)) if negated else node


_RULES: dict[type, Callable[[Checker, Any], Node]] = {
    Literal: Checker.literal,
    Name: Checker.name,
    Negate: Checker.negate,
    Arithmetic: Checker.arithmetic,
    Compare: Checker.compare,
    Between: Checker.between,
    In: Checker.in_,
    Logic: Checker.logic,
    Not: Checker.not_,
    IsNull: Checker.is_null,
    IsBoolean: Checker.is_boolean,
    Like: Checker.like,
    Case: Checker.case,
    Call: Checker.call,
}
