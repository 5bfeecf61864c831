"""How many events come a day: of whole days, those without events too, each against its own day of the week.

A day on which nothing came is a day. A stream that rests at the weekend is held against weekends that rested, and a
piece of a week against the same days of the weeks before.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["usual_volume", "weekday", "wobble"]

_LEAST_DAYS: Final = 21
"""Days of the reference from which the week has a rhythm: three of each."""

Days: TypeAlias = npt.NDArray[np.int64]


def usual_volume(days: Days, counts: Days, asked: Days) -> tuple[float, float]:
    """Events and days, as far as what is known of `days` and their `counts` speaks of the days that are `asked` for.

    Days are numbers since 1970 in local time. Their ratio is the rate to be expected, and the events are as many as it
    is known by: all of them for whole weeks, those of the Mondays for a Monday.

    >>> days = np.arange(28) + 4  # 1970-01-05, a Monday, and four weeks
    >>> usual_volume(days, np.where(weekday(days) < 5, 70, 0), np.arange(7) + 4)
    (1400.0, 28.0)
    >>> usual_volume(days, np.where(weekday(days) < 5, 70, 0), np.array([4]))
    (280.0, 4.0)
    """
    if not days.size or not asked.size:
        return 0.0, 0.0
    if days.size < _LEAST_DAYS:
        return float(counts.sum()), float(days.size)
    seen, mean = _by_weekday(days, counts)
    often = np.bincount(weekday(asked), minlength=7)
    expected = float(often @ mean)
    if not expected:
        return 0.0, float(often @ seen / asked.size)
    # Of a sum of means, each of so many days, the variance is that of so many events.
    events = expected**2 / float(often**2 @ (mean / seen))
    return events, events * asked.size / expected


def wobble(days: Days, counts: Days) -> float:
    """How much wider the counts of days vary than Poisson, around those of their day of the week; at least 1."""
    if days.size < 8 or not counts.sum():
        return 1.0
    if days.size < _LEAST_DAYS:
        return max(1.0, float(counts.var(ddof=1) / counts.mean()))
    _, mean = _by_weekday(days, counts)
    usual = mean[weekday(days)]
    squares = np.divide((counts - usual) ** 2, usual, out=np.zeros(days.size), where=usual > 0)
    free = int((usual > 0).sum()) - int((mean > 0).sum())
    return max(1.0, float(squares.sum()) / free)


def weekday(days: Days) -> Days:
    """The day of the week, Monday 0."""
    return (days + 3) % 7  # 1970 began on a Thursday


def _by_weekday(days: Days, counts: Days) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many there are of each day of the week, and the mean of their counts."""
    seen = np.bincount(weekday(days), minlength=7).astype(np.float64)
    return seen, np.bincount(weekday(days), counts, minlength=7) / seen
