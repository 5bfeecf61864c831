"""Files of events (and of labels): found, checked and read in chunks of bounded size.

NDJSON and CSV, both also compressed, Parquet, and NDJSON on standard input. What cannot be read at all is an InputError
that says what to do; a line that is no event is left to decoding, which quarantines it.
"""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parakh.errors import InputError
from parakh.events.arrow import column_path
from parakh.events.chunks import Chunk, ObjectRows, TableRows
from parakh.events.readers import JSON_ARRAY, LONGEST_LINE, NO_EVENTS, Columns, csv_rows, json_lines, missing_column
from parakh.events.streams import STANDARD_INPUT, open_blocks

__all__ = ["FORMATS", "LONGEST_LINE", "Columns", "Source", "files_in", "memory_source", "open_source"]

FORMATS = ("ndjson", "csv", "parquet")
_BLOCK = 1 << 20
_BATCH_ROWS = 1 << 16
_BOM = b"\xef\xbb\xbf"
_ENDINGS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_NUMBERED = re.compile(r"([^0-9]*)([0-9]*)", re.ASCII)


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

    def pieces(self, rows: int) -> Iterator[tuple[Chunk, int, int]]:
        """The chunks in pieces of at most so many rows: (chunk, first row, the row after the last)."""
        for chunk in self:
            for start in range(0, chunk.count, rows):
                yield chunk, start, min(start + rows, chunk.count)


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


def files_in(folder: str | Path) -> list[str]:
    """The files of events in a folder and in those within it (`date=2026-01-01/part-0.parquet`), in order of their
    paths, numbers in them by size. Files without a known ending, and what begins with . or _, are passed over.

    Raises InputError where there is none.
    """
    root = Path(folder)
    found = [
        path
        for path in root.rglob("*")
        if _by_name(path) is not None
        and path.is_file()
        and not any(part[0] in "._" for part in path.relative_to(root).parts)
    ]
    if not found:
        raise InputError(f"{folder} holds no file of events: none ends in {', '.join(_ENDINGS)}, or in those and .gz")
    return [str(path) for path in sorted(found, key=lambda path: _in_order(path.relative_to(root)))]


def memory_source(events: Any, name: str = "events", columns: Columns | None = None) -> Source:
    """Events that are in memory: a pyarrow table or record batch, a pandas or Polars frame, or mappings in order.

    Raises InputError where a table lacks one of `columns`, or has values of several types in one column.
    """
    if hasattr(events, "to_arrow"):
        events = events.to_arrow()  # Polars
    elif hasattr(events, "to_dict") and hasattr(events, "columns"):
        import pyarrow as pa

        try:
            events = pa.Table.from_pandas(events, preserve_index=False)
        except (pa.ArrowException, OverflowError) as error:
            said = ": ".join(str(part) for part in reversed(error.args)) or str(error)
            raise InputError(f"{name}: a column of the table cannot be read ({said})") from None
    if hasattr(events, "num_rows") and hasattr(events, "schema"):
        if columns is not None:
            _require(events.schema, columns, name)
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
        raise InputError(f"{name} is empty (0 bytes): it {NO_EVENTS}")
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
        raise InputError(f"{name} {JSON_ARRAY}")
    return found


def _by_name(path: Path) -> str | None:
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] == ".gz":
        endings.pop()
    return _ENDINGS.get(endings[-1]) if endings else None


def _in_order(path: Path) -> list[tuple[list[tuple[str, int]], str]]:
    """What sorts a path: part-2 before part-10."""
    return [([(text, int(digits or -1)) for text, digits in _NUMBERED.findall(part)], part) for part in path.parts]


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
                ndjson = format == "ndjson"
                for text_chunk in json_lines(blocks, shown) if ndjson else csv_rows(blocks, shown, columns):
                    source.read_bytes = done + blocks.consumed
                    yield text_chunk
            finally:
                blocks.close()
            done += blocks.consumed
        source.read_bytes = done


def _parquet(name: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(name)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name} is not a Parquet file that can be read ({_first_line(error)})") from None


def _require(schema: Any, columns: Columns, name: str) -> None:
    for column in columns.required:
        if column_path(schema, column) is None:
            raise InputError(missing_column(column, schema.names, name))


def _parquet_rows(file: Any, name: str, columns: Columns) -> Iterator[TableRows]:
    import pyarrow as pa

    paths = (column_path(file.schema_arrow, column) for column in (*columns.required, *columns.optional))
    wanted = list(dict.fromkeys(path[0] for path in paths if path is not None))
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
