"""Rows of CSV (RFC 4180) as spans of their block: splitting and decoding without an object a cell.

A quoted cell may hold commas and line breaks; a cell with doubled quotes is left to Python. A row that has not as many
cells as the header is kept apart (`whole` is 0), and so is a line whose quotation never ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.events.fields import TEXT, clear_row, close_row, store
from parakh.events.scalars import valid_utf8
from parakh.events.schema import KIND, KIND_NUMBERS
from parakh.expressions.kernels import kernel
from parakh.expressions.types import Kind

__all__ = ["Cells", "decode_cells", "split_rows", "unquoted"]

_STRING = KIND_NUMBERS[Kind.STRING]


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows of one block. starts, lengths: int64[rows, columns], the cells of `columns`; a length below 0 is that of a
    cell with doubled quotes, as -1 - length. whole: uint8[rows]. row_starts, row_lengths: the rows' own bytes."""

    buffer: npt.NDArray[np.uint8]
    columns: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    whole: npt.NDArray[np.uint8]
    row_starts: npt.NDArray[np.int64]
    row_lengths: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.whole.shape[0])


def unquoted(cells: Cells, row: int, place: int) -> bytes | None:
    """The content of a cell; None where it is empty or there is no such column."""
    if place < 0:
        return None
    start, length = int(cells.starts[row, place]), int(cells.lengths[row, place])
    if length >= 0:
        return bytes(cells.buffer[start : start + length]) or None
    return bytes(cells.buffer[start : start - length - 1]).replace(b'""', b'"')


@kernel
def split_rows(
    buffer: Any, begin: Any, end: Any, final: Any, header: Any, places: Any,
    starts: Any, lengths: Any, whole: Any, row_starts: Any, row_lengths: Any,
) -> Any:  # fmt: skip
    """(rows, position): split buffer[begin:end] into rows until the arrays are full or no whole row is left.

    `header` is the number of cells a row must have, `places[i]` the column of the results that cell i goes to or -1.
    `final`: nothing follows the buffer, so a last line without its break counts, and an open quotation never ends.
    """
    rows = 0
    position = begin
    while rows < whole.shape[0]:
        while position < end and (
            buffer[position] == 10
            or (
                buffer[position] == 13
                and ((position + 1 == end and final) or (position + 1 < end and buffer[position + 1] == 10))
            )
        ):
            position += 1
        if position >= end:
            return rows, position
        row_start = position
        cell = 0
        sound = True
        more = True
        while more:
            start = position
            length = np.int64(0)
            if position < end and buffer[position] == 34:
                position += 1
                start = position
                doubled = False
                while position < end:
                    if buffer[position] == 34:
                        if position + 1 < end and buffer[position + 1] == 34:
                            doubled = True
                            position += 1
                        else:
                            break
                    position += 1
                if position >= end or (position + 1 >= end and not final):
                    if not final:
                        return rows, row_start
                    sound = False
                    break
                length = position - start
                if doubled:
                    length = -1 - length
                position += 1
                if position < end and buffer[position] == 13:
                    position += 1
                if position < end and buffer[position] != 44 and buffer[position] != 10:
                    sound = False
                    break
            else:
                while position < end and buffer[position] != 44 and buffer[position] != 10:
                    position += 1
                if position >= end and not final:
                    return rows, row_start
                length = position - start
                if length > 0 and (position >= end or buffer[position] == 10) and buffer[position - 1] == 13:
                    length -= 1
            if cell < places.shape[0] and places[cell] >= 0:
                starts[rows, places[cell]] = start
                lengths[rows, places[cell]] = length
            cell += 1
            more = position < end and buffer[position] == 44
            position += 1
        if not sound:
            # Give up this line alone: what follows may be sound.
            position = row_start
            while position < end and buffer[position] != 10:
                position += 1
            if position >= end and not final:
                return rows, row_start
            position += 1
        stop = min(position - 1, end)
        if stop > row_start and buffer[stop - 1] == 13:
            stop -= 1
        row_starts[rows] = row_start
        row_lengths[rows] = stop - row_start
        whole[rows] = sound and cell == header
        rows += 1
    return rows, min(position, end)


@kernel
def decode_cells(
    buffer: Any, starts: Any, lengths: Any, whole: Any, columns: Any, first_row: Any, words: Any, labels: Any, out: Any,
    meta: Any, salt: Any, fields: Any, arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> Any:  # fmt: skip
    """Decode rows into `words` (from `first_row`), `labels` and `out` (from 0); answers how many are UNSURE."""
    unsure = 0
    for index in range(starts.shape[0]):
        row = first_row + index
        clear_row(fields, words, labels, out, row, index)
        sure = whole[index] != 0
        field = 0
        while sure and field < fields.shape[0]:
            place = columns[field]
            if place >= 0 and lengths[index, place] != 0:
                start = starts[index, place]
                end = start + lengths[index, place]
                sure = (
                    end > start
                    and (fields[field, KIND] != _STRING or valid_utf8(buffer, start, end))
                    and store(
                        buffer, TEXT, start, end, np.uint64(0), np.int64(0), False, False, fields, field, words,
                        labels, out, row, index, salt, arena, offsets, hashes, table, count,
                    )
                )  # fmt: skip
            field += 1
        unsure += close_row(fields, words, labels, out, row, index, meta, sure)
    return unsure
