"""`parakh fmt`: one layout for definitions - keys in the table's order, even spacing - with comments and quotes kept.

The text is laid out anew from its nodes; scalars are copied as they were written. What was laid out is read again, and
where it would not say exactly the same, with the same comments, the document is left as it was.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from parakh.errors import Problem, ProjectError
from parakh.project import keys
from parakh.project.yaml_nodes import (
    Document,
    Entry,
    Mapping,
    Node,
    Scalar,
    Sequence,
    decode,
    read_document,
    split_parts,
)

__all__ = ["format_text"]

WIDTH = 100
"""A { } or [ ] over several lines is joined where it fits into this many columns."""


def format_text(text: str, file: str = "") -> str:
    """A file of definitions in canonical layout. Raises ProjectError where the text is not YAML.

    >>> print(format_text("rule:   a\\nthen: block # why\\nwhen: x>1\\nfor:  [ payment ]"), end="")
    rule: a
    for: [payment]
    when: x>1
    then: block # why
    """
    decoded = decode(text.encode("utf-8", "surrogatepass"), file)
    if isinstance(decoded, Problem):
        raise ProjectError((decoded,))
    parts = []
    for first_line, part in split_parts(decoded):
        document = read_document(part, file, first_line)
        if document.problems:
            raise ProjectError(document.problems)
        parts.append(_formatted(part, document))
    return "---\n".join(part for part in parts if part)


def _formatted(text: str, document: Document) -> str:
    root = document.root
    stripped = "".join(f"{line.rstrip()}\n" for line in text.strip("\n").split("\n")) if text.strip() else ""
    if not _says(read_document(stripped, ""), root):
        stripped = text  # blanks at the end of a line of a text are part of it
    if not isinstance(root, Mapping) or root.flow:
        return stripped
    laid_out = _Layout(text, root).text()
    again = read_document(laid_out, "")
    if again.root is None or not _says(again, root):
        return stripped
    if Counter(_comment_texts(laid_out, again.root)) != Counter(_comment_texts(text, root)):
        return stripped
    return laid_out


def _says(document: Document, root: Node | None) -> bool:
    """Whether a document says the same as another whose root this is."""
    if document.root is None or root is None:
        return document.root is root
    return not document.problems and _meaning(document.root) == _meaning(root)


def _meaning(node: Node) -> object:
    """What a node says, without places and the order of keys at the levels that have an order of their own."""
    if isinstance(node, Scalar):
        return (node.text, node.style)
    if isinstance(node, Sequence):
        return [_meaning(item) for item in node.items]
    return {entry.key.text: (entry.key.style, _meaning(entry.value)) for entry in node.entries}


# -- comments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Comment:
    start: int
    line: int
    column: int
    text: str
    own_line: bool
    after_blank: bool


@dataclass(slots=True)
class _Around:
    """The comments of one entry, above it and on its line, and whether blank lines come before and between."""

    above: list[_Comment] = field(default_factory=list)
    beside: _Comment | None = None
    blank: bool = False
    gap: bool = False  # a blank line between the comments above and the entry


def _spans(node: Node) -> list[tuple[int, int]]:
    """Where scalars stand: a # in them is no comment."""
    if isinstance(node, Scalar):
        return [(node.start, node.end)]
    spans = list[tuple[int, int]]()
    if isinstance(node, Sequence):
        for item in node.items:
            spans.extend(_spans(item))
    else:
        for entry in node.entries:
            spans.extend([*_spans(entry.key), *_spans(entry.value)])
    return spans


def _comments(text: str, root: Node) -> list[_Comment]:
    taken = bytearray(len(text) + 1)
    for start, end in _spans(root):
        taken[start:end] = b"\1" * (end - start)
    comments, line_start = list[_Comment](), 0
    for number, line in enumerate(text.split("\n")):
        for found in re.finditer(r"(?:^|(?<=[ \t]))#", line):
            start = line_start + found.start()
            if not taken[start]:
                own = not line[: found.start()].strip()
                blank = _after_blank(text, start)
                comments.append(_Comment(start, number, found.start(), line[found.start() :].rstrip(), own, blank))
                break
        line_start += len(line) + 1
    return comments


def _comment_texts(text: str, root: Node) -> list[str]:
    return [comment.text for comment in _comments(text, root)]


# -- layout -----------------------------------------------------------------------------------------------------------


class _Layout:
    def __init__(self, source: str, root: Mapping) -> None:
        self.source = source
        self.root = root
        self.comments = _comments(source, root)
        self.starts = [comment.start for comment in self.comments]
        self.around: dict[int, _Around] = {}
        self.tails: dict[int, list[_Comment]] = {}

    def text(self) -> str:
        self._attach(self.root, 0, len(self.source))
        kind = self.root.entries[0].key.text if self.root.entries else ""
        lines = self._block(self.root, 0, keys.KINDS.get(kind))
        while lines and not lines[0]:
            lines.pop(0)
        return "".join(f"{line}\n" for line in lines)

    # Comments are attached by position before anything moves.

    def _attach(self, node: Mapping | Sequence, start: int, stop: int) -> None:
        """Gives the comments in [start, stop) to the children of a block collection, or to its tail."""
        children: list[tuple[Entry | Node, int, Node]] = (
            [(entry, entry.key.start, entry.value) for entry in node.entries]
            if isinstance(node, Mapping)
            else [(item, item.start, item) for item in node.items]
        )
        position = start
        for index, (child, at, value) in enumerate(children):
            around = _Around()
            begin = self._dash(at) if isinstance(node, Sequence) else at
            around.above = [c for c in self._between(position, begin) if c.own_line]
            first = around.above[0].start if around.above else begin
            around.blank = _after_blank(self.source, first)
            around.gap = bool(around.above) and _after_blank(self.source, begin)
            self.around[id(child)] = around
            next_at = children[index + 1][1] if index + 1 < len(children) else stop
            end = value.end if not _is_block(value) else at
            line_end = self.source.find("\n", max(end, at))
            if isinstance(value, Scalar) and value.style in ("|", ">"):
                line_end = -1  # a comment in a block's header is part of what is copied
            beside = self._between(max(end, at), max(line_end, 0))
            around.beside = next((comment for comment in beside if not comment.own_line), None)
            position = max(value.end, at) if not _is_block(value) else at
            if _is_block(value) and isinstance(value, Mapping | Sequence):
                column = value.column - 1
                inside = max((item.end for item in _leaves(value)), default=at)
                tail = []
                for comment in self._between(inside, next_at):
                    if comment.own_line:
                        if comment.column < column:
                            break
                        tail.append(comment)
                self._attach(value, at, tail[-1].start + 1 if tail else inside)
                position = tail[-1].start + 1 if tail else inside
        self.tails[id(node)] = [c for c in self._between(position, stop) if c.own_line]

    def _between(self, start: int, stop: int) -> list[_Comment]:
        """The comments in [start, stop)."""
        return self.comments[bisect_left(self.starts, start) : bisect_left(self.starts, stop)]

    def _dash(self, at: int) -> int:
        """Where the dash of an item stands."""
        return max(self.source.rfind("-", 0, at), 0)

    def _block(self, node: Mapping | Sequence, indent: int, shape: keys.Shape | None) -> list[str]:
        lines = list[str]()
        pad = " " * indent
        if isinstance(node, Mapping):
            for entry in self._ordered(node, shape):
                self._above(lines, self.around[id(entry)], pad)
                key = self.source[entry.key.start : entry.key.end]
                inner = _shape_under(shape, entry.key.text)
                value = self._value(entry.value, indent, inner, len(key) + 2)
                first = f"{pad}{key}:" + (f" {value[0]}" if value[0] else "")
                lines.extend([_beside(first, self.around[id(entry)].beside), *value[1:]])
        else:
            for item in node.items:
                self._above(lines, self.around[id(item)], pad)
                inner = _item_shape(shape)
                if _is_block(item) and isinstance(item, Mapping | Sequence):
                    nested = self._block(item, indent + 2, inner)
                    while nested and not nested[0]:
                        nested.pop(0)
                    body = nested or [f"{pad}  "]
                    lead = next((n for n, line in enumerate(body) if not line.lstrip().startswith("#")), 0)
                    lines.extend(f"{pad}{line.strip()}" for line in body[:lead])
                    lines.extend([f"{pad}- {body[lead][indent + 2 :]}", *body[lead + 1 :]])
                else:
                    value = self._value(item, indent, inner, 2)
                    lines.extend([_beside(f"{pad}- {value[0]}".rstrip(), self.around[id(item)].beside), *value[1:]])
        for comment in self.tails[id(node)]:
            if comment.after_blank and (not lines or lines[-1]):
                lines.append("")
            lines.append(f"{pad}{comment.text}")
        return lines

    @staticmethod
    def _above(lines: list[str], around: _Around, pad: str) -> None:
        if around.blank and (not lines or lines[-1]):
            lines.append("")
        for number, comment in enumerate(around.above):
            if comment.after_blank and number:
                lines.append("")
            lines.append(f"{pad}{comment.text}")
        if around.gap:
            lines.append("")

    def _ordered(self, node: Mapping, shape: keys.Shape | None) -> list[Entry]:
        """Entries in the table's order; the first key of a document stays first, unknown keys last."""
        if not isinstance(shape, keys.Record):
            return list(node.entries)
        order = {key.name: number for number, key in enumerate(shape.keys)}
        return sorted(node.entries, key=lambda entry: order.get(entry.key.text, len(order)))

    def _value(self, node: Node, indent: int, shape: keys.Shape | None, used: int) -> list[str]:
        """A value's lines: the first follows the key, the others stand whole."""
        if isinstance(node, Scalar):
            return self._scalar(node, indent)
        if not node.flow:
            return ["", *self._block(node, indent + 2, shape)]
        raw = self.source[node.start : node.end]
        joined = self._joined(node, shape)
        if joined is not None and ("\n" not in raw or indent + used + len(joined) <= WIDTH):
            return [joined]
        lines = raw.split("\n")
        return [lines[0].rstrip(), *(f"{' ' * (indent + 2)}{line.strip()}".rstrip() for line in lines[1:])]

    def _joined(self, node: Node, shape: keys.Shape | None) -> str | None:
        """A { } or [ ] on one line; None where that cannot be without changing it."""
        if isinstance(node, Scalar):
            return self.source[node.start : node.end] if node.one_line and not node.is_empty else None
        if self._between(node.start, node.end):
            return None
        if isinstance(node, Sequence):
            items = [self._joined(item, _item_shape(shape)) for item in node.items]
            return None if None in items else f"[{', '.join(item for item in items if item is not None)}]"
        pairs = list[str]()
        for entry in self._ordered(node, shape):
            key = self._joined(entry.key, None)
            value = self._joined(entry.value, _shape_under(shape, entry.key.text))
            if key is None or value is None:
                return None
            pairs.append(f"{key}: {value}")
        return f"{{{', '.join(pairs)}}}"

    def _scalar(self, node: Scalar, indent: int) -> list[str]:
        raw = self.source[node.start : node.end]
        pad = " " * (indent + 2)
        if node.style in ("|", ">"):
            header, _, body = raw.partition("\n")
            shift = node.text_column - 1
            lines = [f"{pad}{line[shift:]}".rstrip() if line.strip() else "" for line in body.split("\n")]
            keep = "+" in header.partition("#")[0]
            while lines and not lines[-1] and not keep:
                lines.pop()
            if keep and lines:
                lines.pop()
            return [re.sub("[1-9]", "2", header.partition(" ")[0]) + _rest(header), *lines]
        lines = raw.split("\n")
        return [lines[0].rstrip(), *(f"{pad}{line.strip()}" if line.strip() else "" for line in lines[1:])]


def _rest(header: str) -> str:
    _, blank, rest = header.partition(" ")
    return f"{blank}{rest.strip()}" if rest.strip() else ""


def _beside(line: str, comment: _Comment | None) -> str:
    """A line with the comment beside it, in the comment's own column where the line leaves room."""
    if comment is None:
        return line
    return f"{line.ljust(comment.column)}{comment.text}" if len(line) < comment.column else f"{line} {comment.text}"


def _after_blank(source: str, position: int) -> bool:
    """Whether the line above the one of `position` is blank, and something stands above that."""
    line = source.rfind("\n", 0, position)
    above = source.rfind("\n", 0, max(line, 0))
    return line > 0 and above >= 0 and not source[above:line].strip()


def _is_block(node: Node) -> bool:
    return isinstance(node, Mapping | Sequence) and not node.flow


def _leaves(node: Node) -> list[Scalar | Mapping | Sequence]:
    """The scalars and flow collections at the bottom of a block collection."""
    if isinstance(node, Scalar) or node.flow:
        return [node]
    children = node.items if isinstance(node, Sequence) else [part for e in node.entries for part in (e.key, e.value)]
    return [leaf for child in children for leaf in _leaves(child)]


def _shape_under(shape: keys.Shape | None, key: str) -> keys.Shape | None:
    if isinstance(shape, keys.Record):
        found = shape.key(key)
        return found.shape if found else None
    return shape.value if isinstance(shape, keys.MapOf) else None


def _item_shape(shape: keys.Shape | None) -> keys.Shape | None:
    return shape.item if isinstance(shape, keys.ListOf | keys.OneOrMany) else None
