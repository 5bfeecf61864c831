"""Anomalies in time: where a segment's counts, stops or amounts leave its own history, found without labels.

Each hour or day is judged by what came before it alone. A count follows a Poisson law whose rate is known from the same
hour of the week in weeks before, as a gamma distribution: the prediction is negative binomial, wider where little is
known and where the segment scatters more than Poisson. What was unusual enters the history cut down, so that a burst
does not hide the next. Over all segments and times the share of false alarms is held by Benjamini and Hochberg (1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning.changes.tallies import Tallies
from parakh.learning.extra import needed

__all__ = ["MEASURES", "Anomaly", "anomalies"]

MEASURES = ("events", "stopped", "distinct", "amount")
_WARM_WEEKS = 2
_FORGET = 0.5 ** (1 / 6)
"""What a week's weight in the history is after another: half after six."""
_OWN_RHYTHM = 0.3
"""How far a segment's rhythm of the week is from that of all, before it is known: a coefficient of variation."""
_CUT = 4.0
"""In standard deviations: what lies farther out enters the history as if it lay there."""
_LEAST_AMOUNTS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A segment that left its own history for one or more spans of time in a row.

    `observed` and `usual` are sums over the spans; for `amount` means, in major units. `chance` is the rate of false
    alarms at which it would still be told (its least q-value).
    """

    field: str
    value: str
    measure: str
    start_us: int
    end_us: int
    observed: float
    usual: float
    chance: float

    @property
    def times(self) -> float:
        """How many times the usual; infinite where nothing was usual."""
        return self.observed / self.usual if self.usual > 0 else float("inf")

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "field": self.field or None,
            "value": self.value,
            "measure": self.measure,
            "from": iso_time(self.start_us),
            "to": iso_time(self.end_us),
            "observed": round(self.observed, 4),
            "usual": round(self.usual, 4),
            "times": round(self.times, 3) if self.usual > 0 else None,
            "chance": self.chance,
        }


def anomalies(tallies: Tallies, *, rate: float = 0.05) -> list[Anomaly]:
    """What is unusual, with the expected share of false alarms at most `rate`; the least likely first.

    The first two weeks are history alone; InputError where nothing comes after them, or `rate` is no share.
    """
    if not 0 < rate < 1:
        raise InputError(f"rate is {rate:g} (hint: a share of false alarms such as 0.05)")
    warm = _WARM_WEEKS * tallies.slots
    spans = tallies.starts_us.size
    if spans <= warm + 1:
        raise InputError(
            f"{spans * tallies.every_us / DAY_US:.3g} days of events are too few: the first "
            f"{7 * _WARM_WEEKS} are the history by which the others are judged"
        )
    judged = {
        "events": _counts(tallies.events.astype(np.float64), tallies),
        "stopped": _shares(tallies.stopped.astype(np.float64), tallies.events.astype(np.float64)),
        "amount": _means(tallies),
    }
    if tallies.distinct is not None:
        judged["distinct"] = _counts(tallies.distinct.astype(np.float64), tallies)
    # The last span may not be over yet.
    chances = np.array([judged[name].chance[:, warm:-1] for name in MEASURES if name in judged])
    alarms = _benjamini_hochberg(chances)
    found = list[Anomaly]()
    for number, name in enumerate(item for item in MEASURES if item in judged):
        found += _episodes(tallies, name, judged[name], alarms[number], warm, rate)
    return sorted(found, key=lambda item: (item.chance, -item.times, item.start_us, item.field, item.value))


@dataclass(frozen=True, slots=True)
class _Judged:
    """By segment and span: what was seen and what was usual, and how likely something as far off is (NaN: not told)."""

    observed: Floats
    usual: Floats
    chance: Floats


def _counts(seen: Floats, tallies: Tallies) -> _Judged:
    """Counts against the same slot of the week before; each by what came earlier alone."""
    segments, spans = seen.shape
    width = tallies.slots
    warm = _WARM_WEEKS * width
    first = _without_bursts(seen[:, :warm])
    sums, weights = np.zeros((segments, width)), np.zeros(width)
    total, exposure = np.zeros(segments), 0.0
    usual, shape = np.zeros(seen.shape), np.ones(seen.shape)
    scatter = _Scatter(segments)
    lengths = tallies.lengths
    for span in range(spans):
        slot, length = int(tallies.slot[span]), float(lengths[span])
        rhythm = _rhythm(sums, weights)
        level = (total + 0.5) / max(exposure, 1.0)
        prior_mean = level * rhythm[slot]
        prior = 1 / (_OWN_RHYTHM**2 + 1 / (total + 0.5))
        known = prior + sums[:, slot]
        mean = length * known / (prior / prior_mean + weights[slot])
        usual[:, span] = mean
        # Of a day that is an hour longer or shorter: the hour is one of the night, and few or many come in it.
        unsure = 1 / known + (length - 1) ** 2
        spread = unsure + scatter.excess()
        shape[:, span] = 1 / spread
        deviation = np.sqrt(mean + mean * mean * spread)
        counted = first[:, span] if span < warm else np.minimum(seen[:, span], mean + _CUT * deviation)
        if span >= warm - width:
            scatter.add(counted, mean, mean * mean * unsure)
        sums[:, slot] = sums[:, slot] * _FORGET + counted
        weights[slot] = weights[slot] * _FORGET + length
        fade = _FORGET ** (1 / width)
        total = total * fade + counted
        exposure = exposure * fade + length * rhythm[slot]
    return _Judged(seen, usual, _count_chance(seen, usual, shape))


def _without_bursts(seen: Floats) -> Floats:
    """The first counts of each segment, those far above its median cut down."""
    usual = np.maximum(np.median(seen, axis=1, keepdims=True), seen.mean(axis=1, keepdims=True) / 2)
    return np.minimum(seen, 3 * usual + 6 * np.sqrt(usual) + 1)


def _rhythm(sums: Floats, weights: Floats) -> Floats:
    """The week of all segments together, around 1; each segment weighs by the root of its size."""
    known = weights > 0
    if not known.any():
        return np.ones(weights.size)
    size = np.maximum(sums.sum(axis=1, keepdims=True), 1.0)
    together = (sums / np.sqrt(size)).sum(axis=0)
    mean = np.divide(together, weights, out=np.zeros(weights.size), where=known)
    overall = together.sum() / weights.sum()
    rhythm = np.where(known, (mean + 0.05 * overall) / max(1.05 * overall, 1e-12), 1.0)
    return np.asarray(np.maximum(rhythm, 0.02))


def _shares(seen: Floats, of: Floats) -> _Judged:
    """Counts among others - stops among events - against the segment's own share so far."""
    segments, spans = seen.shape
    hits, tries = np.zeros(segments), np.zeros(segments)
    usual, shape = np.zeros(seen.shape), np.ones(seen.shape)
    scatter = _Scatter(segments)
    for span in range(spans):
        share = (hits[0] + 0.5) / (tries[0] + 1.0)
        prior = 1 / _OWN_RHYTHM**2
        known = prior + hits
        mean = of[:, span] * known / (prior / share + tries)
        usual[:, span] = mean
        spread = 1 / known + scatter.excess()
        shape[:, span] = 1 / spread
        counted = np.minimum(seen[:, span], mean + _CUT * np.sqrt(mean + mean * mean * spread))
        if tries[0] > 0:
            scatter.add(counted, mean, mean * mean / known)
        hits, tries = hits + counted, tries + of[:, span]
    chance = _count_chance(seen, usual, shape)
    return _Judged(seen, usual, np.where(of > 0, chance, np.nan))


class _Scatter:
    """How much more counts scatter than Poisson: the variance beyond, in squares of the mean, by segment."""

    def __init__(self, segments: int) -> None:
        self.beyond, self.means, self.fourths = np.zeros(segments), np.zeros(segments), np.zeros(segments)

    def add(self, seen: Floats, mean: Floats, unsure: Floats) -> None:
        self.beyond += (seen - mean) ** 2 - mean - unsure
        self.means += mean * mean
        self.fourths += mean**4

    def excess(self) -> Floats:
        """Each segment's own, drawn to that of all where little is known of it; two standard errors above."""
        some = 1e-9
        pooled = max(0.0, float(self.beyond.sum() / (self.means.sum() + some)))
        own = self.beyond / (self.means + some)
        sure = self.means / (self.means + 50.0)
        terms = np.maximum(self.means**2 / (self.fourths + some), 1.0)  # spans that the estimate rests on
        return np.asarray(np.maximum(0.0, sure * own + (1 - sure) * pooled) * (1 + 2 * np.sqrt(2 / terms)))


def _count_chance(seen: Floats, usual: Floats, shape: Floats) -> Floats:
    """How likely a negative binomial count as far off is, to both sides."""
    special = needed("scipy.special")
    share = usual / (usual + shape)
    above = np.where(seen > 0, special.betainc(np.maximum(seen, 1e-12), shape, share), 1.0)
    below = special.betainc(shape, seen + 1, 1 - share)
    return np.minimum(1.0, 2 * np.minimum(above, below))


def _means(tallies: Tallies) -> _Judged:
    """Mean logarithms of amounts against the segment's own so far, by Student's t."""
    special = needed("scipy.special")
    count, logs, squares = tallies.amounts.astype(np.float64), tallies.logs, tallies.squares
    segments, spans = count.shape
    number, total, square = np.zeros(segments), np.zeros(segments), np.zeros(segments)
    judged, between, weight = np.zeros(segments), np.zeros(segments), np.zeros(segments)
    usual, chance = np.full(count.shape, np.nan), np.full(count.shape, np.nan)
    mean_of = np.divide(logs, count, out=np.zeros_like(logs), where=count > 0)
    for span in range(spans):
        now = count[:, span]
        ready = (number >= 2 * _LEAST_AMOUNTS) & (now >= _LEAST_AMOUNTS)
        before = np.maximum(number, 2.0)
        mean = total / before
        variance = np.maximum((square - total * mean) / (before - 1), 1e-6)
        within = variance / np.maximum(now, 1.0)
        drift = np.maximum(between / np.maximum(weight, 1e-9), 0.0)
        error = np.sqrt(within + variance / before + drift)
        off = (mean_of[:, span] - mean) / error
        freedom = np.maximum(np.minimum(before - 1, judged), 3.0)
        chance[ready, span] = 2 * special.stdtr(freedom[ready], -np.abs(off[ready]))
        usual[ready, span] = np.exp(mean[ready])
        moved = np.clip(mean_of[:, span], mean - _CUT * error, mean + _CUT * error)
        settled = ready.astype(np.float64)
        between += settled * ((moved - mean) ** 2 - within - variance / before)
        weight += settled
        judged += settled
        known = number >= 2 * _LEAST_AMOUNTS
        shift = np.where(known & (now > 0), moved - mean_of[:, span], 0.0)  # what was unusual enters cut down
        inside = np.where(now > 0, squares[:, span] - now * mean_of[:, span] ** 2, 0.0)
        centre = mean_of[:, span] + shift
        number, total = number + now, total + now * centre
        square = square + inside + now * centre**2
    return _Judged(np.exp(mean_of), usual, chance)


def _benjamini_hochberg(chances: Floats) -> Floats:
    """The q-value of each test: the least rate of false discoveries at which it counts; NaN stays."""
    flat = chances.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    ranked = flat[order] * order.size / np.arange(1, order.size + 1)
    found = np.full(flat.size, np.nan)
    found[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return found.reshape(chances.shape)


def _episodes(tallies: Tallies, measure: str, judged: _Judged, alarms: Floats, warm: int, rate: float) -> list[Anomaly]:
    """Alarms in a row, to the same side, as one."""
    found = list[Anomaly]()
    for segment in np.flatnonzero((alarms <= rate).any(axis=1)).tolist():
        rows = np.flatnonzero(alarms[segment] <= rate)
        spans = rows + warm
        higher = judged.observed[segment, spans] > judged.usual[segment, spans]
        breaks = (np.diff(spans) > 1) | (higher[1:] != higher[:-1])
        for run in np.split(np.arange(rows.size), np.flatnonzero(breaks) + 1):
            at = spans[run]
            seen, usual = judged.observed[segment, at], judged.usual[segment, at]
            many = tallies.amounts[segment, at] if measure == "amount" else None
            field, value = tallies.segments[segment]
            found.append(
                Anomaly(
                    field=field,
                    value=value,
                    measure=measure,
                    start_us=int(tallies.starts_us[at[0]]),
                    end_us=int(tallies.starts_us[at[-1] + 1]),
                    observed=float(seen.sum() if many is None else np.average(seen, weights=many)),
                    usual=float(usual.sum() if many is None else np.average(usual, weights=many)),
                    chance=float(alarms[segment, rows[run]].min()),
                )
            )
    return found
