"""The record of each rule and band of a policy: how often it hit, how often it was right, and what it alone caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.learning.backtests.figures import ratio
from parakh.learning.backtests.votes import Rows, Votes
from parakh.rules.definition import Mode, Outcome

__all__ = ["Cost", "Record", "band_records", "overlaps", "rule_records"]

Cost = Callable[[NDArray[np.int8], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float64]]
"""What each event costs by its outcome, whether it was fraud, and its amount: `Costs.of`."""

_CHUNK = 65_536  # rows: sums of so many ones are exact in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one rule or band did; amounts in major units.

    `alone_*` are events that it alone stopped - no other live rule, no band and no fallback would have - and for a rule
    in shadow those that it would stop and nothing does. `saved` is what the policy would cost more without it; for a
    rule in shadow what it would cost less with it. `unknown` counts events on which its condition was NULL.
    """

    kind: str  # rule or band
    name: str
    mode: str
    outcome: str
    condition: str
    hits: int
    matured: int
    frauds: int
    fraud_amount: float
    fraud_share: float  # of all matured frauds: its recall
    unknown: int
    alone_events: int
    alone_frauds: int
    alone_good: int
    alone_amount: float
    saved: float

    @property
    def good(self) -> int:
        """Matured hits that are not known to be fraud."""
        return self.matured - self.frauds

    @property
    def precision(self) -> float:
        """The share of fraud among its matured hits, NaN where it has none."""
        return ratio(self.frauds, self.matured)


def rule_records(votes: Votes, cost: Cost) -> tuple[Record, ...]:
    """The record of every rule, in the project's order."""
    history = votes.history
    return tuple(
        _record(
            votes,
            cost,
            rows=votes.rows[number],
            other=votes.without_rule(number) if rule.mode is Mode.LIVE else votes.outcome[votes.rows[number]],
            asked=votes.outcome[votes.rows[number]] if rule.mode is Mode.LIVE else votes.with_rule(number),
            facts=("rule", rule.name, rule.mode.value, rule.then.word, " ".join(rule.when.split())),
            unknown=int(history.was_unknown(number).sum()),
        )
        for number, rule in enumerate(history.rules)
    )


def band_records(votes: Votes, cost: Cost) -> tuple[Record, ...]:
    """The record of every band of the policy, in order."""
    words = [word for kind, word in votes.history.deciders if kind == "band"]
    return tuple(
        _record(
            votes,
            cost,
            rows=votes.band_rows[number],
            other=votes.without_band(number, Outcome[word.upper()]),
            asked=votes.outcome[votes.band_rows[number]],
            facts=("band", word, "live", word, ""),
            unknown=int(np.isnan(votes.history.score).sum()),
        )
        for number, word in enumerate(words)
    )


def _record(
    votes: Votes,
    cost: Cost,
    *,
    rows: Rows,
    other: NDArray[np.int8],
    asked: NDArray[np.int8],
    facts: tuple[str, str, str, str, str],
    unknown: int,
) -> Record:
    """`asked` is the outcome with it on the events that it hit, `other` the one without."""
    history = votes.history
    matured, fraud = history.matured[rows], history.fraud[rows]
    amount = np.nan_to_num(history.amount[rows])
    # What a holdout lets through goes through with it and without.
    alone = (asked > 0) & (other == 0) & ~history.held_out[rows]
    moved = matured & (asked != other) & ~history.held_out[rows]
    spent = [float(cost(outcome[moved], fraud[moved], amount[moved]).sum()) for outcome in (other, asked)]
    kind, name, mode, outcome, condition = facts
    return Record(
        kind=kind,
        name=name,
        mode=mode,
        outcome=outcome,
        condition=condition,
        hits=int(rows.size),
        matured=int(matured.sum()),
        frauds=int(fraud.sum()),
        fraud_amount=float(amount[fraud].sum()),
        fraud_share=ratio(int(fraud.sum()), int(history.fraud.sum())),
        unknown=unknown,
        alone_events=int(alone.sum()),
        alone_frauds=int((alone & fraud).sum()),
        alone_good=int((alone & matured & ~fraud).sum()),
        alone_amount=float(amount[alone & fraud].sum()),
        saved=spent[0] - spent[1],
    )


def overlaps(votes: Votes) -> NDArray[np.int64]:
    """How many events each two rules hit both, int64[rules, rules]; the diagonal holds their hits."""
    rules = len(votes.rows)
    both = np.zeros((rules, rules), np.int64)
    often = np.zeros(len(votes.history), np.uint16)
    for rows in votes.rows:
        often[rows] += 1
    shared = np.flatnonzero(often > 1)
    place = np.full(len(votes.history), -1, np.int64)
    place[shared] = np.arange(shared.size)
    places = [found[found >= 0] for found in (place[rows] for rows in votes.rows)]
    for start in range(0, shared.size, _CHUNK):
        table = np.zeros((rules, min(_CHUNK, shared.size - start)), np.float32)
        for number, found in enumerate(places):
            first, last = np.searchsorted(found, (start, start + _CHUNK))
            table[number, found[first:last] - start] = 1
        both += (table @ table.T).astype(np.int64)
    np.fill_diagonal(both, [rows.size for rows in votes.rows])
    return both
