"""What speaks for a suggested rule: facts of the past, what is asked for, and the figures of a suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.errors import InputError
from parakh.expressions.types import Type
from parakh.expressions.values import iso_time
from parakh.learning.history import Values
from parakh.learning.suggesting.terms import Condition, Mask
from parakh.rules.definition import Outcome

__all__ = ["Example", "Facts", "Range", "Search", "Suggested", "Suggestion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of past events, one element an event.

    `values` are inputs by their names in expressions, with their `types`; `stopped` where the policy did not allow;
    `known_at_us` since when a fraud is known; `rules` where each rule of the project hits, in shadow too. `last_us` is
    the time of the last event, us UTC.
    """

    ids: pa.StringArray
    time_us: NDArray[np.int64]
    amount: NDArray[np.float64]
    fraud: Mask
    matured: Mask
    known_at_us: NDArray[np.int64]
    stopped: Mask
    values: Mapping[str, Values]
    types: Mapping[str, Type]
    rules: Mapping[str, Mask] = field(default_factory=dict)

    @property
    def last_us(self) -> int:
        return int(self.time_us.max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is asked for: at most `most` rules that ask for `then`, each of at least this `precision`.

    `judged` is the share of the matured span that is kept for judging, `delay_us` the gap before it, in which labels
    come; suggestions expire `lasts_us` after the last event.
    """

    precision: float = 0.5
    most: int = 10
    then: Outcome = Outcome.REVIEW
    judged: float = 1 / 3
    delay_us: int = 7 * DAY_US
    lasts_us: int = 90 * DAY_US
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise InputError(f"the least precision is {self.precision:g}; it lies between 0 and 1")


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with its interval of 95 %, by drawing whole days again."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Example:
    """An event on which a condition hits."""

    event_id: str
    time_us: int
    amount: float
    fraud: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A condition with its evidence on the later span.

    `precision`, `frauds`, `hits`, `amount` (of the frauds) and `saved` (by the costs) are of events that the policy
    lets pass; `recall` is the share of all frauds that it lets pass; `whole_precision` counts what is stopped already
    too; `alone_frauds` and `alone_amount` are what no other suggestion catches. `chance` is how likely so many frauds
    are by luck, times the number of conditions that were judged.
    """

    name: str
    condition: Condition
    then: Outcome
    precision: Range
    recall: float
    frauds: int
    hits: int
    hits_a_day: float
    amount: Range
    saved: Range
    whole_precision: float
    alone_frauds: int
    alone_amount: float
    mined_precision: float
    chance: float
    expires_us: int
    examples: tuple[Example, ...]
    tests: tuple[tuple[dict[str, Any], str], ...]

    def as_data(self) -> dict[str, Any]:
        """For JSON; times in ISO 8601."""

        def told(item: Range) -> dict[str, float]:
            return {"value": round(item.value, 6), "low": round(item.low, 6), "high": round(item.high, 6)}

        return {
            "name": self.name,
            "when": str(self.condition),
            "then": self.then.word,
            "precision": told(self.precision),
            "recall": round(self.recall, 6),
            "frauds": self.frauds,
            "hits": self.hits,
            "hits_a_day": round(self.hits_a_day, 3),
            "amount": told(self.amount),
            "saved": told(self.saved),
            "whole_precision": round(self.whole_precision, 6),
            "alone": {"frauds": self.alone_frauds, "amount": round(self.alone_amount, 2)},
            "mined_precision": round(self.mined_precision, 6),
            "chance": self.chance,
            "expires": iso_time(self.expires_us),
            "examples": [
                {
                    "event_id": item.event_id,
                    "time": iso_time(item.time_us),
                    "amount": None if np.isnan(item.amount) else item.amount,
                    "fraud": item.fraud,
                }
                for item in self.examples
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """What a search gave: the suggestions, the spans and the time of the last event in us UTC, and why others fell.

    `passed_frauds` are those of the later span that the policy lets pass, `tried` the conditions that were judged.
    """

    suggestions: tuple[Suggestion, ...]
    mined: tuple[int, int]
    judged: tuple[int, int]
    last_us: int
    passed_frauds: int
    tried: int
    fell: tuple[tuple[str, str], ...]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mined": {"from": iso_time(self.mined[0]), "to": iso_time(self.mined[1])},
            "judged": {"from": iso_time(self.judged[0]), "to": iso_time(self.judged[1])},
            "passed_frauds": self.passed_frauds,
            "tried": self.tried,
            "suggestions": [item.as_data() for item in self.suggestions],
            "fell": [{"when": when, "why": why} for when, why in self.fell],
        }
