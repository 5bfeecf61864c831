"""Labels on their way into windows: which events may still be labelled, and what a label changes in their records.

The engine holds every accepted event under a row number; here stands, under the same number, where the event's records
are. A label's conditions and arguments are computed for a whole batch of labels before the kernel runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parakh.expressions.program import Program
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.features.tables import LABEL_CODES, LABEL_HELD, LABEL_INDEX, LABEL_RANK, LABEL_TYPE

__all__ = ["LABEL_SLOT", "UNLABELLED_SLOT", "HeldEvents", "LabelProgram", "LabelUpdates", "null_word"]

Words = npt.NDArray[np.int64]

LABEL_SLOT, UNLABELLED_SLOT, FIRST_OUTPUT = 0, 1, 2
"""A label's own frame: the label as it is, the label with 0 or false while it is unknown, and what is made of them."""

_NAN_WORD = int(np.array(np.nan).view(np.int64))
_COUNTED = (Kind.BOOLEAN, Kind.INTEGER, Kind.MONEY, Kind.NUMBER)


def null_word(type: Type) -> int:
    """The word that is NULL in a column of a type."""
    return _NAN_WORD if type.is_float else NULL_WORD


@dataclass(frozen=True, slots=True)
class LabelProgram:
    """What is computed of one label: conditions over the label as it is, arguments over it with unknown as 0."""

    type: Type
    conditions: Program
    arguments: Program
    outputs: int

    def run(self, values: Words) -> Words:
        """The outputs (int64[outputs, n]) for labels with these values (words; NULL for unknown)."""
        frame = np.zeros((FIRST_OUTPUT + self.outputs, len(values)), np.int64)
        frame[LABEL_SLOT] = values
        frame[UNLABELLED_SLOT] = values
        if self.type.kind in _COUNTED:
            unknown = np.isnan(values.view(np.float64)) if self.type.is_float else values == NULL_WORD
            frame[UNLABELLED_SLOT, unknown] = 0
        flags = np.zeros(len(values), np.uint8)
        self.conditions.run(frame, 0, len(values), flags)
        self.arguments.run(frame, 0, len(values), flags)
        return frame[FIRST_OUTPUT:]


@dataclass(slots=True)
class LabelUpdates:
    """Labels as the kernel takes them, one row each; the row's number stands in the log's entry."""

    table: Words

    @classmethod
    def of(
        cls,
        programs: Mapping[tuple[int, int], LabelProgram],
        keys: int,
        *,
        types: Words,
        labels: Words,
        held: Words,
        ranks: Words,
        values: Words,
    ) -> LabelUpdates:
        """Updates from columns: event type, label of the type, held event, rank of the source (the greater wins)
        and value (a word; NULL withdraws the label).
        """
        width = LABEL_CODES + keys + max((program.outputs for program in programs.values()), default=0)
        table = np.zeros((len(held), width), np.int64)
        table[:, LABEL_TYPE] = types
        table[:, LABEL_INDEX] = labels
        table[:, LABEL_HELD] = held
        table[:, LABEL_RANK] = ranks
        for (event_type, label), program in programs.items():
            rows = np.flatnonzero((types == event_type) & (labels == label))
            if rows.size:
                given = np.ascontiguousarray(values[rows])
                unknown = np.isnan(given.view(np.float64)) if program.type.is_float else given == NULL_WORD
                withdrawn = rows[unknown]
                table[withdrawn, LABEL_RANK] = ~table[withdrawn, LABEL_RANK]
                table[rows, LABEL_CODES + keys : LABEL_CODES + keys + program.outputs] = program.run(given).T
        # A label that no feature reads changes nothing; -1 names no held event.
        known = set(programs)
        for pair in {(int(a), int(b)) for a, b in zip(types, labels)} - known:
            table[(types == pair[0]) & (labels == pair[1]), LABEL_HELD] = -1
        return cls(table)


@dataclass(slots=True)
class HeldEvents:
    """Where the records of accepted events stand: time and place in the log, and the codes of the event's keys.

    Rows are the engine's own; `keys` and `labels` are the most that any event type has.
    """

    keys: int
    labels: int
    times: Words = field(init=False)
    sequences: Words = field(init=False)
    types: npt.NDArray[np.uint8] = field(init=False)
    codes: npt.NDArray[np.int32] = field(init=False)
    ranks: npt.NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        self.times = np.empty(0, np.int64)
        self.sequences = np.empty(0, np.int64)
        self.types = np.empty(0, np.uint8)
        self.codes = np.empty((0, self.keys), np.int32)
        self.ranks = np.empty((0, self.labels), np.int8)

    def __len__(self) -> int:
        """Rows that there is room for."""
        return len(self.times)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays())

    def grow(self, rows: int) -> None:
        """Room for so many rows."""
        have = len(self)
        rows = max(rows, 1024, have + have // 4 if have > 1 << 22 else 2 * have)
        for array in self._arrays():
            array.resize((rows, *array.shape[1:]), refcheck=False)
        self.types[have:] = 255

    def rows_of(self, event_type: int, key: int, code: int) -> Words:
        """The held events of a type whose key has this code, in the order of acceptance."""
        return np.flatnonzero((self.types == event_type) & (self.codes[:, key] == code)).astype(np.int64)

    def move(self, moved: Words) -> None:
        """Follows the engine when it forgets rows: the new row of each old one in ascending order, -1 if forgotten."""
        count = min(len(moved), len(self))
        kept = np.flatnonzero(moved[:count] >= 0)
        places = moved[kept]
        for array in self._arrays():
            array[places] = array[kept]
        self.types[len(places) :] = 255

    def release(self, rows: Sequence[int] | Words) -> None:
        """Forgets rows that are free for other events."""
        self.types[np.asarray(rows, np.int64)] = 255

    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        return (self.times, self.sequences, self.types, self.codes, self.ranks)
