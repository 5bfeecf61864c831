"""How well decisions did, where labels tell: precision, recall, amounts and false alarms, by event type.

An event counts as fraud if its type's first boolean label is true when all labels are in; an unlabelled event counts as
genuine, as it does to a fintech that hears of fraud by chargeback. Stopped means any outcome but allow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.labelling import holding
from parakh.events.definition import EventType, amount_field
from parakh.expressions.types import BOOLEAN, NULL_WORD

__all__ = ["Judged", "Scorecard", "fraud_label"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Decisions on one event type against its labels; amounts in major units of `currency` ("" where there is none)."""

    decided: int
    frauds: int
    stopped: int
    stopped_frauds: int
    fraud_amount: float
    caught_amount: float
    currency: str

    @property
    def precision(self) -> float | None:
        """Of what was stopped, the share that was fraud."""
        return self.stopped_frauds / self.stopped if self.stopped else None

    @property
    def recall(self) -> float | None:
        """Of the frauds, the share that was stopped."""
        return self.stopped_frauds / self.frauds if self.frauds else None

    @property
    def false_alarms_per_fraud(self) -> float | None:
        """Genuine events stopped for each fraud that was stopped."""
        return (self.stopped - self.stopped_frauds) / self.stopped_frauds if self.stopped_frauds else None


def fraud_label(event: EventType) -> str | None:
    """The label that says whether an event was fraud: its first that is true or false."""
    return next((item.name for item in event.labels if item.type == BOOLEAN), None)


@dataclass(slots=True)
class _Column:
    low: list[NDArray[np.uint64]] = field(default_factory=list)
    outcome: list[NDArray[np.int8]] = field(default_factory=list)
    amount: list[NDArray[np.int64]] = field(default_factory=list)
    label_low: list[NDArray[np.uint64]] = field(default_factory=list)
    label_value: list[NDArray[np.int64]] = field(default_factory=list)
    label_rank: list[NDArray[np.int16]] = field(default_factory=list)


class Scorecard:
    """Gathers decisions and labels of a replay; about 40 bytes each.

    Ids are matched by 64 of their 128 bits: good for a summary, where one mix-up among billions is no harm.
    """

    def __init__(self, events: tuple[EventType, ...]) -> None:
        self._events = {event.name: event for event in events if fraud_label(event)}
        self._columns = {name: _Column() for name in self._events}

    def decided(
        self, event_type: str, id_lo: NDArray[np.uint64], outcome: NDArray[np.int8], amount: NDArray[np.int64] | None
    ) -> None:
        """Decisions on one event type: `amount` in minor units, None where the type has none."""
        if event_type in self._columns:
            column = self._columns[event_type]
            column.low.append(id_lo.copy())
            column.outcome.append(outcome)
            column.amount.append(np.zeros(id_lo.size, np.int64) if amount is None else amount.copy())

    def labelled(
        self, event_type: str, id_lo: NDArray[np.uint64], value: NDArray[np.int64], rank: NDArray[np.int16]
    ) -> None:
        """Fraud labels of one event type as they came: 1, 0 or NULL for a withdrawal."""
        if event_type in self._columns and id_lo.size:
            column = self._columns[event_type]
            column.label_low.append(id_lo.copy())
            column.label_value.append(value.copy())
            column.label_rank.append(rank.copy())

    def judged(self) -> dict[str, Judged]:
        """By event type, where there are labels."""
        return {
            name: self._judged(event, self._columns[name])
            for name, event in self._events.items()
            if self._columns[name].label_low and self._columns[name].low
        }

    def _judged(self, event: EventType, column: _Column) -> Judged:
        low = np.concatenate(column.low)
        stopped = np.concatenate(column.outcome) > 0
        amount = np.concatenate(column.amount)
        labelled = _fraudulent(
            np.concatenate(column.label_low), np.concatenate(column.label_value), np.concatenate(column.label_rank)
        )
        fraud = np.isin(low, labelled)
        name = amount_field(event)
        type = event.field(name).type if name else None
        unit = 10**type.digits if type else 1
        known = amount != NULL_WORD
        return Judged(
            decided=int(low.size),
            frauds=int(fraud.sum()),
            stopped=int(stopped.sum()),
            stopped_frauds=int((fraud & stopped).sum()),
            fraud_amount=int(amount[fraud & known].sum()) / unit,
            caught_amount=int(amount[fraud & stopped & known].sum()) / unit,
            currency=(type.currency or "") if type else "",
        )


def _fraudulent(low: NDArray[np.uint64], value: NDArray[np.int64], rank: NDArray[np.int16]) -> NDArray[np.uint64]:
    """The ids whose label is true in the end: the highest-ranked source holds, then the latest."""
    labelled, about = np.unique(low, return_inverse=True)
    number = holding(about, value, rank, labelled.size)
    held = number[number >= 0]
    return low[held[value[held] == 1]]
