"""Events in parts that people name: the values of a text, the deciles of a number, the weeks of a calendar."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parakh.decisions.definition import DAY_US
from parakh.expressions.zones import Zone

__all__ = ["DAY_US", "coded", "local_days", "segments_of", "weeks_of"]

OTHER, UNKNOWN = "other", "unknown"


def segments_of(values: Any, *, most: int = 12) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The segment of each event, as an index into their names.

    A number of more than `most` values is cut at its deciles; of anything else each value is a segment, beyond `most`
    the rarest together as "other". NULL and NaN are "unknown". `values` is a NumPy or Arrow array, or a list.

    >>> segments_of(["b", "a", None, "a"])
    (array([1, 0, 2, 0]), ['a', 'b', 'unknown'])
    """
    array = _arrow(values)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        number = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        known = number[np.isfinite(number)]
        if np.unique(known).size > most:
            return _deciles(number, known)
    codes, names = coded(array)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    ranked = np.argsort(-counts, kind="stable")
    kept = np.sort(ranked if ranked.size <= most else ranked[: most - 1])
    renamed = np.full(len(names) + 1, kept.size, np.int64)
    renamed[kept] = np.arange(kept.size)
    shown = [names[i] for i in kept.tolist()]
    if ranked.size > kept.size:
        shown.append(OTHER)
    renamed[-1] = len(shown)  # where the code is -1
    return renamed[codes], [*shown, UNKNOWN] if (codes < 0).any() else shown


def coded(values: Any) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Each value as an index into the distinct ones, in their order; -1 for NULL and NaN."""
    array = _arrow(values)
    distinct = array.unique().drop_null()
    distinct = distinct.take(pa.compute.sort_indices(distinct))
    found = pa.compute.index_in(array, value_set=distinct)
    found = pa.compute.if_else(array.is_valid(), found, None).fill_null(-1)
    return found.to_numpy(zero_copy_only=False).astype(np.int64), [_name(one) for one in distinct.to_pylist()]


def local_days(time_us: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    """The day of each time where the clock is that of `zone`, in days since 1970."""
    return np.asarray((time_us + Zone(zone).offset_us(time_us)) // DAY_US, dtype=np.int64)


def weeks_of(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The calendar week of each day, as an index into the Mondays on which they begin; weeks without events count not.

    >>> weeks_of(np.array([0, 3, 4, 30]))
    (array([0, 0, 1, 2]), ['1969-12-29', '1970-01-05', '1970-01-26'])
    """
    monday = days - (days + 3) % 7
    mondays, week = np.unique(monday, return_inverse=True)
    return week.astype(np.int64), [str(np.datetime64(one, "D")) for one in mondays.tolist()]


def _deciles(
    number: npt.NDArray[np.float64], known: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    edges = np.unique(np.quantile(known, np.linspace(0, 1, 11)))
    codes = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, edges.size - 2).astype(np.int64)
    names = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges.tolist())]
    missing = ~np.isfinite(number)
    codes[missing] = len(names)
    return codes, [*names, UNKNOWN] if missing.any() else names


def _arrow(values: Any) -> Any:
    """As an Arrow array whose NaN are NULL; dictionaries are laid out."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if not isinstance(array, pa.Array):
        array = pa.array(array, from_pandas=True)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _name(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
