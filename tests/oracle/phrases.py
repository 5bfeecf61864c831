"""The expressions that the oracle understands: a text, its type, and what it means in plain Python.

The random projects write only these texts, so that the oracle needs no parser: the meaning of each stands beside it,
written by hand with SQL's three-valued logic (None is NULL).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from oracle.log import Value
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Type, money

__all__ = [
    "DERIVATIONS",
    "DERIVED",
    "FILTERS",
    "LABEL_FILTERS",
    "LABEL_VALUES",
    "VALUES",
    "Phrase",
    "conjunction",
    "conjuncts",
]

INR = money("INR")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Phrase:
    """An expression: its text, the names it reads, its type and its meaning over a row of names.

    `rounded` says that its float64 may differ in the last place by the order of its arithmetic.
    """

    text: str
    reads: tuple[str, ...]
    type: Type
    of: Callable[[Row], Any]
    rounded: bool = False


def _column(name: str, type: Type) -> Phrase:
    return Phrase(name, (name,), type, lambda row: row[name])


def _when(text: str, name: str, test: Callable[[Any], bool]) -> Phrase:
    """A condition over one name that is NULL where the name is."""
    return Phrase(text, (name,), BOOLEAN, lambda row: None if row[name] is None else test(row[name]))


def _not(value: Value) -> bool | None:
    return None if value is None else not value


def _both(left: Value, right: Value) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _either(left: Value, right: Value) -> bool | None:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _country_or_none(row: Row) -> Value:
    return "none" if row["country"] is None else row["country"]  # the empty string is a value


def _twice(row: Row) -> float | None:
    amount = row["amount"]
    return None if amount is None else float(amount * 2)


COLUMNS = (
    _column("amount", INR),
    _column("points", INTEGER),
    _column("ratio", NUMBER),
    _column("wild", NUMBER),
    _column("country", STRING),
    _column("online", BOOLEAN),
    _column("at_time", TIMESTAMP),
    _column("large", BOOLEAN),
    _column("doubled", INTEGER),
)

# Aggregate arguments over fields: every column, and a few computed ones whose arithmetic is exact in any order.
VALUES: tuple[Phrase, ...] = (
    *COLUMNS,
    Phrase("amount * 2", ("amount",), NUMBER, _twice, rounded=True),
    Phrase("abs(ratio)", ("ratio",), NUMBER, lambda row: None if row["ratio"] is None else abs(row["ratio"])),
    Phrase("coalesce(country, 'none')", ("country",), STRING, _country_or_none),
    Phrase("case when online then 1 else 0 end", ("online",), INTEGER, lambda row: 1 if row["online"] else 0),
)


FILTERS: tuple[Phrase, ...] = (
    _column("online", BOOLEAN),
    _column("large", BOOLEAN),
    Phrase("not online", ("online",), BOOLEAN, lambda row: _not(row["online"])),
    _when("points > 3", "points", lambda value: value > 3),
    _when("amount >= 10", "amount", lambda value: value >= 10),
    _when("amount < 49.99", "amount", lambda value: value < Decimal("49.99")),
    _when("country = 'IN'", "country", lambda value: value == "IN"),
    _when("country in ('IN', 'US')", "country", lambda value: value in ("IN", "US")),
    _when("ratio between -1 and 1", "ratio", lambda value: -1 <= value <= 1),
    Phrase("points is null", ("points",), BOOLEAN, lambda row: row["points"] is None),
    Phrase("online is not null", ("online",), BOOLEAN, lambda row: row["online"] is not None),
    Phrase(
        "country <> 'IN' or points > 0",
        ("country", "points"),
        BOOLEAN,
        lambda row: _either(
            None if row["country"] is None else row["country"] != "IN",
            None if row["points"] is None else row["points"] > 0,
        ),
    ),
    Phrase(
        "online and ratio > 0",
        ("online", "ratio"),
        BOOLEAN,
        lambda row: _both(row["online"], None if row["ratio"] is None else row["ratio"] > 0),
    ),
)

LABEL_VALUES: tuple[Phrase, ...] = (_column("fraud", BOOLEAN), _column("severity", INTEGER))
"""Arguments over one label; unlabelled counts as false or 0."""

LABEL_FILTERS: tuple[Phrase, ...] = (
    _column("fraud", BOOLEAN),
    Phrase("not fraud", ("fraud",), BOOLEAN, lambda row: _not(row["fraud"])),
    Phrase("fraud is null", ("fraud",), BOOLEAN, lambda row: row["fraud"] is None),
    _when("severity >= 2", "severity", lambda value: value >= 2),
)
"""Conditions over one label; unlabelled is NULL."""


def _doubled(row: Row) -> Value:
    return None if row["points"] is None else int(row["points"]) * 2


DERIVED: tuple[Phrase, ...] = (
    Phrase("large", ("amount",), BOOLEAN, lambda row: None if row["amount"] is None else row["amount"] >= 50),
    Phrase("doubled", ("points",), INTEGER, _doubled),
)
"""What the random event types derive; `text` is the name. `doubled` may leave 64 bits: NULL and flagged then."""

DERIVATIONS = {"large": "amount >= 50", "doubled": "points * 2"}
"""The texts of what is derived."""


def conjunction(texts: Sequence[str]) -> str:
    """Conditions joined by AND, each in brackets where there are several."""
    return texts[0] if len(texts) == 1 else " AND ".join(f"({text})" for text in texts)


def conjuncts(text: str) -> list[str]:
    """The conditions that `conjunction` joined."""
    parts = text.split(") AND (")
    return parts if len(parts) == 1 else [parts[0][1:], *parts[1:-1], parts[-1][:-1]]
