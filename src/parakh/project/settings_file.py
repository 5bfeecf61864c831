"""parakh.toml -> `Settings`. The same table of keys that reads YAML reads it, so that mistakes look alike."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping as Shapes
from dataclasses import dataclass
from typing import Any

from parakh.decisions.definition import Settings
from parakh.errors import Place, Problem
from parakh.expressions.hints import closest
from parakh.project.keys import SETTINGS, Key, Record
from parakh.project.reading import Reading, Values
from parakh.project.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence, decode

__all__ = ["FILE", "Tables", "read_settings", "read_tables"]

FILE = "parakh.toml"


def read_settings(content: bytes, file: str = FILE) -> tuple[Settings | None, list[Problem]]:
    """The settings in a parakh.toml, or None, and all that is wrong with it.

    >>> read_settings(b'name = "shop"\\ncurrency = "INR"\\n')[0].currency
    'INR'
    """
    tables = read_tables(content, file, SETTINGS)
    if isinstance(tables, Problem):
        return None, [tables]
    read, reading, nodes = tables.values, tables.reading, tables.nodes
    values = read.get("", Values(Place(file, 1, 1)))
    zone = values.get("time_zone", "UTC")
    if not _is_zone(str(zone)):
        node = nodes.table("", {"time_zone": zone}, skip=())
        assert isinstance(node, Mapping)
        reading.problem(f"unknown time zone {str(zone)!r}", node.entries[0].value, hint=_zone_hint(str(zone)))
        zone = "UTC"
    if "name" not in values:
        return _settings(read, "unnamed", str(zone)), reading.problems
    return _settings(read, str(values.get("name")), str(zone)), reading.problems


@dataclass(frozen=True, slots=True)
class Tables:
    """A TOML file, read: the values of each table, and the reading that collects what is wrong."""

    values: dict[str, Values]
    reading: Reading
    nodes: _Nodes


def read_tables(content: bytes, file: str, shapes: Shapes[str, tuple[Key, ...]]) -> Tables | Problem:
    """Read a TOML file of tables with fixed keys; `shapes` has the keys of each table, those of the file under ""."""
    text = decode(content, file)
    if isinstance(text, Problem):
        return text
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        return _not_toml(str(error), text, file)
    reading = Reading(file, text, plain_column=lambda _: True)
    nodes = _Nodes(text)
    unknown = _unknown_tables(reading, nodes, tables, shapes)
    read = dict[str, Values]()
    for table, table_keys in shapes.items():
        content_of = tables if not table else tables.get(table, {})
        node = nodes.table(table, content_of, skip=(*shapes, *unknown) if not table else ())
        if not isinstance(node, Mapping):
            reading.problem(f"[{table}] is a table of keys", node, hint=f"write [{table}] on a line of its own")
            continue
        values = reading.record(node, Record(table_keys), f"[{table}]" if table else file)
        assert isinstance(values, Values)
        read[table] = values
    return Tables(read, reading, nodes)


def _unknown_tables(
    reading: Reading, nodes: _Nodes, tables: dict[str, Any], shapes: Shapes[str, tuple[Key, ...]]
) -> list[str]:
    """The tables that the file does not have, each told; a key of the file that is given as one is told as a value."""
    known, keys = [name for name in shapes if name], [key.name for key in shapes[""]]
    unknown = [name for name, value in tables.items() if isinstance(value, dict) and name not in (*known, *keys)]
    for name in unknown:
        hint = closest(name, known) or f"its tables are {', '.join(f'[{table}]' for table in known)}"
        reading.problem(f"unknown table [{name}] in {reading.file}", nodes.header(name), hint=hint)
    return unknown


def _settings(read: dict[str, Values], name: str, zone: str) -> Settings:
    values, default = read.get("", Values(Place(FILE, 1, 1))), Settings(name=name)
    limits, labels, asked = read.get("limits"), read.get("labels"), read.get("enrichments")
    return Settings(
        name=name,
        currency=str(values.get("currency", default.currency)),
        time_zone=zone,
        lateness_us=values.get("lateness", default.lateness_us),
        horizon_us=values.get("horizon", default.horizon_us),
        earliest_us=values.get("earliest", default.earliest_us),
        state_bytes=limits.get("state", default.state_bytes) if limits else default.state_bytes,
        label_sources=tuple(str(item) for item in labels.get("sources", ())) if labels else (),
        enrichment_hosts=tuple(asked.get("hosts", ())) if asked else (),
    )


class _Nodes:
    """Parsed TOML as nodes with places; tomllib keeps none, so a key is looked for in its table's lines."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def table(self, table: str, content: Any, skip: tuple[str, ...]) -> Node:
        begin, end = self._section(table)
        if not isinstance(content, dict):
            return self._value(table, content, 0, len(self.lines))
        entries = []
        for name, value in content.items():
            if name in skip and isinstance(value, dict):
                continue
            if isinstance(value, dict):
                key = self.header(name)
            else:
                line, column = self._find(name, begin, end)
                key = self._scalar(name, "", line, column)
            entries.append(Entry(key, self._value(name, value, begin, end)))
        line = max(begin - 1, 0)
        return Mapping(tuple(entries), False, line + 1, 1, self.starts[line], self.starts[line])

    def header(self, table: str) -> Scalar:
        """The name of a table where it begins."""
        line = max(self._section(table)[0] - 1, 0)
        return self._scalar(table, "", line, max(self.lines[line].find(table), 0))

    def _section(self, table: str) -> tuple[int, int]:
        """The lines of a table, header left out."""
        headers = [(number, line.strip()) for number, line in enumerate(self.lines) if line.lstrip().startswith("[")]
        begin = 0
        if table:
            begin = next((number + 1 for number, line in headers if line.partition("]")[0].strip("[ ") == table), 0)
        end = next((number for number, _ in headers if number >= begin), len(self.lines))
        return begin, end

    def _find(self, name: str, begin: int, end: int) -> tuple[int, int]:
        for number in range(begin, end):
            found = re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", self.lines[number])
            if found:
                return number, len(found.group()) - len(found.group().lstrip())
        return max(begin - 1, 0), 0

    def _value(self, name: str, value: Any, begin: int, end: int) -> Node:
        line, column = self._find(name, begin, end)
        equals = self.lines[line].find("=") if line < len(self.lines) else -1
        if equals >= 0:
            rest = self.lines[line][equals + 1 :]
            column = equals + 1 + len(rest) - len(rest.lstrip())
        if isinstance(value, list):
            items = tuple(
                self._scalar(_text(item), '"' if isinstance(item, str) else "", line, column) for item in value
            )
            return Sequence(items, True, line + 1, column + 1, self.starts[line] + column, self.starts[line + 1] - 1)
        if isinstance(value, dict):
            return Mapping((), False, line + 1, column + 1, self.starts[line] + column, self.starts[line + 1] - 1)
        return self._scalar(_text(value), '"' if isinstance(value, str) else "", line, column)

    def _scalar(self, text: str, style: str, line: int, column: int) -> Scalar:
        shift = 1 if style else 0
        start = self.starts[line] + column
        end = min(start + len(text) + 2 * shift, self.starts[line + 1] - 1)
        return Scalar(text, style, line + 1, column + 1, start, end, line + 1, column + 1 + shift)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _not_toml(message: str, text: str, file: str) -> Problem:
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    said = message[: found.start()] if found else message
    lines = text.split("\n")
    line = int(found.group(1)) if found and found.group(1) else len(lines)
    column = int(found.group(2)) if found and found.group(2) else 1
    shown = lines[line - 1].strip() if line <= len(lines) else ""
    return Problem(f"not TOML: {said}", Place(file, line, column), shown, "write key = value; a text needs quotes")


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _zone_hint(name: str) -> str:
    from zoneinfo import available_timezones

    zones = available_timezones()
    folded = next((zone for zone in zones if zone.lower() == name.lower()), "")
    return f"did you mean {folded}?" if folded else closest(name, zones) or "such as Asia/Kolkata"
