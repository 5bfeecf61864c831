"""The gates before a promotion: what a challenger has to show on events that it did not learn from.

Each gate is a figure, its bound and a sentence. A challenger is measured against the champion on the same events; where
there is none yet, the policy with the challenger's bands against the policy as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.errors import InputError
from parakh.expressions.values import iso_time, timestamp_us
from parakh.learning.changes.drift import Baseline, stability
from parakh.learning.history import History
from parakh.learning.measures.curves import expected_calibration_error
from parakh.learning.measures.intervals import paired
from parakh.learning.measures.ranking import RANKED, Ranking
from parakh.learning.promotion.tuning import Limits, tune
from parakh.learning.settings import GateSettings, LearningSettings

__all__ = ["Gate", "Gates", "judge", "learned_until_us"]


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

    `measured` has the gates' metric of both on the same events.
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
            "measured": {name: _known(value) for name, value in self.measured.items()},
            "events": self.events,
            "frauds": self.frauds,
            "from": iso_time(self.from_us),
            "to": iso_time(self.to_us),
            "gates": [
                {
                    "name": gate.name, "passed": gate.passed, "value": _known(gate.value),
                    "bound": _known(gate.bound), "why": gate.why,
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
    of the event type, needed where there is no champion; the history holds the challenger's inputs (`inputs=`). An
    unknown score ranks last. Raises InputError where a score is not there, or no matured event is.
    """
    settings = settings or LearningSettings()
    for name in (challenger, *([champion] if champion else [])):
        if name not in history.scores:
            raise InputError(f"no model {name} scores {history.event_type}; its models are {', '.join(history.scores)}")
    rows = np.flatnonzero(history.matured & (history.time_us >= (from_us or 0)))
    if not rows.size:
        since = f" from {iso_time(from_us)} on" if from_us else ""
        raise InputError(f"no event{since} has matured: the gates need events later than those that were learned from")
    part = history.take(rows)
    scores = {name: _ranked(part.scores[name]) for name in (challenger, *([champion] if champion else []))}
    found = [_positives(part, settings.gates)]
    if champion:
        found.append(_better(part, scores[challenger], scores[champion], settings.gates, rounds=rounds, seed=seed))
    else:
        found.append(_worth(part, challenger, policy, settings, zone=zone, whole=labels_of_stopped, rounds=rounds))
    found += [_calibrated(part, challenger, settings.gates), _stable(part, card, settings.gates)]
    found.append(_quick(card, settings.gates))
    return Gates(
        challenger=challenger, champion=champion or "", metric=settings.gates.metric,
        measured={name: _metric(part, score, settings.gates.metric) for name, score in scores.items()},
        gates=tuple(found), events=len(part), frauds=int(part.fraud.sum()),
        from_us=int(part.time_us.min()), to_us=int(part.time_us.max()),
    )  # fmt: skip


def _positives(part: History, settings: GateSettings) -> Gate:
    frauds = int(part.fraud.sum())
    return Gate(
        name="enough frauds", passed=frauds >= settings.positives, value=frauds, bound=settings.positives,
        why=f"{frauds:,} frauds among {len(part):,} matured events; {settings.positives:,} are needed to tell",
    )  # fmt: skip


def _better(
    part: History, challenger: NDArray[np.float64], champion: NDArray[np.float64], settings: GateSettings, *,
    rounds: int, seed: int,
) -> Gate:  # fmt: skip
    words = settings.metric.replace("_", " ")
    if not part.fraud.any() or part.fraud.all():
        return Gate(name="better", passed=False, value=math.nan, bound=0.0, why=f"{words} needs frauds and good events")
    found = paired(part.fraud, challenger, champion, measure=settings.metric, rounds=rounds, seed=seed)
    return Gate(
        name="better", passed=found.low > 0, value=found.difference, bound=0.0,
        why=f"{words} {found.difference:+.4f} against the champion, "
        f"95 % interval {found.low:+.4f} to {found.high:+.4f}",
    )  # fmt: skip


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


def _calibrated(part: History, challenger: str, settings: GateSettings) -> Gate:
    score = part.scores[challenger]
    known = ~np.isnan(score)
    error = math.nan
    if known.any() and ((score[known] >= 0) & (score[known] <= 1)).all():
        error = expected_calibration_error(part.fraud[known], score[known])
    return Gate(
        name="calibrated", passed=error <= settings.calibration_error, value=error, bound=settings.calibration_error,
        why=f"scores are off the share of fraud by {error:.4f} on average; at most {settings.calibration_error:g}"
        if not math.isnan(error)
        else "its scores are unknown, or no probabilities",
    )  # fmt: skip


def _stable(part: History, card: Mapping[str, Any], settings: GateSettings) -> Gate:
    held = card.get("baseline")
    baselines = held if isinstance(held, Mapping) else {}
    found = {
        name: stability(Baseline.of_data(said), part.inputs[name])
        for name, said in baselines.items()
        if name in part.inputs
    }
    if not found:
        why = "the card does not say how its inputs were spread when it learned, or they were not kept"
        return Gate(name="stable inputs", passed=False, value=math.nan, bound=settings.stability, why=why)
    worst = max(found, key=lambda name: (found[name], name))
    beyond = sum(value > settings.stability for value in found.values())
    return Gate(
        name="stable inputs", passed=not beyond, value=found[worst], bound=settings.stability,
        why=f"of {len(found)} inputs {worst} has moved most since training: an index of {found[worst]:.3f}"
        + (f"; {beyond} are above {settings.stability:g}" if beyond else f", at most {settings.stability:g}"),
    )  # fmt: skip


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


def _metric(part: History, score: NDArray[np.float64], metric: str) -> float:
    return float(RANKED[metric](Ranking.of(part.fraud, score).above(None)))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
