"""The rows of a CSV file that a list or a lookup table names; each cell knows its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from parakh.errors import Place, Problem
from parakh.project.values import RawValue

__all__ = ["CsvRows"]

MAX_ROWS = 1_000_000


class CsvRows:
    """Rows as mappings from a column's name to its cell; an empty cell is left out, so that it is unknown."""

    def __init__(self, rows: list[dict[str, RawValue]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, RawValue]]:
        return iter(self._rows)

    @staticmethod
    def none() -> CsvRows:
        return CsvRows([])

    @staticmethod
    def read(
        content: bytes,
        file: str,
        named_at: Place,
        required: tuple[str, ...],
        optional: tuple[str, ...],
        problems: list[Problem],
    ) -> CsvRows:
        """All rows; what is wrong goes to `problems`. `named_at` is where the project names the file."""

        def wrong(message: str, line: int = 0, text: str = "", hint: str = "") -> CsvRows:
            problems.append(Problem(message, Place(file, line, 1) if line else named_at, text, hint))
            return CsvRows.none()

        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            return wrong(f"byte 0x{content[error.start]:02x} is not UTF-8", line, hint="save the file as UTF-8")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = list[dict[str, RawValue]]()
        try:
            header = next(lines, None)
            if not header:
                return wrong("the CSV file is empty", 1, hint=f"its first line names the columns: {','.join(required)}")
            for name in header:
                if name not in required and name not in optional:
                    return wrong(f"unknown column {name!r}", 1, hint=f"columns are {', '.join((*required, *optional))}")
            missing = [name for name in required if name not in header]
            if missing or len(set(header)) < len(header):
                what = f"there is no column {missing[0]!r}" if missing else "a column stands in the header twice"
                return wrong(what, 1, ",".join(header))
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(header):
                    wrong(
                        f"{len(cells)} cells where the header has {len(header)}", lines.line_num, ",".join(cells)[:200]
                    )
                    continue
                if len(rows) >= MAX_ROWS:
                    return wrong(f"more than {MAX_ROWS:,} rows", lines.line_num)
                place = Place(file, lines.line_num, 1)
                row = {name: RawValue(cell, place, False) for name, cell in zip(header, cells) if cell != ""}
                if required[0] in row:
                    rows.append(row)
                else:
                    wrong(f"the row has no {required[0]}", lines.line_num, ",".join(cells)[:200])
        except csv.Error as error:
            return wrong(f"not CSV: {error}", lines.line_num)
        return CsvRows(rows)
