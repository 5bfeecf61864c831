"""Decisions into a file: Parquet or NDJSON, under a temporary name until all is written.

NDJSON is put together a column at a time: what a value is as JSON is asked once for each distinct text.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parakh.errors import ParakhError

__all__ = ["FORMATS", "OutputError", "format_of", "json_lines", "open_output"]

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
_ROW_GROUP = 65_536


class OutputError(ParakhError):
    """Decisions cannot be written where they were asked for."""


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


def format_of(path: str, asked: str | None) -> str:
    """The format asked for, or that of the file's ending; standard output is NDJSON. Raises OutputError."""
    if asked is not None:
        if path == "-" and asked != "ndjson":
            raise OutputError("standard output takes NDJSON only; name a file for Parquet")
        return asked
    if path == "-":
        return "ndjson"
    found = FORMATS.get(Path(path).suffix.lower())
    if found is None:
        raise OutputError(
            f"in which format? {path} ends in none of {', '.join(FORMATS)}; say --format parquet or ndjson"
        )
    return found


class Output:
    """Takes tables of one schema; the file has its name only when `finish` was reached. Use it as a context."""

    def __init__(self, path: str, format: str, schema: pa.Schema) -> None:
        self._path = path
        self._partial = None if path == "-" else Path(f"{path}.partial")
        target: IO[bytes]
        if self._partial is None:
            if sys.stdout is None:  # as after `>&-`
                raise OutputError("standard output is closed; name a file")
            target = sys.stdout.buffer
        else:
            try:
                target = self._partial.open("wb")
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        self._file = target
        self._sink: _Sink = _Parquet(target, schema) if format == "parquet" else _Lines(target)

    def write(self, table: pa.Table) -> None:
        self._sink.write(table)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial is None:
            if kind is None:
                self._sink.close()
                self._file.flush()
            return
        try:
            if kind is None:
                self._sink.close()
                self._file.close()
                os.replace(self._partial, self._path)
        finally:
            # After an error, and where the disk is full or OUT a folder only at the very end, nothing stays behind.
            with contextlib.suppress(OSError, pa.ArrowException):
                self._sink.close()
            with contextlib.suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)


def open_output(path: str, format: str, schema: pa.Schema) -> Output:
    """An output for tables of this schema. Raises OutputError where the file cannot be made."""
    return Output(path, format, schema)


class _Parquet:
    """Gathers batches into row groups of a good size, the same whatever the batches were."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._held.append(table)
        self._rows += table.num_rows
        while self._rows >= _ROW_GROUP:
            self._put(_ROW_GROUP)

    def _put(self, rows: int) -> None:
        whole = pa.concat_tables(self._held)
        self._writer.write_table(whole.slice(0, rows), row_group_size=rows)
        self._held = [whole.slice(rows)]
        self._rows -= rows

    def close(self) -> None:
        if self._rows:
            self._put(self._rows)
        self._writer.close()


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, table: pa.Table) -> None:
        self._file.write(json_lines(table))

    def close(self) -> None:
        return


def json_lines(table: pa.Table) -> bytes:
    """A table as NDJSON: one object a row, keys in the order of the columns, NULL as null, money as a number.

    >>> json_lines(pa.table({"id": ["a"], "score": [0.5], "rules": [["r1"]]}))
    b'{"id":"a","score":0.5,"rules":["r1"]}\\n'
    """
    if not table.num_rows:
        return b""
    pieces: list[Any] = []
    for number, name in enumerate(table.column_names):
        key = msgspec.json.encode(name).decode()
        pieces.append(pa.scalar(f"{'{' if number == 0 else ','}{key}:", pa.large_string()))
        pieces.append(_fragments(table.column(number).combine_chunks()))
    pieces.append(pa.scalar("}\n", pa.large_string()))
    lines = pc.binary_join_element_wise(*pieces, pa.scalar("", pa.large_string()))
    if isinstance(lines, pa.ChunkedArray):
        lines = lines.combine_chunks()
    _, offsets, data = lines.buffers()
    bounds = memoryview(offsets).cast("q")
    return bytes(memoryview(data)[bounds[lines.offset] : bounds[lines.offset + len(lines)]])


def _fragments(column: Any) -> pa.Array:
    """Each value of a column as JSON text."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    if pa.types.is_string(kind):
        words = column.dictionary_encode()
        texts = pa.array([_json(value) for value in words.dictionary.to_pylist()], pa.large_string())
        shown = texts.take(words.indices)
    elif pa.types.is_list(kind):
        shown = pa.array(_json_lists(column.to_pylist()), pa.large_string())
    elif pa.types.is_timestamp(kind):
        plain = column.cast(pa.timestamp("us")).cast(pa.large_string())
        quote = pa.scalar('"', pa.large_string())
        shown = pc.binary_join_element_wise(
            quote,
            pc.replace_substring(plain, " ", "T"),
            pa.scalar('Z"', pa.large_string()),
            pa.scalar("", pa.large_string()),
        )
    else:
        shown = column.cast(pa.large_string())
    return pc.fill_null(shown, "null")


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _json_lists(lists: Iterable[list[str] | None]) -> list[str | None]:
    known: dict[tuple[str, ...], str] = {}
    shown: list[str | None] = []
    for value in lists:
        if not value:
            shown.append("[]" if value is not None else None)
            continue
        key = tuple(value)
        if key not in known:
            known[key] = msgspec.json.encode(value).decode()
        shown.append(known[key])
    return shown
