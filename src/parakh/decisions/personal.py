"""What may be done with personal fields once they are masked: the rest of a definition sees a token, or nothing.

`derive` runs before masking and may read everything. Behind it a tokenised field allows equality, in_list, lookup,
distinct and entity; a dropped one cannot be read at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from parakh.errors import ExpressionError
from parakh.events.definition import EventType
from parakh.expressions.syntax import Call, Compare, Expression, In, IsNull, Name, Syntax

__all__ = ["refused_reads"]

_EQUALITY = ("=", "!=", "is distinct from", "is not distinct from")
_WHOLE_VALUE = ("in_list", "lookup")


def refused_reads(expression: Expression, event: EventType, *, whole: bool = False) -> Iterator[ExpressionError]:
    """Reads of personal fields that an expression after masking may not make.

    `whole` is true where the expression's own value is only counted or told apart, as in count(distinct x).

    >>> from parakh.events.definition import Field
    >>> from parakh.expressions.parse import parse
    >>> from parakh.expressions.types import STRING
    >>> login = EventType(name="login", id="row", time="at", fields=(
    ...     Field(name="phone", type=STRING, personal="token"),))
    >>> [error.message for error in refused_reads(parse("starts_with(phone, '+91') or phone = 'x'"), login)]
    ["'phone' is tokenised: its text cannot be read here"]
    """
    personal = {item.name: item.personal for item in event.fields if item.personal in ("token", "drop")}
    if not personal:
        return
    pending: list[tuple[Syntax, bool]] = [(expression.root, whole)]
    while pending:
        node, allowed = pending.pop()
        if isinstance(node, Name):
            kind = personal.get(node.name)
            if kind == "drop":
                yield ExpressionError(
                    f"{node.name!r} is dropped before anything but `derive` reads it",
                    start=node.start,
                    end=node.end,
                    hint="derive from it what is needed, or make it `personal: token`",
                )
            elif kind == "token" and not allowed:
                yield ExpressionError(
                    f"{node.name!r} is tokenised: its text cannot be read here",
                    start=node.start,
                    end=node.end,
                    hint="a token allows =, in, in_list, lookup, count(distinct) and entity; `derive` sees the text",
                )
            continue
        equality = isinstance(node, Compare) and node.operator in _EQUALITY
        told_apart = equality or isinstance(node, In | IsNull)
        told_apart = told_apart or (isinstance(node, Call) and node.function in _WHOLE_VALUE)
        pending.extend((child, told_apart) for child in reversed(node.children))
