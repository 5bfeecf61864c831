"""Two policies on the same history: which outcomes change, and what that means for fraud, good people and cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.errors import InputError
from parakh.learning.backtests.backtest import Load, cost_of, load_of
from parakh.learning.backtests.examples import Example, largest
from parakh.learning.backtests.figures import Figures, Sums, figures_by, sums_by
from parakh.learning.backtests.unblocked import Estimate, asked_for, weights_of
from parakh.learning.history import History
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.intervals import Interval, draws, interval_of
from parakh.learning.measures.segments import local_days, weeks_of
from parakh.learning.plain import plain
from parakh.rules.definition import Outcome

__all__ = ["Change", "Moved", "compare", "moves", "people_changed"]

_OUTCOMES = tuple(outcome.word for outcome in Outcome)
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Events whose outcome changed from `before` to `after`."""

    before: str
    after: str
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a new policy does otherwise than an old one, on the events that both decided.

    `cost_change` is the new cost less the old (below 0: cheaper), with a 95 % interval by resampling people, or
    days where events belong to nobody. `people_gained` are good people whom the old policy stopped and the new does
    not, `people_lost` those stopped only now. `unseen` counts matured events that the old policy stopped and the
    new does not: what became of them may never have been known, and counts as good then. `by_holdout` is the change
    in cost by the old policy's holdout, None where it has none; its `events` are those let through by it.
    `only_old` and `only_new` count events that one of them alone decided.
    """

    old_hash: str
    new_hash: str
    events: int
    only_old: int
    only_new: int
    before: Figures
    after: Figures
    load_before: Load
    load_after: Load
    moved: tuple[Moved, ...]
    people_gained: int
    people_lost: int
    cost_change: float
    cost_change_low: float
    cost_change_high: float
    resampled: str
    unseen: int
    by_holdout: Estimate | None
    weeks_before: tuple[Figures, ...]
    weeks_after: tuple[Figures, ...]
    examples: dict[str, tuple[Example, ...]]

    @property
    def changed(self) -> int:
        """Events whose outcome changed."""
        return sum(item.sums.events for item in self.moved)

    def as_data(self) -> dict[str, Any]:
        """As JSON takes it."""
        data = asdict(self)
        for name in ("before", "after"):
            data[name] = getattr(self, name).as_data()
        for name in ("weeks_before", "weeks_after"):
            data[name] = [item.as_data() for item in getattr(self, name)]
        data["moved"] = [{"before": item.before, "after": item.after} | asdict(item.sums) for item in self.moved]
        data["examples"] = {name: [item.as_data() for item in found] for name, found in self.examples.items()}
        found: dict[str, Any] = plain(data | {"changed": self.changed})
        return found


def compare(
    old: History,
    new: History,
    *,
    policy: Policy | None = None,
    costs: Costs | None = None,
    capacity: float = 100,
    zone: str = "UTC",
    seed: int = 0,
    rounds: int = 200,
) -> Change:
    """Compare what two policies did on the same past, one event type and one label.

    `policy` is the old one: where it was live with a holdout, that says what stopped events would have become.
    Raises InputError where they have no event in common.
    """
    costs = costs or Costs()
    before, after = _shared(old, new)
    spent = [cost_of(history, costs, history.outcome) for history in (before, after)]
    day = local_days(after.time_us, zone)
    everything = np.zeros(len(after), np.int64)
    weeks = weeks_of(day)
    people = bool((after.person >= 0).any())
    whose, resampled = (after.person.astype(np.int64), "people") if people else (day, "days")
    interval = _interval(spent[1] - spent[0], whose, seed=seed, rounds=rounds)
    by_holdout = None
    if policy is not None and policy.holdout is not None and policy.holdout.share:
        asked = [cost_of(history, costs, asked_for(history)) for history in (before, after)]
        change = weights_of(before, policy.holdout.share) * (asked[1] - asked[0])
        likely = _interval(change, whose, seed=seed, rounds=rounds)
        held = int((before.held_out & before.matured).sum())
        by_holdout = Estimate(float(change.sum()), likely.low, likely.high, held)
    gained, lost = people_changed(
        after.person, bad=after.fraud, good=after.good, before=before.outcome > 0, after=after.outcome > 0
    )
    return Change(
        old_hash=old.project_hash,
        new_hash=new.project_hash,
        events=len(after),
        only_old=len(old) - len(after),
        only_new=len(new) - len(after),
        before=figures_by(before, spent[0], everything, ["before"])[0],
        after=figures_by(after, spent[1], everything, ["after"])[0],
        load_before=load_of(before, day, capacity),
        load_after=load_of(after, day, capacity),
        moved=_moved(before, after),
        people_gained=gained,
        people_lost=lost,
        cost_change=float((spent[1] - spent[0]).sum()),
        cost_change_low=interval.low,
        cost_change_high=interval.high,
        resampled=resampled,
        unseen=int((after.matured & (before.outcome > 0) & (after.outcome == 0)).sum()),
        by_holdout=by_holdout,
        weeks_before=figures_by(before, spent[0], *weeks),
        weeks_after=figures_by(after, spent[1], *weeks),
        examples=_examples(before, after),
    )


def moves(before: NDArray[np.int8], after: NDArray[np.int8]) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """From which outcome to which other, and the rows that moved so; -1 stands for not decided.

    >>> [(was, became, rows.tolist()) for was, became, rows in moves(np.array([0, 3, 0]), np.array([0, 1, 1]))]
    [('allow', 'challenge', [2]), ('block', 'challenge', [1])]
    """
    for was, word in enumerate(_OUTCOMES):
        mine = before == was
        for became, other in enumerate(_OUTCOMES):
            rows = np.flatnonzero(mine & (after == became)) if was != became else _NONE
            if rows.size:
                yield word, other, rows


def people_changed(
    person: NDArray[np.int32] | NDArray[np.int64],
    *,
    bad: NDArray[np.bool_],
    good: NDArray[np.bool_],
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
) -> tuple[int, int]:
    """People without a bad event, one of whose good events was stopped `before` and none `after`; and the other way.

    One element an event; `person` numbers whom it belongs to, -1 for nobody.
    """
    if not person.size:
        return 0, 0
    count = int(person.max()) + 1

    def having(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(person[where & (person >= 0)], minlength=count) > 0

    fraudulent, was, now = having(bad), having(good & before), having(good & after)
    return int((was & ~now & ~fraudulent).sum()), int((now & ~was & ~fraudulent).sum())


def _moved(before: History, after: History) -> tuple[Moved, ...]:
    everything = np.zeros(len(after), np.int64)
    found = []
    for was, became, rows in moves(before.outcome, after.outcome):
        here = np.zeros(len(after), np.bool_)
        here[rows] = True
        found.append(Moved(before=was, after=became, sums=sums_by(after, everything, 1, here)[0]))
    return tuple(found)


def _interval(change: NDArray[np.float64], whose: NDArray[np.int64], *, seed: int, rounds: int) -> Interval:
    """Where the sum of the changes would lie with other people of this kind; nobody's events stand alone."""
    nobody = whose < 0
    each = np.append(np.bincount(whose[~nobody], weights=change[~nobody]), change[nobody])
    drawn = draws(each.size, rounds=rounds, seed=seed)
    return interval_of(np.array([float(times @ each) for times in drawn]))


def _examples(before: History, after: History) -> dict[str, tuple[Example, ...]]:
    was, now = before.outcome > 0, after.outcome > 0
    return {
        "fraud newly let through": largest(after, after.fraud & was & ~now, before=before.outcome, why=before),
        "fraud newly stopped": largest(after, after.fraud & ~was & now, before=before.outcome),
        "good newly stopped": largest(after, after.good & ~was & now, before=before.outcome),
        "good no longer stopped": largest(after, after.good & was & ~now, before=before.outcome, why=before),
    }


def _shared(old: History, new: History) -> tuple[History, History]:
    """The two histories on the events that both have, in the new one's order, with what it says became of them."""
    if not old.ids.equals(new.ids):
        there = pc.fill_null(pc.index_in(new.ids, value_set=old.ids), -1).to_numpy(zero_copy_only=False)
        here = np.flatnonzero(there >= 0)
        if not here.size:
            raise InputError("the two projects decided no event both: there is nothing to compare")
        old, new = old.take(there[here].astype(np.int64)), new.take(here)
    truth = {name: getattr(new, name) for name in ("fraud", "matured", "labelled", "known_at_us", "amount", "person")}
    return replace(old, **truth), new
