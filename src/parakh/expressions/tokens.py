"""The words of an expression: its text cut into names, numbers, texts and marks, each of a kind that we allow.

sqlglot's tokenizer drops comments and takes many ways of quoting; what it passed over, and what we do not write, is
refused here with its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from parakh.errors import ExpressionError
from parakh.expressions.functions import INSTEAD

if TYPE_CHECKING:
    from sqlglot.dialects.duckdb import DuckDB

__all__ = ["BINARY", "Word", "dialect", "refuse", "tokens_of"]

MAX_TEXT_BYTES = 8 * 1024

BINARY = frozenset(("+", "-", "*", "/", "//", "%", "=", "==", "!=", "<>", "<", "<=", ">", ">="))
"""Marks that stand between two values."""

_REFUSED = {
    ";": ("statements are not allowed", "an expression is one condition or value, without `;`"),
    "::": ("casts are not allowed", INSTEAD["cast"]),
    "[": ("brackets are not allowed", "lists are written x in (1, 2, 3)"),
    "]": ("brackets are not allowed", "lists are written x in (1, 2, 3)"),
    "{": ("braces are not allowed", ""),
    "}": ("braces are not allowed", ""),
    "->": ("lambdas and JSON paths are not allowed", "take the value out with the field's `from`"),
    "->>": ("lambdas and JSON paths are not allowed", "take the value out with the field's `from`"),
    "?": ("parameters are not allowed", ""),
    "$": ("parameters are not allowed", ""),
    "@": ("`@` is not allowed", "abs(x)"),
    ":": ("`:` is not allowed", ""),
    "^": ("`^` is not allowed", "power(base, exponent)"),
    "**": ("`**` is not allowed", "power(base, exponent)"),
    "||": ("texts are not joined here", "an entity may have several key fields"),
    "&&": ("`&&` is not allowed", "a and b"),
    "!": ("`!` is not allowed", "not x, a != b"),
    "~": ("`~` is not allowed", "patterns are written with like, % and _"),
    "`": ("backquotes are not allowed", "names are written without quotes, texts in single quotes: 'x'"),
    "\\": ("a backslash means nothing outside a text", ""),
}


@dataclass(frozen=True, slots=True)
class Word:
    """One token: what kind, its text in lower case where that does not matter, and its place."""

    kind: str  # word | number | text | mark
    text: str
    start: int
    end: int


@cache
def dialect() -> DuckDB:
    """sqlglot's DuckDB dialect; imported when the first expression is parsed."""
    from sqlglot.dialects.duckdb import DuckDB

    return DuckDB()


def refuse(message: str, word: Word, hint: str = "") -> NoReturn:
    """Raise ExpressionError at a word."""
    raise ExpressionError(message, start=word.start, end=word.end, hint=hint)


def tokens_of(text: str) -> list[Word]:
    """The words of a text, or an ExpressionError where something in it is not a word we know."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise ExpressionError(
            f"the expression has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are allowed",
            end=len(text),
            hint="put long lists of values into lists/*.yaml and use in_list(field, 'name')",
        )
    for offset, character in enumerate(text):
        if not character.isprintable() and character not in " \t\r\n":
            raise ExpressionError(f"the character U+{ord(character):04X} is not allowed", start=offset, end=offset + 1)
    from sqlglot.errors import SqlglotError

    try:
        tokens = dialect().tokenize(text)
    except (SqlglotError, RecursionError, ValueError, IndexError) as error:
        start = _open_quote(text)
        if start is None:
            raise ExpressionError("the expression cannot be read", end=len(text)) from error
        raise ExpressionError(
            "a text is not closed", start=start, end=len(text), hint="a quote inside a text is doubled: 'it''s'"
        ) from error
    words: list[Word] = []
    at = 0
    for token in tokens:
        start, end = token.start, token.end + 1
        if text[at:start].strip() or token.comments:
            raise ExpressionError(
                "comments are not allowed", start=at, end=end, hint="use `description` of the definition"
            )
        at = end
        words.append(_word(text, token.token_type.name, token.text, start, end))
    if text[at:].strip():
        raise ExpressionError("comments are not allowed", start=at, end=len(text))
    if not words:
        raise ExpressionError("the expression is empty", end=len(text))
    return words


def _open_quote(text: str) -> int | None:
    """The offset of a quote that is never closed."""
    at = 0
    while (at := min((i for i in (text.find("'", at), text.find('"', at)) if i >= 0), default=-1)) >= 0:
        close = text.find(text[at], at + 1)
        if close < 0:
            return at
        at = close + 1
    return None


def _word(text: str, kind: str, value: str, start: int, end: int) -> Word:
    source = text[start:end]
    word = Word("mark", source, start, end)
    if kind == "STRING":
        if source != "'" + value.replace("'", "''") + "'":
            refuse("this way of writing a text is not allowed", word, "texts stand in single quotes: 'it''s'")
        return Word("text", value, start, end)
    if kind == "IDENTIFIER":
        refuse("double quotes are not allowed", word, f"a text stands in single quotes: '{value}'; a name has none")
    if kind == "NUMBER":
        return Word("number", source, start, end)
    if source[0] == "_" or source[0].isalpha():
        if not source.isidentifier():
            refuse(f"{source!r} is not a name", word)
        return Word("word", source, start, end)
    if source in _REFUSED:
        message, hint = _REFUSED[source]
        refuse(message, word, hint)
    if source not in BINARY and source not in ("(", ")", ",", "."):
        refuse(f"`{source}` is not allowed", word)
    return word
