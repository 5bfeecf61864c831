"""Changes to a project's files by programs: one key of one definition, with comments, quotes and order kept.

Only the text of what changes is touched. What is proposed is loaded as a project before any file is replaced, so that
an edit either holds or leaves the folder as it was.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from parakh.errors import InputError, Problem
from parakh.project.project import Project
from parakh.project.writing import Changes, replace_files
from parakh.project.yaml_nodes import Entry, Node, Scalar, Sequence, decode, read_document, split_parts
from parakh.project.yaml_nodes import Mapping as MappingNode

__all__ = ["Changes", "Value", "defined_in", "proposed", "replace_files", "set_key", "without"]

Value: TypeAlias = str | tuple[str, ...] | Mapping[str, str] | None
"""What a key is set to: a scalar, a list, a mapping of scalars; None removes the key."""

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./ <>=+*()-]*")
_WIDTH = 100


def defined_in(project: Project, kind: str, name: str) -> str | None:
    """The path, in the project's folder, of the file that holds a definition (`kind` is its first key); None: none."""
    contents = project.contents()
    for file in project.files:
        text = decode(contents.get(file, b""), file)
        if isinstance(text, str) and _find(text, file, kind, name) is not None:
            return file
    return None


def set_key(content: bytes, file: str, kind: str, name: str, key: str, value: Value, *, after: str = "") -> bytes:
    """A file with one key of one of its definitions set; a new key stands after the key `after`, else last.

    Raises InputError where the file does not hold the definition, or writes it in a way that cannot be edited safely.

    >>> text = b"# why\\npolicy: p\\nfor: payment\\nbands: {block: score >= 0.9}  # by hand\\n"
    >>> print(set_key(text, "p.yaml", "policy", "p", "bands", {"block": "score >= 0.8"}).decode(), end="")
    # why
    policy: p
    for: payment
    bands: {block: score >= 0.8}  # by hand
    """
    text = decode(content, file)
    if isinstance(text, Problem):
        raise InputError(f"{file}: {text.message}")
    text = text if text.endswith("\n") else f"{text}\n"
    found = _find(text, file, kind, name)
    if found is None:
        raise InputError(f"{file} does not define {kind} {name}")
    part = text[found.start : found.stop]
    entry = next((entry for entry in found.root.entries if entry.key.text == key), None)
    if found.root.flow:
        raise _by_hand(file, kind, name, key)
    if entry is not None and value is not None:
        edited = _changed(part, entry, value)
    elif entry is not None:
        begin, end = _line_of(part, entry.key.start), _line_after(part, _end(entry.value))
        edited = part[:begin] + part[end:]
    elif value is not None:
        before = next((item for item in found.root.entries if item.key.text == after), found.root.entries[-1])
        end = _line_after(part, _end(before.value))
        edited = part[:end] + _entry(key, value, found.root.column - 1) + part[end:]
    else:
        return content
    again = read_document(edited, file).root
    if _meaning(again) != _wanted(found.root, key, value):
        raise _by_hand(file, kind, name, key)
    text = text[: found.start] + edited + text[found.stop :]
    if b"\r\n" in content:
        text = text.replace("\n", "\r\n")
    return (b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b"") + text.encode()


def without(content: bytes, file: str, kind: str, name: str) -> bytes | None:
    """A file of definitions without one of them; None where nothing else is in it.

    >>> without(b"rule: a\\nwhen: x > 1\\n---\\nrule: b\\nwhen: x > 2\\n", "rules.yaml", "rule", "a")
    b'rule: b\\nwhen: x > 2\\n'
    """
    text = decode(content, file)
    if isinstance(text, Problem):
        raise InputError(f"{file}: {text.message}")
    kept = list[str]()
    for first, part in split_parts(text):
        root = read_document(part, file, first).root
        said = root.get(kind) if isinstance(root, MappingNode) else None
        if not (isinstance(said, Scalar) and said.text == name) and part.strip():
            kept.append(part.rstrip("\n") + "\n")
    return "---\n".join(kept).encode() if kept else None


def proposed(project: Project, changes: Changes) -> Project:
    """The project as it would be with some files changed, loaded from a copy. Raises ProjectError.

    `changes` has, beside definitions, every file that they newly name.
    """
    with tempfile.TemporaryDirectory(prefix="parakh-") as folder:
        copy = Path(folder)
        for file, content in {**project.contents(), **changes}.items():
            if content is not None:
                path = copy / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return Project.load(copy)


# -- where a definition stands ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A document of a file: the span of its text, and its root, whose offsets count from the span's start."""

    start: int
    stop: int
    root: MappingNode


def _find(text: str, file: str, kind: str, name: str) -> _Found | None:
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    begins = re.compile(rf"^\{{?\s*['\"]?{re.escape(kind)}['\"]?\s*:", re.MULTILINE)
    for first_line, part in split_parts(text):
        if name not in part or not begins.search(part):
            continue  # reading it as YAML is dear
        root = read_document(part, file, first_line).root
        if not isinstance(root, MappingNode):
            continue
        named = root.get(kind)
        if isinstance(named, Scalar) and named.text == name and root.entries[0].key.text == kind:
            start = starts[first_line - 1]
            stop = min(start + len(part), len(text))
            if text[start:stop] == part[: stop - start]:  # else it begins on its marker's own line
                return _Found(start, stop, root)
    return None


def _by_hand(file: str, kind: str, name: str, key: str) -> InputError:
    return InputError(f"{file} writes {kind} {name} in a way that is not edited safely: set its `{key}` by hand")


# -- new text ---------------------------------------------------------------------------------------------------------


def _changed(text: str, entry: Entry, value: Value) -> str:
    node = entry.value
    indent = entry.key.column - 1
    if isinstance(value, str) and isinstance(node, Scalar) and node.style not in ("|", ">"):
        space = " " if node.is_empty and text[node.start - 1] == ":" else ""
        return text[: node.start] + space + _scalar(value) + text[node.end :]
    if isinstance(value, tuple) and isinstance(node, Sequence):
        if node.flow:
            return (
                text[: node.start]
                + _flow_list(value, indent, entry.value.start - _line_of(text, entry.value.start))
                + text[node.end :]
            )
        items = [(item.text if isinstance(item, Scalar) else "", item) for item in node.items]
        dash = text.rfind("-", 0, node.items[0].start) - _line_of(text, node.items[0].start)
        return _block(text, entry, items, value, lambda name: f"{' ' * dash}- {_scalar(name)}\n")
    if isinstance(value, Mapping) and isinstance(node, MappingNode):
        if node.flow:
            return text[: node.start] + _flow_map(value) + text[node.end :]
        for name, told in value.items():
            kept = next((each for each in node.entries if each.key.text == name), None)
            if kept is not None and not (isinstance(kept.value, Scalar) and _meaning(kept.value) == told):
                again = read_document(_changed(text, kept, told), "").root
                assert isinstance(again, MappingNode)
                outer = next(each for each in again.entries if each.key.text == entry.key.text)
                return _changed(_changed(text, kept, told), outer, value)
        pairs = [(each.key.text, each.value) for each in node.entries]
        pad = " " * (node.entries[0].key.column - 1)
        return _block(text, entry, pairs, tuple(value), lambda name: f"{pad}{name}: {_scalar(value[name])}\n")
    begin, end = _line_of(text, entry.key.start), _line_after(text, _end(node))
    return text[:begin] + _entry(entry.key.text, value, indent) + text[end:]


def _block(
    text: str, entry: Entry, children: list[tuple[str, Node]], wanted: tuple[str, ...], made: Callable[[str], str]
) -> str:
    """A block collection with other children: those that stay keep their lines and the comments above them."""
    begin = _line_after(text, entry.key.end)
    chunks, start = dict[str, str](), begin
    for name, node in children:
        end = _line_after(text, _end(node))
        chunks[name], start = text[start:end], end
    return text[:begin] + "".join(chunks.get(name) or made(name) for name in wanted) + text[start:]


def _entry(key: str, value: Value, indent: int) -> str:
    pad = " " * indent
    if isinstance(value, str):
        return f"{pad}{key}: {_scalar(value)}\n"
    if isinstance(value, tuple):
        return f"{pad}{key}:\n" + "".join(f"{pad}  - {_scalar(item)}\n" for item in value)
    assert value is not None
    return f"{pad}{key}:\n" + "".join(f"{pad}  {name}: {_scalar(text)}\n" for name, text in value.items())


def _flow_list(items: tuple[str, ...], indent: int, used: int) -> str:
    whole = f"[{', '.join(map(_scalar, items))}]"
    if used + len(whole) <= _WIDTH:
        return whole
    lines, pad = ["["], " " * (indent + 2)
    for item in items:
        if len(lines[-1]) + len(item) + (used if len(lines) == 1 else 0) > _WIDTH - 4:
            lines.append(pad)
        lines[-1] += ("" if lines[-1].strip() in ("", "[") else " ") + f"{_scalar(item)},"
    return "\n".join(lines).removesuffix(",") + "]"


def _flow_map(pairs: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{name}: {_scalar(text)}' for name, text in pairs.items())}}}"


def _scalar(text: str) -> str:
    quoted = text.replace("'", "''")
    return text if _PLAIN.fullmatch(text) and text == text.strip() else f"'{quoted}'"


def _end(node: Node) -> int:
    if isinstance(node, Scalar) or node.flow:
        return node.end
    last = node.items[-1] if isinstance(node, Sequence) else node.entries[-1].value
    return _end(last)


def _line_of(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_after(text: str, position: int) -> int:
    if position and text[position - 1] == "\n":
        return position
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


# -- what it says -----------------------------------------------------------------------------------------------------


def _meaning(node: Node | None) -> object:
    if node is None or isinstance(node, Scalar):
        return None if node is None else node.text.rstrip("\n") if node.style in ("|", ">") else node.text
    if isinstance(node, Sequence):
        return [_meaning(item) for item in node.items]
    return {entry.key.text: _meaning(entry.value) for entry in node.entries}


def _wanted(root: MappingNode, key: str, value: Value) -> object:
    said = _meaning(root)
    assert isinstance(said, dict)
    if value is None:
        return {name: each for name, each in said.items() if name != key}
    return {**said, key: value if isinstance(value, str) else list(value) if isinstance(value, tuple) else dict(value)}
