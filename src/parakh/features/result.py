"""The type of a feature's values, from its aggregate and the type of the aggregate's argument: pure, so that a project
is checked without loading a kernel.
"""

from __future__ import annotations

from parakh.errors import ExpressionError
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, Kind, Type
from parakh.features.definition import Aggregate, AggregateKind

__all__ = ["feature_type"]

_ADDABLE = (Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER, Kind.MONEY)
_HINTS = {
    Kind.STRING: "count(distinct x), first(x) and last(x) take text",
    Kind.TIMESTAMP: "min(x), max(x), first(x) and last(x) take times",
}


def feature_type(aggregate: Aggregate, argument: Type | None) -> Type:
    """What a feature's values are: `argument` is the type of the aggregate's argument, None where it has none.

    sum keeps integer, money and number (true counts 1); avg and stddev are numbers, in major units for money; min, max,
    first and last have the argument's type; counts are integers; since_last is seconds. Raises ExpressionError where
    the aggregate does not take such an argument.

    >>> str(feature_type(Aggregate(AggregateKind.AVG, "amount"), Type(Kind.MONEY, "INR")))
    'number'
    """
    kind = aggregate.kind
    if kind is AggregateKind.SINCE_LAST:
        return NUMBER
    if kind in (AggregateKind.COUNT, AggregateKind.DISTINCT):
        return INTEGER
    if argument is None:
        raise ExpressionError(f"{kind.value} needs an argument", hint=f"{kind.value}(amount), for example")
    if kind in (AggregateKind.FIRST, AggregateKind.LAST):
        return argument
    if kind in (AggregateKind.MIN, AggregateKind.MAX):
        if argument.kind is Kind.STRING:
            raise _refused(aggregate, argument)
        return argument
    if argument.kind not in _ADDABLE:
        raise _refused(aggregate, argument)
    if kind is AggregateKind.SUM:
        return INTEGER if argument == BOOLEAN else argument
    return NUMBER


def _refused(aggregate: Aggregate, argument: Type) -> ExpressionError:
    return ExpressionError(
        f"{aggregate.kind.value} does not take {argument}",
        end=len(aggregate.argument or ""),
        hint=_HINTS.get(argument.kind, ""),
    )
