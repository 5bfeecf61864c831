"""What was known of each event by a cut-off: which label holds, and since when.

The rule is the engine's: of several verdicts the highest-ranked source holds, then the latest, and a withdrawn one
leaves the event without.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.labelling import holding
from parakh.events.labels import LabelRows
from parakh.expressions.types import NULL_WORD

__all__ = ["About", "Verdicts", "stands_for", "verdicts"]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What holds about each event: int64 value (NULL_WORD: nothing is known) and since when (us UTC, NULL_WORD)."""

    value: NDArray[np.int64]
    known_at: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class About:
    """Labels in the order in which they acted, and the row of the event that each is about (-1: of none here)."""

    labels: LabelRows
    row: NDArray[np.int64]


def verdicts(about: About, *, events: int, known_by_us: int, ignored: Collection[int] = ()) -> Verdicts:
    """What holds about each of so many events at the cut-off; `ignored` are the places of labels that never acted.

    >>> labels = LabelRows.empty(2)
    >>> labels.value[:], labels.rank[:], labels.known_at[:], labels.place[:] = [1, 0], [0, 0], [5, 9], [0, 1]
    >>> about = About(labels, np.array([0, 0]))
    >>> verdicts(about, events=1, known_by_us=8).value.tolist(), verdicts(about, events=1, known_by_us=9).value.tolist()
    ([1], [0])
    """
    labels = about.labels
    acted = (about.row >= 0) & (labels.known_at <= known_by_us)
    if ignored:
        acted &= ~np.isin(labels.place, np.fromiter(ignored, np.int64)) | (labels.place < 0)
    row, value, rank = about.row[acted], labels.value[acted], labels.rank[acted]
    known_at = labels.known_at[acted]
    held = Verdicts(np.full(events, NULL_WORD, np.int64), np.full(events, NULL_WORD, np.int64))
    number = holding(row, value, rank, events)
    known = np.flatnonzero(number >= 0)
    held.value[known], held.known_at[known] = value[number[known]], known_at[number[known]]
    return held


def stands_for(outcome: NDArray[np.int8], held_out: NDArray[np.bool_], share: float) -> NDArray[np.float64]:
    """For how many events each stands, where the policy let this share of what it stops through.

    Labels do not come of what was stopped: each event that was held out stands for 1 / share, those stopped for none.

    >>> stands_for(np.array([0, 3, 0], np.int8), np.array([False, False, True]), 0.01).tolist()
    [1.0, 0.0, 100.0]
    """
    return np.where(held_out, 1 / share, np.where(outcome > 0, 0.0, 1.0))
