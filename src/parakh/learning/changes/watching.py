"""What has changed since a reference: inputs, scores, labels, rules and how much comes, by week or by day.

A history is cut in two: the reference, and what is watched. Inputs of a model are held against the baselines of its
card, all else against the reference. Something is told only where it is beyond what chance explains - days that vary
more than independent events would are allowed for, and so is the number of things that are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parakh.decisions.definition import DAY_US, ProjectLike
from parakh.decisions.plan import compile_intake, compile_plan
from parakh.errors import InputError
from parakh.expressions.strings import Strings
from parakh.expressions.types import Kind
from parakh.expressions.values import iso_time
from parakh.expressions.zones import Zone
from parakh.learning.changes.alarms import Alarm, alarms_of
from parakh.learning.changes.drift import Baseline, Counts, baseline_of
from parakh.learning.changes.tracks import Draft, Track
from parakh.learning.changes.volume import usual_volume, wobble
from parakh.learning.columns import inputs_of, taken
from parakh.learning.history import History, Values

__all__ = ["Drift", "usual_beginning", "watch", "watchable"]

CHANCE: Final = 0.05
"""The probability of any alarm at all, all things that are watched taken together, where nothing has changed."""
_LEAST_REFERENCE: Final = 14
"""The days that have to come before an earlier period, for it to be held against them."""
_FAR_DAY: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was found: periods (their beginnings, us UTC, and their events), a track for each thing, and alarms.

    `reference` is the number of events before `since_us`; `model` is the one whose card has the baselines.
    """

    event_type: str
    label: str
    model: str | None
    every: str
    zone: str
    reference: int
    since_us: int
    periods: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    tracks: tuple[Track, ...]
    alarms: tuple[Alarm, ...]
    received: dict[str, Any]

    @property
    def alarming(self) -> tuple[Alarm, ...]:
        """Those that are more than to be watched."""
        return tuple(item for item in self.alarms if item.level == "alarm")

    def day(self, at_us: int) -> str:
        """The day of a time, as the project's zone has it."""
        return local_day(at_us, self.zone)

    def of_kind(self, kind: str) -> list[Track]:
        """The tracks of a kind."""
        return [item for item in self.tracks if item.kind == kind]

    def as_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "event_type": self.event_type,
            "label": self.label,
            "model": self.model,
            "every": self.every,
            "since": iso_time(self.since_us),
            "reference_events": self.reference,
            "periods": [
                {"from": iso_time(at), "events": n} for at, n in zip(self.periods.tolist(), self.events.tolist())
            ],
            "alarms": [item.as_data() for item in self.alarming],
            "watch": [item.as_data() for item in self.alarms if item.level == "watch"],
            "tracks": [item.as_data() for item in self.tracks],
            **self.received,
        }


def watch(
    history: History,
    *,
    since_us: int,
    reference_to_us: int | None = None,
    baselines: Mapping[str, Baseline] | None = None,
    scores: Mapping[str, Baseline] | None = None,
    model: str | None = None,
    every: str = "week",
    zone: str = "UTC",
    to_us: int | None = None,
    chance: float = CHANCE,
) -> Drift:
    """Watch what a history has from `since_us` on, against what it has before `reference_to_us` (`since_us`, unless
    said) and against the `baselines` of inputs, and of `scores` by the model's name, where a card has them.

    `every` is week or day, of `zone`. The last one ends at the history's cut-off, or at `to_us`, whether or not events
    came until then. What is out in all periods is looked for in those before, each against what came before it, so that
    an alarm says its true beginning however late one looks. Inputs that `baselines` do not name are held against the
    reference. Raises InputError where nothing is watched, or there is nothing to hold it against.
    """
    until_us = _end(history, to_us)
    if since_us >= until_us:
        raise InputError(f"no event of {history.event_type} from {iso_time(since_us)} on: nothing can be watched")
    calendar = _Calendar(every, Zone(zone))
    looking = _Looking(history, since_us, reference_to_us, until_us, calendar)
    before, after = looking.before, looking.after
    if not before.size and not baselines and not scores:
        raise InputError(
            f"no event of {history.event_type} before {iso_time(since_us)}: there is nothing to compare with (hint: "
            "events from before, a later --since, or a model whose card says how its inputs were spread)"
        )
    drafts = list(looking.tracks(baselines or {}, scores or {}))
    apart = max(1, sum(item.compared for item in drafts))
    tracks = tuple(item.judged(chance / apart) for item in drafts)
    summary = history.summary
    return Drift(
        event_type=history.event_type,
        label=history.label,
        model=model,
        every=every,
        zone=zone,
        reference=int(before.size),
        since_us=since_us,
        periods=looking.periods,
        events=looking.counted(np.ones(after.size, np.bool_)),
        tracks=tracks,
        alarms=alarms_of(tracks, looking.periods, history.event_type, lambda at_us: local_day(at_us, zone),
                         looking.earlier),
        received={
            "received": summary.received, "accepted": summary.accepted, "duplicates": summary.duplicates,
            "quarantined": dict(sorted(summary.quarantined.items())),
        },
    )  # fmt: skip


def local_day(at_us: int, zone: str) -> str:
    """The day of a time in a zone.

    >>> local_day(1_737_916_200_000_000, "Asia/Kolkata")  # 18:30 UTC of the day before
    '2025-01-27'
    """
    times = np.array([at_us], np.int64)
    return iso_time(int((times + Zone(zone).offset_us(times))[0]))[:10]


def watchable(project: ProjectLike, event_type: str) -> tuple[str, ...]:
    """The inputs whose spread can be watched: all that a model may read, but for times, which never come again."""
    definitions = project.definitions
    plan = compile_plan(definitions, project.hash, compile_intake(definitions, Strings(), started_us=None))
    there, _ = inputs_of(plan.by_name[event_type], definitions)
    return tuple(item.name for item in there if item.column.type.kind is not Kind.TIMESTAMP)


def usual_beginning(history: History, *, every: str, zone: str, to_us: int | None = None) -> int:
    """Where what is watched begins unless somebody says: the last four weeks, or seven days, at most half of all."""
    calendar = _Calendar(every, Zone(zone))
    first, last = int(history.time_us.min()), _end(history, to_us) - 1
    newest = calendar.period(last)
    half = first + (last - first) // 2
    latest = np.arange(newest - (3 if every == "week" else 6), newest + 1)
    starts = calendar.starts(latest)
    return int(next((at for at in starts.tolist() if at >= half), half))


def _end(history: History, to_us: int | None) -> int:
    """Until when events would be there if any had come, us UTC: not included, but for the last event there is."""
    cut = history.known_by_us if to_us is None else min(history.known_by_us, to_us)
    return max(cut, int(history.time_us.max(initial=0)) + 1)


class _Calendar:
    """Local days, numbered since 1970, and the weeks or days that are periods."""

    def __init__(self, every: str, zone: Zone) -> None:
        self._zone = zone
        self._length, self._ahead = (7, 3) if every == "week" else (1, 0)  # 1970 began on a Thursday

    def days(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The day of each time."""
        return np.asarray((times + self._zone.offset_us(times)) // DAY_US, np.int64)

    def day(self, at_us: int) -> int:
        """The day of a time."""
        return int(self.days(np.array([at_us], np.int64))[0])

    def periods(self, days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The period of each day."""
        return np.asarray((days + self._ahead) // self._length, np.int64)

    def period(self, at_us: int) -> int:
        """The period of a time."""
        return (self.day(at_us) + self._ahead) // self._length

    def first_day(self, period: int) -> int:
        """The first day of a period."""
        return period * self._length - self._ahead

    def starts(self, periods: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When periods begin, us UTC."""
        return self._zone.from_local((periods * self._length - self._ahead) * DAY_US)


class _Looking:
    """Rows of the reference and of what is watched, by day and by period; and the periods before what is watched.

    `rolling`: the reference reaches up to what is watched, so that of an earlier period it ends before that.
    """

    def __init__(
        self, history: History, since_us: int, reference_to_us: int | None, until_us: int, calendar: _Calendar
    ) -> None:
        self.history, self.calendar = history, calendar
        times = history.time_us
        self.rolling = reference_to_us is None or reference_to_us >= since_us
        ended_us = since_us if reference_to_us is None else min(reference_to_us, since_us)
        self.before, self.after = np.flatnonzero(times < ended_us), np.flatnonzero(times >= since_us)
        self.between = self.before if self.rolling else np.flatnonzero((times >= ended_us) & (times < since_us))
        self.day = calendar.days(times)
        first_us = int(times.min(initial=until_us))
        # Where nothing was before, what is watched begins with the first event.
        begin_us = since_us if first_us < since_us else first_us
        numbers = np.arange(calendar.period(begin_us), calendar.period(max(begin_us, until_us - 1)) + 1)
        self.first = int(numbers[0])
        self.periods = np.maximum(calendar.starts(numbers), since_us)
        self.period = calendar.periods(self.day[self.after]) - self.first
        days, self.day_after = np.unique(self.day[self.after], return_inverse=True)
        self.period_of_day = calendar.periods(days) - self.first
        self.day_before = self._dense(self.before)
        self._count_days(since_us, ended_us, until_us)
        self._look_back(since_us, ended_us)

    def _dense(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The day of each row, from that of the first; of the days between none is left out."""
        return self.day[rows] - int(self.day[rows].min(initial=_FAR_DAY))

    def _look_back(self, since_us: int, ended_us: int) -> None:
        """The periods before what is watched that something comes before, or that lie behind a reference that ended.

        A slice is a day, or the part of one on one side of the time from which on it is watched.
        """
        calendar, size = self.calendar, self.between.size
        first = int(self.day[self.between].min(initial=_FAR_DAY))
        newest = calendar.period(since_us - 1)
        least_day = first + _LEAST_REFERENCE if self.rolling else calendar.day(ended_us)
        oldest = int(calendar.periods(np.array([least_day]))[0])
        oldest += self.rolling and calendar.first_day(oldest) < least_day
        numbers = np.arange(oldest, max(oldest, newest + 1)) if size else np.arange(0)
        starts = calendar.starts(numbers)
        self.earlier = starts if self.rolling else np.maximum(starts, ended_us)
        self.rows = np.concatenate([self.between, self.after])
        watched = np.arange(self.rows.size) >= size
        slices, self.slice = np.unique(2 * self.day[self.rows] + watched, return_inverse=True)
        period = calendar.periods(slices // 2)
        self.period_of_slice = np.where(slices % 2, period - self.first, period - newest - 1)
        period = calendar.periods(self.whole)
        self.period_of_whole = np.where(self.watched_days, period - self.first, period - newest - 1)

    def _count_days(self, since_us: int, ended_us: int, until_us: int) -> None:
        """Events of each whole day, those without any too: the first of all is not whole, and the last may not be."""
        calendar = self.calendar
        first, stop = int(self.day.min(initial=_FAR_DAY)) + 1, calendar.day(until_us + 1)
        self.whole = np.arange(first, max(first, stop))
        inside = (self.day >= first) & (self.day < stop)
        self.whole_counts = np.bincount(self.day[inside] - first, minlength=self.whole.size).astype(np.int64)
        self.reference_days = self.whole < calendar.day(ended_us)
        self.watched_days = self.whole > calendar.day(since_us - 1)
        self.sided = self.watched_days | (self.whole < calendar.day(since_us))

    def counted(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many of the watched rows lie in each period."""
        return np.bincount(self.period[mask], minlength=self.periods.size).astype(np.int64)

    def tracks(self, baselines: Mapping[str, Baseline], scores: Mapping[str, Baseline]) -> Iterator[Draft]:
        """Each thing that is watched, not judged yet."""
        history = self.history
        for name, values in history.inputs.items():
            yield from self._values(name, values, baselines.get(name))
        for name, score in history.scores.items():
            yield from self._values(f"score {name}", score, scores.get(name))
        for number, rule in enumerate(history.rules):
            yield self._share("hit_rate", rule.name, history.hit(number), np.ones(len(history), np.bool_))
        yield self._share("label_rate", history.label, history.fraud, history.matured)
        yield self._received()

    def _values(self, name: str, values: Values, baseline: Baseline | None) -> Iterator[Draft]:
        if baseline is not None and isinstance(values, np.ndarray) == bool(baseline.categories):
            baseline = None  # it was a text for the model, and is a number now, or the other way round
        own = baseline is None
        if baseline is None:
            if not self.before.size:
                return
            baseline = baseline_of(taken(values, self.before))
        places = baseline.places(values)
        after = places[self.after]
        slices = self._slices(places, baseline.bins) if own else None
        counts = _table(self.period, after, self.periods.size, baseline.bins)
        means = None
        if isinstance(values, np.ndarray):
            there = np.isfinite(values[self.after])
            sums = np.bincount(self.period[there], values[self.after][there], minlength=self.periods.size)
            held = np.bincount(self.period[there], minlength=self.periods.size)
            means = np.divide(sums, held, out=np.full(sums.size, np.nan), where=held > 0)
        days, groups = self._spread(places, baseline.bins, own)
        stability = Draft("stability", name, baseline.expected, counts, days, groups, baseline, means)
        two = np.zeros((baseline.bins, 2))
        two[:-1, 0] = two[-1, 1] = 1  # what is there, and what is missing
        missing = Draft("missing", name, baseline.expected @ two, counts @ two, days @ two, groups)
        yield self._onward(stability, slices)
        yield self._onward(missing, None if slices is None else slices @ two)

    def _share(self, kind: str, name: str, hits: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> Draft:
        before, after = self.before[of[self.before]], of[self.after]
        places = hits.astype(np.int64)
        counts = _table(self.period[after], places[self.after][after], self.periods.size, 2)
        reference = np.bincount(places[before], minlength=2).astype(np.float64)
        kept = of[self.before]
        if before.size:
            days = _table(self.day_before[kept], places[before], int(self.day_before.max()) + 1, 2)
            return self._onward(Draft(kind, name, reference, counts, days, None), self._slices(places, 2, of))
        days = _table(self.day_after[after], places[self.after][after], self.period_of_day.size, 2)
        return Draft(kind, name, reference, counts, days, self.period_of_day)

    def _received(self) -> Draft:
        """Events a day, of whole days."""

        def draft(reference: npt.NDArray[np.bool_], first: int) -> Draft:
            days, counts = self.whole[reference], self.whole_counts[reference]
            asked = [
                np.flatnonzero(self.sided & (self.period_of_whole == at)) for at in range(first, self.periods.size)
            ]
            known = np.array([usual_volume(days, counts, self.whole[rows]) for rows in asked])
            seen = np.array([(rows.size, self.whole_counts[rows].sum()) for rows in asked], np.float64)
            return Draft(
                "received", self.history.event_type, np.column_stack([known[:, 1] - known[:, 0], known[:, 0]]),
                np.column_stack([seen[:, 0] - seen[:, 1], seen[:, 1]]), np.zeros((0, 2)), None,
                spread=wobble(days, counts), rate=float(counts.mean()) if days.size else math.nan,
            )  # fmt: skip

        def onward(first: int) -> Draft | None:
            if first < -self.earlier.size:
                return None
            return draft(self.sided & (self.period_of_whole < first) if self.rolling else self.reference_days, first)

        return replace(draft(self.reference_days, 0), onward=onward)

    def _spread(
        self, places: npt.NDArray[np.int64], bins: int, own: bool
    ) -> tuple[Counts, npt.NDArray[np.int64] | None]:
        """Histograms a day: of the reference, or of what is watched, within its periods, where that is elsewhere."""
        if own:
            return _table(self.day_before, places[self.before], int(self.day_before.max()) + 1, bins), None
        return _table(self.day_after, places[self.after], self.period_of_day.size, bins), self.period_of_day

    def _slices(self, places: npt.NDArray[np.int64], bins: int, of: npt.NDArray[np.bool_] | None = None) -> Counts:
        """Histograms of each slice."""
        kept = slice(None) if of is None else of[self.rows]
        return _table(self.slice[kept], places[self.rows][kept], self.period_of_slice.size, bins)

    def _onward(self, draft: Draft, slices: Counts | None) -> Draft:
        """The draft with what it is from other periods on."""
        if slices is None:
            return draft

        def onward(first: int) -> Draft | None:
            if first < -self.earlier.size:
                return None
            before = slices[self.period_of_slice < first]
            after = self.period_of_slice >= first
            counts = np.zeros((self.periods.size - first, slices.shape[1]))
            np.add.at(counts, self.period_of_slice[after] - first, slices[after])
            if not self.rolling:
                return replace(draft, counts=counts, means=None, onward=None)
            return Draft(draft.kind, draft.subject, before.sum(axis=0), counts, before, None)

        return replace(draft, onward=onward)


def _table(group: npt.NDArray[np.int64], place: npt.NDArray[np.int64], groups: int, bins: int) -> Counts:
    """Histograms of places, a row a group."""
    return np.bincount(group * bins + place, minlength=groups * bins).reshape(groups, bins).astype(np.float64)
