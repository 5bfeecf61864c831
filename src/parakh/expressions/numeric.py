"""The rules of numbers and money in expressions (design 3.6): what mixes, what it becomes, and how it compares.

Whole numbers and money are compared with literals exactly: the literal is scaled to the column's units, and where it
falls between two of them the comparison moves to the next one (`amount < 4.999` is `amount <= 4.99`).
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

from parakh.expressions.syntax import Arithmetic, Syntax
from parakh.expressions.typed import Checking, Node, Op
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, Kind, Type

__all__ = [
    "arithmetic",
    "common_type",
    "compare",
    "convert",
    "held",
    "is_literal",
    "is_numeric",
    "never",
    "ordered",
    "require",
    "to_number",
    "value",
]

LOWEST = -(2**63) + 1
HIGHEST = 2**63 - 1
_EXACT = Context(prec=800)
_RANGES = {
    Op.HOUR: (0, 23, "hours go from 0 to 23"),
    Op.DAY_OF_WEEK: (1, 7, "days of the week go from 1 (Monday) to 7 (Sunday)"),
}
_SWAPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "=": "=", "!=": "!="}
_OPS = {"<": Op.LESS, "<=": Op.AT_MOST, "=": Op.EQUAL, "!=": Op.NOT_EQUAL}
_SYMBOLS = {
    "+": Op.ADD,
    "-": Op.SUBTRACT,
    "*": Op.MULTIPLY,
    "/": Op.DIVIDE,
    "//": Op.WHOLE_DIVIDE,
    "%": Op.MODULO,
}


def is_numeric(node: Node) -> bool:
    return node.type.kind in (Kind.INTEGER, Kind.NUMBER, Kind.MONEY) and not node.is_null


def is_literal(node: Node) -> bool:
    """Whether a node is a number as it was written, so of no unit yet."""
    return node.op is Op.CONSTANT and node.type.kind in (Kind.INTEGER, Kind.NUMBER) and not node.is_null


def value(node: Node) -> int | Decimal:
    """The number that a literal stands for."""
    assert isinstance(node.value, int | Decimal)
    return node.value


def require(checker: Checking, syntax: Syntax, node: Node) -> None:
    """Refuse what is not a number."""
    if not is_numeric(node):
        checker.refuse(syntax, f"a number is needed; `{checker.source(syntax)}` is {node.described}")


def to_number(node: Node) -> Node:
    """The node as a number, money in major units."""
    if node.type.kind is Kind.NUMBER:
        return node
    if node.op is Op.CONSTANT and node.type.kind is Kind.INTEGER:
        return Node(Op.CONSTANT, NUMBER, value=Decimal(value(node)))
    return Node(Op.TO_NUMBER, NUMBER, (node,), 10**node.type.digits)


def held(type: Type, number: int | Decimal) -> int | None:
    """A number in the units of a whole-number or money type; None where it falls between two or beyond 64 bits."""
    scaled = Fraction(number) * 10**type.digits
    return scaled.numerator if scaled.denominator == 1 and LOWEST <= scaled <= HIGHEST else None


def common_type(checker: Checking, syntax: Syntax, nodes: list[Node]) -> Type:
    """The type that numbers share: money where all else are literals, whole where all are whole, number otherwise."""
    monies = list(dict.fromkeys(node.type for node in nodes if node.type.kind is Kind.MONEY))
    if len(monies) > 1:
        _mixed_currencies(checker, syntax, monies[0], monies[1])
    if monies:
        others = [node for node in nodes if node.type.kind is not Kind.MONEY and not is_literal(node)]
        return NUMBER if others else monies[0]
    return INTEGER if all(node.type.kind is Kind.INTEGER for node in nodes) else NUMBER


def convert(checker: Checking, syntax: Syntax, node: Node, type: Type) -> Node:
    """A number, literal or NULL as a type that `common_type` found."""
    if node.is_null:
        return Node(Op.CONSTANT, type)
    if node.type == type:
        return node
    if type.kind is not Kind.MONEY:
        return to_number(node)
    minor = held(type, value(node))
    if minor is None:
        checker.refuse(
            syntax,
            f"{value(node)} does not fit {type}",
            f"{type.currency} has {type.digits} decimals" if type.digits else f"{type.currency} has no decimals",
        )
    return Node(Op.CONSTANT, type, value=minor)


# ---- comparison


def compare(checker: Checking, syntax: Syntax, operator: str, left: Node, right: Node) -> Node:
    """A comparison of two numbers: exact between whole numbers, money of one currency and literals."""
    if left.type.kind is Kind.MONEY and right.type.kind is Kind.MONEY and left.type != right.type:
        _mixed_currencies(checker, syntax, left.type, right.type)
    if is_literal(left) and not is_literal(right):
        return compare(checker, syntax, _SWAPPED[operator], right, left)
    if is_literal(right) and not is_literal(left) and not left.type.is_float:
        _possible(checker, syntax, operator, left, value(right))
        return _against_literal(operator, left, value(right))
    if left.type == right.type:
        return ordered(operator, left, right)
    return ordered(operator, to_number(left), to_number(right))


def _possible(checker: Checking, syntax: Syntax, operator: str, operand: Node, literal: int | Decimal) -> None:
    """Refuse a comparison that can never hold, or never fail: it was meant in another way."""
    equality = operator in ("=", "!=")
    if operand.op in _RANGES:
        low, high, said = _RANGES[operand.op]
        reached = {"<": low < literal, "<=": low <= literal, ">": literal < high, ">=": literal <= high}
        if not reached.get(operator, low <= literal <= high):
            checker.refuse(syntax, f"{said}: this {'always' if operator == '!=' else 'never'} holds")
    if equality and (Fraction(literal) * 10**operand.type.digits).denominator != 1:
        digits = operand.type.digits
        what = f"{operand.type} has {digits} decimals" if digits else f"this is {operand.type}"
        checker.refuse(syntax, f"{what}: it is never {literal}", "compare with <= or >=, or round")


def ordered(operator: str, left: Node, right: Node) -> Node:
    """A comparison of two values of one type; > and >= turn round."""
    if operator in (">", ">="):
        left, right, operator = right, left, _SWAPPED[operator]
    return Node(_OPS[operator], BOOLEAN, (left, right))


def never(operand: Node) -> Node:
    """False, or NULL where the operand is: nothing lies below the lowest value."""
    return Node(Op.LESS, BOOLEAN, (operand, Node(Op.CONSTANT, operand.type, value=LOWEST)))


def _always(operand: Node) -> Node:
    return Node(Op.AT_MOST, BOOLEAN, (Node(Op.CONSTANT, operand.type, value=LOWEST), operand))


def _against_literal(operator: str, operand: Node, literal: int | Decimal) -> Node:
    scaled = Fraction(literal) * 10**operand.type.digits
    below = scaled.numerator // scaled.denominator
    if scaled.denominator != 1:
        if operator in ("=", "!="):
            return never(operand) if operator == "=" else _always(operand)
        below += operator in (">", ">=")
        operator = "<=" if operator in ("<", "<=") else ">="
    if below > HIGHEST:
        return _always(operand) if operator in ("<", "<=", "!=") else never(operand)
    if below < LOWEST:
        return _always(operand) if operator in (">", ">=", "!=") else never(operand)
    return ordered(operator, operand, Node(Op.CONSTANT, operand.type, value=below))


# ---- arithmetic


def arithmetic(checker: Checking, syntax: Arithmetic, left: Node, right: Node) -> Node:
    """+ - * / // % of two numbers; literals are computed at once, exactly."""
    for part, node in ((syntax.left, left), (syntax.right, right)):
        if node.is_null:
            checker.refuse(syntax, "arithmetic with null is always NULL")
        if node.type.kind is Kind.TIMESTAMP:
            checker.refuse(syntax, "times are not added or subtracted", "date_diff('second', from, to)")
        require(checker, part, node)
    if is_literal(left) and is_literal(right) and syntax.operator in ("+", "-", "*"):
        return _folded(checker, syntax, value(left), value(right))
    if Kind.MONEY in (left.type.kind, right.type.kind):
        return _money(checker, syntax, left, right)
    both_whole = left.type.kind is Kind.INTEGER and right.type.kind is Kind.INTEGER
    if syntax.operator == "//" and not both_whole:
        checker.refuse(syntax, "// divides whole numbers", "floor(a / b)")
    if syntax.operator != "/" and both_whole:
        return Node(_SYMBOLS[syntax.operator], INTEGER, (left, right))
    return Node(_SYMBOLS[syntax.operator], NUMBER, (to_number(left), to_number(right)))


def _folded(checker: Checking, syntax: Arithmetic, left: int | Decimal, right: int | Decimal) -> Node:
    if isinstance(left, int) and isinstance(right, int):
        whole = left + right if syntax.operator == "+" else left - right if syntax.operator == "-" else left * right
        if not LOWEST <= whole <= HIGHEST:
            checker.refuse(syntax, "the result is beyond 64 bits", "write 1e30 for a number that large")
        return Node(Op.CONSTANT, INTEGER, value=whole)
    compute = {"+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply}[syntax.operator]
    result = compute(Decimal(left), Decimal(right))
    if abs(result) >= Decimal("1e300"):
        checker.refuse(syntax, "the number is too large")
    return Node(Op.CONSTANT, NUMBER, value=result)


def _money(checker: Checking, syntax: Arithmetic, left: Node, right: Node) -> Node:
    operator = syntax.operator
    monies = [node.type for node in (left, right) if node.type.kind is Kind.MONEY]
    if len(set(monies)) > 1:
        _mixed_currencies(checker, syntax, monies[0], monies[1])
    if operator in ("+", "-", "%"):
        if len(monies) == 1 and not is_literal(left) and not is_literal(right):
            verb = {"+": "added to", "-": "subtracted from", "%": "divided by"}[operator]
            checker.refuse(
                syntax,
                f"a number is not {verb} money",
                "make the field money, or take the money as a number: amount * 1",
            )
        parts = tuple(convert(checker, syntax, node, monies[0]) for node in (left, right))
        return Node(_SYMBOLS[operator], monies[0], parts)
    if operator == "//":
        checker.refuse(syntax, "// divides whole numbers", "floor(a / b)")
    if len(monies) == 2 and operator == "*":
        checker.refuse(syntax, "money is not multiplied by money", "money * number, money / money")
    if len(monies) == 2:  # a ratio: of minor units, so that only the division rounds
        return Node(Op.DIVIDE, NUMBER, tuple(Node(Op.TO_NUMBER, NUMBER, (node,), 1) for node in (left, right)))
    return Node(_SYMBOLS[operator], NUMBER, (to_number(left), to_number(right)))


def _mixed_currencies(checker: Checking, syntax: Syntax, left: Type, right: Type) -> None:
    checker.refuse(syntax, f"{left} and {right} do not mix", "convert one of them before it reaches the event")
