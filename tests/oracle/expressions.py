"""What an expression means, row by row, in plain Python: slow, obvious, and written from the design alone.

It reads neither the parser's tree nor the checker's: tests draw a `Tree`, render it as text for Parakh and for
DuckDB, and evaluate the tree itself here. NULL is None, money a Decimal in major units, times microseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

BOOLEAN, INTEGER, NUMBER, MONEY, STRING, TIMESTAMP = "boolean", "integer", "number", "money", "string", "timestamp"
LIMIT = 2**63
CENT = Decimal("0.01")
EXACT = Context(prec=60)


@dataclass(frozen=True)
class Tree:
    """One node: what it does, its type, its operands and its own data."""

    what: str
    type: str
    parts: tuple[Tree, ...] = ()
    data: object = None


@dataclass
class Row:
    """One event: its columns, its time, the zone, and the lists and tables as plain lists of spans."""

    columns: dict[str, object]
    time: int = 0
    zone: str = "UTC"
    lists: dict[str, list[tuple[object, int, int]]] = field(default_factory=dict)
    tables: dict[str, list[tuple[object, dict[str, object], int, int]]] = field(default_factory=dict)
    overflow: bool = False


def as_float(tree: Tree, value: object) -> float | None:
    """A value as a number: money as its minor units divided by 100."""
    if value is None:
        return None
    return float(int(value * 100)) / 100.0 if tree.type == MONEY else float(value)  # type: ignore[operator, arg-type]


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def evaluate(tree: Tree, row: Row) -> object:
    """The value of a tree; sets row.overflow where whole-number or money arithmetic leaves 64 bits."""
    return globals()["do_" + tree.what](tree, row)


def do_column(tree: Tree, row: Row) -> object:
    return row.columns[str(tree.data)]


def do_literal(tree: Tree, row: Row) -> object:
    return tree.data


def do_and(tree: Tree, row: Row) -> object:
    values = [evaluate(part, row) for part in tree.parts]
    return False if False in values else None if None in values else True


def do_or(tree: Tree, row: Row) -> object:
    values = [evaluate(part, row) for part in tree.parts]
    return True if True in values else None if None in values else False


def do_not(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else not value


def compare(operator: str, left: Tree, right: Tree, x: object, y: object) -> bool | None:
    if x is None or y is None:
        return None
    types = {left.type, right.type}
    literal = "literal" in (left.what, right.what)
    exact = (types == {MONEY}) or (NUMBER not in types and (literal or MONEY not in types))
    if literal and types & {MONEY, INTEGER}:  # against a literal whole numbers and money are exact
        column = left if right.what == "literal" else right
        exact = column.type != NUMBER
    if types <= {INTEGER, NUMBER, MONEY}:
        x, y = (Fraction(x), Fraction(y)) if exact else (as_float(left, x), as_float(right, y))  # type: ignore[arg-type]
    return {
        "=": lambda: x == y,
        "!=": lambda: x != y,
        "<": lambda: x < y,
        "<=": lambda: x <= y,
        ">": lambda: x > y,
        ">=": lambda: x >= y,
    }[operator]()


def do_compare(tree: Tree, row: Row) -> object:
    left, right = tree.parts
    return compare(str(tree.data), left, right, evaluate(left, row), evaluate(right, row))


def do_distinct(tree: Tree, row: Row) -> object:
    left, right = tree.parts
    x, y = evaluate(left, row), evaluate(right, row)
    if x is None or y is None:
        return (x is None) != (y is None)
    return not compare("=", left, right, x, y)


def do_between(tree: Tree, row: Row) -> object:
    operand, low, high = tree.parts
    x = evaluate(operand, row)
    above = compare(">=", operand, low, x, evaluate(low, row))
    below = compare("<=", operand, high, x, evaluate(high, row))
    inside = False if False in (above, below) else None if None in (above, below) else True
    return inside if not tree.data or inside is None else not inside


def do_in(tree: Tree, row: Row) -> object:
    operand, *items = tree.parts
    x = evaluate(operand, row)
    found = [compare("=", operand, item, x, evaluate(item, row)) for item in items]
    inside = True if True in found else None if None in found else False
    return inside if not tree.data or inside is None else not inside


def do_is_null(tree: Tree, row: Row) -> object:
    return (evaluate(tree.parts[0], row) is None) != bool(tree.data)


def do_is_true(tree: Tree, row: Row) -> object:
    wanted, negated = tree.data  # type: ignore[misc]
    return (evaluate(tree.parts[0], row) is wanted) != negated


def fit(tree: Tree, value: object, row: Row) -> object:
    """A whole number or money that must fit 64 bits."""
    if value is None or tree.type not in (INTEGER, MONEY):
        return value
    minor = Fraction(value) * (100 if tree.type == MONEY else 1)  # type: ignore[arg-type]
    if not -LIMIT < minor < LIMIT:
        row.overflow = True
        return None
    return value


def do_arithmetic(tree: Tree, row: Row) -> object:
    left, right = tree.parts
    x, y = evaluate(left, row), evaluate(right, row)
    if x is None or y is None:
        return None
    operator = str(tree.data)
    if tree.type == NUMBER:
        if operator == "/" and left.type == right.type == MONEY:  # a ratio of minor units
            a, b = float(int(x * 100)), float(int(y * 100))  # type: ignore[operator]
        else:
            a, b = as_float(left, x), as_float(right, y)  # type: ignore[assignment]
        if operator in ("/", "%") and b == 0:
            return None
        try:
            operations = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}
            return finite((operations | {"%": lambda: math.fmod(a, b)})[operator]())
        except OverflowError:
            return None
    if tree.type == MONEY:
        x, y = Decimal(x), Decimal(y)  # type: ignore[arg-type]
        if operator == "%":
            return None if y == 0 else EXACT.remainder(x, y)
        return fit(tree, EXACT.add(x, y) if operator == "+" else EXACT.subtract(x, y), row)
    assert isinstance(x, int)
    assert isinstance(y, int)
    if operator in ("//", "%"):
        if y == 0:
            return None
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        return quotient if operator == "//" else x - y * quotient
    return fit(tree, {"+": x + y, "-": x - y, "*": x * y}[operator], row)


def do_negate(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else -value  # type: ignore[operator]


def do_case(tree: Tree, row: Row) -> object:
    *branches, otherwise = tree.parts
    values = [evaluate(part, row) for part in branches]
    rest = evaluate(otherwise, row)
    for condition, value, part in zip(values[::2], values[1::2], branches[1::2]):
        if condition is True:
            return widened(tree, part, value)
    return widened(tree, otherwise, rest)


def widened(tree: Tree, part: Tree, value: object) -> object:
    """A value as the type that several share."""
    if value is None:
        return None
    if tree.type == NUMBER:
        return as_float(part, value)
    return Decimal(value) if tree.type == MONEY else value  # type: ignore[arg-type]


def do_coalesce(tree: Tree, row: Row) -> object:
    values = [widened(tree, part, evaluate(part, row)) for part in tree.parts]
    return next((value for value in values if value is not None), None)


def do_least(tree: Tree, row: Row) -> object:
    values = [widened(tree, part, evaluate(part, row)) for part in tree.parts]
    return min((value for value in values if value is not None), default=None)  # type: ignore[type-var]


def do_greatest(tree: Tree, row: Row) -> object:
    values = [widened(tree, part, evaluate(part, row)) for part in tree.parts]
    return max((value for value in values if value is not None), default=None)  # type: ignore[type-var]


def do_nullif(tree: Tree, row: Row) -> object:
    left, right = tree.parts
    x, y = evaluate(left, row), evaluate(right, row)
    return None if compare("=", left, right, x, y) else x


def do_abs(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else abs(value)  # type: ignore[arg-type]


def do_round(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    digits = int(tree.data or 0)  # type: ignore[call-overload]
    if value is None or tree.type == INTEGER:
        return value
    if tree.type == MONEY:
        step = Decimal(1).scaleb(-min(digits, 2))
        return fit(tree, value.quantize(step, rounding=ROUND_HALF_UP, context=EXACT), row)  # type: ignore[attr-defined]
    scaled = abs(float(value)) * 10.0**digits  # type: ignore[arg-type]
    if not math.isfinite(scaled):
        return value
    whole = math.floor(scaled)
    whole += scaled - whole >= 0.5
    return math.copysign(float(whole) / 10.0**digits, float(value))  # type: ignore[arg-type]


def do_floor(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    if value is None:
        return None
    return fit(tree, _kept(tree, math.floor(value)), row)  # type: ignore[arg-type]


def do_ceil(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    if value is None:
        return None
    return fit(tree, _kept(tree, math.ceil(value)), row)  # type: ignore[arg-type]


def _kept(tree: Tree, whole: int) -> object:
    return float(whole) if tree.type == NUMBER else Decimal(whole) if tree.type == MONEY else whole


def do_ln(tree: Tree, row: Row) -> object:
    value = as_float(tree.parts[0], evaluate(tree.parts[0], row))
    return math.log(value) if value is not None and value > 0 else None


def do_sqrt(tree: Tree, row: Row) -> object:
    value = as_float(tree.parts[0], evaluate(tree.parts[0], row))
    return math.sqrt(value) if value is not None and value >= 0 else None


def do_power(tree: Tree, row: Row) -> object:
    x, y = (as_float(part, evaluate(part, row)) for part in tree.parts)
    if x is None or y is None:
        return None
    try:
        return finite(math.pow(x, y))
    except (ValueError, OverflowError):
        return None


def do_lower(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else "".join(character.lower()[0] for character in str(value))


def do_upper(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    if value is None:
        return None
    raised = ("ẞ" if character == "ß" else character.upper() for character in str(value))
    return "".join(new if len(new) == 1 else old for new, old in zip(raised, str(value)))


def do_length(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else len(str(value))


def do_starts_with(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else str(value)[: len(str(tree.data))] == tree.data


def do_like(tree: Tree, row: Row) -> object:
    pattern, escape, negated = tree.data  # type: ignore[misc]
    value = evaluate(tree.parts[0], row)
    return None if value is None else like(str(value), pattern, escape) != negated


def like(text: str, pattern: str, escape: str) -> bool:
    """By trying every split: exponential, and plainly right."""
    if not pattern:
        return not text
    if escape and pattern[0] == escape:
        return bool(text) and text[0] == pattern[1] and like(text[1:], pattern[2:], escape)
    if pattern[0] == "%":
        return any(like(text[at:], pattern[1:], escape) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:], escape)


def local(time: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).astimezone(ZoneInfo(zone))


def do_hour(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else local(value, row.zone).hour  # type: ignore[arg-type]


def do_day_of_week(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    return None if value is None else local(value, row.zone).isoweekday()  # type: ignore[arg-type]


def do_date_diff(tree: Tree, row: Row) -> object:
    start, end = (evaluate(part, row) for part in tree.parts)
    if start is None or end is None:
        return None
    assert isinstance(start, int)
    assert isinstance(end, int)
    if tree.data == "second":
        return end // 1_000_000 - start // 1_000_000
    a, b = local(start, row.zone), local(end, row.zone)
    days = b.date().toordinal() - a.date().toordinal()
    months = (b.year - a.year) * 12 + b.month - a.month
    quarters = (b.year - a.year) * 4 + (b.month - 1) // 3 - (a.month - 1) // 3
    if tree.data in ("minute", "hour"):
        size = 60 if tree.data == "minute" else 3600
        clocks = [int(time.replace(tzinfo=UTC).timestamp() // size) for time in (a, b)]
        turned = (b.utcoffset() - a.utcoffset()).total_seconds()  # type: ignore[operator]
        return clocks[1] - clocks[0] - int(turned / size)
    return {
        "day": days,
        "week": int(days / 7),
        "month": months,
        "quarter": quarters,
        "year": b.year - a.year,
    }[str(tree.data)]


def do_distance_km(tree: Tree, row: Row) -> object:
    values = [as_float(part, evaluate(part, row)) for part in tree.parts]
    if any(value is None for value in values):
        return None
    a, b, c, d = values
    if max(abs(a), abs(c)) > 90 or max(abs(b), abs(d)) > 360:  # type: ignore[arg-type]
        return None
    chord = math.dist(on_sphere(a, b), on_sphere(c, d))  # type: ignore[arg-type]
    return 2 * 6371.0088 * math.asin(min(1.0, chord / 2))


def on_sphere(latitude: float, longitude: float) -> tuple[float, float, float]:
    up, along = math.radians(latitude), math.radians(longitude)
    return math.cos(up) * math.cos(along), math.cos(up) * math.sin(along), math.sin(up)


def do_in_list(tree: Tree, row: Row) -> object:
    value = evaluate(tree.parts[0], row)
    if value is None:
        return None
    return any(item == value and since <= row.time < until for item, since, until in row.lists[str(tree.data)])


def do_lookup(tree: Tree, row: Row) -> object:
    table, column = tree.data  # type: ignore[misc]
    key = evaluate(tree.parts[0], row)
    found, best = None, -LIMIT - 1
    for item, values, since, until in row.tables[table]:
        if key is not None and item == key and since <= row.time < until and since >= best:
            found, best = values[column], since
    return found


# ---- text


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def render(tree: Tree) -> str:
    """The text of a tree as Parakh reads it, with parentheses around every operand that could need them."""
    parts = [render(part) for part in tree.parts]
    inner = [text if part.what in ("column", "literal") else f"({text})" for part, text in zip(tree.parts, parts)]
    match tree.what:
        case "column":
            return str(tree.data)
        case "literal":
            return literal(tree)
        case "and" | "or":
            return f" {tree.what} ".join(inner)
        case "not":
            return f"not {inner[0]}"
        case "negate":
            return f"-{inner[0]}"
        case "compare" | "arithmetic":
            return f"{inner[0]} {tree.data} {inner[1]}"
        case "distinct":
            return f"{inner[0]} is distinct from {inner[1]}"
        case "between":
            return f"{inner[0]} {'not ' if tree.data else ''}between {inner[1]} and {inner[2]}"
        case "in":
            return f"{inner[0]} {'not ' if tree.data else ''}in ({', '.join(parts[1:])})"
        case "is_null":
            return f"{inner[0]} is {'not ' if tree.data else ''}null"
        case "is_true":
            wanted, negated = tree.data  # type: ignore[misc]
            return f"{inner[0]} is {'not ' if negated else ''}{str(wanted).lower()}"
        case "like":
            pattern, escape, negated = tree.data  # type: ignore[misc]
            tail = f" escape {quoted(escape)}" if escape else ""
            return f"{inner[0]} {'not ' if negated else ''}like {quoted(pattern)}{tail}"
        case "case":
            branches = "".join(f" when {when} then {then}" for when, then in zip(parts[:-1:2], parts[1::2]))
            return f"case{branches} else {parts[-1]} end"
        case "round":
            return f"round({parts[0]}, {tree.data})" if tree.data is not None else f"round({parts[0]})"
        case "starts_with":
            return f"starts_with({parts[0]}, {quoted(str(tree.data))})"
        case "date_diff":
            return f"date_diff('{tree.data}', {parts[0]}, {parts[1]})"
        case "in_list":
            return f"in_list({parts[0]}, {quoted(str(tree.data))})"
        case "lookup":
            table, column = tree.data  # type: ignore[misc]
            return f"lookup('{table}', {parts[0]}, '{column}')"
        case _:
            return f"{tree.what}({', '.join(parts)})"


def literal(tree: Tree) -> str:
    value = tree.data
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if tree.type == TIMESTAMP:
        return quoted(str(datetime(1970, 1, 1) + timedelta(microseconds=value)))  # type: ignore[arg-type]
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    text = f"{value:f}"
    return text if "." in text else text + ".0"
