"""The project's time zone as tables: hours, days and calendar units of local time, for kernels and for whole columns.

Between 1900 and 2101; beyond, the first and the last offset hold.
"""

from __future__ import annotations

import itertools
import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from parakh.expressions.types import NULL_WORD

__all__ = ["Times", "Zone"]

Times = npt.NDArray[np.int64]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FIRST, _LAST = -2_208_988_800, 4_133_980_800  # 1900 and 2101 in seconds
_WEEK = 7 * 86_400  # no zone has changed twice within one and come back to where it was
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=16)
def _transitions(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The instants (seconds UTC) at which the offset changes, and the offsets before, between and after them."""
    zone = zoneinfo.ZoneInfo(name)

    def offset(second: int) -> int:
        delta = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
        assert delta is not None
        return int(delta.total_seconds())

    instants: list[int] = []
    offsets = [offset(_FIRST)]
    if offset(_LAST) == offsets[0] and name == "UTC":
        return (), (0,)
    for low, high in itertools.pairwise(range(_FIRST, _LAST + _WEEK, _WEEK)):
        while (after := offset(high)) != offsets[-1]:
            first, last = low, high
            while last - first > 1:
                middle = (first + last) // 2
                if offset(middle) == offsets[-1]:
                    first = middle
                else:
                    last = middle
            instants.append(last)
            offsets.append(offset(last))
            low = last
            if offsets[-1] == after:
                break
    return tuple(instants), tuple(offsets)


class Zone:
    """A zone of the IANA database; times are microseconds since 1970, UTC.

    >>> kolkata = Zone("Asia/Kolkata")
    >>> kolkata.day_start(np.array([1706659200000000])).tolist()  # 2024-01-31 05:30 there
    [1706639400000000]
    """

    def __init__(self, name: str = "UTC") -> None:
        instants, offsets = _transitions(name)
        self.name = name
        self.transitions: Times = np.array(instants, dtype=np.int64) * _SECOND
        self.offsets: Times = np.array(offsets, dtype=np.int64) * _SECOND
        # In a local time that is skipped or comes twice, the offset before the change holds.
        self._local = self.transitions + np.maximum(self.offsets[:-1], self.offsets[1:])

    def words(self) -> Times:
        """The tables as a segment of a pool: count, transitions, offsets."""
        return np.concatenate((np.array([len(self.transitions)], dtype=np.int64), self.transitions, self.offsets))

    def offset_us(self, times: Times) -> Times:
        """The offset from UTC in force at each time."""
        return self.offsets[np.searchsorted(self.transitions, times, side="right")]

    def from_local(self, local: Times) -> Times:
        """The instants of local times."""
        return local - self.offsets[np.searchsorted(self._local, local, side="right")]

    def day_start(self, times: Times) -> Times:
        """The instant at which the local day of each time began; NULL stays NULL."""
        days = self._local_days(times)
        return self._starts(times, days)

    def week_start(self, times: Times) -> Times:
        """The instant at which the local week began, on Monday."""
        days = self._local_days(times)
        return self._starts(times, days - (days + 3) % 7)

    def month_start(self, times: Times) -> Times:
        """The instant at which the local month began."""
        days = self._local_days(times).astype("datetime64[D]")
        first = days.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return self._starts(times, first)

    def _local_days(self, times: Times) -> Times:
        times = np.asarray(times, dtype=np.int64)
        known = np.where(times == NULL_WORD, 0, times)
        return (known + self.offset_us(known)) // _DAY

    def _starts(self, times: Times, days: Times) -> Times:
        return np.where(np.asarray(times) == NULL_WORD, NULL_WORD, self.from_local(days * _DAY))
