"""Files of events (and of labels): found, checked and read in chunks of bounded size.

NDJSON and CSV, both also compressed, Parquet, and NDJSON on standard input. What cannot be read at all is an InputError
that says what to do; a line that is no event is left to decoding, which quarantines it.
"""

from __future__ import annotations

import csv
import difflib
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.events.chunks import Chunk, JsonLines, ObjectRows, Rows, TableRows
from parakh.events.csv_rows import Cells, split_rows
from parakh.events.definition import EventType
from parakh.events.streams import STANDARD_INPUT, Blocks, open_blocks

__all__ = ["FORMATS", "LONGEST_LINE", "Columns", "Source", "memory_source", "open_source"]

FORMATS = ("ndjson", "csv", "parquet")
LONGEST_LINE = 1 << 20
"""Bytes; a longer line is quarantined."""

_BLOCK = 1 << 20
_BATCH_ROWS = 1 << 16
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _RETURN = 10, 13
_EMPTY = "holds no events"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns or JSON paths that a source is read by; a CSV or Parquet file must have the required ones."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @classmethod
    def of(cls, event_type: EventType) -> Columns:
        """The columns of an event type: all its fields; label columns may be missing."""
        fields = [item.source or item.name for item in event_type.fields]
        labels = [item.source for item in event_type.labels if item.source is not None]
        return cls(tuple(dict.fromkeys(fields)), tuple(dict.fromkeys(labels)))


class Source:
    """Chunks of one stream of events, file after file. Iterate once.

    `total_bytes` is None where standard input is among the files; `read_bytes` grows while iterating.
    """

    def __init__(self, chunks: Iterator[Chunk], name: str, total_bytes: int | None) -> None:
        self.name = name
        self.total_bytes = total_bytes
        self.read_bytes = 0
        self._chunks = chunks

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks


def open_source(paths: str | Path | Sequence[str | Path], columns: Columns, *, format: str | None = None) -> Source:
    """Open files that together are one stream, concatenated in the order given; `-` is standard input.

    `format` is one of FORMATS; without it the name's ending says it, or else the first bytes. Raises InputError at once
    for a file that is not there, is a directory, is empty or lacks a column, and while iterating where one breaks off.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    names = [str(path) for path in paths]
    formats = [_check(name, columns, format) for name in names]
    total = None if STANDARD_INPUT in names else sum(Path(name).stat().st_size for name in names)
    source = Source(iter(()), ", ".join(names), total)
    source._chunks = _chunks(source, list(zip(names, formats)), columns)
    return source


def memory_source(events: Any, name: str = "events") -> Source:
    """Events that are in memory: a pyarrow table or record batch, a pandas or Polars frame, or mappings in order."""
    if hasattr(events, "to_arrow"):
        events = events.to_arrow()  # Polars
    elif hasattr(events, "to_dict") and hasattr(events, "columns"):
        import pyarrow as pa

        events = pa.Table.from_pandas(events, preserve_index=False)
    if hasattr(events, "num_rows") and hasattr(events, "schema"):
        batches = events.to_batches(_BATCH_ROWS) if hasattr(events, "to_batches") else [events]
        return Source(iter(_tables(name, batches)), name, None)
    if isinstance(events, Mapping) or not isinstance(events, Iterable):
        raise InputError(f"events are given as a list of dicts or a table, not as {type(events).__name__}")
    return Source(_objects(name, events), name, None)


def _objects(name: str, events: Iterable[Mapping[str, Any]]) -> Iterator[Chunk]:
    if isinstance(events, Sequence):
        yield ObjectRows(name, events)
        return
    held: list[Mapping[str, Any]] = []
    for event in events:
        held.append(event)
        if len(held) == _BATCH_ROWS:
            yield ObjectRows(name, held)
            held = []
    yield ObjectRows(name, held)


def _check(name: str, columns: Columns, asked: str | None) -> str:
    """The format of a file that can be opened and has its columns."""
    if asked is not None and asked not in FORMATS:
        raise InputError(f"{asked!r} is not a format; formats are {', '.join(FORMATS)}")
    if name == STANDARD_INPUT:
        if asked == "parquet":
            raise InputError("Parquet cannot be read from standard input; give a file")
        return asked or "ndjson"
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file{_near(path)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a directory; name the file in it")
    if path.stat().st_size == 0 and stat.S_ISREG(mode):
        raise InputError(f"{name} is empty (0 bytes): it {_EMPTY}")
    if not stat.S_ISREG(mode):  # a pipe: what is looked at is gone
        return asked or "ndjson"
    found = asked or _by_name(path)
    blocks = open_blocks(name)
    try:
        head = blocks.read(_BLOCK)
        while head and len(head) < 4:
            more = blocks.read(_BLOCK)
            if not more:
                break
            head += more
    except InputError:
        head = b""  # said again, with what could be read, while iterating
    finally:
        blocks.close()
    if found is None:
        start = head.removeprefix(_BOM).lstrip()[:1]
        found = "parquet" if head[:4] == b"PAR1" else "ndjson" if start in (b"{", b"[", b"") else "csv"
    if found == "parquet":
        _require(_parquet(name).schema_arrow, columns, name)
    elif head[:4] == b"PAR1":
        raise InputError(f"{name} is a Parquet file; name it .parquet or say so with its format")
    elif found == "ndjson" and head.removeprefix(_BOM).lstrip()[:1] == b"[":
        raise InputError(f"{name} is one JSON array; write one event a line (for instance with jq -c '.[]')")
    return found


def _by_name(path: Path) -> str | None:
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] == ".gz":
        endings.pop()
    known = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".parquet": "parquet"}
    return known.get(endings[-1]) if endings else None


def _near(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _chunks(source: Source, files: Sequence[tuple[str, str]], columns: Columns) -> Iterator[Chunk]:
    done = 0
    for name, format in files:
        if format == "parquet":
            size = Path(name).stat().st_size
            file = _parquet(name)
            rows = file.metadata.num_rows
            for chunk in _parquet_rows(file, name, columns):
                source.read_bytes = done + size * (chunk.first_row + chunk.count - 1) // max(rows, 1)
                yield chunk
            done += size
        else:
            blocks = open_blocks(name)
            shown = "standard input" if name == STANDARD_INPUT else name
            try:
                reader = _json_lines if format == "ndjson" else _csv_rows
                for text_chunk in reader(blocks, shown, columns):
                    source.read_bytes = done + blocks.consumed
                    yield text_chunk
            finally:
                blocks.close()
            done += blocks.consumed
        source.read_bytes = done


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

    def skip_line(self) -> None:
        """Throw away the rest of a line that is too long."""
        while not self.final:
            data = self.read()
            end = data.find(b"\n")
            if end >= 0:
                self.rest = data[end + 1 :]
                return


def _json_lines(blocks: Blocks, name: str, columns: Columns) -> Iterator[JsonLines]:
    carried = _Carried(blocks)
    line = 1
    found = False
    while not carried.final:
        data = carried.read()
        cut = len(data) if carried.final else data.rfind(b"\n") + 1
        if cut == 0 and len(data) > LONGEST_LINE:
            buffer = np.frombuffer(bytearray(data[:LONGEST_LINE]), np.uint8)
            span = np.array([0], np.int64), np.array([LONGEST_LINE], np.int64)
            yield JsonLines(name, line, buffer, *span, np.ones(1, np.bool_))
            carried.skip_line()
            found = True
            line += 1
            continue
        carried.rest = data[cut:]
        if cut == 0:
            continue
        chunk = _spans(name, line, data[:cut])
        if not found and chunk.count and data.lstrip()[:1] == b"[":
            raise InputError(f"{name} is one JSON array; write one event a line (for instance with jq -c '.[]')")
        found = found or chunk.count > 0
        line += data.count(b"\n", 0, cut)
        if chunk.count:
            yield chunk
    if carried.broken is not None:
        raise carried.broken
    if not found:
        raise InputError(f"{name} {_EMPTY}")


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


def _csv_rows(blocks: Blocks, name: str, columns: Columns) -> Iterator[Rows]:
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
            yield _refused_line(name, line, rest[: end if end >= 0 else LONGEST_LINE], wanted, too_long=end < 0)
            carried.rest = rest[end + 1 :] if end >= 0 else rest
            if end < 0:
                after = rest.find(b"\n")
                carried.rest = rest[after + 1 :] if after >= 0 else b""
                if after < 0:
                    carried.skip_line()
            line += 1
    if carried.broken is not None:
        raise carried.broken
    if header is None:
        raise InputError(f"{name} {_EMPTY}, not even a header")


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


def _refused_line(name: str, line: int, data: bytes, wanted: tuple[str, ...], *, too_long: bool) -> Rows:
    buffer = np.frombuffer(bytearray(data or b"\0"), np.uint8)
    none = np.zeros((1, len(wanted)), np.int64)
    row = np.zeros(1, np.int64), np.array([len(data)], np.int64)
    cells = Cells(buffer, wanted, none, none.copy(), np.zeros(1, np.uint8), *row)
    return Rows(name, line, cells, np.array([too_long]))


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
            raise InputError(_missing(column, header, name) + hint)
    return tuple(column for column in (*columns.required, *columns.optional) if column in header)


def _missing(column: str, present: Sequence[str], name: str) -> str:
    near = difflib.get_close_matches(column, present, 1) or [
        other for other in present if other.lower() == column.lower()
    ]
    shown = ", ".join(present[:30]) + (", ..." if len(present) > 30 else "")
    return f"{name}: column {column!r} is not there; columns are {shown}" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _parquet(name: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(name)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name} is not a Parquet file that can be read ({_first_line(error)})") from None


def _require(schema: Any, columns: Columns, name: str) -> None:
    for column in columns.required:
        if _top_level(schema, column) is None:
            raise InputError(_missing(column, schema.names, name))


def _top_level(schema: Any, column: str) -> str | None:
    """The column of the file that a column or path is read from."""
    import pyarrow as pa

    if column in schema.names:
        return column
    first, *rest = column.split(".")
    if not rest or first not in schema.names:
        return None
    type = schema.field(first).type
    for part in rest:
        if not pa.types.is_struct(type) or type.get_field_index(part) < 0:
            return None
        type = type.field(part).type
    return first


def _parquet_rows(file: Any, name: str, columns: Columns) -> Iterator[TableRows]:
    import pyarrow as pa

    tops = (_top_level(file.schema_arrow, column) for column in (*columns.required, *columns.optional))
    wanted = list(dict.fromkeys(top for top in tops if top is not None))
    row = 1
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            yield TableRows(name, row, batch)
            row += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name}: the Parquet file is damaged after row {row - 1} ({_first_line(error)})") from None
    finally:
        file.close()


def _tables(name: str, batches: Sequence[Any]) -> Iterator[Chunk]:
    row = 1
    for batch in batches:
        yield TableRows(name, row, batch)
        row += batch.num_rows


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
