"""The judgement of a mined condition on a later span of the past, which the search never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.errors import InputError
from parakh.expressions.types import Kind
from parakh.expressions.values import iso_time
from parakh.learning.columns import taken
from parakh.learning.extra import needed
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.intervals import draws, interval_of, wilson
from parakh.learning.suggesting.evidence import Example, Facts, Range, Search, Suggestion
from parakh.learning.suggesting.mining import Mine
from parakh.learning.suggesting.terms import Condition, Mask

__all__ = ["Judge", "Judged", "Spans", "split"]

_LEAST_MINED = 10
_LEAST_FRAUDS = 5
"""Frauds that a suggestion must catch on the later span."""
_CHANCE = 0.05
_ROUNDS = 1000
_EXAMPLES = 5
_TERM_COST = 0.05


@dataclass(frozen=True, slots=True)
class Spans:
    """Rows to mine on - passed, matured, labels known before the later span - and rows that judge, all matured."""

    early: NDArray[np.int64]
    late: NDArray[np.int64]
    mined: tuple[int, int]
    judged: tuple[int, int]


def split(facts: Facts, search: Search) -> Spans:
    """The spans of a search; raises InputError where one of them holds too little to learn from."""
    matured = np.flatnonzero(facts.matured)
    if not matured.size:
        raise InputError(
            f"no event is matured: labels come {search.delay_us / DAY_US:g} days late, and the events end before "
            "(hint: give a longer past, or a shorter --maturity)"
        )
    times = facts.time_us[matured]
    first, last = int(times.min()), int(times.max())
    later = last - int((last - first) * search.judged)
    later -= later % DAY_US if last - first > 12 * DAY_US else 0
    end = later - search.delay_us
    known = ~facts.fraud | (facts.known_at_us < later)
    early = np.flatnonzero(facts.matured & ~facts.stopped & known & (facts.time_us < end))
    late = matured[times >= later]
    for rows, what, least in (
        (early, "mined on", _LEAST_MINED),
        (late[~facts.stopped[late]], "judged on", _LEAST_FRAUDS),
    ):
        frauds = int(facts.fraud[rows].sum())
        if frauds < least or frauds == rows.size:
            raise InputError(
                f"{frauds:,} of {rows.size:,} events that passed in the span to be {what} are known frauds; at least "
                f"{least} frauds, and good events beside them, are needed (the matured are of {iso_time(first)} to "
                f"{iso_time(last)}; those before {iso_time(end)} are mined, those from {iso_time(later)} on judge)"
            )
    return Spans(early, late, (first, end), (later, last))


@dataclass(frozen=True, slots=True)
class Judged:
    """A condition on the later span: where it hits, its evidence, and its worth.

    That is what it saves, less some for each further term: of two that are alike the simpler stays.
    """

    condition: Condition
    hits: Mask
    worth: float
    suggestion: Suggestion


class Judge:
    """What a condition is worth on the later span."""

    def __init__(self, facts: Facts, search: Search, costs: Costs, late: NDArray[np.int64], tried: int) -> None:
        self.facts, self.search, self.late, self.tried = facts, search, late, tried
        self.fraud, self.passed, self.amount = facts.fraud[late], ~facts.stopped[late], facts.amount[late]
        outcome = np.zeros(late.size, np.int8)
        asked = outcome + np.int8(search.then)
        self.saves = costs.of(outcome, self.fraud, self.amount) - costs.of(asked, self.fraud, self.amount)
        day = facts.time_us[late] // DAY_US
        self.days, self.day = np.unique(day, return_inverse=True)
        self.length = max((int(facts.time_us[late].max()) - int(facts.time_us[late].min())) / DAY_US, 1.0)
        self.base = float(self.fraud[self.passed].mean())
        self.draws = np.array(list(draws(self.days.size, rounds=_ROUNDS, seed=search.seed)))

    def hits(self, condition: Condition) -> Mask:
        return condition.holds(self.facts.values)[self.late]

    def judged(self, condition: Condition, task: Mine) -> Judged:
        facts, search = self.facts, self.search
        hits = self.hits(condition)
        new = hits & self.passed
        caught = new & self.fraud
        frauds, count = int(caught.sum()), int(new.sum())
        early = condition.holds(task.values)
        special = needed("scipy.special")
        chance = float(special.betainc(frauds, count - frauds + 1, self.base)) if frauds else 1.0
        precision, amount, saved = (
            self._range(caught, new),
            self._range(np.where(caught, np.nan_to_num(self.amount), 0)),
            self._range(np.where(new, self.saves, 0)),
        )
        suggestion = Suggestion(
            name="",
            condition=condition,
            then=search.then,
            precision=precision,
            recall=frauds / int((self.fraud & self.passed).sum()),
            frauds=frauds,
            hits=count,
            hits_a_day=count / self.length,
            amount=amount,
            saved=saved,
            whole_precision=float(self.fraud[hits].mean()) if hits.any() else 0.0,
            alone_frauds=0,
            alone_amount=0.0,
            mined_precision=float(task.fraud[early].mean()) if early.any() else 0.0,
            chance=min(1.0, chance * self.tried),
            expires_us=facts.last_us + search.lasts_us,
            examples=self._examples(new),
            tests=self._tests(condition, hits),
        )
        return Judged(condition, hits, saved.value * (1 - _TERM_COST * (len(condition.terms) - 1)), suggestion)

    def fault(self, one: Judged) -> str:
        """Why a condition is not suggested; empty where it is."""
        found = one.suggestion
        if found.frauds < _LEAST_FRAUDS:
            return f"catches {found.frauds} frauds on the later span, fewer than {_LEAST_FRAUDS}"
        if found.precision.value < self.search.precision:
            return f"its precision on the later span is {found.precision.value:.2f}"
        if found.chance > _CHANCE:
            return f"chance alone reaches as much with a probability of {found.chance:.2g}"
        if not found.precision.low > self.base:
            return "what it caught lies on few days"
        if found.saved.value <= 0:
            return "it costs more than it saves"
        return ""

    def saved(self, hits: Mask) -> float:
        """What a rule that hits there saves."""
        return float(self.saves[hits & self.passed].sum())

    def adds_too_little(self, hits: Mask) -> str:
        """Why what a condition adds to others does not pay; empty where it does."""
        new = hits & self.passed
        frauds, count = int(self.fraud[new].sum()), int(new.sum())
        if frauds < _LEAST_FRAUDS or frauds < self.search.precision * count or self.saved(new) <= 0:
            return f"adds {frauds} frauds in {count} hits to the other suggestions"
        return ""

    def _range(self, values: NDArray[Any], of: Mask | None = None) -> Range:
        """The sum of values with its interval over resampled days; or their share of a count.

        Of a share the interval is at least Wilson's (1927): where all hits are frauds, resampling knows no other case.
        """
        sums = np.bincount(self.day, weights=values, minlength=self.days.size)
        drawn = np.asarray(self.draws @ sums, np.float64)
        value = float(sums.sum())
        counts = np.bincount(self.day, weights=of, minlength=self.days.size)
        if of is not None:
            counted = self.draws @ counts
            drawn = np.divide(drawn, counted, out=np.zeros(drawn.size), where=counted > 0)
            value = value / float(counts.sum()) if counts.any() else 0.0
        found = interval_of(drawn)
        if of is None or not counts.any():
            return Range(value, found.low, found.high)
        low, high = wilson(value, float(counts.sum()))
        return Range(value, min(low, found.low), max(high, found.high))

    def _examples(self, new: Mask) -> tuple[Example, ...]:
        """The latest hits, frauds first."""
        rows = np.concatenate([np.flatnonzero(new & self.fraud)[::-1], np.flatnonzero(new & ~self.fraud)[::-1]])
        return tuple(
            Example(
                self.facts.ids[int(row)].as_py(),
                int(self.facts.time_us[row]),
                float(self.facts.amount[row]),
                bool(self.facts.fraud[row]),
            )
            for row in self.late[rows[:_EXAMPLES]].tolist()
        )

    def _tests(self, condition: Condition, hits: Mask) -> tuple[tuple[dict[str, Any], str], ...]:
        """A row that hits, and one that does not."""
        found = list[tuple[dict[str, Any], str]]()
        known = np.logical_and.reduce([self._known(name) for name in condition.names])
        for rows, expected in ((np.flatnonzero(hits), "hit"), (np.flatnonzero(known & ~hits), "no_hit")):
            if rows.size:
                row = int(self.late[rows[0]])
                found.append(({name: self._value(name, row) for name in condition.names}, expected))
        return tuple(found)

    def _known(self, name: str) -> Mask:
        values = taken(self.facts.values[name], self.late)
        if isinstance(values, pa.DictionaryArray):
            return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        return ~np.isnan(values)

    def _value(self, name: str, row: int) -> Any:
        """A value as a rule's test gives it."""
        values, kind = self.facts.values[name], self.facts.types[name].kind
        if isinstance(values, pa.DictionaryArray):
            return values[row].as_py()
        number = float(values[row])
        if np.isnan(number):
            return None
        return bool(number) if kind is Kind.BOOLEAN else int(number) if kind is Kind.INTEGER else number
