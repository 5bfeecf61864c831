"""Columns of simulated events, and how they become NDJSON: fixed decimals and key order, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Field",
    "Integers",
    "Table",
    "Texts",
    "code",
    "concatenate",
    "decimals",
    "flag",
    "integer",
    "money",
    "numbered",
    "take",
    "timestamp",
    "write_ndjson",
]

Integers = npt.NDArray[np.int64]
Table = dict[str, npt.NDArray[Any]]
"""The rows of one event type: columns of one length by name."""

Texts = Callable[[npt.NDArray[Any]], Sequence[str]]
"""How a column becomes JSON texts."""

CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the written event: its name, the column it is made from, and how a column becomes JSON texts."""

    name: str
    column: str
    texts: Texts


def code(vocabulary: Sequence[str]) -> Texts:
    """Texts of a column of codes into a vocabulary; a negative code is null."""
    quoted = np.array([f'"{word}"' for word in vocabulary] + ["null"], dtype=object)

    def texts(column: npt.NDArray[Any]) -> Sequence[str]:
        codes = column.astype(np.int64)
        return list(quoted[np.where(codes < 0, len(quoted) - 1, codes)])

    return texts


def numbered(prefix: str) -> Texts:
    """Texts of ids: a prefix and a number of nine digits."""
    return lambda column: [f'"{prefix}{value:09d}"' for value in column.tolist()]


def timestamp(column: npt.NDArray[Any]) -> Sequence[str]:
    """ISO 8601 in UTC, to the millisecond, of microseconds since 1970."""
    texts = np.datetime_as_string((column.astype(np.int64) // 1000).astype("datetime64[ms]"))
    return [f'"{text}Z"' for text in texts.tolist()]


def money(column: npt.NDArray[Any]) -> Sequence[str]:
    """Major units with two decimals, of an amount in minor units that is not negative."""
    return [f"{value // 100}.{value % 100:02d}" for value in column.tolist()]


def decimals(digits: int) -> Texts:
    """Numbers with a fixed count of decimals; NaN is null."""
    return lambda column: ["null" if value != value else f"{value:.{digits}f}" for value in column.tolist()]


def integer(column: npt.NDArray[Any]) -> Sequence[str]:
    return [str(value) for value in column.tolist()]


def flag(column: npt.NDArray[Any]) -> Sequence[str]:
    """true and false; a negative value is null."""
    words = ("false", "true", "null")
    return [words[value] for value in column.astype(np.int64).tolist()]


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of several tables with the same columns, one after the other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def take(table: Table, rows: npt.NDArray[Any]) -> Table:
    """The rows of a table that an index or a mask picks."""
    return {name: column[rows] for name, column in table.items()}


def write_ndjson(path: Path, table: Mapping[str, npt.NDArray[Any]], fields: Sequence[Field]) -> Iterator[int]:
    """Write a table's rows in their order; yields the number of rows written so far, after each chunk."""
    template = "{" + ",".join(f'"{field.name}":%s' for field in fields) + "}\n"
    rows = len(next(iter(table.values())))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for start in range(0, rows, CHUNK):
            stop = min(start + CHUNK, rows)
            columns = [field.texts(table[field.column][start:stop]) for field in fields]
            file.writelines([template % row for row in zip(*columns)])
            yield stop
