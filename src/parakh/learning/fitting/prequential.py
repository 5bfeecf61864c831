"""Validation as life has it: learn from what was known at a moment, be tested on what came after, and move on.

At the moment T of a fold, the labels of the last `delay` have not come: training ends at T - delay, and a row counts as
fraud only where that was known by T. What is tested is [T, T + length), with the labels that came later. Source: Fraud
Detection Handbook, chapter 5, prequential validation (Dawid, 1984).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.errors import InputError
from parakh.expressions.values import iso_time

__all__ = ["FOLDS", "Fold", "make_folds"]

FOLDS = 4
_FIRST_SHARE = 0.5
"""Of the span that is not delay, so much stands before the first fold's T - delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One step: rows to learn from and rows to be tested on, by number, in the order of the rows.

    `at_us` is T; rows of `train` are no later than T less the delay and `label` is what was known of them at T; rows of
    `test` have times in [at_us, to_us).
    """

    number: int
    at_us: int
    to_us: int
    train: NDArray[np.int64]
    label: NDArray[np.bool_]
    test: NDArray[np.int64]


def make_folds(
    time_us: NDArray[np.int64],
    label: NDArray[np.bool_],
    known_at_us: NDArray[np.int64],
    *,
    delay_us: int,
    count: int = FOLDS,
    length_us: int | None = None,
) -> tuple[Fold, ...]:
    """So many folds over the last part of a span, each `length_us` long, all of the rows before it to learn from.

    Times are us UTC, one of each a row; `known_at_us` is since when the label holds. Unless said, the folds share the
    later half of the span that is not delay; folds of whole days begin at midnight UTC. Raises InputError where the
    span is hardly longer than the delay, and where before the first fold there is no fraud to learn from or later none.

    >>> day = 86_400_000_000
    >>> time = np.arange(20) * day
    >>> folds = make_folds(time, np.arange(20) % 2 == 0, time + day, delay_us=2 * day, count=2, length_us=3 * day)
    >>> [(fold.train.tolist()[-1], fold.test.tolist()) for fold in folds]
    [(12, [14, 15, 16]), (15, [17, 18, 19])]
    """
    if not time_us.size:
        raise InputError("there are no rows to make folds of (hint: is the span empty?)")
    first, last = int(time_us.min()), int(time_us.max())
    end = last + 1
    free = end - first - delay_us
    if length_us is None:
        length_us = max(1, round((1 - _FIRST_SHARE) * free / count)) if free > 0 else 0
        length_us = length_us // DAY_US * DAY_US or length_us
    if length_us % DAY_US == 0:
        end = -(-end // DAY_US) * DAY_US
    begin = end - count * length_us
    if free <= 0 or length_us <= 0 or begin - delay_us <= first:
        raise InputError(
            f"the training part spans {_days(end - first)}, too little beside a label delay of {_days(delay_us)}: "
            f"nothing would be known before a test (hint: a longer span, or a later --test-from)"
        )
    folds = []
    for number in range(count):
        at = begin + number * length_us
        train = np.flatnonzero(time_us <= at - delay_us)
        test = np.flatnonzero((time_us >= at) & (time_us < at + length_us))
        known = label[train] & (known_at_us[train] <= at)
        folds.append(Fold(number=number + 1, at_us=at, to_us=at + length_us, train=train, label=known, test=test))
    if not folds[0].label.any() or folds[0].label.all():
        what = "is no fraud" if not folds[0].label.any() else "are frauds alone"
        raise InputError(
            f"before {iso_time(folds[0].at_us - delay_us)} there {what} to learn from, as known by "
            f"{iso_time(folds[0].at_us)}, when the first test begins (hint: a longer span, or labels that come sooner)"
        )
    if not any(label[fold.test].any() for fold in folds):
        raise InputError(
            f"from {iso_time(begin)} on there is no fraud to find: nothing can be validated (hint: a later --test-from)"
        )
    return tuple(folds)


def _days(length_us: int) -> str:
    return f"{length_us / DAY_US:.1f} days"
