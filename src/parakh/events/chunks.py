"""Bounded pieces of a source, not yet decoded: lines of JSON, rows of CSV, rows of a table, objects of a notebook.

All answer the same four questions, so that merging and quarantine need not know the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from parakh.events.csv_rows import Cells
from parakh.events.decode import Decoded, Decoder
from parakh.events.reasons import Reason

__all__ = ["Chunk", "JsonLines", "ObjectRows", "Rows", "TableRows"]

Words = npt.NDArray[np.int64]
_NEWLINE = 10


class Chunk(Protocol):
    """Some rows of one file, in order."""

    @property
    def file(self) -> str:
        """What the rows were read from, for messages."""
        ...

    @property
    def count(self) -> int:
        """How many rows there are."""
        ...

    @property
    def beyond(self) -> int:
        """Bytes of the one row of a chunk that were not kept, since it is longer than any row may be; else 0."""
        ...

    def decode(self, decoder: Decoder, start: int, stop: int, words: Words, first_row: int) -> Decoded:
        """Decode rows [start, stop) into `words` from `first_row` on."""
        ...

    def raw(self, row: int) -> bytes:
        """The bytes of a row, for quarantine."""
        ...

    def line(self, row: int) -> int:
        """The line of the file that a row begins at (the row's number in a table); from 1."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Lines of JSON as spans of a buffer that begins at line `first_line`; `too_long` marks those cut at the limit."""

    file: str
    first_line: int
    buffer: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    too_long: npt.NDArray[np.bool_] | None = None
    beyond: int = 0

    @property
    def count(self) -> int:
        return int(self.starts.shape[0])

    def decode(self, decoder: Decoder, start: int, stop: int, words: Words, first_row: int) -> Decoded:
        lengths = self.lengths[start:stop]
        if self.too_long is None:
            return decoder.decode_lines(self.buffer, self.starts[start:stop], lengths, words, first_row)
        cut = self.too_long[start:stop]
        # Nothing of a line beyond the limit is read; an empty line cannot be an event.
        lengths = np.where(cut, 0, lengths)
        decoded = decoder.decode_lines(self.buffer, self.starts[start:stop], lengths, words, first_row)
        return _marked(decoded, cut)

    def raw(self, row: int) -> bytes:
        return bytes(self.buffer[self.starts[row] : self.starts[row] + self.lengths[row]])

    def line(self, row: int) -> int:
        return self.first_line + _breaks_before(self.buffer, self.starts[row])


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of CSV; the buffer of the cells begins at line `first_line`."""

    file: str
    first_line: int
    cells: Cells
    too_long: npt.NDArray[np.bool_] | None = None
    beyond: int = 0

    @property
    def count(self) -> int:
        return self.cells.count

    def decode(self, decoder: Decoder, start: int, stop: int, words: Words, first_row: int) -> Decoded:
        part = slice(start, stop)
        cells = self.cells
        cells = replace(
            cells, starts=cells.starts[part], lengths=cells.lengths[part], whole=cells.whole[part],
            row_starts=cells.row_starts[part], row_lengths=cells.row_lengths[part],
        )  # fmt: skip
        decoded = decoder.decode_cells(cells, words, first_row)
        return decoded if self.too_long is None else _marked(decoded, self.too_long[part])

    def raw(self, row: int) -> bytes:
        start = self.cells.row_starts[row]
        return bytes(self.cells.buffer[start : start + self.cells.row_lengths[row]])

    def line(self, row: int) -> int:
        return self.first_line + _breaks_before(self.cells.buffer, self.cells.row_starts[row])


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of an Arrow table or record batch; `first_row` is the number of its first row in the file, from 1."""

    file: str
    first_row: int
    table: Any

    @property
    def count(self) -> int:
        return int(self.table.num_rows)

    @property
    def beyond(self) -> int:
        return 0

    def decode(self, decoder: Decoder, start: int, stop: int, words: Words, first_row: int) -> Decoded:
        return decoder.decode_table(self.table.slice(start, stop - start), words, first_row)

    def raw(self, row: int) -> bytes:
        one = self.table.slice(row, 1)
        try:
            values = one.to_pylist()[0]
        except (ValueError, OverflowError, UnicodeDecodeError):
            values = {name: _value(one.column(name)) for name in one.schema.names}
        return json.dumps(values, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")

    def line(self, row: int) -> int:
        return self.first_row + row


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """Python mappings."""

    file: str
    objects: Sequence[Mapping[str, Any]]

    @property
    def count(self) -> int:
        return len(self.objects)

    @property
    def beyond(self) -> int:
        return 0

    def decode(self, decoder: Decoder, start: int, stop: int, words: Words, first_row: int) -> Decoded:
        return decoder.decode_objects(self.objects[start:stop], words, first_row)

    def raw(self, row: int) -> bytes:
        try:
            return json.dumps(self.objects[row], default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")
        except (TypeError, ValueError, RecursionError):
            return repr(self.objects[row]).encode("utf-8", "backslashreplace")

    def line(self, row: int) -> int:
        return row + 1


def _value(column: Any) -> Any:
    """The value of a column of one row; its type where Python cannot hold it."""
    try:
        return column.to_pylist()[0]
    except (ValueError, OverflowError, UnicodeDecodeError):
        return str(column.type)


def _marked(decoded: Decoded, cut: npt.NDArray[np.bool_]) -> Decoded:
    decoded.problem[cut] = Reason.LINE_TOO_LONG
    return decoded


def _breaks_before(buffer: npt.NDArray[np.uint8], place: np.int64) -> int:
    return int(np.count_nonzero(buffer[:place] == _NEWLINE))
