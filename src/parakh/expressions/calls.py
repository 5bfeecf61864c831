"""The types of functions: one short rule for each, from checked arguments to an operation."""

from __future__ import annotations

from collections.abc import Callable

from parakh.expressions import numeric
from parakh.expressions.hints import did_you_mean
from parakh.expressions.syntax import Call, Literal, Syntax
from parakh.expressions.typed import Checking, Node, Op
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, Kind, Type

__all__ = ["CALLS", "DATE_UNITS"]

DATE_UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_MOST_DIGITS = 15


def _coalesce(checker: Checking, syntax: Call) -> Node:
    return _folded(checker, syntax, Op.COALESCE)


def _folded(checker: Checking, syntax: Call, op: Op) -> Node:
    type, nodes = checker.common(syntax, syntax.arguments)
    nodes = [node for node in nodes if not node.is_null]  # coalesce, least and greatest all skip NULL
    result = nodes[-1] if op is Op.COALESCE else nodes[0]
    for node in reversed(nodes[:-1]) if op is Op.COALESCE else nodes[1:]:
        result = Node(op, type, (node, result) if op is Op.COALESCE else (result, node))
    return result


def _least(checker: Checking, syntax: Call) -> Node:
    return _extreme(checker, syntax, Op.LEAST)


def _greatest(checker: Checking, syntax: Call) -> Node:
    return _extreme(checker, syntax, Op.GREATEST)


def _extreme(checker: Checking, syntax: Call, op: Op) -> Node:
    node = _folded(checker, syntax, op)
    if node.type.kind in (Kind.STRING, Kind.BOOLEAN):
        checker.refuse(syntax, f"{syntax.function}() compares numbers, money and times")
    return node


def _nullif(checker: Checking, syntax: Call) -> Node:
    first, second = (checker.check(part) for part in syntax.arguments)
    if first.is_null or second.is_null:
        checker.refuse(syntax, "nullif() takes values that are not null")
    equal = checker.compared(syntax, "=", first, second)
    return Node(Op.SELECT, first.type, (equal, Node(Op.CONSTANT, first.type), first))


def _number(checker: Checking, syntax: Syntax) -> Node:
    node = checker.check(syntax)
    numeric.require(checker, syntax, node)
    return node


def _abs(checker: Checking, syntax: Call) -> Node:
    node = _number(checker, syntax.arguments[0])
    return Node(Op.ABS, node.type, (node,))


def _round(checker: Checking, syntax: Call) -> Node:
    node = _number(checker, syntax.arguments[0])
    digits = 0
    if len(syntax.arguments) == 2:
        written = syntax.arguments[1]
        value = written.value if isinstance(written, Literal) else None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_DIGITS:
            checker.refuse(written, f"the digits are a whole number from 0 to {_MOST_DIGITS}", "round(x, 2)")
        digits = value
    if node.type.kind is Kind.NUMBER:
        return Node(Op.ROUND, NUMBER, (node,), digits)
    if digits >= node.type.digits:
        return node
    return Node(Op.ROUND, node.type, (node,), 10 ** (node.type.digits - digits))


def _whole(op: Op) -> Callable[[Checking, Call], Node]:
    def rule(checker: Checking, syntax: Call) -> Node:
        node = _number(checker, syntax.arguments[0])
        if node.type.kind is Kind.NUMBER:
            return Node(op, NUMBER, (node,))
        return Node(op, node.type, (node,), 10**node.type.digits) if node.type.digits else node

    return rule


def _real(op: Op) -> Callable[[Checking, Call], Node]:
    def rule(checker: Checking, syntax: Call) -> Node:
        return Node(op, NUMBER, tuple(numeric.to_number(_number(checker, part)) for part in syntax.arguments))

    return rule


def _text(op: Op, type: Type) -> Callable[[Checking, Call], Node]:
    def rule(checker: Checking, syntax: Call) -> Node:
        return Node(op, type, (_of_kind(checker, syntax.arguments[0], Kind.STRING, "text"),))

    return rule


def _of_kind(checker: Checking, syntax: Syntax, kind: Kind, word: str) -> Node:
    node = checker.check(syntax)
    if node.type.kind is not kind or node.is_null:
        checker.refuse(syntax, f"a {word} is needed; `{checker.source(syntax)}` is {node.described}")
    return node


def _starts_with(checker: Checking, syntax: Call) -> Node:
    text = _of_kind(checker, syntax.arguments[0], Kind.STRING, "text")
    prefix = _of_kind(checker, syntax.arguments[1], Kind.STRING, "text")
    if prefix.op is not Op.CONSTANT:
        checker.refuse(syntax.arguments[1], "the prefix is a text literal", "starts_with(text, 'AB')")
    return Node(Op.STARTS_WITH, BOOLEAN, (text,), prefix.value)


def _time(checker: Checking, syntax: Syntax) -> Node:
    node = checker.check(syntax)
    if node.op is Op.CONSTANT and node.type.kind is Kind.STRING:
        return checker.as_time(syntax, node)
    if node.type.kind is not Kind.TIMESTAMP:
        checker.refuse(syntax, f"a timestamp is needed; `{checker.source(syntax)}` is {node.described}")
    return node


def _of_time(op: Op) -> Callable[[Checking, Call], Node]:
    def rule(checker: Checking, syntax: Call) -> Node:
        return Node(op, INTEGER, (_time(checker, syntax.arguments[0]),))

    return rule


def _date_diff(checker: Checking, syntax: Call) -> Node:
    unit = syntax.arguments[0]
    name = unit.value if isinstance(unit, Literal) else None
    plain = name.removesuffix("s") if isinstance(name, str) else ""
    if plain not in DATE_UNITS:
        checker.refuse(unit, "this is not a unit of time", "units: " + ", ".join(DATE_UNITS))
    start, end = (_time(checker, part) for part in syntax.arguments[1:])
    return Node(Op.DATE_DIFF, INTEGER, (start, end), plain)


def _distance_km(checker: Checking, syntax: Call) -> Node:
    parts = []
    for argument in syntax.arguments:
        node = _number(checker, argument)
        if node.type.kind is Kind.MONEY:
            checker.refuse(argument, "a position is given in degrees; this is money")
        parts.append(numeric.to_number(node))
    return Node(Op.DISTANCE_KM, NUMBER, tuple(parts))


def _literal_text(checker: Checking, syntax: Syntax, what: str, usage: str) -> str:
    if not isinstance(syntax, Literal) or not isinstance(syntax.value, str):
        checker.refuse(syntax, f"{what} stands in quotes", usage)
    return syntax.value


def _in_list(checker: Checking, syntax: Call) -> Node:
    name = _literal_text(checker, syntax.arguments[1], "the list's name", "in_list(field, 'name')")
    type = checker.scope.lists.get(name)
    if type is None:
        checker.refuse(syntax.arguments[1], f"there is no list {name}", _choices(name, checker.scope.lists))
    return Node(Op.IN_LIST, BOOLEAN, (_as(checker, syntax.arguments[0], type, f"a value of list {name} is"),), name)


def _lookup(checker: Checking, syntax: Call) -> Node:
    usage = "lookup('table', key, 'column')"
    name = _literal_text(checker, syntax.arguments[0], "the table's name", usage)
    column = _literal_text(checker, syntax.arguments[2], "the column's name", usage)
    table = checker.scope.tables.get(name)
    if table is None:
        checker.refuse(syntax.arguments[0], f"there is no table {name}", _choices(name, checker.scope.tables))
    if column not in table.columns:
        checker.refuse(
            syntax.arguments[2], f"table {name} has no column {column}", did_you_mean(column, list(table.columns))
        )
    key = _as(checker, syntax.arguments[1], table.key, f"the key of table {name} is")
    return Node(Op.LOOKUP, table.columns[column], (key,), (name, column))


def _choices(name: str, known: object) -> str:
    names = list(known) if isinstance(known, dict) else []
    return did_you_mean(name, names) if names else "none is defined"


def _as(checker: Checking, syntax: Syntax, type: Type, sentence: str) -> Node:
    """A value of the type that a list or a table's key has."""
    node = checker.check(syntax)
    if node.type == type and not node.is_null:
        return node
    if numeric.is_literal(node) and type.kind in (Kind.NUMBER, Kind.MONEY):
        return numeric.convert(checker, syntax, node, type)
    if node.type.kind is Kind.INTEGER and type.kind is Kind.NUMBER:
        return numeric.to_number(node)
    checker.refuse(syntax, f"{sentence} {type.described}; `{checker.source(syntax)}` is {node.described}")


CALLS: dict[str, Callable[[Checking, Call], Node]] = {
    "coalesce": _coalesce,
    "nullif": _nullif,
    "abs": _abs,
    "round": _round,
    "floor": _whole(Op.FLOOR),
    "ceil": _whole(Op.CEIL),
    "ln": _real(Op.LN),
    "sqrt": _real(Op.SQRT),
    "power": _real(Op.POWER),
    "least": _least,
    "greatest": _greatest,
    "lower": _text(Op.LOWER, STRING),
    "upper": _text(Op.UPPER, STRING),
    "length": _text(Op.LENGTH, INTEGER),
    "starts_with": _starts_with,
    "hour": _of_time(Op.HOUR),
    "day_of_week": _of_time(Op.DAY_OF_WEEK),
    "date_diff": _date_diff,
    "distance_km": _distance_km,
    "in_list": _in_list,
    "lookup": _lookup,
}
