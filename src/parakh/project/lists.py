"""Lists and lookup tables, made of read values: entries and rows from YAML, or from the CSV file that they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parakh.errors import SourceText
from parakh.expressions.hints import closest
from parakh.expressions.types import Type
from parakh.project.csv_rows import CsvRows
from parakh.project.maker import Maker
from parakh.project.reading import MISSING, Values
from parakh.project.values import Misread, RawValue, instant_us, read_value
from parakh.rules.definition import ListEntry, LookupTable, TableRow, Value, ValueList

__all__ = ["ListMaker"]

RESERVED_COLUMNS = ("key", "since", "until")
"""Names that a row of a lookup table uses itself."""


class ListMaker(Maker):
    """Makes a list or a lookup table."""

    def make_list(self, values: Values) -> ValueList:
        type = self.type_of(values)
        entries = list[ListEntry]()
        for given in values.get("items", ()):
            if "value" in given:
                since, until, note = given.get("since"), given.get("until"), given.get("note", "")
                entries.extend(self._entry(given.get("value"), type, since, until, note))
        for row in self._csv(values, "items", required=("value",), optional=("since", "until", "note")):
            since, until = self._instant(row.get("since")), self._instant(row.get("until"))
            entries.extend(self._entry(row["value"], type, since, until, str(row.get("note") or "")))
        return ValueList(
            name=values.get("list"), type=type, entries=tuple(entries), description=values.get("description", "")
        )

    def _entry(
        self, text: RawValue, type: Type, since: int | None, until: int | None, note: str
    ) -> Iterator[ListEntry]:
        """The entry of a value; none after reporting that the value is none."""
        self._ordered(since, until, text)
        value = self._value(text, type)
        if value is None:
            self.report("a list cannot hold null", text, hint=f"nothing equals null; the text is written '{text}'")
        elif value is not MISSING:
            yield ListEntry(value=value, since_us=since, until_us=until, note=note)

    def make_table(self, values: Values) -> LookupTable | None:
        if "key" not in values or "columns" not in values or "type" not in values.get("key"):
            return None
        key = self.type_of(values.get("key"))
        columns = list[tuple[str, Type]]()
        for name, given in values.get("columns"):
            if name in RESERVED_COLUMNS:
                self.report(f"a column cannot be called {str(name)!r}: a row uses it itself", name, hint="rename it")
            elif "type" in given:
                columns.append((name, self.type_of(given)))
        rows = list[TableRow]()
        for pairs in values.get("rows", ()):
            row = self._row(dict(pairs), key, columns, pairs[0][0] if pairs else values)
            rows.extend(row)
        names = tuple(str(name) for name, _ in columns)
        for given in self._csv(values, "rows", required=("key", *names), optional=("since", "until")):
            rows.extend(self._row(given, key, columns, given["key"]))
        self._one_at_a_time(rows, values)
        return LookupTable(
            name=values.get("table"),
            key=key,
            columns=tuple(columns),
            rows=tuple(rows),
            description=values.get("description", ""),
        )

    def _row(
        self, given: dict[str, RawValue], key: Type, columns: list[tuple[str, Type]], start: object
    ) -> list[TableRow]:
        known = {"key", "since", "until", *(name for name, _ in columns)}
        for name, text in given.items():
            if name not in known:
                hint = closest(name, known) or f"columns are {', '.join(sorted(known))}"
                at = name if isinstance(name, SourceText) else text
                self.report(f"unknown column {str(name)!r}", at, hint=hint)
        if "key" not in given:
            self.report("a row has no `key`", start)
            return []
        read_key = self._value(given["key"], key)
        cells = tuple(self._value(given[name], type) if name in given else None for name, type in columns)
        since, until = self._instant(given.get("since")), self._instant(given.get("until"))
        self._ordered(since, until, given["key"])
        if read_key is None:
            self.report("a row's key cannot be null", given["key"])
        if read_key is MISSING or read_key is None or any(cell is MISSING for cell in cells):
            return []
        return [TableRow(key=read_key, values=cells, since_us=since, until_us=until)]

    def _one_at_a_time(self, rows: list[TableRow], values: Values) -> None:
        """Of rows with one key the one that began last holds; so no two may begin together."""
        seen = set[tuple[Value, int | None]]()
        for row in rows:
            if (row.key, row.since_us) in seen:
                hint = "give each its own `since`: the row that began last holds"
                self.report(f"key {row.key!r} has two rows that begin at one time", values.get("table"), hint=hint)
            seen.add((row.key, row.since_us))

    def _value(self, text: RawValue, type: Type) -> Any:
        """A value of `type`; MISSING after reporting that it is none."""
        try:
            return read_value(text, type)
        except Misread as wrong:
            self.report(wrong.message, text, hint=wrong.hint)
            return MISSING

    def _instant(self, text: RawValue | None) -> int | None:
        if text is None or not text:
            return None
        try:
            return instant_us(text)
        except Misread as wrong:
            self.report(wrong.message, text, hint=wrong.hint)
            return None

    def _ordered(self, since: int | None, until: int | None, text: object) -> None:
        if since is not None and until is not None and until <= since:
            self.report("`until` does not come after `since`", text)

    def _csv(self, values: Values, key: str, *, required: tuple[str, ...], optional: tuple[str, ...]) -> CsvRows:
        """The rows of the CSV file that a list or table names."""
        file = values.get("file")
        if (file is None) == (key not in values):
            self.report(
                f"{self.what} has both `{key}` and `file`"
                if file is not None
                else f"{self.what} has neither `{key}` nor `file`",
                file if file is not None else values,
                hint="give one of them",
            )
            return CsvRows.none()
        named = None if file is None else self.files(file)
        if file is None or named is None:
            return CsvRows.none()
        return CsvRows.read(named.content, named.name, file.place, required, optional, self.reading.problems)
