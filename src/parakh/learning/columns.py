"""The columns of a training set: which they are, gathered from the frame of a replay, as Arrow arrays.

Values are those that a model reads live: money in major units, NULL where the engine had NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.definition import Definitions
from parakh.decisions.enrichments import answered
from parakh.decisions.personal import feature_tokens, personal_names
from parakh.decisions.plan import TypePlan
from parakh.expressions.columns import Column
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind

__all__ = [
    "OWN", "Input", "Values", "arrow_array", "arrow_rows", "inputs_of", "mask_array", "set_name", "taken", "text_array",
    "words_array",
]  # fmt: skip

OWN = ("event_id", "event_time", "label", "label_known_at", "matured", "split", "weight")
"""The columns that every set has; a field of such a name stands under `event type.field` there."""

Values: TypeAlias = NDArray[np.float64] | pa.DictionaryArray
"""The values of an input: numbers with NaN for NULL - money in major units, booleans as 0 and 1 - or texts."""


@dataclass(frozen=True, slots=True)
class Input:
    """A column that a model may read: its name, as models use it live, what it is and where it stands in the frame."""

    name: str
    role: str  # field, derived, enrichment, feature or signal
    column: Column


def inputs_of(plan: TypePlan, definitions: Definitions) -> tuple[list[Input], list[str]]:
    """What a model of an event type may read, in order, and the personal names among it that are left out.

    The event's id and time stand in columns of every set, and a personal value has no place in a file for training: an
    id that is personal is among those left out, since its column holds something else (`gathering.Gathering.ids`).
    `definitions` are the project's own, which say what is personal, also where the plan is one of stored events.
    """
    definitions = answered(definitions)
    event = definitions.event_type(plan.event.name)
    events = {item.name: item for item in definitions.events}
    personal = {**personal_names(event), **feature_tokens(definitions.entities, event, events)}
    named = [
        (item.name, "enrichment" if (item.source or "").startswith("~") else "field")
        for item in event.fields
        if item.name not in (event.id, event.time) and not item.name.startswith("~")
    ]
    named += [(name, "derived") for name, _ in event.derive]
    named += [(column.name, "feature") for column in plan.features]
    signals = [item for item in definitions.signals if item.event_type == event.name]
    named += [(name, "signal") for item in signals for name, _ in item.define]
    inputs = [Input(name, role, plan.layout[name]) for name, role in named if name not in personal]
    return inputs, [name for name in (event.id, *(name for name, _ in named)) if name in personal]


def set_name(name: str, event_type: str) -> str:
    """The name of an input in a set's table, where the names of OWN are taken.

    >>> set_name("weight", "payment"), set_name("amount", "payment")
    ('payment.weight', 'amount')
    """
    return f"{event_type}.{name}" if name in OWN else name


_Rows = TypeVar("_Rows", NDArray[Any], pa.Array)


def taken(values: _Rows, rows: NDArray[np.int64] | NDArray[np.bool_]) -> _Rows:
    """The values of some rows, by number or by mask.

    >>> taken(np.array([1.5, 2.5, 3.5]), np.array([2, 0])).tolist()
    [3.5, 1.5]
    >>> taken(pa.array(["a", "b", "c"]), np.array([True, False, True])).to_pylist()
    ['a', 'c']
    """
    if isinstance(values, np.ndarray):
        return values[rows]
    numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64, copy=False)
    return values.take(arrow_rows(numbers))


def arrow_rows(rows: NDArray[np.int64]) -> pa.Array:
    """Numbers of rows, for an Arrow `take`."""
    return pa.Array.from_buffers(pa.int64(), rows.size, [None, pa.py_buffer(np.ascontiguousarray(rows))])


def arrow_array(words: NDArray[np.int64], column: Column, strings: Strings) -> pa.Array:
    """A column of words as a model reads it: money in major units, texts by a dictionary in order of appearance."""
    kind = column.type.kind
    if kind is Kind.NUMBER:
        numbers = words.view(np.float64)
        return _array(numbers, pa.float64(), np.isnan(numbers))
    null = words == NULL_WORD
    if kind is Kind.MONEY:
        return _array(words / float(10**column.type.digits), pa.float64(), null)
    if kind is Kind.BOOLEAN:
        return mask_array(words == 1, null)
    if kind is Kind.STRING:
        known, first, places = np.unique(words, return_index=True, return_inverse=True)
        order = np.argsort(first)
        order = order[known[order] != NULL_WORD]
        number = np.zeros(known.size, np.int32)
        number[order] = np.arange(order.size)
        texts = [text or "" for text in strings.texts(known[order])]
        return pa.DictionaryArray.from_arrays(_array(number[places], pa.int32(), null), _texts(texts))
    return words_array(words, pa.timestamp("us", "UTC") if kind is Kind.TIMESTAMP else pa.int64())


def words_array(words: NDArray[np.int64], type: pa.DataType) -> pa.Array:
    """Words of 64 bits, NULL_WORD for NULL."""
    return _array(words, type, words == NULL_WORD)


def mask_array(true: NDArray[np.bool_], null: NDArray[np.bool_] | None = None) -> pa.Array:
    """True and false, NULL where `null` is set."""
    none = np.zeros(true.size, np.bool_) if null is None else null
    return _array(np.packbits(true, bitorder="little"), pa.bool_(), none)


def text_array(numbers: NDArray[np.int32], texts: Sequence[str]) -> pa.Array:
    """The text of each number."""
    none = np.zeros(numbers.size, np.bool_)
    return pa.DictionaryArray.from_arrays(_array(numbers, pa.int32(), none), _texts(texts))


def _array(values: NDArray[np.generic], type: pa.DataType, null: NDArray[np.bool_]) -> pa.Array:
    """Values as they stand in memory; pa.array() would import pandas to look at them."""
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    return pa.Array.from_buffers(type, int(null.size), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def _texts(texts: Sequence[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
