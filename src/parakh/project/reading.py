"""Nodes -> values, as the table of keys says what may stand where; everything that does not fit becomes a problem.

A mapping gives a `Values`; scalars give texts that know their place. What is wrong is left out, so that the rest is
checked all the same, and the names it would have defined are noted in `suspects`: what reads them is not blamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from parakh.errors import Place, Problem, SourceText
from parakh.expressions.hints import closest
from parakh.project import keys
from parakh.project.lengths import length_us, size_bytes, window
from parakh.project.values import AMOUNT_PATTERN, SHARE_PATTERN, Misread, RawValue, instant_us, share_of
from parakh.project.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence

__all__ = ["MISSING", "Reading", "Values", "unbalanced"]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What stands in for a value that could not be read."""


@dataclass(slots=True)
class Values:
    """A mapping with fixed keys, read; `whole` is false where something in it was wrong."""

    place: Place
    given: dict[str, Any] = field(default_factory=dict)
    whole: bool = True

    def get(self, key: str, default: Any = None) -> Any:
        return self.given.get(key, default)

    def __contains__(self, key: str) -> bool:
        return key in self.given


class QuotedText(SourceText):
    """A text that was written with escapes: `longer` has, for each, its offset and how many more characters it took."""

    __slots__ = ("longer",)
    longer: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, place: Place, longer: tuple[tuple[int, int], ...] = ()) -> QuotedText:
        self = super().__new__(cls, text, place)
        assert isinstance(self, QuotedText)
        self.longer = longer
        return self

    def at(self, offset: int) -> Place:
        place = super().at(offset)
        more = sum(extra for before, extra in self.longer if before < offset)
        return Place(place.file, place.line, place.column + more)


def _escapes(written: str, quote: str) -> tuple[tuple[int, int], ...]:
    """Where a quoted text of one line has escapes: offset in what is read, and characters more in what is written.

    >>> _escapes("it''s", "'"), _escapes("a\\\\u0041b", '"')
    (((2, 1),), ((1, 5),))
    """
    pattern = "''" if quote == "'" else r"\\(?:x..|u.{4}|U.{8}|.)"
    found, gone = list[tuple[int, int]](), 0
    for escape in re.finditer(pattern, written):
        extra = len(escape.group()) - 1
        found.append((escape.start() - gone, extra))
        gone += extra
    return tuple(found)


TYPE_WORDS = {
    "str": "string", "text": "string", "varchar": "string", "char": "string", "uuid": "string", "enum": "string",
    "bool": "boolean", "int": "integer", "int64": "integer", "bigint": "integer", "long": "integer", "float": "number",
    "double": "number", "real": "number", "float64": "number", "decimal": "money", "numeric": "money",
    "amount": "money", "currency": "money", "datetime": "timestamp", "date": "timestamp", "time": "timestamp",
    "timestamptz": "timestamp",
}  # fmt: skip
"""What other systems call our types."""

KEY_WORDS = {
    "if": "when", "condition": "when", "outcome": "then", "action": "then", "decision": "then", "window": "over",
    "windows": "over", "filter": "where", "group_by": "by", "source": "from", "sources": "from", "column": "from",
    "agg": "aggregate", "function": "aggregate", "values": "items", "entries": "items", "default": "otherwise",
    "timestamp": "time", "features": "inputs", "path": "file",
}  # fmt: skip
"""What other systems call our keys."""


def unbalanced(text: str) -> bool:
    """Whether a quote or a parenthesis of an expression is left open, or closed without having been opened.

    >>> unbalanced("coalesce(a"), unbalanced("name = 'a"), unbalanced("x in ('(')")
    (True, True, False)
    """
    depth, quote = 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                return True
    return depth != 0 or bool(quote)


_NULLS = ("null", "Null", "NULL", "~")
_DANGLING = re.compile(r"(?:[-+*/%=<>(,]|\b(?:and|or|not|in|is|like|between|then|else|when))\s*$", re.IGNORECASE)


class Reading:
    """Reads the nodes of one document; collects `problems` and `suspects`."""

    def __init__(self, file: str, text: str, *, plain_column: Callable[[str], bool]) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self.suspects: set[str] = set()
        self._plain_column = plain_column

    # -- saying it ----------------------------------------------------------------------------------------------------

    def place(self, node: Node) -> Place:
        return Place(self.file, node.line, node.column)

    def problem(self, message: str, node: Node, *, text: str | None = None, hint: str = "") -> _Missing:
        shown = self.text[node.start : node.end].strip() if text is None else text
        shown = shown.partition("\n")[0]
        self.problems.append(Problem(message, self.place(node), shown[:200], hint))
        return MISSING

    # -- mappings -----------------------------------------------------------------------------------------------------

    def record(self, node: Node, shape: keys.Record, what: str) -> Values | _Missing:
        """A mapping with fixed keys."""
        if isinstance(node, Scalar) and shape.shorthand and not node.is_empty:
            key = shape.key(shape.shorthand)
            assert key is not None
            value = self.read(node, key.shape, f"{what}: {key.name}")
            return Values(self.place(node), {} if value is MISSING else {key.name: value}, value is not MISSING)
        if isinstance(node, Scalar) and node.is_empty:
            return self.problem(f"{what} has no value", node, text="", hint=self._keys_hint(shape))
        if not isinstance(node, Mapping):
            return self.problem(f"{what} must be a mapping of keys to values", node, hint=self._keys_hint(shape))
        values = Values(self.place(node))
        split = self._split_by_comma(node)
        for entry in node.entries:
            if id(entry) in split:
                values.whole = False
                continue
            key = shape.key(entry.key.text)
            if key is None:
                values.whole = False
                self._unknown_key(entry.key, shape, what)
                continue
            value = self.read(entry.value, key.shape, f"`{key.name}` of {what}")
            if value is MISSING:
                values.whole = False
            else:
                values.given[key.name] = value
        present = {entry.key.text for entry in node.entries}
        for key in shape.keys:
            if key.required and key.name not in present:
                values.whole = False
                wanted = key.description[0].lower() + key.description[1:].rstrip(".")
                self.problem(f"{what} has no `{key.name}`", node, text="", hint=f"add `{key.name}:` - {wanted}")
        return values

    def _unknown_key(self, key: Scalar, shape: keys.Record, what: str) -> None:
        names = [item.name for item in shape.keys]
        word = KEY_WORDS.get(key.text.lower(), "")
        hint = closest(key.text, names) or (f"did you mean {word}?" if word in names else self._keys_hint(shape))
        self.problem(f"unknown key {key.text!r} in {what}", key, hint=hint)

    @staticmethod
    def _keys_hint(shape: keys.Record) -> str:
        return f"its keys are {', '.join(key.name for key in shape.keys)}"

    def _split_by_comma(self, node: Mapping) -> set[int]:
        """The entries of a { } that belong to one expression which a comma has split; reported here."""
        split = set[int]()
        if not node.flow:
            return split
        for index, entry in enumerate(node.entries):
            value = entry.value
            if id(entry) in split or not isinstance(value, Scalar) or value.style or not unbalanced(value.text):
                continue
            parts = [entry]
            for after in node.entries[index + 1 :]:
                if not (isinstance(after.value, Scalar) and after.value.is_empty):
                    break
                parts.append(after)
            if len(parts) == 1:
                continue
            split.update(id(part) for part in parts)
            end = parts[-1].key.end
            whole = self.text[value.start : end]
            self.problem(
                "a comma inside { } ends the value, so the expression is split",
                value,
                text=whole,
                hint=f'quote it: {entry.key.text}: "{whole}", or use block style, one key a line',
            )
        return split

    def mapping(self, node: Node, shape: keys.MapOf, what: str) -> list[tuple[SourceText, Any]] | _Missing:
        """Names that the writer chose, each with its value."""
        if not isinstance(node, Mapping):
            return self.problem(f"{what} must be a mapping of names to values", node, hint="name: value")
        defines = isinstance(shape.key, keys.Name) and not isinstance(shape.value, keys.Value | keys.Text)
        pairs = list[tuple[SourceText, Any]]()
        split = self._split_by_comma(node)
        broken = False
        for entry in node.entries:
            if id(entry) in split:
                broken = True
                if defines:
                    self.suspects.add(entry.key.text)
                continue
            name = self.read(entry.key, shape.key, what)
            value = self.read(entry.value, shape.value, self._inner(entry, shape))
            if name is MISSING or value is MISSING:
                broken = True
                if defines:
                    self.suspects.add(entry.key.text)
                continue
            pairs.append((name, value))
        return MISSING if broken and not pairs else pairs

    @staticmethod
    def _inner(entry: Entry, shape: keys.MapOf) -> str:
        if isinstance(shape.key, keys.Word):
            return f"band {entry.key.text!r}"
        if isinstance(shape.value, keys.Value):
            return repr(entry.key.text)
        noun = shape.key.what.partition(" ")[2]
        return f"{noun} {entry.key.text!r}"

    # -- one value ----------------------------------------------------------------------------------------------------

    def read(self, node: Node, shape: keys.Shape, what: str) -> Any:
        """The value of a node; MISSING after reporting what is wrong with it."""
        match shape:
            case keys.Record():
                return self.record(node, shape, what)
            case keys.MapOf():
                return self.mapping(node, shape, what)
            case keys.OneOrMany():
                if isinstance(node, Sequence):
                    return self._items(node, shape.item, what)
                value = self.read(node, shape.item, what)
                return value if value is MISSING else [value]
            case keys.ListOf():
                if not isinstance(node, Sequence):
                    return self.problem(f"{what} must be a list", node, hint="write [a, b], or one `- a` a line")
                return self._items(node, shape.item, what, may_be_empty=True)
            case keys.Expression() | keys.AggregateText():
                return self._expression(node, what)
        if not isinstance(node, Scalar):
            return self.problem(
                f"{what} must be one value, not {'a list' if isinstance(node, Sequence) else 'a mapping'}", node
            )
        if not node.style and node.text in _NULLS and not isinstance(shape, keys.Value):
            return self.problem(f"{what} cannot be {node.text}", node, hint="leave the key out")
        if node.is_empty:
            hint = "write null where it is unknown" if isinstance(shape, keys.Value) else ""
            return self.problem(f"{what} has no value", node, text="", hint=hint)
        return self._scalar(node, shape, what)

    def _items(self, node: Sequence, item: keys.Shape, what: str, *, may_be_empty: bool = False) -> Any:
        if not node.items and not may_be_empty:
            return self.problem(f"{what} is empty", node)
        items = [self.read(child, item, what) for child in node.items]
        kept = [value for value in items if value is not MISSING]
        return kept if kept or not items else MISSING

    def _scalar(self, node: Scalar, shape: keys.Shape, what: str) -> Any:
        text = self._source(node)
        match shape:
            case keys.Text():
                if shape.pattern and not re.fullmatch(shape.pattern, text):
                    return self.problem(f"{what} must be {shape.what}", node)
                return text
            case keys.Name():
                return self._name(node, text, shape)
            case keys.Word():
                if text not in shape.choices:
                    hint = closest(text, shape.choices) or f"one of {', '.join(shape.choices)}"
                    return self.problem(f"{what} cannot be {str(text)!r}", node, hint=hint)
                return text
            case keys.TypeWord():
                if text not in shape.choices:
                    word = TYPE_WORDS.get(text.lower(), "")
                    hint = f"did you mean {word}?" if word else closest(text, shape.choices)
                    return self.problem(
                        f"unknown type {str(text)!r}", node, hint=hint or f"one of {', '.join(shape.choices)}"
                    )
                return text
            case keys.Flag():
                if text not in ("true", "false") or node.style:
                    return self.problem(
                        f"{what} must be true or false", node, hint="YAML 1.2 knows no yes, no, on or off"
                    )
                return text == "true"
            case keys.Length():
                if shape.none and text == "0s":
                    return 0
                length = window(text) if shape.calendar else length_us(text)
                if length is None:
                    hint = "a whole number and a unit: 30s, 10m, 1h, 7d" + (
                        ", or calendar_day" if shape.calendar else ""
                    )
                    return self.problem(f"{what} must be a length of time", node, hint=hint)
                return length
            case keys.Size():
                size = size_bytes(text)
                return (
                    size
                    if size is not None
                    else self.problem(f"{what} must be a size of memory", node, hint="such as 8GB")
                )
            case keys.Share():
                return self._share(node, shape, what)
            case keys.Amount():
                if not re.fullmatch(AMOUNT_PATTERN, text) or not float(text):
                    hint = "in major units, as 500 or 12.50; more than 0"
                    return self.problem(f"{what} must be an amount of money", node, hint=hint)
                return float(text)
            case keys.Instant():
                try:
                    return instant_us(text)
                except Misread as wrong:
                    return self.problem(wrong.message, node, hint=wrong.hint)
            case keys.Value():
                if not node.one_line:
                    return self.problem(f"{what} stands on one line", node)
                return RawValue(node.text, Place(self.file, node.text_line, node.text_column), bool(node.style))
        raise AssertionError(f"no reading of {shape}")

    def _share(self, node: Scalar, shape: keys.Share, what: str) -> Any:
        share = share_of(node.text)
        beyond = re.fullmatch("[1-9][0-9]{2,}(\\.[0-9]+)?%", node.text) if share is None else share > shape.most
        if beyond:
            return self.problem(f"{what} is at most {shape.most:.0%}", node, hint=shape.why)
        if share is None:
            hint = f"write {node.text}% if it is percent" if re.fullmatch(SHARE_PATTERN, f"{node.text}%") else ""
            return self.problem(f"{what} must be written as 1% or 0.01", node, hint=hint)
        return share

    def _name(self, node: Scalar, text: SourceText, shape: keys.Name) -> Any:
        pattern = keys.DOTTED_PATTERN if shape.dotted else keys.NAME_PATTERN
        if not re.fullmatch(pattern, text):
            hint = "letters, digits and _, at most 63, not a digit first"
            if shape.dotted and any(sign in text for sign in "(+-*/ "):
                hint = "name a field, feature or signal; what is computed stands in signals"
            return self.problem(f"{str(text)!r} is not the name of {shape.what}", node, hint=hint)
        if shape.column and not self._plain_column(text):
            hint = "rename it"
            if shape.what == "a field":
                hint = f"rename it and keep the source's name: {text}_: {{type: ..., from: {text}}}"
            return self.problem(f"{str(text)!r} is a word of SQL and cannot name {shape.what}", node, hint=hint)
        return text

    def _source(self, node: Scalar) -> SourceText:
        text = node.text
        place = Place(self.file, node.text_line, node.text_column)
        if node.style in ("|", ">"):
            text = text.rstrip("\n")
        elif node.style and node.one_line:
            longer = _escapes(self.text[node.start + 1 : node.end - 1], node.style)
            if longer:
                return QuotedText(text, place, longer)
        return SourceText(text, place)

    # -- expressions --------------------------------------------------------------------------------------------------

    def _expression(self, node: Node, what: str) -> Any:
        """An expression's text, where YAML has handed it over unchanged."""
        if not isinstance(node, Scalar):
            hint = "quote an expression that begins with [ or {"
            return self.problem(f"{what} must be one expression", node, hint=hint)
        if node.style == ">":
            hint = "write | instead, which keeps them; an expression that begins with > is quoted whole"
            return self.problem(f"{what} is folded with >, which joins its lines", node, hint=hint)
        if not node.text.strip():
            return self.problem(f"{what} has no expression", node, text="")
        if not node.one_line and node.style != "|":
            return self.problem(
                f"{what} goes on over several lines, which YAML joins",
                node,
                hint="put | after the colon and the expression on the lines below",
            )
        if node.comment and (unbalanced(node.text) or _DANGLING.search(node.text)):
            return self.problem(
                f"YAML takes ` #` for a comment: {what} is cut off there",
                node,
                text=f"{node.text} {node.comment}",
                hint="quote the whole expression, or write it after | on lines of its own",
            )
        return self._source(node)
