"""What has changed since a reference: inputs, scores, labels, rules and how much comes, by week or by day.

A history is cut in two: the reference, and what is watched. Inputs of a model are held against the baselines of its
card, all else against the reference. Something is told only where it is beyond what chance explains - days that vary
more than independent events would are allowed for, and so is the number of things that are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from parakh.learning.columns import inputs_of, taken
from parakh.learning.history import History, Values

__all__ = ["Drift", "usual_beginning", "watch", "watchable"]

CHANCE: Final = 0.05
"""The probability of any alarm at all, all things that are watched taken together, where nothing has changed."""


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
    chance: float = CHANCE,
) -> Drift:
    """Watch what a history has from `since_us` on, against what it has before `reference_to_us` (`since_us`, unless
    said) and against the `baselines` of inputs, and of `scores` by the model's name, where a card has them.

    `every` is week or day, of `zone`. Inputs that `baselines` do not name are held against the reference. Raises
    InputError where nothing is watched, or there is nothing to hold it against.
    """
    before = np.flatnonzero(history.time_us < (since_us if reference_to_us is None else min(reference_to_us, since_us)))
    after = np.flatnonzero(history.time_us >= since_us)
    if not after.size:
        raise InputError(f"no event of {history.event_type} from {iso_time(since_us)} on: nothing can be watched")
    if not before.size and not baselines and not scores:
        raise InputError(
            f"no event of {history.event_type} before {iso_time(since_us)}: there is nothing to compare with (hint: "
            "events from before, a later --since, or a model whose card says how its inputs were spread)"
        )
    looking = _Looking(history, before, after, since_us, every, Zone(zone))
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
        alarms=alarms_of(tracks, looking.periods, history.event_type, lambda at_us: local_day(at_us, zone)),
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


def usual_beginning(history: History, *, every: str, zone: str) -> int:
    """Where what is watched begins unless somebody says: the last four weeks or days, at most half of the history."""
    times = history.time_us
    first, last = int(times.min()), int(times.max())
    back = 4 if every == "week" else 7
    newest = _starts(np.array([last]), every, Zone(zone))
    begin = _starts(newest - (back - 1) * (7 if every == "week" else 1) * DAY_US + DAY_US // 2, every, Zone(zone))
    half = first + (last - first) // 2
    if begin[0] >= half:
        return int(begin[0])
    later = np.unique(_starts(times[times >= half], every, Zone(zone)))
    return int(next((at for at in later.tolist() if at >= half), half))


class _Looking:
    """Rows of the reference and of what is watched, by day and by period."""

    def __init__(
        self,
        history: History,
        before: npt.NDArray[np.int64],
        after: npt.NDArray[np.int64],
        since_us: int,
        every: str,
        zone: Zone,
    ) -> None:
        self.history, self.before, self.after = history, before, after
        self.every = every
        times = history.time_us[after]
        starts = np.maximum(_starts(times, every, zone), since_us)
        self.periods, self.period = np.unique(starts, return_inverse=True)
        days, self.day_after = np.unique(zone.day_start(times), return_inverse=True)
        self.period_of_day = np.zeros(days.size, np.int64)
        self.period_of_day[self.day_after] = self.period
        self.day_before = np.unique(zone.day_start(history.time_us[before]), return_inverse=True)[1]
        ends = np.append(self.periods[1:], times.max() + 1)
        began = np.maximum(self.periods, times.min() if times.size else 0)
        self.lengths = np.maximum((ends - began) / DAY_US, 1 / 24)

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
        counts = _table(self.period, after, self.periods.size, baseline.bins)
        means = None
        if isinstance(values, np.ndarray):
            there = np.isfinite(values[self.after])
            sums = np.bincount(self.period[there], values[self.after][there], minlength=self.periods.size)
            held = np.bincount(self.period[there], minlength=self.periods.size)
            means = np.divide(sums, held, out=np.full(sums.size, np.nan), where=held > 0)
        days = self._days(places, baseline.bins, own)
        yield Draft("stability", name, baseline.expected, counts, *days, baseline, means)
        two = np.zeros((baseline.bins, 2))
        two[:-1, 0] = two[-1, 1] = 1  # what is there, and what is missing
        yield Draft("missing", name, baseline.expected @ two, counts @ two, days[0] @ two, days[1])

    def _share(self, kind: str, name: str, hits: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> Draft:
        before, after = self.before[of[self.before]], of[self.after]
        places = hits.astype(np.int64)
        counts = _table(self.period[after], places[self.after][after], self.periods.size, 2)
        reference = np.bincount(places[before], minlength=2).astype(np.float64)
        kept = of[self.before]
        if before.size:
            days = _table(self.day_before[kept], places[before], int(self.day_before.max()) + 1, 2)
            return Draft(kind, name, reference, counts, days, None)
        days = _table(self.day_after[after], places[self.after][after], self.period_of_day.size, 2)
        return Draft(kind, name, reference, counts, days, self.period_of_day)

    def _received(self) -> Draft:
        """Events a day: of the reference's days the first and the last are not whole."""
        days = np.bincount(self.day_before)[1:-1].astype(np.float64) if self.before.size else np.zeros(0)
        reference = np.array([days.size - days.sum(), days.sum()])
        counts = self.counted(np.ones(self.after.size, np.bool_)).astype(np.float64)
        spread = float(days.var(ddof=1) / days.mean()) if days.size > 7 and days.sum() else 1.0
        return Draft(
            "received", self.history.event_type, reference, np.column_stack([self.lengths - counts, counts]),
            np.zeros((0, 2)), None, spread=max(1.0, spread),
        )  # fmt: skip

    def _days(self, places: npt.NDArray[np.int64], bins: int, own: bool) -> tuple[Counts, npt.NDArray[np.int64] | None]:
        """Histograms a day: of the reference, or of what is watched, within its periods, where that is elsewhere."""
        if own:
            return _table(self.day_before, places[self.before], int(self.day_before.max()) + 1, bins), None
        return _table(self.day_after, places[self.after], self.period_of_day.size, bins), self.period_of_day


def _starts(times: npt.NDArray[np.int64], every: str, zone: Zone) -> npt.NDArray[np.int64]:
    return zone.week_start(times) if every == "week" else zone.day_start(times)


def _table(group: npt.NDArray[np.int64], place: npt.NDArray[np.int64], groups: int, bins: int) -> Counts:
    """Histograms of places, a row a group."""
    return np.bincount(group * bins + place, minlength=groups * bins).reshape(groups, bins).astype(np.float64)
