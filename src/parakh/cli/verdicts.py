"""Decisions held against what is known of the events: amounts, whose they were, and whether they were fraud.

`Facts` is what is known of the events of one type, whatever was decided; `Verdicts` gathers decisions on them.
What the report and `parakh diff --events` tell is counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parakh.cli.report.data import OUTCOMES, Kind, Movement, RuleLine, Tally
from parakh.cli.words import day
from parakh.decisions.decisions import Decisions
from parakh.decisions.parts import Part
from parakh.events.ids import IdIndex
from parakh.expressions.zones import Zone
from parakh.learning.backtests.versus import moves, people_changed
from parakh.rules.definition import Rule

__all__ = ["Facts", "Totals", "Verdicts", "good_people_changed", "movements"]

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the events of one type, one element an event.

    `ids` finds an event's row by the hash of its id. `amount` is in minor units, 0 where there is none; `person` a
    number for whom the event belongs to, -1 for nobody; `fraud` 1 or 0, -1 where nothing is known; `kind` an index into
    `kinds`, or -1.
    """

    event_type: str
    currency: str
    ids: IdIndex
    amount: NDArray[np.int64]
    person: NDArray[np.int64]
    fraud: NDArray[np.int8]
    kind: NDArray[np.int16]
    kinds: tuple[str, ...] = ()
    hashes: NDArray[np.uint64]  # two words an event: the hash of its id

    def hash(self, row: int) -> tuple[int, int]:
        """The hash of the id of the event in a row."""
        return int(self.hashes[row, 0]), int(self.hashes[row, 1])


@dataclass(slots=True)
class Totals:
    """Running sums over all judged types; amounts in minor units. Good is what is not known to be fraud."""

    decided: int = 0
    stopped: int = 0
    frauds: int = 0
    frauds_stopped: int = 0
    fraud_amount: int = 0
    fraud_amount_stopped: int = 0
    good: int = 0
    good_stopped: int = 0

    def add(self, facts: Facts, rows: NDArray[np.int64], outcome: NDArray[np.int8]) -> None:
        fraud = facts.fraud[rows] == 1
        stop = outcome > 0
        amount = facts.amount[rows]
        self.decided += int(rows.size)
        self.stopped += int(stop.sum())
        self.frauds += int(fraud.sum())
        self.frauds_stopped += int((fraud & stop).sum())
        self.fraud_amount += int(amount[fraud].sum())
        self.fraud_amount_stopped += int(amount[fraud & stop].sum())
        self.good += int((~fraud).sum())
        self.good_stopped += int((~fraud & stop).sum())

    @property
    def fraud_amount_passed(self) -> int:
        return self.fraud_amount - self.fraud_amount_stopped


@dataclass(slots=True)
class _Gathered:
    """The decisions on one type so far, a list of arrays a batch."""

    rules: tuple[Rule, ...]
    row: list[NDArray[np.int64]] = field(default_factory=list)
    time_us: list[NDArray[np.int64]] = field(default_factory=list)
    outcome: list[NDArray[np.int8]] = field(default_factory=list)
    score: list[NDArray[np.float64]] = field(default_factory=list)
    hits: list[NDArray[np.uint64]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Judged:
    """All decisions on one type; `row` leads to the facts. Arrays have one element a decision, in log order."""

    facts: Facts
    rules: tuple[Rule, ...]
    row: NDArray[np.int64]
    time_us: NDArray[np.int64]
    outcome: NDArray[np.int8]
    score: NDArray[np.float64]
    hits: NDArray[np.uint64]

    @property
    def fraud(self) -> NDArray[np.bool_]:
        return self.facts.fraud[self.row] == 1

    @property
    def amount(self) -> NDArray[np.int64]:
        return self.facts.amount[self.row]

    def rule_hits(self, number: int) -> NDArray[np.bool_]:
        """Where the rule of this number hit, in shadow too."""
        return (self.hits[:, number >> 6] >> np.uint64(number & 63)) & np.uint64(1) == 1


class Verdicts:
    """Gathers the decisions of a replay, batch by batch, on the events whose facts are known."""

    def __init__(self, facts: Mapping[str, Facts]) -> None:
        self.facts = facts
        self.totals = Totals()
        self._gathered: dict[str, _Gathered] = {}

    def take(self, decisions: Decisions) -> None:
        """Add a batch."""
        for part in decisions.parts:
            facts = self.facts.get(part.schema.event_type)
            if facts is not None:
                self._take(facts, part)

    def _take(self, facts: Facts, part: Part) -> None:
        found = facts.ids.find(part.id_hi, part.id_lo)
        known = found >= 0
        row = found[known]
        outcome = part.judgement.outcome[known]
        self.totals.add(facts, row, outcome)
        kept = self._gathered.setdefault(facts.event_type, _Gathered(part.schema.judge.rules))
        kept.row.append(row)
        kept.time_us.append(part.event_time_us[known].copy())
        kept.outcome.append(outcome)
        kept.score.append(part.score[known])
        kept.hits.append(part.judgement.hits[known])

    def judged(self) -> dict[str, Judged]:
        """Everything gathered, by event type."""
        return {
            name: Judged(
                self.facts[name],
                kept.rules,
                np.concatenate(kept.row),
                np.concatenate(kept.time_us),
                np.concatenate(kept.outcome),
                np.concatenate(kept.score),
                np.concatenate(kept.hits),
            )
            for name, kept in self._gathered.items()
        }


class Days:
    """The days that judged events span, in a time zone, for charts over time."""

    def __init__(self, judged: Mapping[str, Judged], zone: Zone) -> None:
        self._zone = zone
        times = [self._local(item.time_us) for item in judged.values() if item.time_us.size]
        self.first = min(int(t.min()) for t in times) // _DAY_US if times else 0
        self.count = (max(int(t.max()) for t in times) // _DAY_US - self.first + 1) if times else 0
        starts = [(self.first + i) * _DAY_US for i in range(self.count)]
        self.labels = tuple(day(start).rsplit(" ", 1)[0] for start in starts)

    def of(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._local(times) // _DAY_US - self.first

    def _local(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        return times + self._zone.offset_us(times)

    def tally(self, judged: Judged) -> Tally:
        """Outcomes a day."""
        days = self.of(judged.time_us)
        counts = [np.bincount(days[judged.outcome == n], minlength=self.count) for n in range(len(OUTCOMES))]
        return Tally(labels=self.labels, counts=tuple(tuple(row.tolist()) for row in counts))

    def kinds(self, judged: Mapping[str, Judged]) -> tuple[Kind, ...]:
        """Amounts stopped and passed a day, by kind of fraud, over all types; the costliest first."""
        names = dict.fromkeys(name for item in judged.values() for name in item.facts.kinds)
        found = []
        for name in names:
            caught, missed = np.zeros(self.count), np.zeros(self.count)
            events = [0, 0]
            for item in judged.values():
                if name not in item.facts.kinds:
                    continue
                which = item.facts.kind[item.row] == item.facts.kinds.index(name)
                stop = item.outcome > 0
                days = self.of(item.time_us)
                for number, (sums, some) in enumerate(((caught, which & stop), (missed, which & ~stop))):
                    sums += np.bincount(days[some], weights=item.amount[some], minlength=self.count)
                    events[number] += int(some.sum())
            if sum(events):
                found.append(
                    Kind(
                        name=name,
                        caught=tuple(int(value) for value in caught),
                        missed=tuple(int(value) for value in missed),
                        caught_events=events[0],
                        missed_events=events[1],
                    )
                )
        return tuple(sorted(found, key=lambda kind: -sum(kind.caught) - sum(kind.missed)))


def score_bins(judged: Judged, bins: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Events in equal bins of the score from 0 to 1: (genuine, fraud)."""
    known = ~np.isnan(judged.score)
    place = np.clip((judged.score[known] * bins).astype(np.int64), 0, bins - 1)
    fraud = judged.fraud[known]
    genuine = np.bincount(place[~fraud], minlength=bins)
    return tuple(genuine.tolist()), tuple(np.bincount(place[fraud], minlength=bins).tolist())


def rule_lines(judged: Judged) -> list[RuleLine]:
    """The record of every rule of the type, in the project's order."""
    fraud, amount = judged.fraud, judged.amount
    lines = []
    for number, rule in enumerate(judged.rules):
        hit = judged.rule_hits(number)
        lines.append(
            RuleLine(
                name=rule.name,
                event_type=judged.facts.event_type,
                outcome=rule.then.word,
                mode=rule.mode.value,
                condition=" ".join(rule.when.split()),
                hits=int(hit.sum()),
                frauds=int((hit & fraud).sum()),
                fraud_amount=int(amount[hit & fraud].sum()),
            )
        )
    return lines


def movements(before: Mapping[str, Judged], after: Mapping[str, Judged]) -> tuple[Movement, ...]:
    """Events whose outcome changed, by type and by outcome before and after."""
    found = []
    for name, old in before.items():
        if name not in after:
            continue
        for was, became, rows in moves(*_aligned(old, after[name])):
            fraud = old.facts.fraud[rows] == 1
            amount = old.facts.amount[rows]
            found.append(
                Movement(
                    event_type=name,
                    before=was,
                    after=became,
                    events=int(rows.size),
                    amount=int(amount.sum()),
                    frauds=int(fraud.sum()),
                    fraud_amount=int(amount[fraud].sum()),
                )
            )
    return tuple(found)


def good_people_changed(before: Mapping[str, Judged], after: Mapping[str, Judged]) -> tuple[int, int]:
    """Good people (with no fraud among their events) stopped before and no longer, and stopped only now.

    People are counted within each event type and not to be fraud where nothing is known.
    """
    gained = lost = 0
    for name, old in before.items():
        if name not in after:
            continue
        was, now = _aligned(old, after[name])
        fraud = old.facts.fraud
        here = people_changed(old.facts.person, bad=fraud == 1, good=fraud != 1, before=was > 0, after=now > 0)
        gained, lost = gained + here[0], lost + here[1]
    return gained, lost


def _aligned(old: Judged, new: Judged) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Outcomes by row of the facts, -1 where an event was not decided."""
    size = old.facts.amount.size
    outcomes = []
    for judged in (old, new):
        outcome = np.full(size, -1, np.int8)
        outcome[judged.row] = judged.outcome
        outcomes.append(outcome)
    both = (outcomes[0] >= 0) & (outcomes[1] >= 0)
    return np.where(both, outcomes[0], np.int8(-1)), np.where(both, outcomes[1], np.int8(-1))
