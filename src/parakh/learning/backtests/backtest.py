"""A back-test: what a policy did on a history - what it caught, whom it stopped, what it cost, what each rule is for.

Counts labels as they were known by the history's cut-off, and tells right from wrong on matured events only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.decisions.policy import DEGRADED, LATE
from parakh.expressions.values import iso_time
from parakh.learning.backtests.examples import Example, examples
from parakh.learning.backtests.figures import Figures, Sums, figures_by, sums_by
from parakh.learning.backtests.records import Record, band_records, overlaps, rule_records
from parakh.learning.backtests.unblocked import Unblocked, unblocked
from parakh.learning.backtests.votes import Votes
from parakh.learning.history import History
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.metrics import average_precision, roc_auc
from parakh.learning.measures.segments import local_days, segments_of, weeks_of
from parakh.learning.plain import plain
from parakh.rules.definition import Outcome

__all__ = ["BackTest", "Load", "ModelRecord", "backtest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Reviews a day, days without any included: `over` counts the days that had more than `capacity`."""

    days: int
    mean: float
    largest: int
    largest_day: str
    over: int
    capacity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """How well a model's score tells fraud from the rest, over matured events that have one."""

    name: str
    mode: str  # live: the policy's own
    scored: int
    unknown: int
    roc_auc: float
    average_precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackTest:
    """What one policy did. Amounts and costs are in major units of `currency`, and over matured events where they
    depend on what became of an event. `overlap` holds int64[rules, rules], the events that each two rules hit both.
    """

    event_type: str
    label: str
    project_hash: str
    currency: str
    first_us: int
    last_us: int
    known_by_us: int
    total: Figures
    cost_of_allowing: float
    unlabelled: int
    late: int
    degraded: int
    held_out: int
    good_people: int
    good_people_stopped: int
    outcomes: dict[str, Sums]
    load: Load
    rules: tuple[Record, ...]
    bands: tuple[Record, ...]
    models: tuple[ModelRecord, ...]
    overlap: NDArray[np.int64]
    weeks: tuple[Figures, ...]
    segments: dict[str, tuple[Figures, ...]]
    unblocked: Unblocked | None
    examples: dict[str, tuple[Example, ...]]

    @property
    def saved(self) -> float:
        """What the policy saves against letting everything through."""
        return self.cost_of_allowing - self.total.cost

    def jaccard(self) -> NDArray[np.float64]:
        """Of the events that either of two rules hit, the share that both did; NaN where neither hit."""
        hits = np.diag(self.overlap)
        either = hits[:, None] + hits[None, :] - self.overlap
        return np.divide(self.overlap, either, out=np.full(either.shape, np.nan), where=either > 0)

    def as_data(self) -> dict[str, Any]:
        """As JSON takes it; what is not known is null."""
        data = {item: getattr(self, item) for item in ("event_type", "label", "project_hash", "currency", "unlabelled")}
        shares = self.jaccard()
        pairs = [(a, b) for a, b in zip(*np.nonzero(np.triu(self.overlap, 1)), strict=True)]
        return plain(
            data
            | {
                "from": iso_time(self.first_us),
                "to": iso_time(self.last_us),
                "known_by": iso_time(self.known_by_us),
                "immature": self.total.all.events - self.total.all.matured,
                "late": self.late,
                "degraded": self.degraded,
                "held_out": self.held_out,
                "good_people": self.good_people,
                "good_people_stopped": self.good_people_stopped,
                "total": self.total.as_data(),
                "cost_of_allowing": self.cost_of_allowing,
                "saved": self.saved,
                "outcomes": {name: asdict(sums) for name, sums in self.outcomes.items()},
                "load": asdict(self.load),
                "rules": [asdict(item) | {"precision": item.precision} for item in self.rules],
                "bands": [asdict(item) | {"precision": item.precision} for item in self.bands],
                "models": [asdict(item) for item in self.models],
                "overlap": [
                    {
                        "rules": [self.rules[a].name, self.rules[b].name],
                        "both": int(self.overlap[a, b]),
                        "jaccard": float(shares[a, b]),
                    }
                    for a, b in pairs
                ],
                "weeks": [item.as_data() for item in self.weeks],
                "segments": {name: [item.as_data() for item in found] for name, found in self.segments.items()},
                "unblocked": None if self.unblocked is None else asdict(self.unblocked),
                "examples": {name: [item.as_data() for item in found] for name, found in self.examples.items()},
            }
        )


def backtest(
    history: History,
    policy: Policy,
    *,
    costs: Costs | None = None,
    capacity: float = 100,
    zone: str = "UTC",
    votes: Votes | None = None,
    live: tuple[Votes, Policy] | None = None,
) -> BackTest:
    """What the policy that a history was made by did on it, by rule, week and segment (each of its `inputs`).

    `capacity` is how many reviews a day people can do, `zone` the zone of days and weeks. `live` is the policy that was
    live in that time, whose holdout corrects the figures; this one, unless said.
    """
    costs = costs or Costs()
    votes = votes or Votes(history)
    spent = cost_of(history, costs, history.outcome)
    everything = np.zeros(len(history), np.int64)
    day = local_days(history.time_us, zone)
    return BackTest(
        event_type=history.event_type,
        label=history.label,
        project_hash=history.project_hash,
        currency=history.currency,
        first_us=int(history.time_us.min()),
        last_us=int(history.time_us.max()),
        known_by_us=history.known_by_us,
        total=figures_by(history, spent, everything, ["all"])[0],
        cost_of_allowing=float(cost_of(history, costs, np.zeros(len(history), np.int8)).sum()),
        unlabelled=int((history.matured & ~history.labelled).sum()),
        late=int(((history.flags & LATE) != 0).sum()),
        degraded=int(((history.flags & DEGRADED) != 0).sum()),
        held_out=int(history.held_out.sum()),
        good_people=_people(history, history.good),
        good_people_stopped=_people(history, history.good & (history.outcome > 0)),
        outcomes={outcome.word: sums_by(history, everything, 1, history.outcome == outcome)[0] for outcome in Outcome},
        load=load_of(history, day, capacity),
        rules=rule_records(votes, costs.of),
        bands=band_records(votes, costs.of),
        models=_models(history, policy),
        overlap=overlaps(votes),
        weeks=figures_by(history, spent, *weeks_of(day)),
        segments={name: figures_by(history, spent, *segments_of(values)) for name, values in history.inputs.items()},
        unblocked=unblocked(votes, *(live or (votes, policy))),
        examples=examples(history),
    )


def cost_of(history: History, costs: Costs, outcome: NDArray[np.int8]) -> NDArray[np.float64]:
    """What each event costs under these outcomes, 0 where it is not matured."""
    return np.where(history.matured, costs.of(outcome, history.fraud, np.nan_to_num(history.amount)), 0.0)


def load_of(history: History, day: NDArray[np.int64], capacity: float) -> Load:
    """Reviews a day, where `day` is that of each event; days without an event count too."""
    first, last = int(day.min()), int(day.max())
    reviews = np.bincount(day[history.outcome == Outcome.REVIEW] - first, minlength=last - first + 1)
    largest = int(reviews.argmax())
    return Load(
        days=int(reviews.size),
        mean=float(reviews.mean()),
        largest=int(reviews[largest]),
        largest_day=_date(first + largest),
        over=int((reviews > capacity).sum()),
        capacity=capacity,
    )


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _people(history: History, where: NDArray[np.bool_]) -> int:
    """How many people without a fraud have such an event."""
    if not history.person.size:
        return 0
    known = history.person >= 0
    counts = [
        np.bincount(history.person[known & mask], minlength=int(history.person.max(initial=-1)) + 1)
        for mask in (where, history.fraud)
    ]
    return int(((counts[0] > 0) & (counts[1] == 0)).sum())


def _models(history: History, policy: Policy) -> tuple[ModelRecord, ...]:
    found = []
    for name, scores in history.scores.items():
        known = ~np.isnan(scores)
        told = history.fraud[history.matured & known], scores[history.matured & known]
        found.append(
            ModelRecord(
                name=name,
                mode="live" if name == policy.score else "shadow",
                scored=int(known.sum()),
                unknown=int((~known).sum()),
                roc_auc=roc_auc(*told) if told[0].size else math.nan,
                average_precision=average_precision(*told) if told[0].size else math.nan,
            )
        )
    return tuple(found)
