"""Streams of bytes cut into chunks of whole lines: NDJSON, and CSV with its header.

Memory is bounded by the longest line. A line beyond it is refused alone, and so is one whose quotation never ends.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.events.chunks import JsonLines, Rows
from parakh.events.csv_rows import Cells, split_rows
from parakh.events.definition import EventType
from parakh.events.schema import ATTACHED
from parakh.events.streams import Blocks
from parakh.expressions.hints import closest

__all__ = ["JSON_ARRAY", "LONGEST_LINE", "NO_EVENTS", "Columns", "csv_rows", "json_lines", "lines_of", "missing_column"]

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is quarantined."""

NO_EVENTS = "holds no events"
JSON_ARRAY = "is one JSON array; write one event a line (for instance with jq -c '.[]')"
_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _RETURN = 10, 13


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns or JSON paths that a source is read by; a CSV or Parquet file must have the required ones."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @classmethod
    def of(cls, event_type: EventType) -> Columns:
        """The columns of an event type: all its fields; labels, and what a service attaches, may be missing."""
        fields = [item.source or item.name for item in event_type.fields]
        attached = [source for source in fields if source.startswith(ATTACHED)]
        labels = [item.source for item in event_type.labels if item.source is not None]
        required = dict.fromkeys(source for source in fields if not source.startswith(ATTACHED))
        return cls(tuple(required), tuple(dict.fromkeys((*labels, *attached))))


def missing_column(column: str, present: Sequence[str], name: str) -> str:
    """What to say of a file that lacks a column."""
    shown = ", ".join(present[:30]) + (", ..." if len(present) > 30 else "")
    hint = closest(column, present)
    return f"{name}: column {column!r} is not there; columns are {shown}" + (f"; {hint}" if hint else "")


class _Carried:
    """Blocks of a stream cut after their last whole line; what is left over begins the next one."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._first = True
        self.rest = b""
        self.final = False
        self.broken: InputError | None = None

    def read(self) -> bytes:
        """What was left and the next block; `final` says that nothing follows."""
        try:
            block = self._blocks.read(_BLOCK)
        except InputError as error:
            # What stands before the break counts, but not the line that it cuts.
            self.broken, self.final = error, True
            data = self.rest[: self.rest.rfind(b"\n") + 1]
        else:
            self.final = not block
            data = self.rest + block
        if self._first and len(data) >= len(_BOM):
            data = data.removeprefix(_BOM)
            self._first = False
        self.rest = b""
        return data

    def skip_line(self) -> int:
        """Throw away the rest of a line that is too long; answers how many bytes that was."""
        skipped = 0
        while not self.final:
            data = self.read()
            end = data.find(b"\n")
            if end >= 0:
                self.rest = data[end + 1 :]
                return skipped + end
            skipped += len(data)
        return skipped


def json_lines(blocks: Blocks, name: str) -> Iterator[JsonLines]:
    """Chunks of NDJSON; `name` is what messages call the stream.

    Raises InputError where the stream breaks off (after what stood before), holds no events or is one JSON array.
    """
    carried = _Carried(blocks)
    line = 1
    found = False
    while not carried.final:
        data = carried.read()
        cut = len(data) if carried.final else data.rfind(b"\n") + 1
        if cut == 0 and len(data) > LONGEST_LINE:
            buffer = np.frombuffer(bytearray(data[:LONGEST_LINE]), np.uint8)
            span = np.array([0], np.int64), np.array([LONGEST_LINE], np.int64)
            beyond = len(data) - LONGEST_LINE + carried.skip_line()
            yield JsonLines(name, line, buffer, *span, np.ones(1, np.bool_), beyond)
            found = True
            line += 1
            continue
        carried.rest = data[cut:]
        if cut == 0:
            continue
        chunk = _spans(name, line, data[:cut])
        if not found and chunk.count and data.lstrip()[:1] == b"[":
            raise InputError(f"{name} {JSON_ARRAY}")
        found = found or chunk.count > 0
        line += data.count(b"\n", 0, cut)
        if chunk.count:
            yield chunk
    if carried.broken is not None:
        raise carried.broken
    if not found:
        raise InputError(f"{name} {NO_EVENTS}")


def lines_of(name: str, data: bytes) -> JsonLines:
    """Lines of JSON that are in memory, each as `json_lines` gives it."""
    if data.find(b"\n", 0, -1) < 0 and len(data) <= LONGEST_LINE and data[:1] == b"{":
        # One line, as a live service has most often.
        one = np.zeros(1, np.int64)
        return JsonLines(name, 1, np.frombuffer(bytearray(data), np.uint8), one, one + len(data) - data.endswith(b"\n"))
    return _spans(name, 1, data.removeprefix(_BOM) or b"\n")


def _spans(name: str, line: int, data: bytes) -> JsonLines:
    buffer = np.frombuffer(bytearray(data), np.uint8)
    ends = np.flatnonzero(buffer == _NEWLINE)
    if buffer[-1] != _NEWLINE:
        ends = np.append(ends, buffer.shape[0])
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    lengths -= (lengths > 0) & (buffer[np.maximum(ends - 1, 0)] == _RETURN)
    blank = (lengths == 0) | (buffer[np.minimum(starts, buffer.shape[0] - 1)] <= 32)
    if blank.any():
        for index in np.flatnonzero(blank & (lengths > 0)).tolist():
            blank[index] = not data[starts[index] : ends[index]].strip()
        starts, lengths = starts[~blank], lengths[~blank]
    too_long = lengths > LONGEST_LINE
    return JsonLines(name, line, buffer, starts, lengths, too_long if too_long.any() else None)


def csv_rows(blocks: Blocks, name: str, columns: Columns) -> Iterator[Rows]:
    """Chunks of CSV, with the cells of `columns`.

    Raises InputError where the header cannot be read or lacks a required column, or the stream breaks off.
    """
    carried = _Carried(blocks)
    header: list[str] | None = None
    wanted: tuple[str, ...] = ()
    places = np.zeros(0, np.int64)
    line = 1
    while not carried.final:
        data = carried.read()
        if header is None:
            begin = len(data) - len(data.lstrip(b"\r\n"))
            end = data.find(b"\n", begin)
            if end < 0 and not carried.final and len(data) <= LONGEST_LINE:
                carried.rest = data
                continue
            end = len(data) if end < 0 else end
            if not data[begin:end].strip():
                break
            header = _header(data[begin:end], name)
            wanted = _wanted(header, columns, name)
            order = {column: place for place, column in enumerate(wanted)}
            places = np.array([order.get(column, -1) for column in header], np.int64)
            line += data.count(b"\n", 0, end + 1)
            data = data[end + 1 :]
        if not data:
            continue
        rows, position = _split(name, line, data, carried.final, header, wanted, places)
        carried.rest = data[position:]
        line += data.count(b"\n", 0, position)
        if rows.count:
            yield rows
        if len(carried.rest) > LONGEST_LINE:
            # A row this long is none; most likely a quotation never ends, so only its first line is given up.
            rest = carried.rest
            end = rest.find(b"\n", 0, LONGEST_LINE)
            if end >= 0:
                carried.rest = rest[end + 1 :]
                yield _refused_line(name, line, rest[:end], wanted)
            else:
                after = rest.find(b"\n")
                carried.rest = rest[after + 1 :] if after >= 0 else b""
                size = after if after >= 0 else len(rest) + carried.skip_line()
                yield _refused_line(name, line, rest[:LONGEST_LINE], wanted, beyond=size - LONGEST_LINE)
            line += 1
    if carried.broken is not None:
        raise carried.broken
    if header is None:
        raise InputError(f"{name} {NO_EVENTS}, not even a header")


def _split(
    name: str, line: int, data: bytes, final: bool, header: list[str], wanted: tuple[str, ...],
    places: npt.NDArray[np.int64],
) -> tuple[Rows, int]:  # fmt: skip
    buffer = np.frombuffer(bytearray(data), np.uint8)
    most = data.count(b"\n") + 1
    starts = np.zeros((most, len(wanted)), np.int64)
    lengths = np.zeros((most, len(wanted)), np.int64)
    whole = np.zeros(most, np.uint8)
    row_starts, row_lengths = np.zeros(most, np.int64), np.zeros(most, np.int64)
    count, position = split_rows(
        buffer, 0, len(data), final, len(header), places, starts, lengths, whole, row_starts, row_lengths
    )
    cells = Cells(
        buffer, wanted, starts[:count], lengths[:count], whole[:count], row_starts[:count], row_lengths[:count]
    )
    return Rows(name, line, cells), position


def _refused_line(name: str, line: int, data: bytes, wanted: tuple[str, ...], *, beyond: int = -1) -> Rows:
    """A row that is none; `beyond` says how many bytes more it has where it is too long."""
    buffer = np.frombuffer(bytearray(data or b"\0"), np.uint8)
    none = np.zeros((1, len(wanted)), np.int64)
    row = np.zeros(1, np.int64), np.array([len(data)], np.int64)
    cells = Cells(buffer, wanted, none, none.copy(), np.zeros(1, np.uint8), *row)
    return Rows(name, line, cells, np.array([beyond >= 0]), max(beyond, 0))


def _header(line: bytes, name: str) -> list[str]:
    try:
        text = line.rstrip(b"\r").decode()
    except UnicodeDecodeError:
        raise InputError(f"{name}: the header is not UTF-8") from None
    try:
        header = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise InputError(f"{name}: the header cannot be read ({error})") from None
    header = [column.strip() for column in header]
    for column in header:
        if column and header.count(column) > 1:
            raise InputError(f"{name}: two columns are named {column!r}")
    return header


def _wanted(header: list[str], columns: Columns, name: str) -> tuple[str, ...]:
    for column in columns.required:
        if column not in header:
            hint = ""
            if len(header) == 1 and any(sign in header[0] for sign in ";\t|"):
                hint = "; cells must be separated by commas"
            raise InputError(missing_column(column, header, name) + hint)
    return tuple(column for column in (*columns.required, *columns.optional) if column in header)
