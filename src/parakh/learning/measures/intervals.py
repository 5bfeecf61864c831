"""How sure a measure is: intervals by drawing events, or whole cards or days, again and again with replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.learning.measures.ranking import RANKED, Ranking, Weights

__all__ = ["Interval", "Paired", "bootstrap", "draws", "interval_of", "paired", "wilson"]

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a measure lies with other events of the same kind: `low` to `high`, NaN where nothing can be said."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The first score's measure less the second's, its interval, and the share of rounds that do not favour the first.

    `not_better` is near 0 where the first is surely better, about a half where nothing tells them apart.
    """

    difference: float
    low: float
    high: float
    not_better: float


def bootstrap(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    events: int | npt.ArrayLike,
    *,
    strata: npt.ArrayLike | None = None,
    rounds: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The percentile interval of a statistic of rows, drawn again `rounds` times (Efron and Tibshirani, 1993).

    `events` is their number, or the group of each - its card, its day - and then whole groups are drawn, so that events
    that depend on each other stay together. `strata` (one value an event) are drawn apart, each as large as it is: give
    the labels, and every round has its frauds. `statistic` gets the rows of a round, ascending. The same seed draws the
    same rows. Rounds whose statistic is NaN do not count. Raises InputError as `draws` and `interval_of`.

    >>> amounts = np.arange(100.0)
    >>> bootstrap(lambda rows: float(amounts[rows].mean()), 100)
    Interval(low=44.2..., high=54.7...)
    """
    rows = None
    found = []
    for times in draws(events, strata=strata, rounds=rounds, seed=seed):
        rows = np.arange(times.size) if rows is None else rows
        found.append(statistic(np.repeat(rows, times)))
    return interval_of(np.array(found), level=level)


def paired(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    measure: str = "average_precision",
    groups: npt.ArrayLike | None = None,
    weights: Weights = None,
    rounds: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """How much better `first` ranks the same events than `second`, and how sure that is.

    `measure` is a name of `ranking.RANKED`; both scores see the same draws, so that what makes a round easy for both
    cancels out. Events are drawn by class, or by `groups` as in `bootstrap`. Raises InputError as `metrics.roc_auc`,
    and for a measure that is not known.

    >>> paired([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], [0.9, 0.2, 0.8, 0.1], measure="roc_auc", rounds=50).difference
    0.75
    """
    if measure not in RANKED:
        raise InputError(f"{measure!r} is no measure of a ranking (hint: one of {', '.join(RANKED)})")
    rankings = Ranking.of(labels, first), Ranking.of(labels, second)
    value = RANKED[measure]

    def difference(of: Weights) -> float:
        one, other = (value(ranking.above(of)) for ranking in rankings)
        return one - other

    known = None if weights is None else np.asarray(weights, dtype=np.float64)
    truth = np.asarray(labels)
    drawn = draws(truth.size if groups is None else groups, strata=truth, rounds=rounds, seed=seed)
    found = np.array([difference(times if known is None else times * known) for times in drawn])
    counted = found[~np.isnan(found)]
    interval = interval_of(found, level=level)
    not_better = float((counted <= 0).mean()) if counted.size else float("nan")
    return Paired(difference(known), interval.low, interval.high, not_better)


def draws(
    events: int | npt.ArrayLike, *, strata: npt.ArrayLike | None = None, rounds: int = 200, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """How often each event was drawn, an array a round; arguments are those of `bootstrap`.

    A group's stratum is the greatest of its events': a card with a fraud is drawn among the cards with a fraud. Raises
    InputError where there are no events or no rounds, or lengths differ.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds} (hint: at least 1, 200 for an interval)")
    group = None if isinstance(events, int | np.integer) else _numbered(np.asarray(events))
    count = int(np.asarray(events)) if group is None else int(group.max(initial=-1)) + 1
    size = count if group is None else group.size
    if not size:
        raise InputError("no events to draw from (hint: is the span or the segment empty?)")
    stratum = np.zeros(count, np.int64)
    if strata is not None:
        given = np.asarray(strata)
        if given.shape != (size,):
            raise InputError(f"strata {given.shape} differ from events ({size},) (hint: one value for every event)")
        if group is None:
            stratum = _numbered(given)
        else:
            np.maximum.at(stratum, group, _numbered(given))
    return _drawn(group, [np.flatnonzero(stratum == one) for one in np.unique(stratum)], count, rounds, seed)


def interval_of(values: npt.NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """The interval that holds the middle `level` of the values, NaN left out; InputError where `level` is no share.

    >>> interval_of(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level} (hint: a share between 0 and 1, such as 0.95)")
    there = values[~np.isnan(values)]
    if not there.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson(share: float, events: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share seen on so many events (Wilson, 1927).

    >>> [round(side, 3) for side in wilson(0.0, 20)]
    [0.0, 0.161]
    """
    z = _NORMAL_95**2 / events
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def _drawn(
    group: npt.NDArray[np.int64] | None, strata: list[npt.NDArray[np.int64]], count: int, rounds: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        times = np.zeros(count, np.int64)
        for rows in strata:
            times[rows] = np.bincount(random.integers(0, rows.size, rows.size), minlength=rows.size)
        yield times if group is None else times[group]


def _numbered(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
