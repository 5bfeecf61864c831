"""Random expressions and rows for the tests of expressions: typed trees over fixed columns, NULLs everywhere."""

from __future__ import annotations

import random
from decimal import Decimal

from oracle.expressions import BOOLEAN, INTEGER, MONEY, NUMBER, STRING, TIMESTAMP, Tree

COLUMNS = {
    "amount": MONEY,
    "fee": MONEY,
    "card.payments_1h": INTEGER,
    "n": INTEGER,
    "huge": INTEGER,
    "score": NUMBER,
    "card.usual_30d": NUMBER,
    "latitude": NUMBER,
    "night": BOOLEAN,
    "trusted": BOOLEAN,
    "country": STRING,
    "merchant": STRING,
    "paid_at": TIMESTAMP,
    "opened_at": TIMESTAMP,
}
TEXTS = ["IN", "US", "", "a%b", "A_b", "straße", "Éa", "it's", "aab", "aaab", "İx", "10%"]
PATTERNS = ["%", "", "a%", "%b", "_", "A_%", "%a%b%", "%_a_b", "10!%", "a!_b", "%s%e", "__", "%ß%"]
UNITS = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]


class Trees:
    """Draws trees of a wanted type from a seeded source."""

    def __init__(self, rng: random.Random, *, extremes: bool = True, lookups: bool = True) -> None:
        self.rng = rng
        self.extremes = extremes
        self.lookups = lookups

    def draw(self, type: str, depth: int) -> Tree:
        if depth <= 0 or self.rng.random() < 0.12:
            return self.leaf(type)
        return getattr(self, type)(depth - 1)

    def column(self, type: str) -> Tree:
        names = [name for name, held in COLUMNS.items() if held == type and (self.extremes or name != "huge")]
        return Tree("column", type, data=self.rng.choice(names))

    def leaf(self, type: str) -> Tree:
        if type in (MONEY, TIMESTAMP) or self.rng.random() < 0.7:
            return self.column(type)
        return self.literal(type)

    def literal(self, type: str) -> Tree:
        value: object
        if type == INTEGER:
            value = self.rng.choice([0, 1, 2, 3, -1, 7, 100, self.rng.randint(-1000, 1000)])
        elif type in (NUMBER, MONEY):
            value = Decimal(self.rng.randint(-3000, 3000)).scaleb(-2)
            type = NUMBER
        elif type == BOOLEAN:
            value = self.rng.random() < 0.5
        elif type == STRING:
            value = self.rng.choice(TEXTS)
        else:
            value = self.rng.randint(0, 2 * 10**9) * 1_000_000
        return Tree("literal", type, data=value)

    def bound(self, type: str) -> Tree:
        """A literal to compare with: one that values of the type meet, or miss by a little, or cannot reach."""
        if type not in NUMERIC or self.rng.random() < 0.2:
            return self.literal(type)
        if self.rng.random() < 0.5:
            far = [2**63 - 1, -(2**63) + 1, 2**62] if self.extremes else []
            return Tree("literal", INTEGER, data=self.rng.choice([0, 1, 2, 3, 5, 7, -1, *far]))
        near = ["2.5", "0.285", "-1.5", "5.00", "999.99", "1.0", "0.0", "4.999", "0.001", "-2.501", "6.5"]
        far_off = [Decimal("1e30"), Decimal("-1e30"), Decimal("92233720368547758.07")] if self.extremes else []
        return Tree("literal", NUMBER, data=self.rng.choice([*map(Decimal, near), *far_off]))

    def several(self, type: str, depth: int) -> tuple[Tree, ...]:
        """Values of one type; the first is no literal, so that the type is this one."""
        first = self.draw(type, depth)
        if first.what == "literal":
            first = self.column(type)
        return (first, *(self.draw(type, depth) for _ in range(self.rng.randint(1, 2))))

    def shared(self, type: str, depth: int) -> Tree | None:
        """What every type has: case, coalesce, nullif, least and greatest."""
        kind = self.rng.random()
        if kind < 0.08:
            first, *rest = self.several(type, depth)
            parts = (self.draw(BOOLEAN, depth), first, self.draw(BOOLEAN, depth), rest[0])
            last = Tree("literal", type) if self.rng.random() < 0.3 else self.draw(type, depth)
            return Tree("case", type, (*parts, last))
        if kind < 0.16:
            return Tree("coalesce", type, self.several(type, depth))
        if kind < 0.22 and type not in (STRING, BOOLEAN):
            return Tree(self.rng.choice(["least", "greatest"]), type, self.several(type, depth))
        if kind < 0.26:
            return Tree("nullif", type, self.several(type, depth)[:2])
        return None

    def boolean(self, depth: int) -> Tree:
        tree = self.shared(BOOLEAN, depth)
        if tree is not None:
            return tree
        kind = self.rng.randint(0, 12)
        if kind <= 2:
            parts = tuple(self.draw(BOOLEAN, depth) for _ in range(self.rng.randint(2, 4)))
            return Tree(self.rng.choice(["and", "or"]), BOOLEAN, parts)
        if kind == 3:
            return Tree("not", BOOLEAN, (self.draw(BOOLEAN, depth),))
        if kind == 4:
            type = self.rng.choice([INTEGER, NUMBER, STRING, MONEY])
            operand = self.several(type, depth)[0]
            items = tuple(self.bound(type) for _ in range(self.rng.randint(1, 4)))
            if self.rng.random() < 0.2:
                items = (*items, self.column(type))
            return Tree("in", BOOLEAN, (operand, *items), self.rng.random() < 0.3)
        if kind == 5:
            type = self.rng.choice([INTEGER, NUMBER, MONEY, TIMESTAMP])
            low, high = self.column(type), self.draw(type, depth)
            if self.rng.random() < 0.5:
                low, high = sorted((self.bound(type), self.bound(type)), key=lambda item: Decimal(str(item.data)))
            return Tree("between", BOOLEAN, (self.several(type, depth)[0], low, high), self.rng.random() < 0.3)
        if kind == 6:
            type = self.rng.choice([INTEGER, NUMBER, STRING, MONEY, BOOLEAN, TIMESTAMP])
            return Tree("is_null", BOOLEAN, (self.several(type, depth)[0],), self.rng.random() < 0.5)
        if kind == 7:
            wanted = (self.rng.random() < 0.5, self.rng.random() < 0.5)
            return Tree("is_true", BOOLEAN, (self.draw(BOOLEAN, depth),), wanted)
        if kind == 8:
            return self.of_text(depth)
        return self.compare(depth)

    def of_text(self, depth: int) -> Tree:
        text = self.several(STRING, depth)[0]
        kind = self.rng.randint(0, 3)
        if kind == 0:
            return Tree("starts_with", BOOLEAN, (text,), self.rng.choice(["", "a", "I", "stra", "É"]))
        if kind == 1 and self.lookups:
            return Tree("in_list", BOOLEAN, (text,), "watched")
        pattern = self.rng.choice(PATTERNS)
        return Tree("like", BOOLEAN, (text,), (pattern, "!" if "!" in pattern else "", self.rng.random() < 0.3))

    def compare(self, depth: int) -> Tree:
        kind = self.rng.randint(0, 4)
        operator = self.rng.choice(["=", "!=", "<", "<=", ">", ">="])
        if kind <= 2:
            left, right = self.rng.choice(NUMERIC), self.rng.choice(NUMERIC)
        else:
            left = right = self.rng.choice([STRING, BOOLEAN, TIMESTAMP])
            operator = operator if left == TIMESTAMP else self.rng.choice(["=", "!="])
        first, second = self.several(left, depth)[0], self.draw(right, depth)
        if self.rng.random() < 0.6:
            first, second = self.column(left) if self.rng.random() < 0.6 else first, self.bound(right)
            if left not in NUMERIC:
                second = self.literal(left)
        if self.rng.random() < 0.3 and second.what == "literal":
            first, second = second, first
        if self.rng.random() < 0.1:
            return Tree("distinct", BOOLEAN, (first, second))
        return Tree("compare", BOOLEAN, (first, second), operator)

    def integer(self, depth: int) -> Tree:
        tree = self.shared(INTEGER, depth)
        if tree is not None:
            return tree
        kind = self.rng.randint(0, 7)
        if kind <= 3:
            operator = self.rng.choice(["+", "-", "*", "//", "%"])
            return Tree("arithmetic", INTEGER, self.several(INTEGER, depth)[:2], operator)
        if kind == 4:
            what = self.rng.choice(["negate", "abs"])
            return Tree(what, INTEGER, self.several(INTEGER, depth)[:1])
        if kind == 5:
            return Tree("length", INTEGER, self.several(STRING, depth)[:1])
        if kind == 6:
            what = self.rng.choice(["hour", "day_of_week"])
            return Tree(what, INTEGER, self.several(TIMESTAMP, depth)[:1])
        return Tree("date_diff", INTEGER, self.several(TIMESTAMP, depth)[:2], self.rng.choice(UNITS))

    def number(self, depth: int) -> Tree:
        tree = self.shared(NUMBER, depth)
        if tree is not None:
            return tree
        kind = self.rng.randint(0, 8)
        if kind <= 2:
            other = self.rng.choice([NUMBER, INTEGER])
            parts = (self.several(NUMBER, depth)[0], self.draw(other, depth))
            if self.rng.random() < 0.5:
                parts = (parts[1], parts[0])
            return Tree("arithmetic", NUMBER, parts, self.rng.choice(["+", "-", "*", "/", "%"]))
        if kind == 3:
            amount, other = self.several(MONEY, depth)[0], self.draw(self.rng.choice([NUMBER, INTEGER]), depth)
            return Tree("arithmetic", NUMBER, (amount, other), self.rng.choice(["*", "/"]))
        if kind == 4:
            first, second = self.several(MONEY, depth)[0], self.column(MONEY)
            return Tree("arithmetic", NUMBER, (first, second), "/")
        if kind == 5:
            what = self.rng.choice(["floor", "ceil", "abs", "negate"])
            return Tree(what, NUMBER, self.several(NUMBER, depth)[:1])
        if kind == 6:
            digits = self.rng.choice([None, 0, 1, 2, 4])
            return Tree("round", NUMBER, self.several(NUMBER, depth)[:1], digits)
        if kind == 7 and self.lookups:
            return Tree("lookup", NUMBER, self.several(STRING, depth)[:1], ("risk", "share"))
        type = self.rng.choice(NUMERIC)
        if self.rng.random() < 0.3:
            return Tree("power", NUMBER, (self.several(type, depth)[0], self.literal(INTEGER)))
        return Tree(self.rng.choice(["ln", "sqrt"]), NUMBER, self.several(type, depth)[:1])

    def money(self, depth: int) -> Tree:
        tree = self.shared(MONEY, depth)
        if tree is not None:
            return tree
        kind = self.rng.randint(0, 4)
        if kind <= 2:
            other = self.literal(NUMBER) if self.rng.random() < 0.3 else self.draw(MONEY, depth)
            parts = (self.several(MONEY, depth)[0], other)
            operator = self.rng.choice(["+", "-", "%"] if self.extremes else ["+", "-"])
            return Tree("arithmetic", MONEY, parts, operator)
        if kind == 3:
            return Tree("round", MONEY, self.several(MONEY, depth)[:1], self.rng.choice([None, 0, 1, 2]))
        return Tree(self.rng.choice(["abs", "negate", "floor", "ceil"]), MONEY, self.several(MONEY, depth)[:1])

    def string(self, depth: int) -> Tree:
        tree = self.shared(STRING, depth)
        if tree is not None:
            return tree
        if self.lookups and self.rng.random() < 0.2:
            return Tree("lookup", STRING, self.several(STRING, depth)[:1], ("risk", "region"))
        return Tree(self.rng.choice(["lower", "upper"]), STRING, self.several(STRING, depth)[:1])

    def timestamp(self, depth: int) -> Tree:
        return self.shared(TIMESTAMP, depth) or self.column(TIMESTAMP)


NUMERIC = [INTEGER, NUMBER, MONEY]


def draw_row(rng: random.Random, *, extremes: bool = True) -> dict[str, object]:
    """One event's columns; a quarter of the values are NULL."""
    return {name: None if rng.random() < 0.25 else _value(rng, name, type, extremes) for name, type in COLUMNS.items()}


def _value(rng: random.Random, name: str, type: str, extremes: bool) -> object:
    if name == "huge":
        return rng.choice([2**63 - 1, -(2**63) + 1, 2**62, 2**32, -(2**33), 3_037_000_500, 5])
    if type == INTEGER:
        return rng.choice([0, 1, 2, 3, 7, -1, rng.randint(-1000, 1000)])
    if type == MONEY:
        cents = rng.choice([0, 1, 500, -250, 99_999, rng.randint(-300_000, 300_000)])
        if extremes and rng.random() < 0.05:
            cents = rng.choice([2**63 - 1, -(2**63) + 1, 2**62])
        return Decimal(cents).scaleb(-2)
    if type == NUMBER:
        plain = [0.0, 1.0, -1.5, 0.285, 2.5, rng.uniform(-100, 100), float(rng.randint(-30, 30))]
        return rng.choice([*plain, 1e308, 1e-300] if extremes else plain)
    if type == BOOLEAN:
        return rng.random() < 0.5
    if type == STRING:
        return rng.choice(TEXTS)
    return rng.randint(946_684_800, 2_000_000_000) * 1_000_000 + rng.choice([0, 999_999])
