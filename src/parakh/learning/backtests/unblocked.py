"""What would have become of events that were stopped, as far as a holdout lets it be seen.

A payment that is blocked never turns into a chargeback, so the labels of what was stopped are not to be trusted. Where
the policy let a random share of it through, those events stand for all of the kind: each counts 1 / share, what was
stopped counts nothing, and what went through of itself counts one (Horvitz and Thompson, 1952). The intervals are
Wilson's, over as many events as the weights are worth (Kish, 1965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.decisions.policy import DEGRADED
from parakh.learning.backtests.figures import ratio
from parakh.learning.backtests.votes import Votes
from parakh.learning.history import History
from parakh.learning.known import stands_for
from parakh.learning.measures.intervals import wilson
from parakh.rules.definition import Mode, Outcome

__all__ = ["Estimate", "Unblocked", "asked_for", "unblocked", "weights_of"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval and the number of events that it rests on; NaN where it rests on none."""

    value: float
    low: float
    high: float
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unblocked:
    """The holdout of the policy that was live, and the figures of a policy by it.

    `stopped` counts what the live policy stopped and `beyond` those among them that its holdout never lets through
    (overriding rules, rules without holdout, degraded decisions, large amounts): no figure here speaks for these.
    """

    share: float
    held: int
    held_matured: int
    held_frauds: int
    stopped: int
    beyond: int
    precision: Estimate  # of everything that the policy asks to stop
    recall: Estimate
    by_outcome: dict[str, Estimate]
    by_rule: dict[str, Estimate]
    fraud_rate: Estimate  # of what the live policy stops, where its holdout reaches


def unblocked(judged: Votes, live: Votes, policy: Policy) -> Unblocked | None:
    """The figures of a policy corrected by the holdout of the one that was live, on the same events.

    None where the live policy has no holdout.
    """
    if policy.holdout is None or not policy.holdout.share:
        return None
    history, share = live.history, policy.holdout.share
    held, weight = history.held_out, weights_of(history, share)
    asked = judged.outcome
    stops = asked > 0

    def precision(where: NDArray[np.bool_]) -> Estimate:
        return _share(weight, where & history.matured, history.fraud)

    hits = {}
    for number, rule in enumerate(judged.history.rules):
        mine = np.zeros(len(history), np.bool_)
        mine[judged.rows[number]] = True
        if (mine & (history.outcome > 0)).any():  # the others have nothing to correct
            hits[rule.name] = precision(mine)
    stopped = history.outcome > 0
    return Unblocked(
        share=share,
        held=int(held.sum()),
        held_matured=int((held & history.matured).sum()),
        held_frauds=int((held & history.fraud).sum()),
        stopped=int(stopped.sum()),
        beyond=int((stopped & _beyond(live, policy)).sum()),
        precision=precision(stops),
        recall=_share(weight, history.fraud, stops),
        by_outcome={then.word: precision(asked == then) for then in Outcome if then is not Outcome.ALLOW},
        by_rule=hits,
        fraud_rate=_share(weight, held & history.matured, history.fraud),
    )


def weights_of(live: History, share: float) -> NDArray[np.float64]:
    """How many events each stands for, under a live policy that lets this share of what it stops through."""
    return stands_for(live.outcome, live.held_out, share)


def asked_for(history: History) -> NDArray[np.int8]:
    """The outcome of each event as if the policy had no holdout."""
    stands_for = [int(Outcome[name.upper()]) if kind == "holdout" else -1 for kind, name in history.deciders]
    asked = np.array(stands_for, np.int8)[history.won]
    return np.where(asked < 0, history.outcome, asked)


def _beyond(live: Votes, policy: Policy) -> NDArray[np.bool_]:
    """Events that the holdout never lets through."""
    assert policy.holdout is not None
    history = live.history
    beyond = live.overridden() | ((history.flags & DEGRADED) != 0)
    for number, rule in enumerate(history.rules):
        if rule.mode is Mode.LIVE and not rule.holdout and rule.then is not Outcome.ALLOW:
            beyond[live.rows[number]] = True
    if policy.holdout.below is not None:
        beyond |= ~(history.amount < policy.holdout.below)
    return beyond


def _share(weight: NDArray[np.float64], among: NDArray[np.bool_], of: NDArray[np.bool_]) -> Estimate:
    """The weighted share of some events among others, over those that count."""
    among = among & (weight > 0)
    weights = weight[among]
    events = int(weights.size)
    if not events:
        return Estimate(math.nan, math.nan, math.nan, 0)
    whole = float(weights.sum())
    value = float(weights[of[among]].sum()) / whole
    low, high = wilson(value, ratio(whole**2, float((weights**2).sum())))
    return Estimate(value, low, high, events)
