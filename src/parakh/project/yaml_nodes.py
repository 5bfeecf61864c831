"""YAML text -> nodes that know their place: every scalar raw, as it was written; nothing is resolved or constructed.

YAML's own reading of scalars (`no`, `012`, `10:30`, dates) is never used: the table of keys (`parakh.project.keys`)
says what a scalar is. What could hide or multiply text is refused: anchors, aliases, merge keys, tags, duplicate keys,
directives, control characters. Work is bounded by the size, the depth and the number of nodes of a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from parakh.errors import Place, Problem

__all__ = [
    "Document",
    "Entry",
    "Mapping",
    "Node",
    "Scalar",
    "Sequence",
    "decode",
    "read_document",
    "split_documents",
    "split_parts",
]

MAX_BYTES = 4 * 2**20
MAX_NODES = 200_000
MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar: its text, how it was quoted, and the span of the document's text that it stands on.

    `style` is "" (plain), "'", '"', "|" or ">". `text_line` and `text_column` are the place of the first character of
    the text itself: after the quote, or in the first line of a block.
    """

    text: str
    style: str
    line: int
    column: int
    start: int
    end: int
    text_line: int
    text_column: int
    one_line: bool = True
    comment: str = ""  # what follows a plain scalar on its line

    @property
    def is_empty(self) -> bool:
        """Nothing was written."""
        return not self.style and not self.text


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    flow: bool
    line: int
    column: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: tuple[Entry, ...]
    flow: bool
    line: int
    column: int
    start: int
    end: int

    def get(self, key: str) -> Node | None:
        return next((entry.value for entry in self.entries if entry.key.text == key), None)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: its text, its root (None where it is empty or unreadable) and what is wrong with it."""

    text: str
    root: Node | None
    problems: tuple[Problem, ...] = ()


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]")


def decode(content: bytes, file: str) -> str | Problem:
    """A file's text with line feeds alone, or why it has none."""
    if len(content) > MAX_BYTES:
        return Problem(
            f"the file has {len(content):,} bytes; at most {MAX_BYTES:,} are read",
            Place(file, 1, 1),
            hint="keep long lists and tables in a CSV file and name it with `file:`",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Problem(f"byte 0x{content[error.start]:02x} is not UTF-8", place, hint="save the file as UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _UNPRINTABLE.search(text)
    if found:
        before = text[: found.start()]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Problem(f"character U+{ord(found.group()):04X} is not allowed in YAML here", place, hint="remove it")
    return text


def split_documents(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a file, each with the number of its first line.

    A line that begins with `---` is a document's start wherever it stands (YAML 1.2.2, 9.1.2), so that documents can be
    told apart, and kept in a cache, without being parsed. Documents without content are left out.

    >>> list(split_documents("rule: a\\n---\\nrule: b\\n"))
    [(1, 'rule: a\\n'), (3, 'rule: b\\n')]
    """
    for first_line, part in split_parts(text):
        if any(line.strip() and not line.lstrip().startswith("#") for line in part.split("\n")):
            yield first_line, part


def split_parts(text: str) -> Iterator[tuple[int, str]]:
    """The text between the lines that begin with `---`, documents or not."""
    first, lines = 1, list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("---") and (len(line) == 3 or line[3] in " \t"):
            yield first, "\n".join([*lines, ""])
            # What stands on the marker's own line is kept; the marker becomes spaces, so that columns stay.
            first, lines = (number, ["   " + line[3:]]) if line[3:].strip() else (number + 1, [])
        else:
            lines.append(line)
    yield first, "\n".join(lines)


def read_document(text: str, file: str, first_line: int = 1) -> Document:
    """One document's nodes; a text that is not YAML gives its first mistake alone."""
    reader = _Reader(text, file, first_line)
    try:
        return Document(text, reader.root(), tuple(reader.problems))
    except _Refused as refused:
        return Document(text, None, (*reader.problems, refused.problem))


class _Reader:
    """Builds nodes from the parser's events."""

    def __init__(self, text: str, file: str, first_line: int) -> None:
        # ruamel.yaml is imported late: a project built in Python needs none of it.
        from ruamel.yaml import YAML

        self.text = text
        self.file = file
        self.first_line = first_line
        self.problems: list[Problem] = []
        self.nodes = 0
        self.events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))

    def root(self) -> Node | None:
        for number, line in enumerate(self.text.split("\n")):
            if line.startswith("%"):
                place = Place(self.file, self.first_line + number, 1)
                raise _Refused(Problem("a YAML directive is not allowed", place, line[:200], "remove the line"))
            if line.strip() and not line.lstrip().startswith("#"):
                break
        self._next()  # the start of the stream
        start = self._next()
        if type(start).__name__ == "StreamEndEvent":
            return None
        node = self._node(self._next(), 0)
        self._next()  # the end of the document
        after = self._next()
        if type(after).__name__ != "StreamEndEvent":
            raise _Refused(
                self._problem("text after the document's end", after.start_mark, hint="begin a new document with `---`")
            )
        return node

    def _next(self) -> Any:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            return next(self.events)
        except MarkedYAMLError as error:
            raise _Refused(self._not_yaml(error)) from None
        except (YAMLError, ValueError, OverflowError) as error:
            message = str(error).splitlines()[0] if str(error) else "unreadable"
            raise _Refused(Problem(f"not YAML: {message}", Place(self.file, self.first_line, 1))) from None

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        self.nodes += 1
        if kind == "AliasEvent":
            hint = "repeat the text; an expression that begins with * is quoted whole"
            raise _Refused(self._problem(f"alias *{event.anchor} is not allowed", event.start_mark, hint=hint))
        if getattr(event, "anchor", None) is not None:
            hint = "repeat the text; an expression that begins with & is quoted whole"
            raise _Refused(self._problem(f"anchor &{event.anchor} is not allowed", event.start_mark, hint=hint))
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "remove it; an expression that begins with ! is quoted whole"
            raise _Refused(self._problem(f"tag {tag} is not allowed", event.start_mark, hint=hint))
        if depth > MAX_DEPTH:
            raise _Refused(self._problem(f"nested deeper than {MAX_DEPTH} levels", event.start_mark))
        if self.nodes > MAX_NODES:
            hint = "keep long lists and tables in a CSV file and name it with `file:`"
            raise _Refused(
                self._problem(f"more than {MAX_NODES:,} values in one document", event.start_mark, hint=hint)
            )
        if kind == "ScalarEvent":
            return self._scalar(event)
        if kind == "SequenceStartEvent":
            return self._sequence(event, depth)
        if kind == "MappingStartEvent":
            return self._mapping(event, depth)
        raise AssertionError(f"unexpected {kind}")

    def _sequence(self, start: Any, depth: int) -> Sequence:
        items = []
        while type(event := self._next()).__name__ != "SequenceEndEvent":
            items.append(self._node(event, depth + 1))
        mark = start.start_mark
        return Sequence(
            tuple(items),
            bool(start.flow_style),
            self.first_line + mark.line,
            mark.column + 1,
            mark.index,
            event.end_mark.index,
        )

    def _mapping(self, start: Any, depth: int) -> Mapping:
        entries = list[Entry]()
        seen = dict[str, Scalar]()
        while type(event := self._next()).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar) or not key.one_line or key.style in ("|", ">"):
                hint = "an expression that begins with ?, { or [ is quoted whole"
                raise _Refused(self._problem("a key is one word", event.start_mark, hint=hint))
            value = self._node(self._next(), depth + 1)
            if isinstance(value, Scalar) and value.is_empty:
                # What is not written has no place: its key has.
                value = replace(value, line=key.line, column=key.column)
            if key.text in seen:
                first = seen[key.text].line
                self.problems.append(
                    self._problem(
                        f"key {key.text!r} stands here a second time; it is first in line {first}", event.start_mark
                    )
                )
            elif key.text == "<<" and not key.style:
                self.problems.append(
                    self._problem("merge key << is not allowed", event.start_mark, hint="repeat the keys")
                )
            else:
                seen[key.text] = key
                entries.append(Entry(key, value))
        mark = start.start_mark
        return Mapping(
            tuple(entries),
            bool(start.flow_style),
            self.first_line + mark.line,
            mark.column + 1,
            mark.index,
            event.end_mark.index,
        )

    def _scalar(self, event: Any) -> Scalar:
        mark, end = event.start_mark, event.end_mark
        style = event.style or ""
        escaped = _UNPRINTABLE.search(event.value) if style == '"' else None
        if escaped:
            character = f"U+{ord(escaped.group()):04X}"
            self.problems.append(self._problem(f"character {character} is not allowed", mark, hint="remove the escape"))
        line, column = self.first_line + mark.line, mark.column + 1
        text_line, text_column, comment = line, column + (1 if style in ("'", '"') else 0), ""
        if style in ("|", ">"):
            text_line, text_column = line + 1, self._block_column(mark.index)
        elif not style and event.value:
            found = _COMMENT.match(self.text, end.index)
            comment = found.group(1) if found else ""
        return Scalar(
            event.value,
            style,
            line,
            column,
            mark.index,
            end.index,
            text_line,
            text_column,
            one_line=mark.line == end.line,
            comment=comment,
        )

    def _block_column(self, header: int) -> int:
        """The column at which the lines of a literal block begin."""
        body = self.text.find("\n", header) + 1
        explicit = re.match(r"[|>][+-]?([1-9])", self.text[header : header + 3])
        if explicit:
            # The indicator counts from the parent's indentation, which is that of the line's key.
            line = self.text.rfind("\n", 0, header) + 1
            parent = len(self.text[line:header]) - len(self.text[line:header].lstrip(" "))
            return parent + int(explicit.group(1)) + 1
        for content in self.text[body:].split("\n") if body else ():
            if content.strip(" "):
                return len(content) - len(content.lstrip(" ")) + 1
        return 1

    def _problem(self, message: str, mark: Any, *, hint: str = "") -> Problem:
        return Problem(message, Place(self.file, self.first_line + mark.line, mark.column + 1), self._line(mark), hint)

    def _line(self, mark: Any) -> str:
        lines = self.text.split("\n")
        return lines[mark.line].strip()[:200] if mark.line < len(lines) else ""

    def _not_yaml(self, error: Any) -> Problem:
        mark = error.problem_mark or error.context_mark
        problem, context = error.problem or "", error.context or ""
        lines = ["", *self.text.split("\n"), ""]  # so that the line above the first is empty
        number = min(mark.line + 1, len(lines) - 1) if mark is not None else 0
        message, hint = _plain_words(problem, context, lines, number, mark.column if mark is not None else 0)
        if mark is None:
            return Problem(message, Place(self.file, self.first_line, 1), hint=hint)
        if "not closed" in message and error.context_mark is not None:
            mark = error.context_mark
        return self._problem(message, mark, hint=hint)


_COMMENT = re.compile(r"[ \t]+(#.*)")
_QUOTE_HINT = "put the whole expression in quotes, or write it after `|` on the lines below"


def _plain_words(problem: str, context: str, lines: list[str], number: int, column: int) -> tuple[str, str]:
    """The parser's complaint in the words of somebody who writes rules; it stopped in line `number` at `column`."""
    line, above = lines[number], lines[max(number - 1, 0)]
    before = line[:column].rstrip()
    if "mapping values are not allowed" in problem:
        if ": " not in before and ": " in above:
            return (
                "not YAML: this line is indented as if it went on with the text above",
                "indent it like its neighbours",
            )
        if ": " not in before:
            return "not YAML: the text above this line is no `key: value`", "write `key: value`"
        return "not YAML: a second `: ` on this line", _QUOTE_HINT
    if "'\\t'" in problem or "tab" in problem.lower():
        return "not YAML: a tab where spaces are needed", "indent with spaces"
    if "cannot start any token" in problem:
        sign = problem.partition("character ")[2].partition(" ")[0]
        return f"not YAML: a value cannot begin with {sign}", _QUOTE_HINT
    if "double-quoted scalar" in context and "end of" not in problem and "document separator" not in problem:
        return f"not YAML: {problem}", "a backslash in double quotes is written \\\\; single quotes leave it alone"
    if "quoted scalar" in context:
        return "not YAML: this quote is not closed", ""
    if "flow mapping" in context or "flow sequence" in context:
        what = "{ }" if "mapping" in context else "[ ]"
        return (
            f"not YAML: {what} is not closed, or a comma is missing in it, or a text needs quotes",
            "put commas between the entries and quotes around the text, or use block style, one entry a line",
        )
    if "could not find expected ':'" in problem:
        return "not YAML: a line without `:` after its key", "write `key: value`"
    if "block mapping" in context or "block collection" in context:
        if before.endswith(("'", '"')):
            return "not YAML: text after a closing quote", _QUOTE_HINT
        if before:
            return "not YAML: this text does not belong here", _QUOTE_HINT
        return "not YAML: this line is indented otherwise than its neighbours", "indent what belongs together alike"
    return f"not YAML: {problem or context}", _QUOTE_HINT
