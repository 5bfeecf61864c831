"""The gates before a promotion: what a challenger has to show on events that it did not learn from.

Each gate is a figure, its bound and a sentence. A challenger is measured against the champion on the same events; where
there is none yet, the policy with the challenger's bands against the policy as it is.

Of what the champion's policy stopped labels hardly ever come: counted as good, the best of its work would speak against
it. Where the policy has a holdout, that speaks for what was stopped. Without one such events are left out; and as that
takes the champion's highest from the comparison, as many of the challenger's highest are left out with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.errors import InputError
from parakh.expressions.values import iso_time, timestamp_us
from parakh.learning.backtests.unblocked import weights_of
from parakh.learning.changes.drift import Baseline, card_baselines, stability
from parakh.learning.history import History, Values
from parakh.learning.measures.curves import expected_calibration_error
from parakh.learning.measures.intervals import paired
from parakh.learning.measures.ranking import RANKED, Ranking
from parakh.learning.plain import plain
from parakh.learning.promotion.tuning import Limits, tune
from parakh.learning.settings import GateSettings, LearningSettings
from parakh.rules.definition import STOPPING, Outcome

__all__ = ["Gate", "Gates", "judge", "learned_until_us"]

_FEW_STOPPED = 30
"""Stopped events of one outcome, below which they alone do not show whether labels come of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate: the figure and its bound (NaN where there is none), and both in words."""

    name: str
    passed: bool
    value: float
    bound: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What a challenger showed; `champion` is "" where the policy without a model stood in for one.

    `measured` has the gates' metric of both on the same events, and `frauds` are those among them.
    """

    challenger: str
    champion: str
    metric: str
    measured: dict[str, float]
    gates: tuple[Gate, ...]
    events: int
    frauds: int
    from_us: int
    to_us: int

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)

    def as_data(self) -> dict[str, Any]:
        """For the registry and for programs; what is not known is null."""
        return {
            "passed": self.passed,
            "challenger": self.challenger,
            "champion": self.champion,
            "metric": self.metric,
            "measured": {name: plain(value) for name, value in self.measured.items()},
            "events": self.events,
            "frauds": self.frauds,
            "from": iso_time(self.from_us),
            "to": iso_time(self.to_us),
            "gates": [
                {
                    "name": gate.name, "passed": gate.passed, "value": plain(gate.value),
                    "bound": plain(gate.bound), "why": gate.why,
                }
                for gate in self.gates
            ],
        }  # fmt: skip


def learned_until_us(card: Mapping[str, Any]) -> int | None:
    """The time of the last event that a model learned from, as its card says; None where it does not."""
    part = card.get("dataset", {}).get("parts", {}).get("train", {})
    return timestamp_us(str(part.get("to")))


def judge(
    history: History,
    *,
    challenger: str,
    champion: str | None,
    card: Mapping[str, Any],
    policy: Policy | None = None,
    settings: LearningSettings | None = None,
    from_us: int | None = None,
    zone: str = "UTC",
    labels_of_stopped: bool = False,
    rounds: int = 200,
    seed: int = 0,
) -> Gates:
    """Put a challenger to the gates on the matured events of a history from `from_us` on.

    `challenger` and `champion` are names of models that the history scored; `card` is the challenger's; `policy` that
    of the event type: where it has a holdout, that speaks for what it stopped, unless labels are known of stopped
    events too (`labels_of_stopped`). The history holds the challenger's inputs (`inputs=`). An unknown score ranks
    last. Raises InputError where a score is not there, or no matured event is.
    """
    settings = settings or LearningSettings()
    for name in (challenger, *([champion] if champion else [])):
        history.expect_scored(name)
    rows = np.flatnonzero(history.matured & (history.time_us >= (from_us or 0)))
    if not rows.size:
        since = f" from {iso_time(from_us)} on" if from_us else ""
        raise InputError(f"no event{since} has matured: the gates need events later than those that were learned from")
    part = history.take(rows)
    scores = {name: _ranked(part.scores[name]) for name in (challenger, *([champion] if champion else []))}
    seen = _seen(part, policy, scores[challenger] if champion else None, labels_of_stopped=labels_of_stopped)
    found = [_positives(seen, settings.gates)]
    if champion:
        both = scores[challenger][seen.rows], scores[champion][seen.rows]
        found.append(_better(seen, *both, settings.gates, rounds=rounds, seed=seed))
    else:
        found.append(_worth(part, challenger, policy, settings, zone=zone, whole=labels_of_stopped, rounds=rounds))
    found += [_calibrated(seen, challenger, settings.gates), _stable(part, card, settings.gates)]
    found.append(_quick(card, settings.gates))
    return Gates(
        challenger=challenger, champion=champion or "", metric=settings.gates.metric,
        measured={name: _metric(seen, score[seen.rows], settings.gates.metric) for name, score in scores.items()},
        gates=tuple(found), events=len(part), frauds=int(seen.part.fraud.sum()),
        from_us=int(part.time_us.min()), to_us=int(part.time_us.max()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    """The events whose labels say what became of them: rows of those judged, for how many each stands, and why so."""

    part: History
    rows: NDArray[np.int64]
    weight: NDArray[np.float64] | None
    why: str


def _seen(
    part: History, policy: Policy | None, challenger: NDArray[np.float64] | None, *, labels_of_stopped: bool
) -> _Seen:
    """The events to compare on; `challenger` is its score where there is a champion, whose policy stopped some."""
    holdout = None if policy is None else policy.holdout
    if labels_of_stopped:
        return _Seen(part, np.arange(len(part)), None, "")
    if holdout is not None and holdout.share and part.held_out.any():
        weight = weights_of(part, holdout.share)
        rows = np.flatnonzero(weight > 0)
        held, stopped = int(part.held_out.sum()), len(part) - rows.size
        why = f"; {held:,} held-out events speak for {stopped:,} that were stopped" if stopped else ""
        return _Seen(part.take(rows), rows, weight[rows], why)
    unseen = _unseen(part)
    out, why = unseen.copy(), ""
    if unseen.any():
        why = f"; of what was stopped labels do not come: {int(unseen.sum()):,} left out"
    if challenger is not None and unseen.any():
        banded = unseen & np.array([kind == "band" for kind, _ in part.deciders])[part.won]
        there = np.flatnonzero(~unseen | banded)
        count = int(banded.sum())
        out[there[np.argsort(-challenger[there], kind="stable")[:count]]] = True
        if count:
            why += f", and with them the challenger's {count:,} highest (a holdout would tell more)"
    rows = np.flatnonzero(~out)
    return _Seen(part.take(rows), rows, None, why)


def _unseen(part: History) -> NDArray[np.bool_]:
    """Stopped events of which labels do not come: of such an outcome fewer are known frauds than of what passed.

    A policy stops what is more often fraud, so that where labels come whatever was decided, as in a simulation or of
    what people review, it is the other way round. What is said of few events goes by all that was stopped.
    """
    passed = part.outcome == Outcome.ALLOW
    usual = float(part.fraud[passed].mean()) if passed.any() else 0.0
    unseen = np.zeros(len(part), np.bool_)
    for outcome in STOPPING:
        mine = part.outcome == outcome
        known = part.fraud[mine if mine.sum() >= _FEW_STOPPED else ~passed]
        if mine.any() and not (known.any() and known.mean() >= usual):
            unseen |= mine
    return unseen


def _positives(seen: _Seen, settings: GateSettings) -> Gate:
    frauds = int(seen.part.fraud.sum())
    return Gate(
        name="enough frauds", passed=frauds >= settings.positives, value=frauds, bound=settings.positives,
        why=f"{frauds:,} frauds among {len(seen.part):,} matured events; {settings.positives:,} are needed to tell"
        + seen.why,
    )  # fmt: skip


def _better(
    seen: _Seen, challenger: NDArray[np.float64], champion: NDArray[np.float64], settings: GateSettings, *,
    rounds: int, seed: int,
) -> Gate:  # fmt: skip
    words = settings.metric.replace("_", " ")
    part = seen.part
    if not part.fraud.any() or part.fraud.all():
        return Gate(name="better", passed=False, value=math.nan, bound=0.0, why=f"{words} needs frauds and good events")
    found = paired(
        part.fraud, challenger, champion, measure=settings.metric, groups=_people(part), weights=seen.weight,
        rounds=rounds, seed=seed,
    )  # fmt: skip
    return Gate(
        name="better", passed=found.low > 0, value=found.difference, bound=0.0,
        why=f"{words} {found.difference:+.4f} against the champion, "
        f"95 % interval {found.low:+.4f} to {found.high:+.4f}",
    )  # fmt: skip


def _people(part: History) -> NDArray[np.int64] | None:
    """Whom each event belongs to, for frauds come in runs of one person; nobody's events stand each for itself."""
    if not (part.person >= 0).any():
        return None
    alone = part.person < 0
    return np.where(alone, np.arange(len(part)) + int(part.person.max()) + 1, part.person).astype(np.int64)


def _worth(
    part: History, challenger: str, policy: Policy | None, settings: LearningSettings, *,
    zone: str, whole: bool, rounds: int,
) -> Gate:  # fmt: skip
    """Where there is no champion: what bands on the score save, on events later than those they were chosen on."""
    limits = Limits(reviews_per_day=settings.review_capacity, friction=settings.friction_limit)
    policy = policy or Policy(event_type=part.event_type)
    try:
        found = tune(
            part, policy, costs=settings.costs, limits=limits, score=challenger, zone=zone, labels_of_stopped=whole,
            rounds=rounds,
        )  # fmt: skip
    except InputError as error:
        return Gate(name="worth it", passed=False, value=math.nan, bound=0.0, why=str(error))
    low, high = found.saved_interval.low, found.saved_interval.high
    return Gate(
        name="worth it", passed=low > 0, value=found.saved, bound=0.0,
        why=f"bands on its score save {found.saved:,.0f} {part.currency} against the policy without, "
        f"95 % interval {low:,.0f} to {high:,.0f}",
    )  # fmt: skip


def _calibrated(seen: _Seen, challenger: str, settings: GateSettings) -> Gate:
    score = seen.part.scores[challenger]
    known = ~np.isnan(score)
    error = math.nan
    if known.any() and ((score[known] >= 0) & (score[known] <= 1)).all():
        weight = None if seen.weight is None else seen.weight[known]
        error = expected_calibration_error(seen.part.fraud[known], score[known], weights=weight)
    return Gate(
        name="calibrated", passed=error <= settings.calibration_error, value=error, bound=settings.calibration_error,
        why=f"scores are off the share of fraud by {error:.4f} on average; at most {settings.calibration_error:g}"
        if not math.isnan(error)
        else "its scores are unknown, or no probabilities",
    )  # fmt: skip


def _stable(part: History, card: Mapping[str, Any], settings: GateSettings) -> Gate:
    """Every input of the card is looked at: one of which nothing can be said has not been shown to be stable."""

    def failed(why: str) -> Gate:
        return Gate(name="stable inputs", passed=False, value=math.nan, bound=settings.stability, why=why)

    names = card.get("inputs")
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return failed("the model's card does not say which inputs it reads (hint: train it again)")
    try:
        baselines, _ = card_baselines(card)
    except InputError as error:
        return failed(str(error))
    found = dict[str, float]()
    for name in map(str, names):
        if name not in baselines:
            return failed(f"the card does not say how {name} was spread when the model learned")
        if name not in part.inputs:
            return failed(f"the values of {name} were not kept, so that nothing is known of their spread")
        if not _alike(baselines[name], part.inputs[name]):
            return failed(f"{name} is a text here and was a number when the model learned, or the other way round")
        found[name] = stability(baselines[name], part.inputs[name])
        if math.isnan(found[name]):
            return failed(f"the card knows of no value of {name}, so that nothing is known of its spread")
    worst = max(found, key=lambda name: (found[name], name))
    beyond = sum(value > settings.stability for value in found.values())
    return Gate(
        name="stable inputs", passed=not beyond, value=found[worst], bound=settings.stability,
        why=f"of {len(found)} inputs {worst} has moved most since training: an index of {found[worst]:.3f}"
        + (f"; {beyond} are above {settings.stability:g}" if beyond else f", at most {settings.stability:g}"),
    )  # fmt: skip


def _alike(baseline: Baseline, values: Values) -> bool:
    """Whether both are numbers, or both texts; what was NULL throughout may be either."""
    return not (baseline.categories if isinstance(values, np.ndarray) else baseline.edges)


def _quick(card: Mapping[str, Any], settings: GateSettings) -> Gate:
    try:
        taken = float(card["latency_us_per_event"])
    except (KeyError, TypeError, ValueError):
        why = "its card does not say how long scoring takes"
        return Gate(name="quick", passed=False, value=math.nan, bound=settings.latency_us, why=why)
    return Gate(
        name="quick", passed=taken <= settings.latency_us, value=taken, bound=settings.latency_us,
        why=f"scoring an event takes {taken:.1f} us; at most {settings.latency_us:g}",
    )  # fmt: skip


def _ranked(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores with the unknown below all others."""
    known = score[~np.isnan(score)]
    return np.where(np.isnan(score), (known.min() if known.size else 0.0) - 1.0, score)


def _metric(seen: _Seen, score: NDArray[np.float64], metric: str) -> float:
    return float(RANKED[metric](Ranking.of(seen.part.fraud, score).above(seen.weight)))
