"""From sqlglot's tree to ours: the nodes that are let through, and how each of them is read.

Where sqlglot and DuckDB group operators differently (`a = b is null`) the text must have parentheses, so that nothing
is ever read in another way than DuckDB would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any, TypedDict

from parakh.errors import ExpressionError
from parakh.expressions.scan import MAX_NODES
from parakh.expressions.syntax import (
    Arithmetic,
    Between,
    Call,
    Case,
    Compare,
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
from parakh.expressions.tokens import Word, refuse

__all__ = ["Converter"]

MAX_DEPTH = 20
_WHOLE = re.compile(r"\d+(_\d+)*")
_NUMBER = re.compile(r"\d+(_\d+)*(\.(\d+(_\d+)*)?)?([eE][+-]?\d+)?")

# How tightly an operator binds; an operand that binds less tightly must stand in parentheses.
_OR, _AND, _NOT, _IS, _COMPARE, _RANGE, _ADD, _MULTIPLY, _SIGN, _VALUE = range(10)


class Converter:
    """Turns sqlglot's tree into ours, counting so that no value of the text is lost or taken twice."""

    def __init__(self, text: str, values: list[Word], constants: list[Word]) -> None:
        self.text = text
        self.values = values
        self.constants = iter(constants)
        self.by_start = {word.start: word for word in values}
        self.taken = 0
        self.nodes = 0

    def done(self) -> None:
        """Refuse a text of which something was left over."""
        if self.taken != len(self.values) or next(self.constants, None) is not None:
            raise ExpressionError("the expression can be read in two ways", end=len(self.text), hint="add parentheses")

    def convert(self, tree: Any, depth: int, *, counted: bool = True) -> Syntax:
        if depth > MAX_DEPTH:
            raise ExpressionError(
                f"the expression is nested more than {MAX_DEPTH} levels deep", end=len(self.text), hint="use signals"
            )
        handler = _handlers().get(type(tree))
        if handler is None:
            start, end = self.place(tree)
            raise ExpressionError("this is not allowed in an expression", start=start, end=end or len(self.text))
        if counted:
            self.nodes += type(tree).__name__ != "Paren"
            if self.nodes > MAX_NODES:
                raise ExpressionError(
                    f"the expression has more than {MAX_NODES} parts",
                    end=len(self.text),
                    hint="split it into signals or rules",
                )
        return handler(self, tree, depth)

    def operand(self, tree: Any, depth: int, binding: int) -> Syntax:
        """An operand that must bind at least so tightly."""
        if _binding(tree) < binding:
            node = self.convert(tree, depth)
            raise ExpressionError(
                "comparisons do not chain"
                if _binding(tree) in (_COMPARE, _IS) and binding > _IS
                else "parentheses are missing",
                start=node.start,
                end=node.end,
                hint="join comparisons with `and`, or put parentheses around what belongs together",
            )
        return self.convert(tree, depth)

    def place(self, tree: Any) -> tuple[int, int]:
        """The first and last offset that sqlglot noted below a node."""
        starts = [item.meta for item in tree.walk() if "start" in item.meta]
        if not starts:
            return 0, 0
        return min(meta["start"] for meta in starts), max(meta["end"] for meta in starts) + 1

    # ---- leaves

    def literal(self, tree: Any, depth: int) -> Syntax:
        start, end = self.place(tree)
        word = self.by_start.get(start)
        self.taken += 1
        if word is None or word.end != end or (word.kind == "text") != bool(tree.is_string):
            raise ExpressionError("this value cannot be read", start=start, end=end)
        if word.kind == "text":
            return Literal(word.text, start=start, end=end)
        return Literal(_number(word), start=start, end=end)

    def column(self, tree: Any, depth: int) -> Syntax:
        parts = [tree.args.get("table"), tree.this]
        start, end = self.place(tree)
        word = self.by_start.get(start)
        self.taken += 1
        name = ".".join(str(part.name) for part in parts if part is not None)
        if tree.args.get("db") or word is None or word.kind != "word" or self.text[start:end] != name:
            raise ExpressionError("this name cannot be read", start=start, end=end, hint="entity.feature")
        return Name(name, start=start, end=end)

    def null(self, tree: Any, depth: int) -> Syntax:
        return self.constant(None, "null")

    def boolean(self, tree: Any, depth: int) -> Syntax:
        return self.constant(bool(tree.this), "true" if tree.this else "false")

    def constant(self, value: bool | None, written: str) -> Syntax:
        """sqlglot notes no place for these; they are met in the order of the text."""
        word = next(self.constants, None)
        if word is None or word.text.lower() != written:
            raise ExpressionError("the expression can be read in two ways", end=len(self.text), hint="add parentheses")
        return Literal(value, start=word.start, end=word.end)

    # ---- operators

    def paren(self, tree: Any, depth: int) -> Syntax:
        return self.convert(tree.this, depth)

    def negate(self, tree: Any, depth: int) -> Syntax:
        operand = self.operand(tree.this, depth + 1, _SIGN)
        if isinstance(operand, Literal) and isinstance(operand.value, int | Decimal):
            self.nodes -= 1
            return Literal(-operand.value, start=self.sign_before(operand.start), end=operand.end)
        return Negate(operand, start=self.sign_before(operand.start), end=operand.end)

    def sign_before(self, offset: int) -> int:
        at = self.text.rfind("-", 0, offset)
        return at if at >= 0 else offset

    def not_(self, tree: Any, depth: int) -> Syntax:
        inner = tree.this
        operand = self.operand(inner, depth + (type(inner).__name__ not in _NEGATABLE), _NOT)
        if type(inner).__name__ in _NEGATABLE and isinstance(operand, IsNull | IsBoolean | In | Between | Like):
            return _negated(operand)
        at = self.text.lower().rfind("not", 0, operand.start)
        return Not(operand, start=max(at, 0), end=operand.end)

    def arithmetic(self, tree: Any, depth: int) -> Syntax:
        operator, binding = _ARITHMETIC[type(tree).__name__]
        chained = _binding(tree.this) == binding
        left = self.operand(tree.this, depth if chained else depth + 1, binding)
        right = self.operand(tree.expression, depth + 1, binding + 1)
        return Arithmetic(operator, left, right, **_span(left, right))

    def compare(self, tree: Any, depth: int) -> Syntax:
        operator = _COMPARISONS[type(tree).__name__]
        binding = _RANGE if operator.startswith("is") else _COMPARE + 1
        left = self.operand(tree.this, depth + 1, binding)
        right = self.operand(tree.expression, depth + 1, binding)
        return Compare(operator, left, right, **_span(left, right))

    def logic(self, tree: Any, depth: int) -> Syntax:
        operator = type(tree).__name__.lower()
        binding = _AND if operator == "and" else _OR
        trees: list[Any] = []
        spine = tree
        while type(spine) is type(tree):
            trees.append(spine.expression)
            spine = spine.this
        trees.append(spine)
        operands: list[Syntax] = []
        for part in reversed(trees):
            operand = self.operand(part, depth + 1, binding)
            if isinstance(operand, Logic) and operand.operator == operator:
                operands.extend(operand.operands)
            else:
                operands.append(operand)
        return Logic(operator, tuple(operands), **_span(*operands))

    def is_(self, tree: Any, depth: int) -> Syntax:
        operand = self.operand(tree.this, depth + 1, _RANGE)
        kind = type(tree.expression).__name__
        if kind == "Null":
            return IsNull(operand, **_span(operand))
        if kind == "Boolean":
            return IsBoolean(operand, bool(tree.expression.this), **_span(operand))
        raise ExpressionError("`is` is followed by null, true or false", **_span(operand))

    def in_(self, tree: Any, depth: int) -> Syntax:
        operand = self.operand(tree.this, depth + 1, _ADD)
        listed = tree.args.get("expressions")
        if not listed or any(value for key, value in tree.args.items() if key not in ("this", "expressions")):
            raise ExpressionError("`in` needs a list of values", **_span(operand), hint="x in (1, 2, 3)")
        items = tuple(self.item(item, depth + 1) for item in listed)
        return In(operand, items, **_span(operand, *items))

    def item(self, tree: Any, depth: int) -> Syntax:
        """A member of an IN list; literals do not count as parts of the expression."""
        name = type(tree).__name__
        if name == "Literal" or (name == "Neg" and type(tree.this).__name__ == "Literal"):
            before = self.nodes
            node = self.convert(tree, depth, counted=False)
            self.nodes = before
            return node
        return self.convert(tree, depth)

    def between(self, tree: Any, depth: int) -> Syntax:
        parts = [self.operand(part, depth + 1, _ADD) for part in (tree.this, tree.args["low"], tree.args["high"])]
        if tree.args.get("symmetric"):
            raise ExpressionError("`between symmetric` is not allowed", **_span(*parts))
        return Between(parts[0], parts[1], parts[2], **_span(*parts))

    def like(self, tree: Any, depth: int) -> Syntax:
        operand = self.operand(tree.this, depth + 1, _ADD)
        pattern = self.operand(tree.expression, depth + 1, _ADD)
        node = Like(operand, pattern, any_case=type(tree).__name__ == "ILike", **_span(operand, pattern))
        return _negated(node) if tree.args.get("negate") else node

    def escape(self, tree: Any, depth: int) -> Syntax:
        inner = tree.this
        negated = type(inner).__name__ == "Not"
        node = self.convert(inner.this if negated else inner, depth)
        escape = self.convert(tree.expression, depth + 1)
        if not isinstance(node, Like) or not isinstance(escape, Literal) or not isinstance(escape.value, str):
            raise ExpressionError("`escape` follows a pattern", **_span(escape), hint="x like '10!%' escape '!'")
        if len(escape.value) > 1:
            raise ExpressionError("`escape` takes one character", **_span(escape))
        return Like(
            node.operand,
            node.pattern,
            escape.value,
            node.any_case,
            node.negated != negated,
            start=node.start,
            end=escape.end,
        )

    def case(self, tree: Any, depth: int) -> Syntax:
        operand = self.convert(tree.this, depth + 1) if tree.this is not None else None
        branches = tuple(
            (self.convert(part.this, depth + 1), self.convert(part.args["true"], depth + 1))
            for part in tree.args["ifs"]
        )
        default = tree.args.get("default")
        otherwise = self.convert(default, depth + 1) if default is not None else None
        node = Case(operand, branches, otherwise)
        return Case(operand, branches, otherwise, **_span(*node.children))

    # ---- functions

    def call(self, tree: Any, depth: int, function: str, parts: tuple[str, ...]) -> Syntax:
        given: list[Any] = []
        for part in parts:
            value = tree.args.get(part)
            given.extend(value if isinstance(value, list) else [] if value is None else [value])
        return self.called(tree, function, tuple(self.convert(item, depth + 1) for item in given))

    def called(self, tree: Any, function: str, arguments: tuple[Syntax, ...]) -> Syntax:
        span = _span(*arguments)
        start = tree.meta.get("start", span["start"])
        closing = self.text.find(")", span["end"])
        return Call(function, arguments, start=start, end=closing + 1 if closing >= 0 else span["end"])

    def anonymous(self, tree: Any, depth: int) -> Syntax:
        name = str(tree.this).lower()
        if name not in ("distance_km", "in_list", "lookup", "day_of_week"):
            start, end = self.place(tree)
            raise ExpressionError(f"there is no function {name}()", start=start, end=end)
        return self.call(tree, depth, name, ("expressions",))

    def date_diff(self, tree: Any, depth: int) -> Syntax:
        # sqlglot takes the unit out of its quotes and turns the other two round.
        first = self.convert(tree.expression, depth + 1)
        second = self.convert(tree.this, depth + 1)
        unit = next((word for word in reversed(self.values) if word.start < first.start), None)
        written = tree.args.get("unit")
        if unit is None or unit.kind != "text" or written is None or str(written.name).lower() != unit.text.lower():
            raise ExpressionError(
                "the first argument of date_diff() is a unit", **_span(first), hint="date_diff('day', from, to)"
            )
        self.taken += 1
        literal = Literal(unit.text.lower(), start=unit.start, end=unit.end)
        return self.called(tree, "date_diff", (literal, first, second))


_ARITHMETIC = {
    "Add": ("+", _ADD),
    "Sub": ("-", _ADD),
    "Mul": ("*", _MULTIPLY),
    "Div": ("/", _MULTIPLY),
    "IntDiv": ("//", _MULTIPLY),
    "Mod": ("%", _MULTIPLY),
}
_COMPARISONS = {
    "EQ": "=",
    "NEQ": "!=",
    "LT": "<",
    "LTE": "<=",
    "GT": ">",
    "GTE": ">=",
    "NullSafeEQ": "is not distinct from",
    "NullSafeNEQ": "is distinct from",
}
_NEGATABLE = frozenset(("Is", "In", "Between", "Like", "ILike", "Escape"))
_CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Coalesce": ("coalesce", ("this", "expressions")),
    "Nullif": ("nullif", ("this", "expression")),
    "Abs": ("abs", ("this",)),
    "Round": ("round", ("this", "decimals")),
    "Floor": ("floor", ("this",)),
    "Ceil": ("ceil", ("this",)),
    "Ln": ("ln", ("this",)),
    "Sqrt": ("sqrt", ("this",)),
    "Pow": ("power", ("this", "expression")),
    "Least": ("least", ("this", "expressions")),
    "Greatest": ("greatest", ("this", "expressions")),
    "Lower": ("lower", ("this",)),
    "Upper": ("upper", ("this",)),
    "Length": ("length", ("this",)),
    "StartsWith": ("starts_with", ("this", "expression")),
    "Hour": ("hour", ("this",)),
    "DayOfWeek": ("day_of_week", ("this",)),
}
_OPERATORS: dict[str, Callable[[Converter, Any, int], Syntax]] = {
    "Literal": Converter.literal,
    "Column": Converter.column,
    "Null": Converter.null,
    "Boolean": Converter.boolean,
    "Paren": Converter.paren,
    "Neg": Converter.negate,
    "Not": Converter.not_,
    "And": Converter.logic,
    "Or": Converter.logic,
    "Is": Converter.is_,
    "In": Converter.in_,
    "Between": Converter.between,
    "Like": Converter.like,
    "ILike": Converter.like,
    "Escape": Converter.escape,
    "Case": Converter.case,
    "Anonymous": Converter.anonymous,
    "DateDiff": Converter.date_diff,
    **dict.fromkeys(_ARITHMETIC, Converter.arithmetic),
    **dict.fromkeys(_COMPARISONS, Converter.compare),
}
_BINDING = {
    "Or": _OR,
    "And": _AND,
    "Not": _NOT,
    "Is": _IS,
    **dict.fromkeys(("NullSafeEQ", "NullSafeNEQ"), _IS),
    **dict.fromkeys(("EQ", "NEQ", "LT", "LTE", "GT", "GTE"), _COMPARE),
    **dict.fromkeys(("In", "Between", "Like", "ILike", "Escape"), _RANGE),
    **{name: binding for name, (_, binding) in _ARITHMETIC.items()},
    "Neg": _SIGN,
}


def _binding(tree: Any) -> int:
    name = type(tree).__name__
    return _IS if name in ("Like", "ILike") and tree.args.get("negate") else _BINDING.get(name, _VALUE)


@cache
def _handlers() -> dict[type, Callable[[Converter, Any, int], Syntax]]:
    """sqlglot's classes that are let through; by class, so that a subclass is not."""
    from sqlglot import expressions

    handlers = {getattr(expressions, name): handler for name, handler in _OPERATORS.items()}
    for name, (function, parts) in _CALLS.items():
        handlers[getattr(expressions, name)] = _caller(function, parts)
    return handlers


def _caller(function: str, parts: tuple[str, ...]) -> Callable[[Converter, Any, int], Syntax]:
    def handler(converter: Converter, tree: Any, depth: int) -> Syntax:
        return converter.call(tree, depth, function, parts)

    return handler


def _negated(node: IsNull | IsBoolean | In | Between | Like) -> Syntax:
    return replace(node, negated=not node.negated)


class _Span(TypedDict):
    start: int
    end: int


def _span(*nodes: Syntax) -> _Span:
    """From the first to the last of some nodes."""
    placed = [node for node in nodes if node.end]
    if not placed:
        return {"start": 0, "end": 0}
    return {"start": min(node.start for node in placed), "end": max(node.end for node in placed)}


def _number(word: Word) -> int | Decimal:
    text = word.text
    if not _NUMBER.fullmatch(text):
        refuse(f"{text!r} is not a number", word)
    if _WHOLE.fullmatch(text):
        whole = int(text.replace("_", "")) if len(text) <= 40 else 10**40
        if whole >= 2**63:
            refuse("a whole number beyond 64 bits", word, hint="write 1e30 for a number that large")
        return whole
    value = Decimal(text.replace("_", ""))
    if value != 0 and not Decimal("1e-300") < value < Decimal("1e300"):
        refuse("the number is too large or too small", word)
    return value
