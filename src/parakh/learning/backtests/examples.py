"""The events of a back-test that matter most: the largest of those that went wrong, or that a change moves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.expressions.values import iso_time
from parakh.learning.history import History
from parakh.rules.definition import Mode, Outcome

__all__ = ["Example", "examples", "largest"]

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One event: what was decided, what decided on it, and the live rules that hit with their reasons.

    `before` is the outcome under the policy that it is compared with, "" where there is none.
    """

    event_id: str
    time_us: int
    amount: float
    outcome: str
    decided_by: tuple[str, str]
    score: float
    fraud: bool
    before: str
    reasons: tuple[tuple[str, str], ...]  # (rule, why)

    def as_data(self) -> dict[str, Any]:
        """As JSON takes it."""
        data = asdict(self)
        del data["time_us"]
        return {"event_id": data.pop("event_id"), "time": iso_time(self.time_us)} | data


def examples(history: History) -> dict[str, tuple[Example, ...]]:
    """The largest frauds that a policy let through, good events that it stopped, and frauds that it stopped."""
    stopped = history.outcome > 0
    return {
        "fraud let through": largest(history, history.fraud & ~stopped),
        "good stopped": largest(history, history.good & stopped),
        "fraud stopped": largest(history, history.fraud & stopped),
    }


def largest(
    history: History,
    where: NDArray[np.bool_],
    *,
    before: NDArray[np.int8] | None = None,
    why: History | None = None,
) -> tuple[Example, ...]:
    """The events of the largest amounts among some, of equals the first.

    `before` holds outcomes to compare with; `why` is the history whose rules give the reasons, row by row: for what is
    let through, that of the policy that stopped it.
    """
    rows = np.flatnonzero(where)
    rows = rows[np.argsort(-np.nan_to_num(history.amount[rows]), kind="stable")][:_SHOWN]
    told_by = history if why is None else why
    return tuple(
        Example(
            event_id=history.ids[row].as_py(),
            time_us=int(history.time_us[row]),
            amount=float(history.amount[row]),
            outcome=Outcome(int(history.outcome[row])).word,
            decided_by=told_by.deciders[told_by.won[row]],
            score=float(told_by.score[row]),
            fraud=bool(history.fraud[row]),
            before="" if before is None else Outcome(int(before[row])).word,
            reasons=_reasons(told_by, row),
        )
        for row in rows.tolist()
    )


def _reasons(history: History, row: int) -> tuple[tuple[str, str], ...]:
    """The live rules that hit an event, each with its code and its reason in words."""
    found = []
    for number, rule in enumerate(history.rules):
        hit = int(history.hits[row, number >> 6]) >> (number & 63) & 1
        if hit and rule.mode is Mode.LIVE:
            found.append((rule.name, rule.text or " ".join(rule.when.split())))
    return tuple(found)
