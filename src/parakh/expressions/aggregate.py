"""An aggregate as features write it, `count(distinct terminal)`, taken apart: function, distinct or not, argument."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from parakh.expressions.functions import AGGREGATES
from parakh.expressions.tokens import refuse, tokens_of

__all__ = ["ParsedAggregate", "parse_aggregate"]


@dataclass(frozen=True, slots=True)
class ParsedAggregate:
    """An aggregate call: the text of its argument (None for count(*) and since_last()) begins at `offset`."""

    function: str
    distinct: bool
    argument: str | None
    offset: int


def parse_aggregate(text: str) -> ParsedAggregate:
    """An aggregate as features write it: count(*), count(distinct x), sum(x), since_last() ...

    The argument is returned as text; it is parsed by `parse`, and offsets of its errors are moved by `offset`.

    >>> parse_aggregate("count(distinct terminal)")
    ParsedAggregate(function='count', distinct=True, argument='terminal', offset=15)
    """
    text = str(text)
    words = tokens_of(text)
    first, name = words[0], words[0].text.lower()
    if first.kind != "word" or len(words) < 3 or words[1].text != "(" or words[-1].text != ")":
        refuse("an aggregate is written function(argument)", first, hint="count(*), sum(amount), since_last()")
    if name not in AGGREGATES:
        instead = {"mean": "avg", "average": "avg", "std": "stddev", "total": "sum", "count_distinct": "count"}
        close = [instead[name]] if name in instead else difflib.get_close_matches(name, AGGREGATES, n=1)
        close = [] if name in ("median", "mode", "quantile") else close  # spelt like others, and not offered
        hint = f"did you mean {close[0]}?" if close else "aggregates: " + ", ".join(AGGREGATES)
        refuse(f"there is no aggregate {first.text}()", first, hint=hint)
    depth = 0
    for index, word in enumerate(words):
        depth += (word.kind == "mark") * ((word.text == "(") - (word.text == ")"))
        if depth == 0 and 0 < index < len(words) - 1:
            refuse("an aggregate stands alone", words[index + 1], hint="compute with it in signals/*.yaml")
    inner = words[2:-1]
    if name == "since_last":
        if inner:
            refuse("since_last() takes no argument", inner[0])
        return ParsedAggregate(name, False, None, first.end + 1)
    if name == "count" and [word.text for word in inner] == ["*"]:
        return ParsedAggregate(name, False, None, inner[0].start)
    distinct = bool(inner) and inner[0].kind == "word" and inner[0].text.lower() == "distinct"
    if distinct and name != "count":
        refuse(f"{name}(distinct ..) is not offered", inner[0], hint="count(distinct x)")
    inner = inner[distinct:]
    if not inner:
        refuse(f"{name}() needs an argument", first, hint="count(*)" if name == "count" else f"{name}(amount)")
    return ParsedAggregate(name, distinct, text[inner[0].start : inner[-1].end], inner[0].start)
