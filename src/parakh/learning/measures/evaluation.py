"""How well a score does, in all the measures of the field at once: with intervals, by segment and over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.errors import InputError
from parakh.expressions.zones import Zone
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.curves import precision_recall_curve, reliability, roc_curve
from parakh.learning.measures.desk import CardDays, EventDays
from parakh.learning.measures.evaluated import Events
from parakh.learning.measures.intervals import draws
from parakh.learning.measures.scored import Measured, Scored
from parakh.learning.measures.segments import DAY_US, segments_of, weeks_of
from parakh.learning.plain import plain

__all__ = ["METRICS", "Evaluation", "Measured", "Part", "evaluate"]

METRICS = (
    "roc_auc",
    "average_precision",
    "precision_at_capacity",
    "recall_at_capacity",
    "card_precision",
    "recall_at_fpr_1pct",
    "expected_loss",
    "brier",
    "calibration_error",
)
"""The names of what is measured, in the order in which they are told."""

UNKNOWN = Measured(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Part:
    """The same measures of a part of the events: a segment, or a week that begins at `from_us` (us UTC)."""

    name: str
    events: int
    frauds: int
    metrics: dict[str, Measured]
    from_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is known of a score. `events` were evaluated, `unscored` left out; `days` is over how many days they spread.

    `metrics` has a value for each of METRICS. `threshold` is the score from which on a review costs least within the
    capacity, infinite where that is to review nothing; `allowed_loss` is the loss per event where nothing is reviewed.
    `curves` holds columns of numbers by name: `roc`, `precision_recall`, `reliability`, `loss`. `drawn` says what
    intervals draw again: events or cards. `notes` say in words what could not be measured, and why.
    """

    events: int
    frauds: int
    unscored: int
    days: int
    capacity: float
    rounds: int
    seed: int
    drawn: str
    metrics: dict[str, Measured]
    threshold: float
    allowed_loss: float
    by_segment: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    over_time: tuple[Part, ...] = ()
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """As JSON takes it: what is not a finite number is null."""
        counts = {name: getattr(self, name) for name in ("events", "frauds", "unscored", "days", "capacity", "rounds")}
        return counts | {
            "seed": self.seed,
            "drawn": self.drawn,
            "metrics": _measured_data(self.metrics),
            "threshold": plain(self.threshold),
            "allowed_loss": plain(self.allowed_loss),
            "by_segment": {name: [_part_data(part) for part in parts] for name, parts in self.by_segment.items()},
            "over_time": [_part_data(part) for part in self.over_time],
            "curves": {
                name: {column: [plain(value) for value in values] for column, values in curve.items()}
                for name, curve in self.curves.items()
            },
            "notes": list(self.notes),
        }


def evaluate(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    amounts: npt.ArrayLike | None = None,
    time_us: npt.ArrayLike | None = None,
    zone: str = "UTC",
    cards: Any = None,
    weights: npt.ArrayLike | None = None,
    segments: Mapping[str, Any] | None = None,
    costs: Costs | None = None,
    capacity: float = 100,
    seed: int = 0,
    rounds: int = 200,
) -> Evaluation:
    """Measure a score on events of which it is known what became of them.

    One element an event: `labels` 0 or 1, `scores` (NaN: not scored, left out), `amounts` in major units, `time_us`
    (UTC; days and weeks are those of `zone`), `cards` or whom else events belong to (NULL: nobody), `weights` 1 / share
    where the set was sampled, `segments` values by name. `capacity` is how many events, or cards, are looked at in a
    day. Intervals are of 95 %: events are drawn by class, whole cards where they are given, whole days for what is
    found in a day. The threshold of `expected_loss` - per event, major units - is chosen on the same events: on few of
    them it flatters. What cannot be measured is NaN and a note. Raises InputError where there are no events, lengths
    differ, a label is neither 0 nor 1, or capacity or rounds are below 1.

    >>> evaluation = evaluate([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], rounds=20)
    >>> evaluation.metrics["roc_auc"], evaluation.notes[0]
    (Measured(value=1.0, low=1.0, high=1.0), 'no times: ...')
    """
    if not capacity >= 1 or rounds < 1:
        raise InputError(f"capacity is {capacity}, rounds {rounds} (hint: both are at least 1)")
    events = Events(
        labels,
        scores,
        amounts=amounts,
        time_us=time_us,
        cards=cards,
        weights=weights,
        segments=segments or {},
        zone=zone,
    )
    if not events.label.size:
        return _nothing(events, capacity, rounds, seed)
    days = int(np.unique(events.day).size) if events.day is not None else 0
    scored = Scored.of(
        events.label,
        events.score,
        amounts=events.amount,
        weights=events.weight,
        costs=costs or Costs(),
        limit=capacity * days if days else math.inf,
    )
    groups = None if events.card is None else events.card[scored.ranking.order]
    metrics = scored.measured(groups, rounds=rounds, seed=seed)
    metrics |= _daily(events, capacity, rounds, seed) | _of_cards(events, capacity, rounds, seed)
    threshold = scored.best()[0] if events.amount is not None else math.nan
    loss = scored.loss_curve()
    parts = _Parts(events, scored, groups, threshold, capacity, rounds, seed)
    return Evaluation(
        events=events.label.size,
        frauds=int(events.label.sum()),
        unscored=events.unscored,
        days=days,
        capacity=capacity,
        rounds=rounds,
        seed=seed,
        drawn="events" if groups is None else "cards",
        metrics={name: metrics.get(name, UNKNOWN) for name in METRICS},
        threshold=threshold,
        allowed_loss=float(loss.loss[0]) if loss.loss.size else math.nan,
        by_segment={name: parts.of(*segments_of(values)) for name, values in events.segments.items()},
        over_time=_weeks(events, parts),
        curves=_curves(events, scored, days),
        notes=tuple(events.notes(scored.chance)),
    )


class _Parts:
    """Measures parts of the events by the threshold of the whole."""

    def __init__(
        self,
        events: Events,
        scored: Scored,
        groups: npt.NDArray[np.int64] | None,
        threshold: float,
        capacity: float,
        rounds: int,
        seed: int,
    ) -> None:
        self.events, self.scored, self.groups = events, scored, groups
        self.threshold, self.capacity, self.rounds, self.seed = threshold, capacity, rounds, seed

    def of(
        self, codes: npt.NDArray[np.int64], names: list[str], *, starts: list[int] | None = None
    ) -> tuple[Part, ...]:
        """A part for each name that has events; parts that have a start are spans of time, with what a day finds."""
        found = []
        ranked = codes[self.scored.ranking.order]
        for number, name in enumerate(names):
            where = ranked == number
            if not where.any():
                continue
            part = self.scored.part(where, self.threshold)
            groups = None if self.groups is None else self.groups[where]
            metrics = part.measured(groups, rounds=self.rounds, seed=self.seed)
            if starts is not None:
                metrics |= _daily(self.events, self.capacity, self.rounds, self.seed, codes == number)
            kept = {name: metrics[name] for name in METRICS if name in metrics}
            start = None if starts is None else starts[number]
            found.append(Part(name, int(where.sum()), int(part.ranking.fraud.sum()), kept, start))
        return tuple(found)


def _weeks(events: Events, parts: _Parts) -> tuple[Part, ...]:
    if events.day is None:
        return ()
    codes, mondays = weeks_of(events.day)
    midnights = np.array(mondays, dtype="datetime64[D]").astype(np.int64) * DAY_US
    return parts.of(codes, mondays, starts=Zone(events.zone).from_local(midnights).tolist())


def _daily(
    events: Events, capacity: float, rounds: int, seed: int, where: npt.NDArray[np.bool_] | None = None
) -> dict[str, Measured]:
    """Precision and recall at the capacity, days drawn again."""
    if events.day is None:
        return {}
    taken = slice(None) if where is None else where
    weight = None if events.weight is None else events.weight[taken]
    found = EventDays.of(events.label[taken], events.score[taken], events.day[taken]).find(capacity, weight)
    has_fraud = found.frauds > 0
    shares = np.stack([found.hits / found.looked, found.hits / np.where(has_fraud, found.frauds, 1)])
    counts = np.stack([np.ones(has_fraud.size), has_fraud])

    def means(times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        held = (counts * times).sum(axis=1)
        return np.where(held > 0, (shares * counts * times).sum(axis=1) / np.maximum(held, 1), np.nan)

    values = means(np.ones(has_fraud.size, np.int64)).tolist()
    drawn = np.full((1, 2), np.nan)
    if has_fraud.size > 1:
        drawn = np.array([means(times) for times in draws(has_fraud.size, rounds=rounds, seed=seed)])
    return {
        name: Measured.of(value, column)
        for name, value, column in zip(("precision_at_capacity", "recall_at_capacity"), values, drawn.T)
    }


def _of_cards(events: Events, capacity: float, rounds: int, seed: int) -> dict[str, Measured]:
    """Card precision, cards drawn again: those with a fraud and those without apart."""
    if events.card is None or events.day is None or (events.weight is not None and np.any(events.weight != 1)):
        return {}
    days = CardDays.of(events.label, events.score, events.card, events.day)
    top = int(capacity)
    bad = np.zeros(days.cards, np.int64)
    np.maximum.at(bad, days.card, days.fraud)
    drawn = np.full(1, np.nan)
    if days.cards > 1:
        drawn = np.array(
            [days.precision(top, times) for times in draws(days.cards, strata=bad, rounds=rounds, seed=seed)]
        )
    return {"card_precision": Measured.of(days.precision(top), drawn)}


def _curves(events: Events, scored: Scored, days: int) -> dict[str, dict[str, list[float]]]:
    roc = roc_curve(events.label, events.score, weights=events.weight)
    shares = precision_recall_curve(events.label, events.score, weights=events.weight)
    loss = scored.loss_curve()
    found = {
        "roc": {"false_positive_rate": roc.x, "recall": roc.y, "threshold": roc.threshold},
        "precision_recall": {"recall": shares.x, "precision": shares.y, "threshold": shares.threshold},
        "loss": {
            "threshold": loss.threshold,
            "reviewed_a_day": loss.reviewed / max(days, 1),
            "loss": loss.loss,
            "recall": loss.recall,
        },
    }
    if scored.chance:
        bins = reliability(events.label, events.score, weights=events.weight)
        found["reliability"] = {"score": bins.score, "fraud": bins.fraud, "events": bins.events}
    return {name: {column: values.tolist() for column, values in curve.items()} for name, curve in found.items()}


def _nothing(events: Events, capacity: float, rounds: int, seed: int) -> Evaluation:
    return Evaluation(
        events=0,
        frauds=0,
        unscored=events.unscored,
        days=0,
        capacity=capacity,
        rounds=rounds,
        seed=seed,
        drawn="events",
        metrics=dict.fromkeys(METRICS, UNKNOWN),
        threshold=math.nan,
        allowed_loss=math.nan,
        notes=tuple(events.notes(chance=False)),
    )


def _measured_data(metrics: dict[str, Measured]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": plain(item.value), "low": plain(item.low), "high": plain(item.high)}
        for name, item in metrics.items()
    }


def _part_data(part: Part) -> dict[str, Any]:
    counts: dict[str, Any] = {"name": part.name, "events": part.events, "frauds": part.frauds}
    started = {} if part.from_us is None else {"from_us": part.from_us}
    return counts | started | {"metrics": _measured_data(part.metrics)}
