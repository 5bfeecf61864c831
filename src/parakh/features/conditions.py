"""A `where` taken apart: what reads fields stays as it is, what reads a label may change when the label comes.

A `where` is a chain of conditions joined by `and`, each over fields only or over one label only; so is an aggregate's
argument. What a label decides can then be found again from the label alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from parakh.errors import ExpressionError
from parakh.expressions.parse import parse
from parakh.expressions.syntax import Expression, Logic, Name

__all__ = ["Condition", "label_of", "split_conditions"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a `where`; `label` is the label that it reads, None where it reads fields."""

    expression: Expression
    label: str | None


def split_conditions(where: str, labels: Collection[str]) -> tuple[Condition, ...]:
    """The conditions of a `where`, in order.

    Raises ExpressionError where one condition mixes a label with fields or with another label.

    >>> [(item.label, item.expression.names) for item in split_conditions("fraud and amount > 5", ["fraud"])]
    [('fraud', ('fraud',)), (None, ('amount',))]
    """
    expression = parse(where)
    root = expression.root
    parts = root.operands if isinstance(root, Logic) and root.operator == "and" else (root,)
    conditions = []
    for part in parts:
        piece = Expression(expression.text, part)
        conditions.append(Condition(piece, label_of(piece, labels)))
    return tuple(conditions)


def label_of(expression: Expression, labels: Collection[str]) -> str | None:
    """The one label that an expression reads, None where it reads fields only.

    Raises ExpressionError where it reads a label and something else.
    """
    read = [name for name in expression.names if name in labels]
    if not read:
        return None
    if len(expression.names) == 1:
        return read[0]
    other = next(name for name in expression.names if name != read[0])
    node = next(node for node in expression.walk() if isinstance(node, Name) and node.name == other)
    raise ExpressionError(
        f"{read[0]!r} is a label and cannot be mixed with {other!r} here",
        start=node.start,
        end=node.end,
        hint=f"join conditions with `and`, each over fields or over one label: where: {read[0]} and ...",
    )
