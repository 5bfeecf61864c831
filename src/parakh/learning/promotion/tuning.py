"""Bands of a policy chosen on one part of a history and measured on a later one, beside the bands that it has now.

What live rules, the fallback and bands of another form decide stays as it is: thresholds are chosen given that. Where
the policy holds some of what it stops out, those events speak for all that was stopped, as in a back-test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Band, Policy
from parakh.decisions.policy import DEGRADED
from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning.backtests.unblocked import weights_of
from parakh.learning.history import History
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.intervals import Interval, draws, interval_of
from parakh.learning.measures.segments import local_days
from parakh.learning.plain import plain
from parakh.learning.promotion.thresholds import Events, Ladder, Places, Thresholds, expect_allowing
from parakh.rules.definition import STOPPING, Mode, Outcome

__all__ = ["Limits", "Measured", "Step", "Tuning", "bands_with", "threshold_of", "tune"]

_THRESHOLD = re.compile(r"\s*score\s*>=\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*")
_LEAST_FRAUDS = 10
_STEPS = 16
_DAYS_TO_DRAW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most events a day that go to review, as a mean, and the greatest share of good events that are stopped."""

    reviews_per_day: float = float("inf")
    friction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What bands did on a part of a history; money in major units, `friction` a share of the good events."""

    loss: float
    reviews_per_day: float
    most_reviews: int
    friction: float
    frauds_stopped: float
    fraud_amount_stopped: float
    fraud_amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A point of the frontier: bands chosen on the earlier part under some limits, measured on the later one."""

    limits: Limits
    thresholds: Thresholds
    later: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The bands chosen, beside those of now, on the earlier part (`*_earlier`) and on the later one (`*_later`).

    `saved` is the loss of now less that of the choice on the later part, with its interval; `why` says in words why
    the choice is proposed, or is not (`proposes`).
    """

    event_type: str
    currency: str
    score: str
    limits: Limits
    bands: tuple[Band, ...]
    now: Thresholds
    chosen: Thresholds
    now_earlier: Measured
    chosen_earlier: Measured
    now_later: Measured
    chosen_later: Measured
    saved: float
    saved_interval: Interval
    proposes: bool
    why: str
    by_reviews: tuple[Step, ...]
    by_friction: tuple[Step, ...]
    first_us: int
    test_from_us: int
    last_us: int
    days_earlier: int
    days_later: int
    frauds_earlier: int
    frauds_later: int
    held_out: int

    def as_data(self) -> dict[str, Any]:
        """For programs; what is not known is null."""
        data = plain(asdict(replace(self, bands=())))
        data["bands"] = {band.outcome.word: str(band.when) for band in self.bands}
        for name in ("first", "test_from", "last"):
            data[name] = iso_time(data.pop(f"{name}_us"))
        return data


def threshold_of(band: Band) -> float | None:
    """The threshold of a band of the form `score >= number`; None for one of another form, or that allows.

    >>> threshold_of(Band(Outcome.BLOCK, "score >= 0.90")), threshold_of(Band(Outcome.BLOCK, "score > amount"))
    (0.9, None)
    """
    found = _THRESHOLD.fullmatch(band.when)
    return float(found[1]) if found and band.outcome is not Outcome.ALLOW else None


def bands_with(bands: Collection[Band], chosen: Thresholds) -> tuple[Band, ...]:
    """Bands with other thresholds, the severest first; those of another form stay where they are in their outcome."""
    said = {outcome: chosen.of(outcome) for outcome in STOPPING}
    made = [Band(outcome, f"score >= {_decimal(number)}") for outcome, number in said.items() if number is not None]
    kept = [band for band in bands if threshold_of(band) is None]
    return tuple(sorted([*kept, *made], key=lambda band: -band.outcome))


def tune(
    history: History,
    policy: Policy,
    *,
    costs: Costs | None = None,
    limits: Limits | None = None,
    score: str | None = None,
    bands: Collection[Outcome] | None = None,
    test_from_us: int | None = None,
    zone: str = "UTC",
    labels_of_stopped: bool = False,
    rounds: int = 200,
    seed: int = 0,
) -> Tuning:
    """Choose thresholds that lose least on the earlier part of a history and measure them on the later one.

    `score` is the model that the bands read (the policy's own, unless said; any that the history scored); `bands` the
    outcomes that may be used (those of the policy's bands, or all). The later part begins at `test_from_us`, the last
    third of the time unless said. With `labels_of_stopped` labels of stopped events count although the policy has a
    holdout: right where they are known whatever was decided, as in a simulation. Raises InputError where there is no
    score, where the limits cannot be kept, or where there are too few frauds to choose or to measure by.
    """
    costs, limits = costs or Costs(), limits or Limits()
    expect_allowing(policy.otherwise)
    own = score is None or score == policy.score
    name = policy.score if score is None else score
    if name is None:
        raise InputError(f"the policy of {history.event_type} has no `score`: say which model its bands should read")
    history.expect_scored(name)
    kept = [number for number, band in enumerate(policy.bands) if threshold_of(band) is None]
    if kept and not own:
        band = policy.bands[kept[0]]
        raise InputError(
            f"band {band.outcome.word} is `{band.when}`: what it means for {name} has to be written by hand"
        )
    there = [band.outcome for band in policy.bands if threshold_of(band) is not None]
    usable = tuple(bands) if bands is not None else tuple(there) if there and own else STOPPING
    twice = [outcome for outcome in set(there) | set(usable) if sum(b.outcome is outcome for b in policy.bands) > 1]
    if twice:
        raise InputError(f"the policy has two bands for {twice[0].word}: write them as one, or leave one out")
    whole = _whole(history, policy, name, kept, labels_of_stopped=labels_of_stopped)
    day = local_days(history.time_us, zone)
    earlier, later, test_from = _parts(history, day, test_from_us)
    ladder = Ladder(whole.rows(earlier.rows).events, costs)
    places = _best(ladder, limits, earlier, usable)
    if places is None:
        raise InputError(_beyond(ladder, limits, earlier))
    chosen = ladder.thresholds(places)
    now = Thresholds(**{band.outcome.word: threshold_of(band) for band in policy.bands}) if own else Thresholds()
    sides = {"earlier": earlier, "later": later}
    measured = {}
    lost = {}
    for side, part in sides.items():
        mine = whole.rows(part.rows)
        for which, outcome in (("now", mine.now), ("chosen", mine.events.outcomes(chosen.asked(mine.events.score)))):
            lost[which] = costs.of(outcome, mine.events.fraud, mine.events.amount) * mine.events.weight
            measured[f"{which}_{side}"] = _measured(mine.events, outcome, lost[which], part)
    difference = lost["now"] - lost["chosen"]
    saved = _interval(difference, later, whole.events.fraud[later.rows], rounds=rounds, seed=seed)
    proposes, why = _verdict(measured, limits, float(difference.sum()), saved, chosen == now)
    mine = whole.rows(later.rows)

    def step(of: Limits) -> Step | None:
        found = _best(ladder, of, earlier, usable)
        if found is None:
            return None
        thresholds = ladder.thresholds(found)
        outcome = mine.events.outcomes(thresholds.asked(mine.events.score))
        loss = costs.of(outcome, mine.events.fraud, mine.events.amount) * mine.events.weight
        return Step(limits=of, thresholds=thresholds, later=_measured(mine.events, outcome, loss, later))

    return Tuning(
        event_type=history.event_type, currency=history.currency, score=name, limits=limits, bands=policy.bands,
        now=now, chosen=chosen, now_earlier=measured["now_earlier"], chosen_earlier=measured["chosen_earlier"],
        now_later=measured["now_later"], chosen_later=measured["chosen_later"], saved=float(difference.sum()),
        saved_interval=saved, proposes=proposes, why=why,
        by_reviews=_frontier(step, ladder, limits, earlier, usable, reviews=True),
        by_friction=_frontier(step, ladder, limits, earlier, usable, reviews=False),
        first_us=int(history.time_us[earlier.rows].min()), test_from_us=test_from,
        last_us=int(history.time_us[later.rows].max()), days_earlier=earlier.days, days_later=later.days,
        frauds_earlier=int(history.fraud[earlier.rows].sum()), frauds_later=int(history.fraud[later.rows].sum()),
        held_out=0 if labels_of_stopped or policy.holdout is None else int((history.held_out & history.matured).sum()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Whole:
    """Events as thresholds see them, and what the policy decides on them now."""

    events: Events
    now: NDArray[np.int8]

    def rows(self, rows: NDArray[np.int64]) -> _Whole:
        taken = {name: getattr(self.events, name)[rows] for name in Events.__slots__}
        return _Whole(Events(**taken), self.now[rows])


@dataclass(frozen=True, slots=True)
class _Part:
    """Matured events of a span: their rows, the day of each, and how many days the span has."""

    rows: NDArray[np.int64]
    day: NDArray[np.int64]
    days: int


def _whole(history: History, policy: Policy, score: str, kept: list[int], *, labels_of_stopped: bool) -> _Whole:
    size = len(history)
    asked, overriding = np.full(size, -1, np.int8), np.full(size, -1, np.int8)
    for number, rule in enumerate(history.rules):
        if rule.mode is Mode.LIVE:
            box = overriding if rule.override else asked
            box[history.hit(number)] = np.maximum(box[history.hit(number)], rule.then)
    for number in kept:
        held = history.bands[number]
        asked[held] = np.maximum(asked[held], policy.bands[number].outcome)
    values, degraded = history.scores[score], (history.flags & DEGRADED) != 0
    asked_now = asked.copy()  # under the policy's own score; where another is unknown, the fallback asks elsewhere
    asked_now[degraded] = np.maximum(asked_now[degraded], policy.fallback)
    if policy.score is not None:
        degraded &= ~np.isnan(history.score)  # by an enrichment; by the score that is asked about below
    degraded |= np.isnan(values)
    asked[degraded] = np.maximum(asked[degraded], policy.fallback)
    banded = np.full(size, -1, np.int8)
    for number, band in enumerate(policy.bands):
        banded[history.bands[number]] = np.maximum(banded[history.bands[number]], band.outcome)
    decided = overriding >= 0
    weight = np.ones(size)
    if policy.holdout is not None and policy.holdout.share and not labels_of_stopped:
        weight = weights_of(history, policy.holdout.share)
    events = Events(
        score=values, fraud=history.fraud, amount=history.amount, asked=np.where(decided, overriding, asked),
        decided=decided, weight=weight,
    )  # fmt: skip
    now = replace(events, asked=np.where(decided, overriding, asked_now)).outcomes(banded)
    assert np.array_equal(np.where(history.held_out, 0, now), history.outcome), "a policy that was misread"
    return _Whole(events, now)


def _parts(history: History, day: NDArray[np.int64], test_from_us: int | None) -> tuple[_Part, _Part, int]:
    rows = np.flatnonzero(history.matured)
    if not rows.size:
        raise InputError("no event has matured by the cut-off: give a longer span, or a later --known-by")
    times = history.time_us[rows]
    first, last = int(times.min()), int(times.max())
    test_from = first + (last - first) * 2 // 3 if test_from_us is None else test_from_us
    parts = []
    for name, mine in (("before", times < test_from), ("from", times >= test_from)):
        there = rows[mine]
        frauds = int(history.fraud[there].sum())
        if frauds < _LEAST_FRAUDS:
            raise InputError(
                f"{frauds} matured frauds {name} {iso_time(test_from)}: with fewer than {_LEAST_FRAUDS} nothing can be "
                "chosen or measured; give a longer span"
            )
        days = day[there]
        parts.append(_Part(there, days, int(days.max() - days.min()) + 1))
    return parts[0], parts[1], test_from


def _best(ladder: Ladder, limits: Limits, part: _Part, bands: Collection[Outcome]) -> Places | None:
    stopped = limits.friction * ladder.good if limits.friction < 1 else np.inf
    return ladder.best(reviews=limits.reviews_per_day * part.days, stopped=stopped, bands=bands)


def _beyond(ladder: Ladder, limits: Limits, part: _Part) -> str:
    none = Places(0, 0, 0)
    share = ladder.stopped(none) / ladder.good if ladder.good else 0.0
    if share > limits.friction:
        return (
            f"without any band the rules stop {share:.2%} of the good events, above the limit of "
            f"{limits.friction:.2%}: raise friction_limit, or mend the rules"
        )
    return (
        f"without any band the rules send {ladder.reviews(none) / part.days:.1f} events a day to review, above the "
        f"capacity of {limits.reviews_per_day:g}: raise review_capacity, or mend the rules"
    )


def _measured(events: Events, outcome: NDArray[np.int8], loss: NDArray[np.float64], part: _Part) -> Measured:
    reviewed = outcome == Outcome.REVIEW
    good = np.where(events.fraud, 0.0, events.weight)
    bad = np.where(events.fraud, events.weight, 0.0)
    amount = np.maximum(np.nan_to_num(events.amount), 0.0)
    caught = bad * (outcome > Outcome.ALLOW)
    return Measured(
        loss=float(loss.sum()),
        reviews_per_day=float(reviewed.sum() / part.days),
        most_reviews=int(np.bincount(part.day[reviewed] - part.day.min()).max(initial=0)),
        friction=float((good * (outcome > Outcome.ALLOW)).sum() / good.sum()) if good.any() else float("nan"),
        frauds_stopped=float(caught.sum()),
        fraud_amount_stopped=float((caught * amount).sum()),
        fraud_amount=float((bad * amount).sum()),
    )


def _interval(
    difference: NDArray[np.float64], part: _Part, fraud: NDArray[np.bool_], *, rounds: int, seed: int
) -> Interval:
    """Days are drawn, for what happens on one day hangs together; events, where there are too few days."""
    drawn = (
        draws(part.day, rounds=rounds, seed=seed)
        if np.unique(part.day).size >= _DAYS_TO_DRAW
        else draws(difference.size, strata=fraud, rounds=rounds, seed=seed)
    )
    return interval_of(np.array([float(times @ difference) for times in drawn]))


def _verdict(
    measured: Mapping[str, Measured], limits: Limits, saved: float, interval: Interval, same: bool
) -> tuple[bool, str]:
    if same:
        return False, "the bands of now are the best there are under these limits"
    now = measured["now_earlier"]
    if now.reviews_per_day > limits.reviews_per_day + 1e-9:
        return True, (
            f"the bands of now send {now.reviews_per_day:.1f} events a day to review, above the capacity of "
            f"{limits.reviews_per_day:g}"
        )
    if now.friction > limits.friction + 1e-12:
        return (
            True,
            f"the bands of now stop {now.friction:.2%} of the good events, above the limit of {limits.friction:.2%}",
        )
    if interval.low > 0:
        return True, "they lose less than the bands of now on events that they were not chosen on, beyond noise"
    if saved > 0:
        return False, "they lose less than the bands of now on later events, but not beyond noise"
    return False, "on later events they lose no less than the bands of now"


def _frontier(
    step: Callable[[Limits], Step | None],
    ladder: Ladder,
    limits: Limits,
    part: _Part,
    bands: Collection[Outcome],
    *,
    reviews: bool,
) -> tuple[Step, ...]:
    """The best bands under one limit after another, from the least that can be kept to where it does not bind."""
    free = replace(limits, reviews_per_day=np.inf) if reviews else replace(limits, friction=1.0)
    loosest = _best(ladder, free, part, bands)
    if loosest is None:
        return ()
    most = ladder.reviews(loosest) / part.days if reviews else ladder.stopped(loosest) / max(ladder.good, 1.0)
    found = list[Step]()
    for share in np.linspace(0, 1, _STEPS) ** 1.5:
        bound = float(share * most * (1 + 1e-9))
        made = step(replace(limits, **{"reviews_per_day" if reviews else "friction": bound}))
        if made is not None and (not found or made.thresholds != found[-1].thresholds):
            found.append(made)
    return tuple(found)


def _decimal(number: float) -> str:
    return np.format_float_positional(number, trim="-")
