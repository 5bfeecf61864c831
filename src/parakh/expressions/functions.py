"""The functions an expression may call: their names and how many arguments each takes.

Everything else is refused before the text is parsed, with a hint where people coming from SQL would look for more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AGGREGATES", "FUNCTIONS", "INSTEAD"]


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its own name, its least and most number of arguments, and how it is called."""

    name: str
    least: int
    most: int
    usage: str


_MANY = 50

_ALL = (
    Function("coalesce", 1, _MANY, "coalesce(a, b, ...)"),
    Function("nullif", 2, 2, "nullif(a, b)"),
    Function("abs", 1, 1, "abs(x)"),
    Function("round", 1, 2, "round(x) or round(x, 2)"),
    Function("floor", 1, 1, "floor(x)"),
    Function("ceil", 1, 1, "ceil(x)"),
    Function("ln", 1, 1, "ln(x)"),
    Function("sqrt", 1, 1, "sqrt(x)"),
    Function("power", 2, 2, "power(base, exponent)"),
    Function("least", 1, _MANY, "least(a, b, ...)"),
    Function("greatest", 1, _MANY, "greatest(a, b, ...)"),
    Function("lower", 1, 1, "lower(text)"),
    Function("upper", 1, 1, "upper(text)"),
    Function("length", 1, 1, "length(text)"),
    Function("starts_with", 2, 2, "starts_with(text, 'prefix')"),
    Function("hour", 1, 1, "hour(time)"),
    Function("day_of_week", 1, 1, "day_of_week(time), Monday = 1"),
    Function("date_diff", 3, 3, "date_diff('day', from, to)"),
    Function("distance_km", 4, 4, "distance_km(latitude, longitude, latitude, longitude)"),
    Function("in_list", 2, 2, "in_list(field, 'list')"),
    Function("lookup", 3, 3, "lookup('table', key, 'column')"),
)

FUNCTIONS: dict[str, Function] = {item.name: item for item in _ALL} | {
    "ceiling": next(item for item in _ALL if item.name == "ceil"),
    "pow": next(item for item in _ALL if item.name == "power"),
    "datediff": next(item for item in _ALL if item.name == "date_diff"),
}
"""By the name as it is written, in lower case; DuckDB's second names stand for the same function."""

_TIME = "an event's time is one of its fields: use that field, so that a replay decides the same"
_CAST = "values are not cast: declare the field's type in events/*.yaml"

INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        (
            "now",
            "today",
            "current_date",
            "current_time",
            "current_timestamp",
            "localtime",
            "localtimestamp",
            "get_current_timestamp",
            "get_current_time",
        ),
        _TIME,
    ),
    **dict.fromkeys(("cast", "try_cast"), _CAST),
    **dict.fromkeys(("random", "uuid", "gen_random_uuid"), "the same event must always give the same decision"),
    **dict.fromkeys(("dayofweek", "weekday", "dow", "isodow"), "day_of_week(time) gives Monday = 1 to Sunday = 7"),
    **dict.fromkeys(
        ("count", "sum", "avg", "min", "max", "stddev", "first", "last", "since_last"),
        "aggregates stand in features (features/*.yaml); least and greatest compare the values of one event",
    ),
    **dict.fromkeys(("if", "iif"), "case when .. then .. else .. end"),
    **dict.fromkeys(("ifnull", "nvl", "isnull"), "coalesce(a, b)"),
    **dict.fromkeys(("log", "log10", "log2"), "ln(x) is the natural logarithm; ln(x) / ln(10) the decimal one"),
    **dict.fromkeys(("len", "strlen", "char_length"), "length(text)"),
    **dict.fromkeys(("lcase", "ucase"), "lower(text), upper(text)"),
    **dict.fromkeys(("contains", "instr", "strpos", "position"), "text like '%part%'"),
    **dict.fromkeys(("ends_with", "suffix"), "text like '%end'"),
    **dict.fromkeys(("startswith", "prefix"), "starts_with(text, 'prefix')"),
    **dict.fromkeys(
        ("regexp_matches", "regexp_like", "regexp_full_match", "regexp_extract", "regexp_replace"),
        "patterns are written with like, % and _",
    ),
    **dict.fromkeys(("mod", "fmod"), "a % b"),
    **dict.fromkeys(("sub", "subtract"), "a - b"),
    **dict.fromkeys(("exists", "any", "all", "some"), "sub-queries are not allowed: history is read through features"),
    **dict.fromkeys(("timestampdiff", "date_sub", "datesub", "age"), "date_diff('day', from, to)"),
    **dict.fromkeys(("haversine", "st_distance"), "distance_km(latitude, longitude, latitude, longitude)"),
}
"""What to use instead of a function, word or type that people coming from SQL may try."""

AGGREGATES = ("count", "sum", "avg", "min", "max", "stddev", "first", "last", "since_last")
