"""From text to syntax: one expression in DuckDB's SQL, parsed by sqlglot, of which only listed nodes are let through.

Nothing but this module, `tokens` before it and `conversion` behind it knows sqlglot.
"""

from __future__ import annotations

from functools import lru_cache

from parakh.errors import ExpressionError
from parakh.expressions.conversion import Converter
from parakh.expressions.scan import scan
from parakh.expressions.syntax import Expression, Name
from parakh.expressions.tokens import dialect

__all__ = ["is_name", "parse"]


@lru_cache(maxsize=8192)
def parse(text: str) -> Expression:
    """The syntax tree of one expression.

    Raises ExpressionError (with offsets into the text) where the text is no expression, or holds more than one may:
    at most 8 KB, 200 parts (values of IN lists not counted) and 20 levels (a chain of and, or, + or * counts once).

    >>> parse("amount between 1 and 5").root.low
    Literal(start=15, end=16, value=1)
    """
    text = str(text)
    values, constants = scan(text)
    from sqlglot.errors import SqlglotError

    try:
        trees = dialect().parse(text)
    except SqlglotError as error:
        raise ExpressionError(_readable(error), end=len(text)) from error
    except (RecursionError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ExpressionError("the expression cannot be read", end=len(text)) from error
    if len(trees) != 1 or trees[0] is None:
        raise ExpressionError("an expression is one condition or value", end=len(text))
    converter = Converter(text, values, constants)
    root = converter.convert(trees[0], 0)
    converter.done()
    return Expression(text, root)


def is_name(text: str) -> bool:
    """Whether a text reads as a plain column, so that a field may be called so.

    >>> is_name("amount"), is_name("from"), is_name("a b"), is_name("a.b")
    (True, False, False, False)
    """
    try:
        root = parse(text).root
    except ExpressionError:
        return False
    return isinstance(root, Name) and root.name == text and "." not in text


def _readable(error: Exception) -> str:
    """sqlglot's message without its colours and positions."""
    details = getattr(error, "errors", None)
    description = str(details[0].get("description", "")) if details else ""
    known = description if description.startswith(("Expecting", "Expected")) else ""
    return "the expression cannot be read" + (f": {known[0].lower()}{known[1:]}" if known else "")
